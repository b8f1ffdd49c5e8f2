"""Plots of states, fixed points and Jacobians draw the numbers of their results."""

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import xarray as xr
from matplotlib.colors import to_hex
from matplotlib.quiver import Quiver
from torch import nn
from torch.nn.functional import mse_loss

import lyapkit
from artists import drawn
from lyapkit import plots

TURN = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)).Q
SHRINK = TURN @ torch.diag(torch.tensor([0.9, 0.5, 0.1]).double()) @ TURN.T
LINEAR = lyapkit.as_map(lambda x: SHRINK @ x, state=torch.zeros(3).double())
START = torch.tensor([[1.0, 0, 0], [0, 2, 0], [0, 0, 3], [1, 1, 1]]).double()
RUN = lyapkit.states(LINEAR, steps=6, initial_state=START)


def bistable() -> lyapkit.RecurrentMap:
    return lyapkit.as_map(lambda x: torch.stack((torch.tanh(2 * x[0]), x[1] / 2)), state=torch.zeros(2).double())


GRID = torch.cartesian_prod(*2 * [torch.linspace(-1, 1, 5, dtype=torch.float64)])
POINTS = lyapkit.fixed_points(bistable(), starts=GRID, eigenvectors=1)
FIELD = lyapkit.states(bistable(), steps=4, initial_state=GRID)


def points_of(ax) -> dict[str, np.ndarray]:
    return {
        line.get_label(): np.stack(line.get_data(), axis=1) for line in ax.lines if line.get_label().endswith("point")
    }


def test_trajectories_begin_at_the_initial_state_and_follow_the_principal_axes(ax) -> None:
    plots.state_space(RUN, ax=ax, components=(1, 3))
    assert len(ax.lines) == 4
    basis = RUN.principal_axis.values[[0, 2]]
    whole = np.concatenate((START[1:2].numpy(), RUN.state.values[1]))
    expected = (whole - RUN.mean_state.values) @ basis.T
    np.testing.assert_allclose(np.stack(ax.lines[1].get_data(), axis=1), expected, rtol=1e-12)
    part = 100 * RUN.explained_variance.values
    assert ax.get_xlabel() == f"principal component 1 ({part[0]:.0f} %)"
    assert ax.get_ylabel() == f"principal component 3 ({part[2]:.0f} %)"


def test_a_transient_leaves_the_initial_state_out(ax) -> None:
    run = lyapkit.states(LINEAR, steps=6, initial_state=START, transient=2)
    plots.state_space(run, ax=ax, lines=2)
    assert [len(drawn(line)[0]) for line in ax.lines] == [4, 4]


def test_conditions_have_a_colour_each_and_a_legend(ax) -> None:
    plots.state_space(RUN.assign_coords(trajectory=["go", "stop", "go", "wait"]), ax=ax)
    colors = [line.get_color() for line in ax.lines]
    assert colors[0] == colors[2]
    assert len(set(colors)) == 3
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["go", "stop", "wait"]


def test_networks_to_compare_share_the_axes_of_the_first(ax) -> None:
    other = lyapkit.states(LINEAR, steps=6, initial_state=-START)
    plots.state_space({"one": RUN, "two": other}, ax=ax)
    whole = np.concatenate((-START[:1].numpy(), other.state.values[0]))
    expected = (whole - RUN.mean_state.values) @ RUN.principal_axis.values[:2].T
    np.testing.assert_allclose(np.stack(ax.lines[4].get_data(), axis=1), expected, rtol=1e-12)
    with pytest.raises(ValueError, match="different units"):
        plots.state_space({"one": RUN, "two": FIELD})


def test_points_are_marked_by_stability_with_arrows_along_unstable_directions(ax) -> None:
    plots.state_space(FIELD, fixed_points=POINTS, ax=ax)
    found = points_of(ax)
    assert list(found) == ["stable point", "unstable point"]
    basis = FIELD.principal_axis.values
    places = (POINTS.state.values - FIELD.mean_state.values) @ basis.T
    np.testing.assert_allclose(found["stable point"], places[:2], atol=1e-12)
    np.testing.assert_allclose(found["unstable point"], places[2:], atol=1e-12)
    assert len(ax.texts) == 2  # both ways along one direction
    ways = np.array([text.xy for text in ax.texts]) - places[2]
    np.testing.assert_allclose(ways[0], -ways[1], atol=1e-12)
    direction = POINTS.eigenvector_real.values[2, :, 0] @ basis.T
    np.testing.assert_allclose(np.abs(ways[0] / np.linalg.norm(ways[0])), np.abs(direction), atol=1e-12)
    ax.figure.canvas.draw()


@pytest.mark.filterwarnings("ignore:No fixed point")
def test_slow_and_undecided_points_have_marks_of_their_own(ax) -> None:
    ghost = lyapkit.as_map(lambda x: torch.stack((x[0] + x[0] ** 2 + 1e-3, x[1] / 2)), state=torch.zeros(2).double())
    plots.state_space(FIELD, fixed_points=lyapkit.fixed_points(ghost, starts=GRID), ax=ax)
    assert list(points_of(ax)) == ["slow point"]
    other = plt.figure().add_subplot()
    plots.phase_plane(FIELD, fixed_points=POINTS.assign(on_kink=POINTS.on_kink + 1, stable=POINTS.stable * 0), ax=other)
    assert list(points_of(other)) == ["undecided point"]


def test_arrows_of_the_phase_plane_point_where_the_map_leads(ax) -> None:
    plots.phase_plane(FIELD, fixed_points=POINTS, ax=ax, lines=3)
    (arrows,) = [each for each in ax.collections if isinstance(each, Quiver)]
    start, after = GRID.numpy(), FIELD.state.values[:, 0]
    way = after - start
    moving = np.hypot(*way.T) > 0
    np.testing.assert_allclose(np.stack((arrows.X, arrows.Y), axis=1), start[moving])
    expected = way[moving] / np.hypot(*way[moving].T)[:, None]
    np.testing.assert_allclose(np.stack((arrows.U, arrows.V), axis=1), expected, rtol=1e-12)
    assert moving.sum() == 24  # one start is the saddle
    lines = [line for line in ax.lines if not line.get_label().endswith("point")]
    assert [len(line.get_xdata()) for line in lines] == [5, 5, 5]
    np.testing.assert_allclose(points_of(ax)["unstable point"], [[0, 0]], atol=1e-12)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x[0]", "x[1]")


def flow(gain: float) -> tuple[xr.Dataset, xr.Dataset]:
    map = lyapkit.as_map(lambda x: torch.stack((torch.tanh(gain * x[0]), x[1] / 2)), state=torch.zeros(2).double())
    return lyapkit.states(map, steps=4, initial_state=GRID), lyapkit.fixed_points(map, starts=GRID)


def test_phase_planes_to_compare_have_a_colour_each(ax) -> None:
    fields, points = zip(flow(2.0), flow(0.5), strict=True)
    plots.phase_plane(
        {"two": fields[0], "half": fields[1]},
        fixed_points={"two": points[0], "half": points[1]},
        ax=ax,
        lines=2,
    )
    arrows = [each for each in ax.collections if isinstance(each, Quiver)]
    for place, (field, quiver) in enumerate(zip(fields, arrows, strict=True)):
        way = field.state.values[:, 0] - GRID.numpy()
        moving = np.hypot(*way.T) > 0
        expected = way[moving] / np.hypot(*way[moving].T)[:, None]
        np.testing.assert_allclose(np.stack((quiver.U, quiver.V), axis=1), expected, rtol=1e-12)
        shown = quiver.get_facecolors()
        np.testing.assert_allclose(shown[:, :3], [matplotlib.colors.to_rgb(f"C{place}")] * len(shown))
        size = np.log(np.hypot(*way[moving].T))
        assert np.argmax(shown[:, 3]) == np.argmax(size)
        np.testing.assert_allclose(shown[:, 3], 0.25 + 0.75 * (size - size.min()) / np.ptp(size), rtol=1e-9)
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["two", "half", "stable point", "unstable point"]
    edges = [line.get_markeredgecolor() for line in ax.lines if line.get_label() == "stable point"]
    assert edges == [to_hex("C0"), to_hex("C1")]
    assert len([line for line in ax.lines if len(line.get_xdata()) == 5]) == 4
    ax.figure.canvas.draw()


def test_points_to_compare_have_the_colours_of_their_runs(ax) -> None:
    fields, points = zip(flow(2.0), flow(0.5), strict=True)
    runs = {"two": fields[0], "half": fields[1]}
    plots.state_space(runs, fixed_points={"half": points[1]}, ax=ax)
    (mark,) = [line for line in ax.lines if line.get_label().endswith("point")]
    assert mark.get_markeredgecolor() == to_hex("C1")
    for draw in (plots.state_space, plots.phase_plane):
        with pytest.raises(ValueError, match="fixed_points has the name 'third', and the results to draw are 'two', "):
            draw(runs, fixed_points={"third": points[0]})
        with pytest.raises(TypeError, match="label= names one result"):
            draw(runs, label="a")
        with pytest.raises(ValueError, match="the dictionary of results is empty"):
            draw({})
    with pytest.raises(ValueError, match=r"with the same two units, got y\[0\], y\[1\] beside x\[0\], x\[1\]"):
        plots.phase_plane({"a": fields[0], "b": fields[1].assign_coords(unit=["y[0]", "y[1]"])})


def test_fields_that_move_alike_are_equally_strong(ax) -> None:
    shift = lyapkit.as_map(lambda x: x + torch.tensor([1.0, 0.0]), state=torch.zeros(2).double())
    field = lyapkit.states(shift, steps=1, initial_state=GRID[:, [0, 1]] * 0)
    plots.phase_plane({"a": field}, ax=ax, lines=0)
    (arrows,) = [each for each in ax.collections if isinstance(each, Quiver)]
    assert set(arrows.get_facecolors()[:, 3]) == {1.0}


def test_the_phase_plane_is_for_two_units_and_needs_the_first_step() -> None:
    with pytest.raises(ValueError, match="maps with two units, got 3; state_space draws larger ones"):
        plots.phase_plane(RUN)
    with pytest.raises(ValueError, match="the first step is not recorded"):
        plots.phase_plane(lyapkit.states(bistable(), steps=4, initial_state=GRID, transient=1))


def test_eigenvalues_lie_in_the_complex_plane_without_those_behind_the_end(ax) -> None:
    torch.manual_seed(0)
    network, inputs = nn.GRU(2, 4).double(), torch.randn(6, 2, 2, dtype=torch.float64)
    ds = lyapkit.jacobians(network, inputs, lengths=[6, 2])
    plots.jacobian_eigenvalues(ds, ax=ax)
    x, y = drawn(ax.lines[0])
    assert len(x) == 4 * 8
    assert 1.0 not in x
    np.testing.assert_array_equal(x, np.concatenate((ds.eigenvalue_real[0], ds.eigenvalue_real[1, :2])).ravel())
    np.testing.assert_array_equal(y, np.concatenate((ds.eigenvalue_imag[0], ds.eigenvalue_imag[1, :2])).ravel())
    (circle,) = ax.patches
    assert (circle.center, circle.radius) == ((0, 0), 1)
    points = plt.figure().add_subplot()
    plots.jacobian_eigenvalues(POINTS, ax=points)
    assert sorted(drawn(points.lines[0])[0]) == sorted(POINTS.eigenvalue_real.values.ravel().tolist())
    with pytest.raises(ValueError, match="call jacobians with eigenvalues=True"):
        plots.jacobian_eigenvalues(lyapkit.jacobians(network, inputs, eigenvalues=False))


def test_components_are_checked() -> None:
    for given, error in (((1,), TypeError), ((1, 2.5), TypeError), ("12", TypeError), ((1, 9), ValueError)):
        with pytest.raises(error, match="components must"):
            plots.state_space(RUN, components=given)
    with pytest.raises(ValueError, match="no variable principal_axis"):
        plots.state_space(RUN.drop_vars("principal_axis"))
    with pytest.raises(ValueError, match="got states"):
        plots.state_space(RUN, fixed_points=RUN)


def tree(seed: int) -> xr.DataTree:
    torch.manual_seed(seed)
    network, readout = nn.RNN(2, 4).double(), nn.Linear(4, 1).double()
    inputs = torch.randn(20, 3, 2, dtype=torch.float64)
    found = lyapkit.analyze(network, inputs, torch.zeros(3, 1).double(), mse_loss, readout=readout, hessian_k=2, rng=0)
    found["states"] = lyapkit.states(network, inputs)
    found["rest/points"] = lyapkit.fixed_points(network, torch.zeros(2).double(), rng=0)
    return found


def test_an_overview_has_a_panel_for_each_result() -> None:
    one = tree(0)
    axes = plots.overview(one)
    assert [ax.get_title() for ax in axes] == [*(name for name in one.children if name != "rest"), "rest/points"]
    assert len({ax.figure for ax in axes}) == 1
    exponents = one["lyapunov_spectrum"].lyapunov_exponent.values[0].tolist()
    assert drawn(axes[0].lines[0])[1] == exponents
    both = plots.overview({"one": one, "two": tree(1)})
    assert [ax.get_title() for ax in both] == [ax.get_title() for ax in axes]
    assert all({"one", "two"} <= {text.get_text() for text in ax.get_legend().get_texts()} for ax in both)
    both[0].figure.canvas.draw()


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (RUN, TypeError, "overview draws a DataTree of several analyses, got Dataset"),
        ({"a": RUN}, TypeError, "got Dataset"),
        (xr.DataTree(), ValueError, "holds no result"),
        ({}, ValueError, "holds no result"),
        (
            xr.DataTree.from_dict({"states": xr.concat([RUN] * 2, "seed").assign_attrs(RUN.attrs)}),
            ValueError,
            "2 results",
        ),
    ],
)
def test_what_is_no_tree_of_results_is_refused(given: object, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        plots.overview(given)
    assert plt.get_fignums() == []
