import numpy as np
import pytest
import xarray as xr

from campaign_records import ended, write_analysis, write_stage
from figures.campaign.analyses import exponents
from figures.campaign.records import read_records
from figures.campaign.results import analysis_results, training_results
from figures.campaign.stage import Stage
from figures.campaign.stages import STAGES

WEIGHTS = {"recurrent.weight": (1.0, 2.0, 3.0)}


def stage(configs, dimensions, **fields):
    return Stage("s", "a stage", lambda rates: [record.config for record in configs], dimensions, **fields)


def test_results_are_over_the_dimensions_and_what_has_no_record_waits():
    planned = [ended(seed=seed, r=r, metric_name="mse") for seed in (0, 1) for r in (0.9, 1.0)]
    done = ended(seed=1, r=0.9, metrics=(0.4, 0.2, 0.3), metric_name="mse", reached=7, weights=WEIGHTS)
    found = training_results(stage(planned, ("seed", "r")), {"s": [done]})
    assert dict(found.sizes) == {"seed": 2, "r": 2, "iteration": 3, "parameter": 1}
    one = found.sel(seed=1, r=0.9)
    assert (one.best_metric, one.final_metric, one.iterations_to_minimal_performance) == (0.2, 0.3, 7)
    assert one.test_metric.values.tolist() == [0.4, 0.2, 0.3]
    assert (one.status.item(), one.learning_rate.item()) == ("finished", 0.01)
    assert [one[name].item() for name in ("norm_before", "norm_after", "norm_of_change")] == [1, 2, 3]
    others = found.where(found.status == "waiting")
    assert int((found.status == "waiting").sum()) == 3
    assert others.best_metric.isnull().all()
    assert found.norm_after.sel(seed=0).isnull().all()
    assert found.attrs["metric_name"] == "mse"


@pytest.mark.parametrize(("best", "at_edge"), [(0.01, True), (0.03, False), (0.1, True)])
def test_results_say_whether_a_rate_is_the_lowest_or_highest_that_was_tried(best, at_edge):
    tried = [
        ended(r=r, learning_rate=rate, metrics=(0.4, 0.1 if rate == best else 0.3), metric_name="mse")
        for r in (0.9, 1.0)
        for rate in (0.01, 0.03, 0.1)
    ]
    tried.append(ended(r=1.0, learning_rate=0.3, metrics=(0.4, 0.3), metric_name="mse"))  # one more, for one network
    planned = [ended(r=r, learning_rate=best, seed=seed) for r in (0.9, 1.0) for seed in (0, 1)]
    found = training_results(
        stage(planned, ("r", "seed"), needs=("add100_pilot",)), {"s": planned[:1], "add100_pilot": tried}
    )
    assert found.rate_at_edge.sel(r=0.9).values.tolist() == [at_edge] * 2
    assert found.rate_at_edge.sel(r=1.0).values.tolist() == [best == 0.01] * 2
    assert not training_results(stage(planned, ("r", "seed")), {"s": planned}).rate_at_edge.any()


def test_courses_of_different_lengths_share_one_axis():
    short, long = ended(batch_size=2, metrics=(0.1, 0.2)), ended(batch_size=1, metrics=(0.1, 0.3, 0.5))
    short.result.iterations[:] = [0, 15]
    found = training_results(stage([short, long], ("batch_size",)), {"s": [short, long]})
    assert found.iteration.values.tolist() == [0, 10, 15, 20]
    np.testing.assert_array_equal(found.test_metric.sel(batch_size=2), [0.1, np.nan, 0.2, np.nan])
    np.testing.assert_array_equal(found.test_metric.sel(batch_size=1), [0.1, 0.3, np.nan, 0.5])


def test_a_dimension_of_one_value_stays_and_a_learning_rate_is_one():
    planned = [ended(learning_rate=rate) for rate in (0.1, 0.2)]
    found = training_results(stage(planned, ("r", "learning_rate")), {"s": planned})
    assert found.best_metric.dims == ("r", "learning_rate")


def test_trainings_that_are_no_grid_are_over_runs():
    planned = [ended(model="wcrnn", seed=1), ended(model="elman", r=0.995, seed=2)]
    found = training_results(stage(planned, ("model", "seed"), by="run"), {"s": planned[:1]})
    assert found.best_metric.dims == ("run",)
    assert found.model.values.tolist() == ["wcrnn", "elman"]
    assert found.status.values.tolist() == ["finished", "waiting"]


@pytest.mark.parametrize("each", STAGES, ids=lambda each: each.name)
def test_every_stage_has_results_before_anything_is_recorded(each):
    found = training_results(each, {})
    assert bool((found.status == "waiting").all())
    assert found.status.dims == (("run",) if each.by == "run" else each.dimensions)


def exponent(values, checkpoints):
    variable = xr.Variable(("checkpoint", "exponent"), np.array(values, dtype=float))
    return xr.Dataset({"lyapunov_exponent": variable, "text": "not a number"}, {"checkpoint": checkpoints})


def test_analyses_have_nan_where_a_network_or_a_checkpoint_is_missing(tmp_path):
    def measured(config):
        if config.r != 0.95 or config.seed == 2:
            return {}
        ends = [0, 9] if config.seed else [0, 3, 9]
        return {"lyapunov_spectrum": exponent([[config.seed + end] * 2 for end in ends], ends)}

    write_analysis(tmp_path, "psmnist_strength", measured)
    (chosen,) = [each for each in STAGES if each.name == "psmnist_strength"]
    found = analysis_results(chosen, {}, tmp_path)
    assert list(found) == ["lyapunov_spectrum"]
    values = found["lyapunov_spectrum"].lyapunov_exponent
    assert dict(values.sizes) == {"seed": 3, "r": 4, "checkpoint": 3, "exponent": 2}  # the four classes alone
    assert values.sel(r=0.95, exponent=0).values.tolist()[0] == [0, 3, 9]
    np.testing.assert_array_equal(values.sel(r=0.95, exponent=0)[1:], [[1, np.nan, 10], [np.nan] * 3])
    assert values.sel(r=0.995).isnull().all()


def test_a_stage_without_analyses_has_none(tmp_path):
    config = ended(seed=1)
    analysed = stage([config], ("seed",), analyses=lambda _: (exponents("ends"),))
    assert analysis_results(stage([config], ("seed",)), {}, tmp_path) == {}
    assert analysis_results(analysed, {}, tmp_path) == {}


def test_records_that_are_written_are_read_with_the_rates_of_the_pilot(tmp_path):
    def pilot(config):
        return {"metrics": (0.1, 0.9 if config.learning_rate == 2e-3 else 0.2)}

    write_stage(tmp_path, "rate_pilot", pilot)
    write_stage(tmp_path, "smnist_strength", lambda config: {"metrics": (0.1, config.r / 2)} if config.seed else None)
    records = {each.name: read_records(tmp_path, each.name) for each in STAGES}
    (chosen,) = [each for each in STAGES if each.name == "smnist_strength"]
    found = training_results(chosen, records)
    assert found.learning_rate.sel(seed=1).values.tolist() == [2e-3] * 8
    assert found.best_metric.sel(seed=2, r=0.95) == 0.475
    assert found.best_metric.sel(seed=0).isnull().all()
