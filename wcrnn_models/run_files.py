"""The names of the files in the directory of a run."""

from __future__ import annotations

CONFIG_FILE = "config.json"
"""The `TrainConfig`."""

HISTORY_FILE = "history.json"
"""The `TrainResult` so far."""

RESUME_FILE = "resume.pt"
"""The state that an interrupted run resumes from."""

CHECKPOINT_FOLDER = "checkpoints"
"""Folder of its checkpoints."""

ANALYSIS_FOLDER = "analyses"
"""Folder with one file for each checkpoint that a sweep has analysed."""
