"""The option --config, which takes the configuration of another run."""

import dataclasses

import pytest

from wcrnn_models import TrainConfig
from wcrnn_models.cli import main

SMALL = [
    *("--length", "6", "--hidden-size", "8", "--batch-size", "8"),
    *("--epochs", "2", "--iterations-per-epoch", "5", "--test-size", "20"),
]


def test_a_configuration_of_another_run_sets_the_options(tmp_path, capsys):
    first, second = tmp_path / "first", tmp_path / "second"
    assert main(["train", str(first), *SMALL, "--lr", "0.02", "--residual", "rotation", "--phi", "random"]) == 0
    file = str(first / "config.json")
    assert main(["train", str(second), "--config", file, "--seed", "7", "--save-at", "3"]) == 0
    old, new = (TrainConfig.from_json((run / "config.json").read_text()) for run in (first, second))
    assert old.learning_rate == 0.02
    assert new == dataclasses.replace(old, seed=7, save_at=(3,))
    assert main(["train", str(tmp_path / "same"), "--config", file]) == 0
    assert (tmp_path / "same/history.json").read_text() == (first / "history.json").read_text()
    capsys.readouterr()
    assert main(["train", str(tmp_path / "x"), "--config", file, "--residual", "scalar"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "phi does not go with residual 'scalar'" in line
    assert line.endswith(f"Options that are not given are those of {file}; None takes one out, as in --phi None.")
    options = ["--config", file, "--residual", "scalar", "--phi", "None"]
    assert main(["train", str(tmp_path / "scalar"), *options]) == 0
    found = TrainConfig.from_json((tmp_path / "scalar/config.json").read_text())
    assert found == dataclasses.replace(old, residual="scalar", phi=None)


CHANGES = {
    "missing": (None, "there is no file FILE; give the config.json that a run wrote."),
    "empty": (b"", "FILE: the configuration is not valid JSON"),
    "cut off": (b'{"task": "add', "FILE: the configuration is not valid JSON"),
    "list": (b"[1, 2]", "FILE: the configuration must be a JSON object, got list; give the config.json"),
    "checkpoint": (b'{"format_version": 1}', "FILE: the configuration has no field 'format_version'; give"),
    "incomplete": (b'{"task": "adding"}', "FILE: the configuration lacks the field(s) length, hidden_size, "),
    "weights": (b"PK\x03\x04\xff\xfe", "FILE: the configuration is not valid JSON"),
    "deep": (b"[" * 100_000, "FILE: the configuration is not valid JSON"),
    "large": (b" " * (2**20 + 1), "FILE: FILE has more than 1048576 bytes, which no such file has; name another; give"),
}


@pytest.mark.parametrize("command", ["train", "sweep"])
@pytest.mark.parametrize("name", CHANGES)
def test_other_files_are_no_configuration(name, command, tmp_path, capsys):
    content, message = CHANGES[name]
    file = tmp_path / "config.json"
    if content is not None:
        file.write_bytes(content)
    assert main([command, str(tmp_path / "run"), "--config", str(file)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("wcrnn: error: " + message.replace("FILE", str(file)))
    assert line.endswith("give the config.json that a run wrote.")
    assert not (tmp_path / "run").exists()


def test_a_directory_and_a_device_are_no_configuration(tmp_path, capsys):
    assert main(["train", str(tmp_path / "run"), "--config", str(tmp_path)]) == 2
    assert f"{tmp_path} is a directory; give a file in it, such as {tmp_path}/config.json." in capsys.readouterr().err
    assert main(["train", str(tmp_path / "run"), "--config", "/dev/zero"]) == 2
    assert "/dev/zero is not a regular file" in capsys.readouterr().err
    options = ["--preset", "add100", "--lr", "0.1"]
    assert main(["train", str(tmp_path / "run"), "--config", str(tmp_path), *options]) == 2
    assert "--config sets all options, so --preset and --network do not go with it" in capsys.readouterr().err
