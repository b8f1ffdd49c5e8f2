"""Losses as the analyses read them: outputs of a network over a sequence, PyTorch's own losses, and batches."""
