"""What all figures share: files, and styles."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from figures import scripts, style
from figures.campaign.stages import STAGES
from figures.command import DATA, RECORDS
from figures.compact import BITS, SHOWN_BITS, compact_dataset, rounded, thinned
from figures.evidence import FILES, Evidence
from figures.paper import CHARACTERISTIC_FREQUENCY
from figures.scripts import NAMES, produce, script


@pytest.fixture(scope="module")
def shipped():
    return Evidence(RECORDS, DATA)


def test_the_characteristic_frequency_is_that_of_rows_of_28_pixels():
    assert np.isclose(CHARACTERISTIC_FREQUENCY, 2 * np.pi / 28, rtol=1e-15)


# -- files --------------------------------------------------------------------------------------------------------


def test_rounding_keeps_six_digits_also_of_tiny_numbers():
    values = np.array([0.0, np.pi, -1e-300, 1.2345678901e-20, np.inf, np.nan])
    near = rounded(values)
    finite = np.isfinite(values) & (values != 0)
    assert (abs(near[finite] / values[finite] - 1) <= 2.0**-BITS).all()
    assert (near[[0, 4]] == values[[0, 4]]).all()
    assert np.isnan(near[5])


def test_compact_files_keep_what_is_drawn():
    gradient = xr.Dataset(
        {
            "gradient_norm": (("trajectory", "step"), np.exp(np.random.default_rng(0).normal(size=(20, 100)))),
            "log_gradient_norm": (("trajectory", "step"), np.zeros((20, 100))),
            "growth_rate": (("trajectory",), np.arange(20.0)),
        }
    )
    spectrum = xr.Dataset(
        {
            "lyapunov_exponent": (("trajectory", "exponent"), [[0.1, -0.2]]),
            "running_exponent": (("trajectory", "step", "exponent"), np.zeros((1, 3, 2))),
            "final_frame": (("trajectory", "unit", "exponent"), np.zeros((1, 2, 2))),
        },
        {"step": [1, 2, 3]},
    )
    small = compact_dataset(spectrum.assign(frame_condition=1.0))
    assert set(small.data_vars) == {"lyapunov_exponent", "running_exponent"}
    assert small.lyapunov_exponent.values.tolist() == [[0.1, -0.2]]
    kept = compact_dataset(gradient)
    assert set(kept.data_vars) == {"gradient_norm", "growth_rate"}
    assert kept.growth_rate.values.tolist() == list(range(8))
    np.testing.assert_allclose(kept.gradient_norm, gradient.gradient_norm[:8], rtol=2.0**-BITS)


def test_few_running_exponents_are_kept_as_they_were_at_the_last_decomposition_before():
    steps = [1, 2, 13, 16, 27, 28, 30, 41, 50]
    running = xr.DataArray(
        np.random.default_rng(0).normal(size=(1, len(steps), 39)),
        dims=("trajectory", "step", "exponent"),
        coords={"step": ("step", steps, {"long_name": "time step"}), "exponent": range(1, 40)},
        attrs={"units": "nats per step"},
    )
    running[0, 4, 2] = -np.inf
    spectrum = xr.Dataset({"lyapunov_exponent": running.isel(step=-1, drop=True), "running_exponent": running})
    small = thinned(spectrum)
    assert small.step.values.tolist() == [14, 28, 42, 50]
    assert small.step.attrs == {"long_name": "time step"}
    assert small.shown.values.tolist() == list(range(1, 40, 2))
    assert small.running_exponent.attrs == {"units": "nats per step"}
    assert small.running_exponent.dtype == np.float32
    expected = running.sel(step=[13, 28, 41, 50], exponent=list(range(1, 40, 2))).values
    np.testing.assert_allclose(small.running_exponent, expected, rtol=2.0**-SHOWN_BITS)
    assert small.lyapunov_exponent.equals(spectrum.lyapunov_exponent)
    assert thinned(small.drop_vars("running_exponent")).equals(small.drop_vars("running_exponent"))


def test_running_exponents_of_a_short_run_and_of_one_that_was_first_decomposed_late():
    running = xr.DataArray(np.ones((1, 2, 1)), dims=("trajectory", "step", "exponent"), coords={"step": [3, 6]})
    assert thinned(xr.Dataset({"running_exponent": running})).step.values.tolist() == [6]
    late = xr.Dataset({"running_exponent": running.assign_coords(step=[20, 30])})
    assert thinned(late).step.values.tolist() == [28, 30]


# -- style --------------------------------------------------------------------------------------------------------


def test_titles_are_in_the_middle_and_narrow_axes_share_one_letter():
    figure, (first, second) = style.panels(1, 2)
    style.title(first, "one")
    assert (first.get_title(loc="left"), first.get_title(loc="center")) == ("A", "one")
    narrow = style.side_by_side(second, 3)
    assert figure.axes == [first, *narrow]
    assert [ax.get_title(loc="left") for ax in narrow] == ["B", "", ""]
    narrow[2].set_ylim(3, 7)
    assert narrow[0].get_ylim() == (3, 7)
    figure.canvas.draw()
    places = [ax.get_position() for ax in narrow]
    assert places[0].x1 < places[1].x0 < places[1].x1 < places[2].x0
    assert len({round(place.y0, 9) for place in (first.get_position(), *places)}) == 1
    with pytest.raises(ValueError, match="ax must be of a grid"):
        style.side_by_side(figure.add_axes((0, 0, 1, 1)), 2)
    plt.close(figure)


def test_the_text_beside_a_figure_says_what_it_shows_and_where_its_data_come_from(tmp_path, shipped):
    pdf, png, text = produce("fig4", tmp_path, shipped)
    with_caption = produce("fig4", tmp_path / "captioned", shipped, caption=True)
    assert [path.name for path in with_caption] == ["fig4.pdf", "fig4.png", "fig4.txt"]
    assert with_caption[2].read_bytes() == text.read_bytes()
    assert with_caption[1].read_bytes() != png.read_bytes()
    said = text.read_text()
    assert said.startswith("fig4: performance and learning efficiency of rotations against their angle\n\nA: best test")
    commits = {record.commit for record in shipped._records["rotations"]}
    (line,) = [line for line in said.splitlines() if line.startswith("Data: rotations: ")]
    assert line.startswith("Data: rotations: 54 of 54 trainings, 3 instances, commit")
    assert all(commit in line for commit in commits)
    assert said.endswith("\n")
    assert not any(commit.encode() in pdf.read_bytes() for commit in commits)


def test_strengths_have_the_same_colours_everywhere():
    assert style.strength_color(0.95) == "#2166ac"
    assert style.strength_color(1.01) == "#d55e00"
    assert style.strength_color(0.5) == style.strength_color(0.9) == "#08306b"
    strengths = (0.91, 0.95, 0.97, 0.98, 0.99, 0.995, 1.0, 1.0025, 1.01, 1.02)
    assert len({style.strength_color(r) for r in strengths}) == len(strengths)
    assert style.strength_label(0.995) == "weakly subcritical, $r=0.995$"
    assert style.strength_label(0.97) == "$r=0.97$"


def test_bands_are_mean_and_range():
    figure, (ax,) = style.panels(1, 1)
    values = xr.DataArray([[1.0, 2.0, 3.0], [3.0, 4.0, 8.0]], dims=("seed", "r"))
    style.band(ax, [0.9, 1.0, 1.1], values, color="red")
    assert ax.lines[0].get_ydata().tolist() == [2.0, 3.0, 5.5]
    vertices = ax.collections[0].get_paths()[0].vertices
    for x, low, high in zip([0.9, 1.0, 1.1], [1, 2, 3], [3, 4, 8], strict=True):
        at = vertices[np.isclose(vertices[:, 0], x), 1]
        assert (at.min(), at.max()) == (low, high)
    style.band(ax, [0.9, 1.0, 1.1], values[:1])
    assert len(ax.collections) == 1  # one network has no range
    plt.close(figure)


def test_panels_have_letters():
    figure, axes = style.panels(2, 3)
    assert [ax.get_title(loc="left") for ax in axes] == list("ABCDEF")
    assert figure.get_size_inches().tolist() == [190 / 25.4, 4.6]
    plt.close(figure)


@pytest.mark.parametrize(
    ("value", "text"),
    [(2.04e-5, "2.0 · 10⁻⁵"), (24000.0, "2.4 · 10⁴"), (9.96e-4, "1.0 · 10⁻³"), (0.0, "0.0 · 10⁰"), (np.nan, "fail")],
)
def test_numbers_as_in_the_tables(value, text):
    assert style.scientific(value) == text


def test_equal_figures_are_equal_bytes_with_embedded_fonts(tmp_path):
    def written(name):
        with plt.style.context(style.STYLE):
            figure, (ax,) = style.panels(1, 1, width=style.ONE_COLUMN)
            ax.plot([1, 2], [3, 4], label="line $x_t$")
            ax.legend()
            return [path.read_bytes() for path in style.write(figure, tmp_path / name)]

    pdf, png = written("a")
    assert (pdf, png) == tuple(written("b"))
    assert pdf.startswith(b"%PDF")
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf
    assert png.startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pdf", "a.png", "b.pdf", "b.png"]


def test_a_figure_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    figure, _ = style.panels(1, 1)
    monkeypatch.setattr(figure, "savefig", lambda *_, **__: (_ for _ in ()).throw(OSError("no room")))
    with pytest.raises(OSError, match="no room"):
        style.write(figure, tmp_path / "a")
    assert list(tmp_path.iterdir()) == []
    plt.close(figure)


# -- scripts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_scripts_need_stages_and_files_that_exist(name):
    assert set(script(name).needs) <= {*FILES, *(stage.name for stage in STAGES)}


def test_tables_are_markdown_and_say_where_their_data_come_from(tmp_path, monkeypatch, shipped):
    table = scripts.Script("t", ("untrained",), lambda results: "| a |\n", "table")
    monkeypatch.setattr("figures.scripts.script", lambda name: table)
    (path,) = produce("table1", tmp_path / "new", shipped)
    assert path == tmp_path / "new" / "table1.md"
    commit = shipped.files["untrained"].attrs["commit"]
    assert path.read_text() == f"| a |\n\nData: untrained: 3 instances, commit {commit}.\n"
