"""Machine code of a step with its tangents: whole stretches of a run without a call into PyTorch between steps."""
