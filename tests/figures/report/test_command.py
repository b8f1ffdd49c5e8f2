"""``python -m figures report``: what it writes where, and its errors."""

import pytest

from campaign_records import write_stage
from figures.__main__ import main
from figures.evidence import Evidence
from figures.report import command
from figures.report.command import DATA, PAGE
from figures.report.page import report


def test_the_shipped_page_is_that_of_the_shipped_records():
    assert PAGE.read_text() == report(Evidence(command.RECORDS, DATA)), "run python -m figures report"


def test_a_report_of_other_records_is_beside_them(tmp_path, capsys):
    shipped = PAGE.read_bytes()
    write_stage(tmp_path, "rate_pilot", lambda config: {"metrics": (0.1, 0.5)} if config.r == 1.0 else None)
    assert main(["report", "--records", str(tmp_path), "--data", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'reproduction.md'}\n"
    page = (tmp_path / "reproduction.md").read_text()
    assert "| `rate_pilot` | learning rates on sMNIST by residual strength | 5 of 40 |" in page
    assert "0 reproduced, 0 partly, 0 not reproduced" in page
    assert "the result file `untrained`, see `python -m figures report --measure`" in page
    assert PAGE.read_bytes() == shipped


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--records", "nowhere"], "there is no folder nowhere; name that of the records with --records"),
        (["--output", "."], "the output . is a directory; name a file"),
        (["--output", f"{__file__}/page.md"], "(it is a file); name another with --output"),
        (["--data="], "the value of --data is empty"),
        (["--measure", "--output", "page.md"], "run `wcrnn data fetch mnist`"),
    ],
)
def test_mistakes_are_one_line_and_leave_the_page(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WCRNN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("WCRNN_DATA_DIR", raising=False)
    assert main(["report", *arguments]) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert printed.err.startswith("figures report: ")
    assert message in printed.err
    assert list(tmp_path.rglob("*.md")) == []


def test_damaged_records_and_analyses_are_one_line(tmp_path, capsys):
    (tmp_path / "psmnist_strength").mkdir()
    write_stage(tmp_path, "psmnist_strength", lambda config: {"metrics": (0.1, 0.5)})
    from figures.campaign.stages import STAGES
    from wcrnn_models.sweeps.layout import run_name

    (stage,) = [each for each in STAGES if each.name == "psmnist_strength"]
    analysed = next(config for config in Evidence(tmp_path, tmp_path).configs(stage.name) if stage.analyses(config))
    (tmp_path / stage.name / f"{run_name(analysed)}.nc").write_bytes(b"no results")
    assert main(["report", "--records", str(tmp_path), "--data", str(tmp_path)]) == 2
    assert "an analysis of the stage psmnist_strength" in capsys.readouterr().err
    (tmp_path / "clipping.json").write_text("{}")
    assert main(["report", "--records", str(tmp_path), "--data", str(tmp_path)]) == 2
    assert "clipping.json is not a record" in capsys.readouterr().err


def test_measuring_writes_the_result_file_first(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("figures.measure.find_data_set", asked.append)
    monkeypatch.setattr("figures.measure.measure", lambda name, protocol, runs, data: asked.append((name, data)))
    page = tmp_path / "page.md"
    assert (
        main(["report", "--measure", "--data", str(tmp_path), "--records", str(tmp_path), "--output", str(page)]) == 0
    )
    assert asked == ["mnist", ("untrained", tmp_path)]
    assert page.is_file()


def test_an_interruption_leaves_the_page(tmp_path, monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("figures.report.page.report", interrupt)
    assert main(["report", "--output", str(tmp_path / "page.md")]) == 130
    assert capsys.readouterr().err == "figures report: interrupted\n"
    assert not (tmp_path / "page.md").exists()
