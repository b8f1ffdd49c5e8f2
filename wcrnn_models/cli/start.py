"""The configuration that ``--preset``, ``--network`` or ``--config`` sets, which other options change."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wcrnn_models.errors import UserError
from wcrnn_models.training.config import TrainConfig, read_config
from wcrnn_models.training.networks import network_fields
from wcrnn_models.training.presets import preset


@dataclass(frozen=True)
class Start:
    """Defaults of the options of a training.

    Attributes:
        config: The configuration.
        file: The file that it was read from, if any.
    """

    config: TrainConfig = field(default_factory=TrainConfig)
    file: Path | None = None

    @classmethod
    def of(cls, arguments: Sequence[str]) -> Start:
        """Read the arguments that set defaults; mistakes in them are left to the parser.

        Args:
            arguments: Those after the name of the subcommand.

        Raises:
            UserError: If a name is unknown, a preset has no learning rate, a file is no configuration, or a file and a
                name are given.
        """
        reader = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
        reader.add_argument("--preset")
        reader.add_argument("--network")
        reader.add_argument("--config")
        reader.add_argument("--learning-rate", "--learning_rate", "--lr", type=float)
        try:
            found, _ = reader.parse_known_args(arguments)
        except argparse.ArgumentError:  # a value that is missing or no number, which the full parser explains
            return cls()
        if found.config is not None:
            if found.preset is not None or found.network is not None:
                raise UserError(
                    "--config sets all options, so --preset and --network do not go with it; leave them out."
                )
            return cls(read_config(Path(found.config)), Path(found.config))
        fields = {} if found.network is None else network_fields(found.network)
        if found.preset is None:
            return cls(TrainConfig(**fields))
        if found.learning_rate is None:
            raise UserError(
                "the paper does not state its learning rates, so --preset needs --learning-rate, such as 0.01."
            )
        return cls(preset(found.preset, learning_rate=found.learning_rate, **fields))
