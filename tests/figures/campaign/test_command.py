import pytest

from figures.__main__ import main
from figures.campaign.stages import STAGES


def run(capsys, *arguments):
    code = main(["measure", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("smnist_strenth",), "there is no stage 'smnist_strenth'. Did you mean 'smnist_strength'?"),
        (("--budget", "soon"), "budget must be a duration above zero such as 2h, 1h30m or 480s, got 'soon'"),
        (("--budget", "-1h"), "budget"),
        (("--threads", "0"), "threads must be at least 1, got 0"),
        (("--device", "abacus"), "device must be one of cpu, cuda, got 'abacus'"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert message in err
    assert out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_another_version_is_refused_and_kept(capsys, tmp_path):
    path = tmp_path / "rate_pilot.json"
    path.write_text('{"version": 99}')
    code, _, err = run(capsys, "--records", tmp_path, "--runs", tmp_path / "runs")
    assert (code, path.read_text()) == (2, '{"version": 99}')
    assert "is not a record of version 1 of the stage rate_pilot, got 99; move it away" in err


def test_status_lists_every_stage_with_what_it_waits_for(capsys, tmp_path):
    code, out, err = run(capsys, "--status", "--records", tmp_path, "--runs", tmp_path / "runs")
    assert (code, err) == (0, "")
    rows = {line.split()[0]: line.split() for line in out.splitlines()[2:] if line}
    assert set(rows) >= {stage.name for stage in STAGES}
    assert rows["rate_pilot"][1:4] == ["0", "0", "40"]
    assert rows["smnist_strength"][-1] == "rate_pilot"


def test_stages_have_names_of_their_own_and_wait_for_earlier_ones_only():
    names = [stage.name for stage in STAGES]
    assert len(set(names)) == len(names)
    for stage in STAGES:
        assert set(stage.needs) <= set(names[: names.index(stage.name)])
