"""Readable names of the directories of runs: the fields in which the runs of a sweep differ, with their values."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict

from wcrnn_models.sweeps.layout import run_name, varying
from wcrnn_models.training.config import TrainConfig

_LONGEST = 100
"""Characters of a name; no source, below the 255 bytes that file systems allow, with room for paths in it."""


def readable_names(
    configs: Iterable[TrainConfig], present: Mapping[str, TrainConfig], taken: Collection[str] = ()
) -> dict[str, TrainConfig]:
    """Return configurations by the names of their directories: the one that each has, or a new one.

    A new name tells the fields in which the configurations differ, those that are present among them, such as
    ``seed=0,r=0.995``; it is ``run`` where nothing differs. Names differ also where case does not count. If what a
    file system allows does not tell two runs apart, or the name is taken, a hash follows.

    Args:
        configs: Configurations of a sweep; of equal ones, one counts.
        present: Configurations of the directories that there are, by name.
        taken: Names of other files in the same place.

    Example:
        >>> first = readable_names([TrainConfig(r=0.9), TrainConfig(r=1.0)], {})
        >>> list(first)
        ['r=0.9', 'r=1']
        >>> list(readable_names([TrainConfig(r=1), TrainConfig(r=1, seed=3)], first))  # a directory keeps its name
        ['r=1', 'seed=3,r=1']
    """
    wanted = {config.fingerprint(): config for config in configs}
    names = {config.fingerprint(): name for name, config in present.items()}
    fields = varying([*present.values(), *wanted.values()])
    new = {each: _name(config, fields) for each, config in wanted.items() if each not in names}
    counts = Counter(name.casefold() for name in (*new.values(), *present, *taken))
    for each, name in new.items():
        names[each] = name if counts[name.casefold()] == 1 else f"{name},{run_name(wanted[each])}"
    return {names[each]: config for each, config in wanted.items()}


def _name(config: TrainConfig, fields: Sequence[str]) -> str:
    values = asdict(config)
    name = ",".join(f"{field}={_text(values[field])}" for field in fields) or "run"
    return name if len(name) <= _LONGEST else f"{name[:_LONGEST]},{run_name(config)}"


def _text(value: object) -> str:
    """Return a value in characters that every file system has."""
    if isinstance(value, float) and value.is_integer():
        value = int(value) if abs(value) < 1e16 else value
    if isinstance(value, tuple):
        return "+".join(map(str, value)) or "none"
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", str(value)).strip("-.") or "none" if isinstance(value, str) else str(value)
