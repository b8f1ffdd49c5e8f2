"""Training of WCRNNs; importing the configuration alone does not import PyTorch."""

from __future__ import annotations
