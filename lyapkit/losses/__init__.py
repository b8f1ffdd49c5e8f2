"""Losses for the analyses: outputs of a network over a sequence, PyTorch's own losses, and batches."""
