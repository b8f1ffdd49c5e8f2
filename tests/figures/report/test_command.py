"""``python -m figures report``: what it writes where, and its errors."""

import io

import matplotlib.pyplot as plt
import pytest
from PIL import Image

from campaign_records import write_stage
from figures.__main__ import main
from figures.evidence import Evidence
from figures.report import command
from figures.report.command import DATA, PAGE, README, RECORDS
from figures.report.page import report
from figures.report.picture import SOURCE, digest, picture


@pytest.fixture(scope="module")
def shipped():
    return Evidence(RECORDS, DATA)


def test_the_shipped_page_is_that_of_the_shipped_records_and_readme_has_its_count(shipped):
    page = report(shipped)
    assert PAGE.read_text() == page, "run python -m figures report"
    assert command.count(README.read_text()) == command.count(page), "run python -m figures report"


def test_the_shipped_picture_shows_the_numbers_of_the_shipped_records(shipped):
    content, numbers = picture(shipped)
    assert Image.open(PAGE.with_suffix(".png")).text[SOURCE] == numbers, "run python -m figures report"
    assert Image.open(io.BytesIO(content)).text[SOURCE] == numbers


def test_the_digest_of_a_picture_changes_with_its_numbers_and_names_alone():
    made = []
    for value, name, colour in ((2.0, "a", "red"), (2.0000001, "a", "blue"), (2.1, "a", "red"), (2.0, "b", "red")):
        figure, ax = plt.subplots()
        ax.plot([1, 2], [1, value], label=name, color=colour)
        made.append(digest(figure))
        plt.close(figure)
    assert made[0] == made[1]
    assert len(set(made)) == 3


def test_the_count_is_written_into_readme(monkeypatch, tmp_path, capsys):
    page, readme = tmp_path / "reproduction.md", tmp_path / "README.md"
    readme.write_text("Before.\n\n3 claims: 1 reproduced, 0 partly, 1 not reproduced, 1 open.\n\nAfter.\n")
    monkeypatch.setattr(command, "PAGE", page)
    monkeypatch.setattr(command, "README", readme)
    assert main(["report", "--records", str(tmp_path), "--data", str(tmp_path), "--output", str(page)]) == 0
    found = command.count(page.read_text())
    assert found.startswith("66 claims: 0 reproduced, 0 partly,")
    assert readme.read_text() == f"Before.\n\n{found}\n\nAfter.\n"


def test_a_report_of_other_records_is_beside_them(tmp_path, capsys):
    shipped = PAGE.read_bytes()
    write_stage(tmp_path, "rate_pilot", lambda config: {"metrics": (0.1, 0.5)} if config.r == 1.0 else None)
    assert main(["report", "--records", str(tmp_path), "--data", str(tmp_path)]) == 0
    written = [tmp_path / "reproduction.md", tmp_path / "reproduction.png"]
    assert capsys.readouterr().out.split() == [str(path) for path in written]
    assert all(path.is_file() for path in written)
    page = (tmp_path / "reproduction.md").read_text()
    assert "| `rate_pilot` | learning rates on sMNIST by residual strength | 5 of 40 |" in page
    assert "0 reproduced, 0 partly, 0 not reproduced" in page
    assert "the result file `untrained`: `python -m figures renew untrained`" in page
    assert PAGE.read_bytes() == shipped


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--records", "nowhere"], "there is no folder nowhere; name that of the records with --records"),
        (["--output", "."], "the output . is a directory; name a file"),
        (["--output", f"{__file__}/page.md"], "(it is a file); name another with --output"),
        (["--data="], "the value of --data is empty"),
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


def test_an_interruption_leaves_the_page(tmp_path, monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("figures.report.page.report", interrupt)
    assert main(["report", "--output", str(tmp_path / "page.md")]) == 130
    assert capsys.readouterr().err == "figures report: interrupted\n"
    assert not (tmp_path / "page.md").exists()
