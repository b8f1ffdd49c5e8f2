"""Provenance of results, written by one function."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from importlib.metadata import version

import torch

from lyapkit.results.schema import SCHEMA_VERSION


def provenance(
    config: Mapping[str, object], *, dtype: torch.dtype, device: torch.device, checkpoint_sha256: str = ""
) -> dict[str, object]:
    """Return the attributes of every result.

    Args:
        config: Settings of the analysis; stored as one JSON string, since netCDF attributes hold neither dictionaries
            nor booleans.
        dtype: Type that the model computes in.
        device: Device that it computes on.
        checkpoint_sha256: Digest of the analysed weights file; empty when the model came from memory.

    Returns:
        ``created_at`` (UTC, ISO 8601), versions, dtype, device, ``config_json``, ``checkpoint_sha256``,
        ``schema_version``.
    """
    return {
        "created_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "creation_library": "lyapkit",
        "lyapkit_version": version("lyapkit"),
        "torch_version": str(torch.__version__),  # a subclass of str, which h5netcdf cannot write
        "dtype": str(dtype).removeprefix("torch."),
        "device": str(device),
        "config_json": json.dumps(dict(config), sort_keys=True),
        "checkpoint_sha256": checkpoint_sha256,
        "schema_version": SCHEMA_VERSION,
    }
