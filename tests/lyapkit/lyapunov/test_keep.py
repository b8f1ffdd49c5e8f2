"""`keep="summary"`: the results of the whole series, from windows that are joined on the way."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor, nn

from lyapkit import as_map, load, lyapunov_spectrum, plots, save, summary, systems
from lyapkit.lyapunov import collected, joining
from lyapkit.lyapunov.joining import joined
from lyapkit.recurrent_map import RecurrentMap
from machine_code import without_machine_code

OVER_TIME = {"running_exponent", "local_growth"}


@contextmanager
def at_most(count: int) -> Iterator[None]:
    """Join windows as soon as there are so few, so that short runs show what long ones do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(joining, "MOST_JOINED", count)
        patch.setattr(collected, "MOST_JOINED", count)
        yield


def config(ds: xr.Dataset) -> dict[str, object]:
    found: dict[str, object] = json.loads(ds.attrs["config_json"])
    return found


def assert_same(summed: xr.Dataset, whole: xr.Dataset) -> None:
    assert set(summed.variables) == set(whole.variables) - OVER_TIME - {"step"}
    for name, variable in summed.variables.items():
        assert variable.dims == whole[name].dims
        if variable.dtype.kind == "f":
            np.testing.assert_allclose(variable, whole[name], rtol=1e-9, atol=1e-13, err_msg=str(name))
        else:
            np.testing.assert_array_equal(variable, whole[name], err_msg=str(name))
    assert config(summed) == {**config(whole), "keep": "summary"}
    assert summed.attrs["error_degrees_of_freedom"] == whole.attrs["error_degrees_of_freedom"]


@pytest.mark.parametrize("pieces", [1, 7, 400])
@pytest.mark.parametrize("before", [0, 333])
def test_joined_windows_end_where_stretches_do(pieces: int, before: int) -> None:
    """Against a loop over windows; joining piece by piece gives the same as joining all at once."""
    generator = np.random.default_rng(0)
    window = torch.from_numpy(generator.integers(1, 9, 400).astype(float))
    growth = torch.from_numpy(generator.normal(size=(400, 2, 3)))
    growth[37, 1, 2] = -torch.inf
    with at_most(100):
        length = 32  # with 16, there are more than 100
        assert length / 2 < (before + float(window.sum())) / 100 <= length
        expected: dict[int, tuple[float, Tensor]] = {}
        done = before
        for steps, grown in zip(window.tolist(), growth, strict=True):
            done += steps
            stretch = -int(-done // length)
            steps_before, grown_before = expected.get(stretch, (0.0, torch.zeros(2, 3)))
            expected[stretch] = steps_before + steps, grown_before + grown
        found, lengths = growth[:0], window[:0]
        for part, some in zip(growth.tensor_split(pieces), window.tensor_split(pieces), strict=True):
            found, lengths = joined(torch.cat((found, part)), torch.cat((lengths, some)), before)
    assert lengths.tolist() == [steps for steps, _ in expected.values()]
    torch.testing.assert_close(found, torch.stack([grown for _, grown in expected.values()]), rtol=1e-13, atol=1e-13)


def test_short_runs_are_not_joined() -> None:
    window, growth = torch.ones(joining.MOST_JOINED, dtype=torch.float64), torch.zeros(joining.MOST_JOINED, 1, 1)
    assert joined(growth, window)[0] is growth
    assert len(joined(growth, 2 * window)[0]) == len(window)  # no window is shorter than a stretch
    assert len(joined(torch.zeros(len(window) + 1, 1, 1), torch.ones(len(window) + 1))[0]) == len(window) // 2 + 1


def annihilating(x: Tensor) -> Tensor:  # resets its second component at every 97th step, counted by the third
    count = torch.where(x[..., 2] > 95.5, 0.0, x[..., 2] + 1)
    second = torch.where(x[..., 2] > 95.5, 0.1, 0.7 * x[..., 1] + 0.1 * x[..., 0])
    return torch.stack([0.9 * x[..., 0], second, count], -1)


def drawn(module: nn.Module) -> RecurrentMap:
    generator = torch.Generator().manual_seed(1)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.4, generator=generator)
    return as_map(module)


def noise(dtype: torch.dtype, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(4), dtype=dtype)


HENON = systems.henon().map
DOUBLE = torch.float64
CASES: dict[str, tuple[Callable[[], RecurrentMap], dict[str, object]]] = {
    "henon": (lambda: HENON, {"steps": 20_000}),
    "leading": (lambda: HENON, {"steps": 5000, "k": 1}),
    "transient": (lambda: HENON, {"steps": 5000, "transient": 333}),
    "fixed interval": (lambda: HENON, {"steps": 5000, "qr_interval": 3}),
    "unit of time": (lambda: systems.lorenz().map, {"steps": 5000, "dt": 0.01}),
    "trajectories": (lambda: HENON, {"steps": 3000, "initial_state": 0.1 * noise(DOUBLE, 300, 2).sigmoid()}),
    "stopped": (lambda: HENON, {"until": 0.02, "max_steps": 20_000}),
    "all stopped": (lambda: HENON, {"until": 0.01, "until_exponents": "all", "max_steps": 9000, "transient": 50}),
    "annihilating": (
        lambda: as_map(annihilating, state=torch.tensor([1.0, 1.0, 0.0], dtype=DOUBLE)),
        {"steps": 2000},
    ),
    "driven": (lambda: drawn(nn.GRU(3, 6).double()), {"inputs": noise(DOUBLE, 2500, 4, 3)}),
    "unequal": (lambda: drawn(nn.GRU(3, 4).double()), {"inputs": noise(DOUBLE, 900, 3, 3), "lengths": [900, 300, 61]}),
    "float32": (lambda: drawn(nn.RNN(3, 8)), {"inputs": noise(torch.float32, 1500, 2, 3), "k": 3}),
    "float32 frames": (
        lambda: drawn(nn.RNN(3, 5)),
        {"inputs": noise(torch.float32, 1200, 3), "frame_dtype": torch.float32},
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("path", ["compiled", "traced"])
def test_summaries_are_those_of_the_whole_series(name: str, path: str) -> None:
    make, options = CASES[name]
    options = {"rng": 0, **options}
    if path == "traced" and "steps" in options:
        options["steps"] = 1000
    with without_machine_code() if path == "traced" else nullcontext(), at_most(30):
        map = make()
        whole, summed = lyapunov_spectrum(map, **options), lyapunov_spectrum(map, **options, keep="summary")
    assert name == "unequal" or whole.sizes["step"] > 60
    assert_same(summed, whole)
    if path == "compiled" and not name.startswith("float32"):
        assert "machine code" in str(config(summed)["tangents"])


def test_summaries_of_steps_that_cannot_be_traced() -> None:
    def step(x: Tensor) -> Tensor:
        return 0.7 * x + torch.sin(3 * x) if float(x.detach().sum()) < 1e9 else x

    map = as_map(step, state=torch.tensor([0.3, 0.5], dtype=DOUBLE))
    with at_most(100):
        whole, summed = (
            lyapunov_spectrum(map, steps=600, qr_interval=1, keep=keep, rng=0) for keep in ("series", "summary")
        )
    assert config(summed)["tangents_not_traced_because"]
    assert_same(summed, whole)


@pytest.mark.parametrize("path", ["compiled", "traced"])
def test_summaries_of_runs_that_are_resumed(path: str) -> None:
    """The first part ends within a stretch, so that stretches have to be counted from its beginning."""
    with without_machine_code() if path == "traced" else nullcontext(), at_most(30):
        before = lyapunov_spectrum(HENON, steps=1701, transient=20)
        whole, summed = (
            lyapunov_spectrum(HENON, steps=2300, resume=before, keep=keep, rng=0) for keep in ("series", "summary")
        )
    assert_same(summed, whole)
    assert config(summed)["steps"] == 4001


def test_without_joined_windows_all_numbers_are_those_of_every_window() -> None:
    """Up to 4,096 steps nothing is joined."""
    whole = lyapunov_spectrum(HENON, steps=4096, rng=0)
    with at_most(10**9):
        assert_same(lyapunov_spectrum(HENON, steps=4096, keep="summary", rng=0), whole)


@pytest.mark.parametrize("steps", [4097, 30_011, 100_000])
def test_joined_windows_change_standard_errors_little(steps: int) -> None:
    found = lyapunov_spectrum(HENON, steps=steps, keep="summary")
    with at_most(10**9):
        single = lyapunov_spectrum(HENON, steps=steps)
    np.testing.assert_allclose(found.lyapunov_exponent, single.lyapunov_exponent, rtol=1e-12)
    np.testing.assert_allclose(found.standard_error, single.standard_error, rtol=0.05)
    difference = np.abs(found.half_difference - single.half_difference)
    assert float((difference / found.standard_error).max()) < 0.2


def test_a_summary_is_a_result_like_others(tmp_path) -> None:
    ds = lyapunov_spectrum(HENON, steps=500, keep="summary")
    save(ds, tmp_path / "summary.nc")
    xr.testing.assert_identical(load(tmp_path / "summary.nc"), ds)
    assert len(summary(ds)) == len(summary(lyapunov_spectrum(HENON, steps=500)))
    with pytest.raises(ValueError, match='the Dataset has no running_exponent: it was made with keep="summary"'):
        plots.running_exponents(ds)


def test_what_to_keep_is_checked() -> None:
    for wrong in ("all", None, True):
        with pytest.raises(ValueError, match=f'keep must be "series" or "summary", got {wrong!r}.'):
            lyapunov_spectrum(HENON, steps=100, keep=wrong)


def test_a_summary_cannot_be_resumed() -> None:
    ds = lyapunov_spectrum(HENON, steps=500, keep="summary")
    with pytest.raises(ValueError, match='made with keep="summary", which leaves out the growth of each window'):
        lyapunov_spectrum(HENON, steps=100, resume=ds)


LONG = """
import resource, sys
import lyapkit
map = lyapkit.systems.henon().map
unit = 2**20 if sys.platform == "darwin" else 2**10
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
lyapkit.lyapunov_spectrum(map, steps=20_000, keep="summary")
before = peak()
ds = lyapkit.lyapunov_spectrum(map, steps=10_000_000, keep="summary")
print(peak() - before, *ds.lyapunov_exponent.values[0], *ds.standard_error.values[0])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no module resource")
def test_ten_million_steps_take_less_than_100_megabytes() -> None:
    done = subprocess.run([sys.executable, "-c", LONG], capture_output=True, text=True, check=True)
    megabytes, first, second, *errors = map(float, done.stdout.split())
    assert megabytes < 100
    assert max(errors) < 2e-4
    assert abs(first - 0.41922) < 4 * errors[0] + 1e-5  # Sprott (2003), appendix A
    assert abs(first + second - np.log(0.3)) < 1e-11
