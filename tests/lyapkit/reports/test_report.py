"""Reports hold every number, the warnings first, and nothing that is not theirs."""

import inspect
import itertools
import json
import math
import os
import re
import warnings
from html.parser import HTMLParser

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn
from torch.nn.functional import mse_loss

import lyapkit
from lyapkit.plots.overview import PANELS
from lyapkit.reports import figures, tables
from lyapkit.reports.findings import FLAGS
from lyapkit.reports.words import VERDICTS, WORDS
from lyapkit.results import summary, verdicts
from lyapkit.results.schema import SCHEMA
from lyapkit.results.summary import TABLES
from sample_results import ANALYSES, INPUTS, annihilating, cell

HOSTILE = "</td><script>alert(1)</script>\"'&<img src=http://x.org/y onerror=z>$\\frac{\x1b[2J\u202e\nend"
VOID = {"meta", "img", "br", "link", "input"}
ALLOWED = frozenset(
    re.findall(
        r"\w+",
        "html head meta title style body header h1 h2 h3 p main section ul li a nav span div figure img figcaption "
        "table caption thead tbody tr th td data dl dt dd",
    )
)


class Page(HTMLParser):
    """What is on a page: tags with their attributes, text, and tables as rows of (text, exact number)."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text, self.tables, self.open = "", [], []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attributes):
        assert len({name for name, _ in attributes}) == len(attributes)
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append(["", None])
        elif tag == "data":
            self.tables[-1][-1][-1][1] = dict(attributes)["value"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data
        if self.open and {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1][0] += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def page_of(result, folder, **options) -> Page:
    return Page(lyapkit.report(result, folder / "page.html", **options).read_text(encoding="utf-8"))


def density() -> xr.Dataset:
    return lyapkit.spectral_density(
        nn.Linear(2, 1).double(), (INPUTS[0], torch.zeros(2, 1).double()), mse_loss, rng=0, order=3
    )


def by_step() -> xr.Dataset:
    torch.manual_seed(0)
    model, readout = nn.RNN(2, 3).double(), nn.Linear(3, 1).double()
    batch = (INPUTS, torch.zeros(2, 1).double())
    return lyapkit.curvature_by_step(model, batch, mse_loss, k=2, readout=readout, rng=0)


RESULTS = ANALYSES | {
    "states": lambda: lyapkit.states(cell(), INPUTS),
    "jacobians": lambda: lyapkit.jacobians(cell(), INPUTS),
    "fixed_points": lambda: lyapkit.fixed_points(lyapkit.systems.henon().map, rng=0),
    "spectral_density": density,
    "curvature_by_step": by_step,
    "compare": lambda: lyapkit.compare(cell(), nn.LSTMCell(2, 2).double(), INPUTS, rng=0),
}


@pytest.fixture(scope="module")
def results() -> dict[str, xr.Dataset]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as of a short run
        return {name: make() for name, make in RESULTS.items()}


def test_every_analysis_is_explained_and_drawn() -> None:
    assert set(WORDS) == set(TABLES) == set(RESULTS)
    assert set(PANELS) == set(figures.CAPTIONS) == set(WORDS)
    texts = set(re.findall(r'"([a-z0-9 ]+)"\)', inspect.getsource(summary) + inspect.getsource(verdicts)))
    assert {"repeller", "saddle", "annihilated", "not converged", "expanding", "does not vary"} <= texts
    assert texts - {"analysis", "eigenvalue", "exact", "float64", "list", "network", "verdict"} <= set(VERDICTS)
    assert set(FLAGS) <= set(WORDS)
    for analysis, flags in FLAGS.items():
        assert {flag.variable for flag in flags} <= set(SCHEMA[analysis])
    assert all(words.variable in ("", *SCHEMA[analysis]) for analysis, words in WORDS.items())


@pytest.mark.parametrize("analysis", RESULTS)
def test_the_table_is_that_of_summary_to_the_last_digit(analysis, results, tmp_path) -> None:
    result = results[analysis]
    expected = lyapkit.summary(result)
    page = page_of(result, tmp_path)
    header, *rows = page.tables[0]
    assert len(rows) == len(expected)
    shown = [
        name for name in expected.columns if not (name in ("error", "low", "high") and expected[name].isna().all())
    ]
    heads = sum(name is not None for name in expected.index.names)
    assert len(header) == heads + len(shown)
    for row, index, values in zip(rows, expected.index, expected[shown].to_numpy(dtype=object), strict=True):
        if heads:
            places = index if isinstance(index, tuple) else (index,)
            assert [text for text, _ in row[:heads]] == [str(place) for place in places]
        for (text, exact), value in zip(row[heads:], values, strict=True):
            if isinstance(value, str):
                assert text == value
                assert VERDICTS[value]
                assert VERDICTS[value] in page.text
            elif math.isnan(value):
                assert (text, exact) == ("none", None)
            else:
                assert float(exact) == value
                assert float(text) == pytest.approx(value, rel=1e-5)
    assert WORDS[analysis].about in page.text
    assert len(page.all("img")) == len(figures.plots_of(result))
    assert "There is no" not in page.text


@pytest.mark.parametrize("analysis", RESULTS)
def test_the_origin_is_whole(analysis, results, tmp_path) -> None:
    attributes = results[analysis].attrs
    rows = {text: value for (text, _), (value, _) in page_of(results[analysis], tmp_path).tables[-1][1:]}
    assert rows["computed at"] == attributes["created_at"]
    assert rows["version of lyapkit"] == attributes["lyapkit_version"]
    assert rows["SHA-256 of the weights file"] == "none: the network came from memory"
    settings = json.loads(attributes["config_json"])
    assert {name.removeprefix("setting ") for name in rows if name.startswith("setting ")} == set(settings)


def test_numbers_of_each_trajectory_are_on_the_page(results, tmp_path) -> None:
    result = results["lyapunov_spectrum"]
    header, *rows = page_of(result, tmp_path).tables[1]
    assert [text for text, _ in header] == ["quantity", "trajectory 0", "trajectory 1"]
    found = {row[0][0]: [float(exact) for _, exact in row[1:]] for row in rows}
    assert found["Kaplan-Yorke dimension"] == result.kaplan_yorke_dimension.values.tolist()
    assert found["sum of positive exponents (nats per step)"] == result.entropy_rate.values.tolist()
    result = results["gradient_propagation"]
    header, *rows = page_of(result, tmp_path).tables[1]
    assert len(header) == 5
    found = {row[0][0]: [float(exact) for _, exact in row[1:]] for row in rows}
    assert found["predicted growth rate of the gradient per step back in time (nats per step)"] == [-0.5] * 4
    assert set(found["leading Lyapunov exponent (nats per step)"]) == set(result.leading_exponent.values)
    (_, *rows) = page_of(results["hessian_spectrum"], tmp_path).tables[1]
    assert [float(exact) for _, exact in rows[0][1:]] == [float(results["hessian_spectrum"].stable_learning_rate)]


def test_a_tree_has_a_section_for_each_result_and_warnings_first(results, tmp_path) -> None:
    tree = xr.DataTree.from_dict({f"before/{name}": result for name, result in results.items()})
    tree["before/training"] = xr.DataTree(xr.Dataset({"loss": ("iteration", [1.0, 0.5])}))
    page = page_of(tree, tmp_path, title="My network & I")
    assert page.text.index("Warnings") < page.text.index("In short") < page.text.index("Lyapunov exponents")
    titles = [words.title for words in WORDS.values()]
    assert all(title in page.text for title in titles)
    assert "before/training is no result of an analysis that this page knows, and is left out." in page.text
    assert "2 of 4 exponents have no standard error" in page.text.partition("In short")[0]
    assert page.text.count("My network & I") == 2
    targets = {attributes["href"] for attributes in page.all("a")}
    assert targets == {f"#result-{number}" for number in range(1, len(results) + 1)}
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    assert {target[1:] for target in targets} <= set(ids)


def test_the_page_loads_nothing_and_can_be_read_by_all(results, tmp_path) -> None:
    tree = xr.DataTree.from_dict(dict(results))
    page = page_of(tree, tmp_path)
    assert {tag for tag, _ in page.tags} <= ALLOWED
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        assert attributes.get("href", "#").startswith("#")
        assert attributes.get("src", "data:image/png;base64,").startswith("data:image/png;base64,")
    text = (tmp_path / "page.html").read_text()
    assert "url(" not in text
    assert "@import" not in text
    policy = {attributes.get("http-equiv"): attributes.get("content") for attributes in page.all("meta")}
    assert policy["Content-Security-Policy"] == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("h1")) == 1
    levels = [int(tag[1]) for tag, _ in page.tags if tag in ("h1", "h2", "h3")]
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert all(len(attributes["alt"]) > 40 for attributes in page.all("img"))
    assert all(attributes["scope"] in ("row", "col") for attributes in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table"))
    regions = [attributes for attributes in page.all("div") if attributes.get("class", "").startswith("scroll")]
    assert len(regions) == len(page.all("table"))
    assert all(region["tabindex"] == "0" and region["aria-label"] for region in regions)
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


def test_names_from_files_are_text_only(results, tmp_path) -> None:
    spectrum = results["lyapunov_spectrum"].assign_coords(trajectory=[HOSTILE, "$x$" * 100])
    spectrum.attrs |= {"config_json": json.dumps({HOSTILE: HOSTILE, "long": "x" * 5000}), HOSTILE: HOSTILE}
    spectrum.lyapunov_exponent.attrs |= {"long_name": HOSTILE, "units": HOSTILE}
    states = results["states"].assign_coords(trajectory=[HOSTILE, "\ud800 lone"])
    name = HOSTILE.replace("/", "|")
    tree = xr.DataTree.from_dict(
        {name: spectrum, "states": states, "two": spectrum.assign_attrs(config_json="[" * 9999)}
    )
    page = page_of(tree, tmp_path, title=HOSTILE)
    assert {tag for tag, _ in page.tags} <= ALLOWED
    for tag, attributes in page.tags:
        assert set(attributes) <= {
            *(
                "lang",
                "charset",
                "http-equiv",
                "content",
                "name",
                "class",
                "id",
                "href",
                "aria-labelledby",
                "aria-label",
            ),
            *("role", "tabindex", "scope", "value", "src", "width", "height", "alt"),
        }, tag
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "\x1b" not in text
    assert "\u202e" not in text
    shown = HOSTILE.replace("\n", " ").replace("\x1b", "\\x1b").replace("\u202e", "\\u202e")
    assert page.tables[0][1][0][0] == shown
    assert "\\ud800 lone" in page.text
    assert "There is no figure" not in page.text
    assert "... (5000 characters)" in page.text


def test_joined_results_are_drawn_together(results, tmp_path) -> None:
    spectrum = results["lyapunov_spectrum"]
    seeds = xr.concat([spectrum.assign_coords(seed=seed) for seed in (3, 5)], "seed")
    page = page_of(seeds, tmp_path)
    assert "Legend: seed 3; seed 5." in page.all("img")[0]["alt"]
    assert "Several results were joined here (2 along seed)" in page.text
    assert [text for text, _ in page.tables[0][0][:3]] == ["seed", "trajectory", "exponent"]
    assert len(page.tables[0]) == 1 + 8
    assert [text for text, _ in page.tables[1][0]][1:] == [f"seed {s}, trajectory {t}" for s in (3, 5) for t in (0, 1)]
    training = xr.concat([seeds.assign_coords(epoch=epoch) for epoch in range(5)], "epoch")
    page = page_of(training, tmp_path)
    assert "of 6 of the 10 joined results" in page.text
    assert "Horizontal axis: epoch." in page.all("img")[2]["alt"]
    assert len(page.tables[0]) == 1 + 40
    assert "There is no" not in page.text


def test_what_is_missing_is_said(results, tmp_path) -> None:
    spectrum = results["lyapunov_spectrum"]
    page = page_of(spectrum.drop_vars(["standard_error", "running_exponent"]), tmp_path)
    assert "There is no table: the Dataset has no variable 'standard_error'" in page.text
    assert "There is no figure 'Exponents by rank, with their standard errors'" in page.text
    assert not page.all("img")
    page = page_of(spectrum.assign_attrs().drop_attrs(deep=False).assign_attrs(analysis="lyapunov_spectrum"), tmp_path)
    assert "does not say where it comes from (computed at, version of lyapkit" in page.text
    assert "not recorded" in page.text
    page = page_of(xr.Dataset(attrs=spectrum.attrs), tmp_path)
    assert "There is no table" in page.text
    few = spectrum.isel(exponent=[0]).assign_coords(seed=1)
    page = page_of(xr.concat([spectrum.assign_coords(seed=0), few], "seed", join="outer"), tmp_path)
    missing = [row for row in page.tables[0] if row[-1][0] == "missing"]
    assert [[text for text, _ in row[:4]] for row in missing] == [["1", "0", "2", "none"], ["1", "1", "2", "none"]]
    nowhere = results["fixed_points"].isel(fixed_point=[])
    page = page_of(nowhere, tmp_path)
    assert "No fixed or slow point was found" in page.text
    assert not page.all("img")
    assert "There is no figure" not in page.text


def test_attributes_of_other_kinds_do_no_harm(results, tmp_path) -> None:
    strange = {"converged": [1, 2], "analysis": "hessian_spectrum", "config_json": 3, "created_at": np.arange(3)}
    page = page_of(results["hessian_spectrum"].assign_attrs(strange), tmp_path)
    assert "There is no table" not in page.text
    points = results["fixed_points"].assign_attrs(starts_unfinished="many")
    root = xr.DataTree.from_dict(
        {"/": points, "fixed_points": points, "list": xr.Dataset({"a": 1}, attrs={"analysis": [1]})}
    )
    page = page_of(root, tmp_path)
    assert len(page.tables) == 4  # values and origin of two results
    assert "list is no result of an analysis that this page knows" in page.text


def test_infinite_values_are_shown(tmp_path) -> None:
    page = page_of(annihilating(), tmp_path)
    (row,) = (row for row in page.tables[0] if row[-1][0] == "annihilated")
    assert row[2] == ["-inf", "-inf"]
    assert row[3] == ["none", None]


FLAGGED = [
    pytest.param(analysis, flag, id=f"{analysis}-{flag.variable}") for analysis, all in FLAGS.items() for flag in all
]
RAISING = {"error_reliable": 0, "converged": 0, "growth_rate_error": np.inf}


@pytest.mark.parametrize(("analysis", "flag"), FLAGGED)
def test_every_flag_warns_with_its_count(analysis, flag, results, tmp_path) -> None:
    result = results[analysis].copy(deep=True)
    values = result[flag.variable]
    calm = {0: 1, np.inf: 0.1}.get(RAISING.get(flag.variable, 1), 0)
    changed = np.full(values.shape, calm, dtype=float)
    result[flag.variable] = values.dims, changed.copy(), values.attrs
    text = flag.text.format(count=1, all=changed.size)
    assert text not in page_of(result, tmp_path).text
    changed.flat[-1] = RAISING.get(flag.variable, 1)
    result[flag.variable] = values.dims, changed, values.attrs
    page = page_of(result, tmp_path)
    assert text in page.text
    assert page.text.index(text) < page.text.index("Values")


def test_further_warnings(results, tmp_path) -> None:
    hessian = results["hessian_spectrum"]
    assert "None: the analyses have raised no flag." in page_of(hessian, tmp_path).text
    page = page_of(hessian.assign_attrs(converged=0), tmp_path)
    assert "The search for multiple eigenvalues has not come to its end; raise max_products=." in page.text
    page = page_of(results["fixed_points"].assign_attrs(starts_unfinished=3), tmp_path)
    assert "3 starts of the search were not at their end; raise max_iterations=." in page.text
    one, two = (hessian.assign_attrs(checkpoint_sha256=digest * 64) for digest in "ab")
    page = page_of(xr.DataTree.from_dict({"run/hessian_spectrum": one, "run/again": two}), tmp_path)
    assert "The results in run are of 2 different weights files." in page.text
    page = page_of(xr.DataTree.from_dict({"before/hessian": one, "after/hessian": two}), tmp_path)
    assert "different weights files" not in page.text
    assert "a" * 64 in page.text


def test_long_tables_say_what_they_leave_out(results, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(tables, "MOST_ROWS", 3)
    monkeypatch.setattr(tables, "MOST_CASES", 1)
    page = page_of(results["lyapunov_spectrum"], tmp_path)
    assert len(page.tables[0]) == 1 + 3
    assert "These are the first 3 of 4 rows; lyapkit.summary(result) returns all." in page.text
    assert "These are the first 1 of 2 columns." in page.text
    assert len(page.tables[1][0]) == 2


def test_a_result_from_a_file_gives_the_same_page(results, tmp_path) -> None:
    tree = xr.DataTree.from_dict({name: results[name] for name in ("lyapunov_spectrum", "hessian_spectrum")})
    loaded = lyapkit.load(lyapkit.save(tree, tmp_path / "tree.nc"))
    first, second = page_of(tree, tmp_path), page_of(loaded, tmp_path)
    ordered, again = ([sorted(map(str, rows)) for rows in page.tables] for page in (first, second))
    assert ordered == again  # attributes come back in another order
    assert [image["alt"] for image in first.all("img")] == [image["alt"] for image in second.all("img")]
    node = page_of(tree["hessian_spectrum"], tmp_path)
    assert node.tables == page_of(results["hessian_spectrum"], tmp_path).tables


def test_nothing_else_is_changed(results, tmp_path) -> None:
    result = results["lyapunov_spectrum"]
    before, settings = result.copy(deep=True), dict(mpl.rcParams)
    with mpl.rc_context({"figure.dpi": 30, "text.usetex": True}):  # there is no LaTeX
        page = page_of(result, tmp_path)
    assert "There is no figure" not in page.text
    assert dict(mpl.rcParams) == settings
    assert not plt.get_fignums()
    xr.testing.assert_identical(result, before)


def test_files_are_written_whole_and_others_are_kept(results, tmp_path, monkeypatch) -> None:
    result, page = results["hessian_spectrum"], tmp_path / "page.html"
    page.write_text("old")
    assert lyapkit.report(result, str(page)) == page
    assert page.read_text().startswith("<!DOCTYPE html>")
    link = tmp_path / "link.HTM"
    link.symlink_to(page)
    page.write_text("old")
    lyapkit.report(result, link)
    assert link.is_symlink()
    written = page.read_text()
    assert written.startswith("<!DOCTYPE html>")
    assert "<h1>link</h1>" in written

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(page), "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        lyapkit.report(result, page)
    assert page.read_text() == written
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.HTM", "page.html"]


@pytest.mark.parametrize(
    ("make", "path", "error", "message"),
    [
        (lambda good: [good], "x.html", TypeError, "report takes an xarray Dataset or DataTree, got list."),
        (lambda good: {"a": good}, "x.html", TypeError, r"join several with xarray.DataTree.from_dict"),
        (lambda good: good.eigenvalue, "x.html", TypeError, r"keep one variable of it with result\[\[name\]\]"),
        (lambda _: "result.nc", "x.html", TypeError, r"lyapkit.load reads a result file"),
        (lambda good: good, 3, TypeError, 'got int; write a text such as "result.html"'),
        (lambda good: good, "x.nc", ValueError, r'names that end in .html, got "x.nc"; write "x.html"'),
        (lambda good: good, "x", ValueError, r'write "x.html"'),
        (lambda good: good, "no/x.html", FileNotFoundError, "does not exist; create it first"),
        (lambda good: good, "folder.html", IsADirectoryError, "is a directory"),
        (lambda good: good, "pipe.html", ValueError, "is a device or a pipe"),
        (lambda good: good.drop_attrs(), "x.html", ValueError, "got data without provenance"),
        (lambda good: good.assign_attrs(analysis="other"), "x.html", ValueError, "to report, got other; pass what"),
        (lambda _: xr.DataTree(), "x.html", ValueError, "there is no result of an analysis to report"),
    ],
)
def test_wrong_arguments_are_refused(make, path, error, message, results, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.html").mkdir()
    os.mkfifo(tmp_path / "pipe.html")
    with pytest.raises(error, match=message):
        lyapkit.report(make(results["hessian_spectrum"]), path)
    assert sorted(found.name for found in tmp_path.iterdir()) == ["folder.html", "pipe.html"]


def test_the_title_is_a_text(results, tmp_path) -> None:
    with pytest.raises(TypeError, match="title must be a text, got int"):
        lyapkit.report(results["hessian_spectrum"], tmp_path / "x.html", title=3)
    with pytest.raises(TypeError, match="report has no argument 'filename'; write path="):
        lyapkit.report(results["hessian_spectrum"], filename="x.html")
