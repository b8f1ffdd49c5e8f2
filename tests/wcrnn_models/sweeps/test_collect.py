import dataclasses
import json

import numpy as np
import pytest
import xarray as xr

import lyapkit
from wcrnn_models import TrainConfig, UserError
from wcrnn_models.sweeps import collect, grid, run_name
from wcrnn_models.sweeps.assemble import assemble, concatenate
from wcrnn_models.sweeps.layout import plan
from wcrnn_models.training.result import TrainResult

TINY = TrainConfig(length=4, hidden_size=4, batch_size=2, epochs=2, iterations_per_epoch=10, test_size=5)


def record(directory, config, metrics, *, status="finished", reached=None, iterations=None, name="rms"):
    """A run that has measured the given test metrics at 0, 10, 20, ..."""
    plan([config], directory)
    best = min(metrics, default=None)
    iterations = list(range(0, 10 * len(metrics), 10)) if iterations is None else iterations
    result = TrainResult(
        status=status,
        metric_name=name,
        best_metric=best,
        best_iteration=None if best is None else iterations[metrics.index(best)],
        iterations_to_minimal_performance=reached,
        total_iterations=20,
        iterations=iterations,
        train_losses=[10 + metric for metric in metrics],
        gradient_norms=[20 + metric for metric in metrics],
        test_metrics=list(metrics),
        diverged_at=max(len(metrics) * 10 - 5, 0) if status == "diverged" else None,
        warning=None,
        checkpoints={},
    )
    (directory / run_name(config) / "history.json").write_text(result.to_json())


def full(directory):
    """Two seeds and three residual strengths, metrics seed + r, seed + r - 0.1, seed + r - 0.05."""
    configs = grid(TINY, r=[1.0, 0.9, 0.95], seed=[1, 0])
    for config in configs:
        start = config.seed + config.r
        record(directory, config, [start, start - 0.1, start - 0.05], reached=13 if config.seed == 0 else None)
    return configs


def test_a_grid_of_runs_is_one_dataset(tmp_path):
    full(tmp_path)
    ds = collect(tmp_path)
    assert dict(ds.sizes) == {"seed": 2, "r": 3, "iteration": 3}
    assert ds.seed.values.tolist() == [0, 1]
    assert ds.r.values.tolist() == [0.9, 0.95, 1.0]
    assert ds.iteration.values.tolist() == [0, 10, 20]
    start = ds.seed + ds.r
    xr.testing.assert_allclose(ds.best_metric, (start - 0.1).rename("best_metric"))
    xr.testing.assert_allclose(ds.final_metric, (start - 0.05).rename("final_metric"))
    assert (ds.best_iteration == 10).all()
    expected = xr.concat([start, start - 0.1, start - 0.05], ds.iteration).transpose("seed", "r", "iteration")
    xr.testing.assert_allclose(ds.test_metric, expected.rename("test_metric"))
    np.testing.assert_allclose(ds.train_loss, expected + 10)
    np.testing.assert_allclose(ds.gradient_norm, expected + 20)
    assert (ds.iterations_to_minimal_performance.sel(seed=0) == 13).all()
    assert (ds.iterations_to_minimal_performance.sel(seed=1) == 20).all()  # not reached: all of them (section 4.1)
    assert ds.reached_minimal_performance.values.tolist() == [[1, 1, 1], [0, 0, 0]]
    assert (ds.status == "finished").all()
    for variable in (*ds.variables.values(), *ds.data_vars.values()):
        assert variable.attrs["long_name"]
    assert all("units" in variable.attrs for name, variable in ds.data_vars.items() if name != "status")
    shared = json.loads(ds.attrs["config_json"])
    assert shared["hidden_size"] == 4
    assert not {"seed", "r"} & set(shared)
    assert (ds.attrs["metric_name"], ds.attrs["analysis"]) == ("rms", "sweep")


def test_it_can_be_saved_and_loaded(tmp_path):
    full(tmp_path)
    ds = collect(tmp_path)
    xr.testing.assert_identical(lyapkit.load(lyapkit.save(ds, tmp_path / "results.nc")), ds)


def test_a_single_run_has_no_further_dimension(tmp_path):
    record(tmp_path, TINY, [1.0, 0.5, 0.2])
    ds = collect(tmp_path)
    assert dict(ds.sizes) == {"iteration": 3}
    assert float(ds.best_metric) == 0.2


def test_some_runs_can_be_chosen(tmp_path):
    configs = full(tmp_path)
    chosen = [config for config in configs if config.r > 0.92]
    assert collect(tmp_path, chosen).r.values.tolist() == [0.95, 1.0]
    assert dict(collect(tmp_path, chosen[:1]).sizes) == {"iteration": 3}


def test_a_run_that_diverged_ends_in_nan(tmp_path):
    """Its curve stops; it has no metric if it never had one."""
    first, second, third = grid(TINY, seed=range(3))
    record(tmp_path, first, [1.0, 0.5, 0.2])
    record(tmp_path, second, [1.0, 0.5], status="diverged")
    record(tmp_path, third, [], status="diverged")
    ds = collect(tmp_path)
    np.testing.assert_array_equal(ds.test_metric, [[1.0, 0.5, 0.2], [1.0, 0.5, np.nan], [np.nan] * 3])
    np.testing.assert_array_equal(ds.final_metric, [0.2, 0.5, np.nan])
    np.testing.assert_array_equal(ds.best_metric, [0.2, 0.5, np.nan])
    assert ds.iterations_to_minimal_performance.values.tolist() == [20, 20, 20]
    assert ds.status.values.tolist() == ["finished", "diverged", "diverged"]


def test_runs_that_have_not_ended(tmp_path):
    first, second, third = grid(TINY, seed=range(3))
    record(tmp_path, first, [1.0, 0.5, 0.2])
    record(tmp_path, second, [1.0, 0.5], status="running")
    plan([third], tmp_path)
    with pytest.raises(UserError, match=r"2 of 3 runs in .* have not ended, such as .*; finish the sweep, or"):
        collect(tmp_path)
    ds = collect(tmp_path, unfinished="include")
    assert ds.status.values.tolist() == ["finished", "running", "waiting"]
    np.testing.assert_array_equal(ds.iterations_to_minimal_performance, [20, np.nan, np.nan])
    np.testing.assert_array_equal(ds.reached_minimal_performance, [0, 0, np.nan])
    np.testing.assert_array_equal(ds.best_metric, [0.2, 0.5, np.nan])


def test_fields_that_are_not_numbers_are_text(tmp_path):
    scalar, rotation = TINY, dataclasses.replace(TINY, residual="rotation", phi=0.5)
    for config in (scalar, rotation):
        record(tmp_path, config, [1.0])
    with pytest.raises(UserError, match="do not form a full grid over residual, phi: 2 of 4 combinations are missing"):
        collect(tmp_path)
    ds = collect(tmp_path, by="run")
    assert dict(ds.sizes) == {"run": 2, "iteration": 1}
    assert sorted(zip(ds.residual.values, ds.phi.values, strict=True)) == [("rotation", "0.5"), ("scalar", "None")]
    assert ds.run.values.tolist() == sorted(map(run_name, (scalar, rotation)))


def test_a_grid_with_a_hole_is_refused_and_named(tmp_path):
    configs = full(tmp_path)
    hole = next(config for config in configs if (config.seed, config.r) == (1, 0.95))
    others = [config for config in configs if config != hole]
    with pytest.raises(UserError, match=r"over seed, r: 1 of 6 combinations are missing, such as seed=1, r=0.95;"):
        collect(tmp_path, others)
    assert collect(tmp_path, others, by="run").sizes["run"] == 5


def test_other_iterations_are_refused(tmp_path):
    first, second = grid(TINY, seed=range(2))
    record(tmp_path, first, [1.0, 0.5, 0.2])
    record(tmp_path, second, [1.0, 0.5], iterations=[0, 7])
    with pytest.raises(UserError, match=r"were not evaluated at the same iterations: run .* collect them separately"):
        collect(tmp_path)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda d: collect(d / "missing"), "there is no directory"),
        (lambda d: collect(d, []), "there is no configuration to collect; give at least one, or None for all"),
        (
            lambda d: collect(d, [dataclasses.replace(TINY, seed=9)]),
            "holds no run of 1 of the configurations, such as seed=9",
        ),
        (lambda d: collect(d, by="seed"), "by must be 'grid' or 'run', got 'seed'"),
        (lambda d: collect(d, unfinished="yes"), "unfinished must be 'refuse' or 'include', got 'yes'"),
    ],
    ids=["directory", "nothing", "not there", "by", "unfinished"],
)
def test_mistakes_are_refused(tmp_path, call, message):
    record(tmp_path, TINY, [1.0])
    with pytest.raises(UserError, match=message):
        call(tmp_path)


def test_a_damaged_history_is_named(tmp_path):
    record(tmp_path, TINY, [1.0])
    (tmp_path / run_name(TINY) / "history.json").write_text("{")
    with pytest.raises(UserError, match=r"history.json is not valid JSON .*; delete it and train again"):
        collect(tmp_path)


def test_nothing_is_padded_silently():
    """Other coordinates are an error, never NaN."""
    first, second = grid(TINY, seed=range(2))
    parts = {
        "a": xr.Dataset({"x": ("step", [1.0, 2.0])}, {"step": [1, 2]}),
        "b": xr.Dataset({"x": ("step", [1.0, 2.0])}, {"step": [1, 3]}),
    }
    with pytest.raises(UserError, match=r"do not have the same coordinates along seed .*; collect them separately"):
        assemble(parts, {"a": first, "b": second}, "grid")
    joined = concatenate([parts["a"], parts["a"] + 1], xr.Variable(("seed",), [0, 1]))
    assert joined.x.values.tolist() == [[1.0, 2.0], [2.0, 3.0]]
