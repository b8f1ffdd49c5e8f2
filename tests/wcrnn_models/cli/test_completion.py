"""Scripts by which shells complete commands and options."""

import shutil
import subprocess

import pytest

from wcrnn_models.cli import main
from wcrnn_models.cli.main import COMMANDS


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_covers_all_commands_and_options(shell, tmp_path, capsys):
    script = tmp_path / "script"
    assert main(["--tyro-write-completion", shell, str(script)]) == 0
    assert capsys.readouterr().out == ""
    text = script.read_text()
    for word in (*COMMANDS, "--learning-rate", "--lr", "--hessian-k", "--over", "spectrum", "mirror"):
        assert word in text


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_commands_and_options(tmp_path):
    assert main(["--tyro-write-completion", "bash", str(tmp_path / "wcrnn")]) == 0

    def completed(*words):
        code = f"source {tmp_path / 'wcrnn'}; COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; "
        code += 'COMP_LINE="${COMP_WORDS[*]}"; COMP_POINT=${#COMP_LINE}; '
        code += "$(complete -p wcrnn | sed 's/.*-F \\([^ ]*\\).*/\\1/'); echo \"${COMPREPLY[@]}\""
        return subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert completed("wcrnn", "tr") == ["train"]
    assert "--learning-rate" in completed("wcrnn", "train", "--le")
