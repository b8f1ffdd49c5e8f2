"""Compile a step with its tangents to machine code, which runs whole stretches without calls into PyTorch."""
