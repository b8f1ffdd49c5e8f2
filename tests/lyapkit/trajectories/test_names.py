"""Trajectories go by the names that a call gives them: in results, in files, in continued runs and in legends."""

import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import xarray as xr
from matplotlib.colors import to_hex
from torch import nn
from torch.nn.functional import mse_loss
from torch.nn.utils.rnn import pack_sequence

import lyapkit
from lyapkit import plots

NAMES = ["none", "weak", "strong"]
TARGETS = torch.zeros(3, 2).double()


def cell(**options) -> nn.Module:
    torch.manual_seed(0)
    return nn.GRU(2, 2, **options).double()


INPUTS = torch.randn(20, 3, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
TURN = lyapkit.as_map(lambda x: torch.stack((-0.9 * x[1], 0.8 * x[0])), state=torch.zeros(2).double())
STARTS = torch.ones(3, 2).double()
GRADIENT = {"targets": TARGETS, "loss": mse_loss, "readout": nn.Identity(), "rng": 0}

CALLS = {
    "lyapunov_spectrum": lambda **more: lyapkit.lyapunov_spectrum(cell(), INPUTS, **more),
    "with a stop rule": lambda **more: lyapkit.lyapunov_spectrum(cell(), INPUTS, until=10.0, **more),
    "float32": lambda **more: lyapkit.lyapunov_spectrum(cell().float(), INPUTS.float(), k=1, rng=0, **more),
    "autonomous": lambda **more: lyapkit.lyapunov_spectrum(TURN, steps=300, initial_state=STARTS, **more),
    "one input, many states": lambda **more: lyapkit.lyapunov_spectrum(
        cell(), INPUTS[:, 0], initial_state=STARTS, **more
    ),
    "batch first": lambda **more: lyapkit.lyapunov_spectrum(cell(batch_first=True), INPUTS.transpose(0, 1), **more),
    "lengths": lambda **more: lyapkit.lyapunov_spectrum(cell(), INPUTS, lengths=[20, 7, 12], **more),
    "packed": lambda **more: lyapkit.lyapunov_spectrum(
        cell(), pack_sequence([INPUTS[:n, 0] for n in (5, 9, 7)], enforce_sorted=False), **more
    ),
    "closed loop": lambda **more: lyapkit.lyapunov_spectrum(
        cell(), steps=20, initial_state=STARTS, feedback=torch.tanh, **more
    ),
    "variational_term": lambda **more: lyapkit.variational_term(cell(), INPUTS, record_every=5, **more),
    "covariant_vectors": lambda **more: lyapkit.covariant_vectors(cell(), INPUTS, rng=0, **more),
    "states": lambda **more: lyapkit.states(cell(), INPUTS, **more),
    "jacobians": lambda **more: lyapkit.jacobians(cell(), INPUTS, **more),
    "gradient_propagation": lambda **more: lyapkit.gradient_propagation(
        cell(), INPUTS, **GRADIENT, per_unit=True, **more
    ),
}


@pytest.mark.parametrize("call", CALLS)
def test_the_coordinate_holds_the_names_and_nothing_else_changes(call: str, tmp_path) -> None:
    ds, plain = CALLS[call](trajectory_names=NAMES), CALLS[call]()
    assert ds.trajectory.values.tolist() == NAMES
    assert ds.trajectory.attrs["long_name"] == "sequence or initial condition, by name"
    assert plain.trajectory.values.tolist() == [0, 1, 2]
    assert plain.trajectory.attrs["long_name"] == "sequence or initial condition, from 0"
    xr.testing.assert_equal(ds.assign_coords(trajectory=[0, 1, 2]), plain)
    xr.testing.assert_identical(lyapkit.load(lyapkit.save(ds, tmp_path / "named.nc")), ds)


def test_a_tree_names_the_trajectories_that_each_analysis_follows(tmp_path) -> None:
    tree = lyapkit.analyze(cell(), INPUTS, **GRADIENT, hessian_k=1, trajectories=2, trajectory_names=NAMES)
    found = {name: node.trajectory.values.tolist() for name, node in tree.children.items() if "trajectory" in node.dims}
    assert found == {
        "lyapunov_spectrum": NAMES[:2], "variational_term": NAMES[:2], "gradient_propagation": NAMES,
    }  # fmt: skip
    xr.testing.assert_identical(lyapkit.load(lyapkit.save(tree, tmp_path / "tree.nc")), tree)
    with pytest.raises(ValueError, match="each of the 3 trajectories, got 2 names"):
        lyapkit.analyze(cell(), INPUTS, **GRADIENT, trajectories=2, trajectory_names=NAMES[:2])


def test_a_tracker_names_the_trajectories_of_every_measurement() -> None:
    tracker = lyapkit.Tracker(cell(), INPUTS, trajectory_names=NAMES)
    tracker(0), tracker(1)
    assert tracker.result["lyapunov_spectrum"].trajectory.values.tolist() == NAMES


def test_a_continued_run_keeps_the_names() -> None:
    first = lyapkit.lyapunov_spectrum(cell(), INPUTS[:10], trajectory_names=NAMES)
    whole = lyapkit.lyapunov_spectrum(cell(), INPUTS[10:], resume=first)
    assert whole.trajectory.values.tolist() == NAMES
    again = lyapkit.lyapunov_spectrum(cell(), INPUTS[10:], resume=first, trajectory_names=NAMES)
    assert again.trajectory.values.tolist() == NAMES
    with pytest.raises(ValueError, match=r"has the trajectories none, weak, strong, got trajectory_names=\['weak', "):
        lyapkit.lyapunov_spectrum(cell(), INPUTS[10:], resume=first, trajectory_names=["weak", "none", "strong"])
    unnamed = lyapkit.lyapunov_spectrum(cell(), INPUTS[:10])
    named = lyapkit.lyapunov_spectrum(cell(), INPUTS[10:], resume=unnamed, trajectory_names=NAMES)
    assert named.trajectory.values.tolist() == NAMES
    np.testing.assert_array_equal(named.lyapunov_exponent, whole.lyapunov_exponent)


@pytest.mark.parametrize(
    ("names", "kept"),
    [
        (("a", "b", "c"), ["a", "b", "c"]),
        (np.array([0.1, 0.5, 2.0]), [0.1, 0.5, 2.0]),
        ([0, 0.5, 1], [0.0, 0.5, 1.0]),
        (range(10, 40, 10), [10, 20, 30]),
        (torch.tensor([3, 1, 2]), [3, 1, 2]),
        ({"x": 1, "y": 2, "z": 3}.keys(), ["x", "y", "z"]),
        (xr.DataArray(["x", "y", "z"]), ["x", "y", "z"]),
        ([np.float32(0.5), np.float32(0.25), np.float32(0.75)], [0.5, 0.25, 0.75]),
        ([np.str_("é"), "ü", "a b"], ["é", "ü", "a b"]),
        ([0, 1, 2], [0, 1, 2]),
    ],
    ids=range(10),
)
def test_names_may_be_any_sequence_of_texts_or_of_numbers(names, kept, tmp_path) -> None:
    ds = lyapkit.lyapunov_spectrum(cell(), INPUTS[:3], trajectory_names=names)
    assert ds.trajectory.values.tolist() == kept
    xr.testing.assert_identical(lyapkit.load(lyapkit.save(ds, tmp_path / "x.nc")), ds)


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        (["a", "b"], ValueError, "must name each of the 3 trajectories, got 2 names."),
        (["a", "b", "c", "d"], ValueError, "must name each of the 3 trajectories, got 4 names."),
        ([], ValueError, "must name each of the 3 trajectories, got 0 names."),
        (["a", "b", "a"], ValueError, "must differ from each other, got 'a' 2 times."),
        ([1, 1.0, 2], ValueError, "must differ from each other, got 1.0 2 times."),
        ([["a"], "b", "c"], TypeError, "texts or numbers, which a result file can hold, got ['a'] (list)"),
        ([("a", 1), ("b", 2), ("c", 3)], TypeError, "got ('a', 1) (tuple); write str(name)."),
        ([{}, "b", "c"], TypeError, "got {} (dict)"),
        ([True, False, 2], TypeError, "got True (bool)"),
        ([None, "b", "c"], TypeError, "got None (NoneType)"),
        ([1j, 2, 3], TypeError, "got 1j (complex)"),
        (["a", 1, 2], TypeError, "all texts or all numbers, got some of each"),
        (["a", "", "c"], ValueError, "texts that are not empty, or finite numbers, got ''."),
        (["a", "a\0", "c"], ValueError, r"got 'a\x00'."),
        ([0.0, float("nan"), 1.0], ValueError, "finite numbers, got nan."),
        ([2**64, 1, 2], TypeError, "numbers that float64 or int64 cannot hold"),
        ([2**53 + 1, 0.5, 2], TypeError, "numbers that float64 or int64 cannot hold"),
        ("abc", TypeError, "got str; write trajectory_names=["),
        ({"a", "b", "c"}, TypeError, "got set; write"),
        ({"a": 1, "b": 2, "c": 3}, TypeError, "got dict; write"),
        (iter(NAMES), TypeError, "got list_iterator; write"),
        (3, TypeError, "got int; write"),
        (np.zeros((3, 2)), TypeError, "got array([0., 0.]) (ndarray)"),
        (np.array(["2020", "2021", "2022"], dtype="M8[Y]"), TypeError, "(datetime64); write str(name)."),
    ],
    ids=range(24),
)
def test_other_names_are_refused(names, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        CALLS["states"](trajectory_names=names)


# --- in plots


SPECTRUM = CALLS["lyapunov_spectrum"](trajectory_names=NAMES)
PLOTS = {
    "lyapunov_spectrum": SPECTRUM,
    "running_exponents": SPECTRUM,
    "local_growth": SPECTRUM,
    "kaplan_yorke": SPECTRUM,
    "covariant_vectors": CALLS["covariant_vectors"](trajectory_names=NAMES),
    "variational_term": CALLS["variational_term"](trajectory_names=NAMES),
    "gradient_propagation": CALLS["gradient_propagation"](trajectory_names=NAMES),
    "state_space": CALLS["states"](trajectory_names=NAMES),
}


def legend_of(ax) -> list[str]:
    return [] if ax.get_legend() is None else [text.get_text() for text in ax.get_legend().get_texts()]


@pytest.mark.parametrize("plot", PLOTS)
def test_a_legend_names_the_trajectories_each_in_its_colour(plot: str) -> None:
    ax = getattr(plots, plot)(PLOTS[plot])
    assert legend_of(ax) == NAMES
    colors = [artist.get_color() for artist in _named(ax)]
    assert colors == [to_hex(f"C{place}") for place in range(3)]
    numbers = PLOTS[plot].assign_coords(trajectory=[0.1, 0.5, 2.0])
    assert legend_of(getattr(plots, plot)(numbers)) == ["trajectory 0.1", "trajectory 0.5", "trajectory 2"]
    assert legend_of(getattr(plots, plot)(PLOTS[plot].assign_coords(trajectory=[0, 1, 2]))) == []


def _named(ax) -> list:
    handles, labels = ax.get_legend_handles_labels()
    found = dict(zip(labels, handles, strict=True))
    return [getattr(found[name], "lines", [found[name]])[0] for name in NAMES]


@pytest.mark.parametrize("plot", [name for name in PLOTS if name not in ("gradient_propagation", "state_space")])
def test_a_trajectory_is_chosen_by_its_name(plot: str) -> None:
    draw, ds = getattr(plots, plot), PLOTS[plot]
    chosen = draw(ds, trajectory="weak")
    assert legend_of(chosen) == []
    alone = draw(ds.isel(trajectory=[1]).assign_coords(trajectory=[0]))
    for one, other in zip(chosen.lines, alone.lines, strict=True):
        np.testing.assert_array_equal(one.get_xydata(), other.get_xydata())
    together = draw(ds)
    values = [line.get_xydata() for line in together.lines]
    for one in alone.lines:
        assert any(np.array_equal(one.get_xydata(), each) for each in values)
    with pytest.raises(ValueError, match="trajectory must be one of none, weak, strong; got 'wek'"):
        draw(ds, trajectory="wek")


def test_several_results_with_names_are_told_apart() -> None:
    ax = plots.kaplan_yorke({"old": SPECTRUM, "new": SPECTRUM.isel(trajectory=slice(2))})
    assert legend_of(ax) == ["old, none", "old, weak", "old, strong", "new, none", "new, weak"]
    assert legend_of(plots.kaplan_yorke(SPECTRUM, label="old")) == ["old, none", "old, weak", "old, strong"]
    fitted = plots.gradient_propagation(PLOTS["gradient_propagation"], slopes="weak")
    assert [text.partition(":")[0] for text in legend_of(fitted)] == ["fit", "leading exponent"]
    one_colour = plots.gradient_propagation(PLOTS["gradient_propagation"], color="0.5")
    assert {line.get_color() for line in one_colour.lines} == {"0.5"}
    plt.close("all")


def test_a_legend_names_ten_of_many() -> None:
    many = [f"condition {number}" for number in range(12)]
    ds = lyapkit.lyapunov_spectrum(TURN, steps=20, initial_state=torch.rand(12, 2).double(), trajectory_names=many)
    ax = plots.kaplan_yorke(ds)
    assert legend_of(ax) == many[:10]
    assert len([line for line in ax.lines if len(line.get_ydata()) == 3]) == 12


def test_equal_names_of_a_users_own_share_a_colour() -> None:
    ax = plots.kaplan_yorke(SPECTRUM.assign_coords(trajectory=["go", "stop", "go"]))
    assert legend_of(ax) == ["go", "stop"]
    curves = [line for line in ax.lines if len(line.get_ydata()) == 3]
    assert [line.get_color() for line in curves] == [to_hex("C0"), to_hex("C1"), to_hex("C0")]
