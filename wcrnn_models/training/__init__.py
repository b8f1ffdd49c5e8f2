"""Train WCRNNs. Importing the configuration alone does not import PyTorch."""

from __future__ import annotations
