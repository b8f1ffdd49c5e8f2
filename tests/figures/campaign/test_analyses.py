import dataclasses

import numpy as np
import pytest

from figures.campaign.analyses import Analysis, analyse, curvature, exponents, gradients, read_analyses, results_file
from figures.campaign.runner import Campaign
from figures.campaign.stage import Stage
from figures.campaign.stages import STAGES, strength_analyses
from figures.paper import STRENGTH_CLASSES
from lyapkit import load
from wcrnn_models.analysis import analyze_checkpoint
from wcrnn_models.sweeps.layout import run_name
from wcrnn_models.training.config import TrainConfig
from wcrnn_models.training.trainer import train

TINY = TrainConfig(
    length=6, hidden_size=4, batch_size=4, epochs=1, iterations_per_epoch=6, test_size=200, evaluate_every=3, loss="mse"
)


def test_analyses_are_those_of_the_checkpoints(tmp_path):
    result = train(dataclasses.replace(TINY, save_at=(2,)), tmp_path / "run")
    asked = (exponents("all"), gradients("first"), curvature("hessian_recurrent", "ends", k=3))
    analyse(tmp_path / "run", asked, tmp_path / "folder" / "results.nc")
    found = read_analyses(tmp_path / "folder" / "results.nc")
    assert list(found) == ["lyapunov_spectrum", "gradient_propagation", "hessian_recurrent"]
    assert found["lyapunov_spectrum"].checkpoint.values.tolist() == sorted({0, 2, 6, result.best_iteration})
    assert found["gradient_propagation"].checkpoint.values.tolist() == [0]
    last = tmp_path / "run" / result.checkpoints["final"]
    expected = analyze_checkpoint(
        last, include=("hessian_spectrum",), samples=128, hessian_k=3, parameters=("recurrent.weight", "recurrent.bias")
    )["hessian_spectrum"]
    curved = found["hessian_recurrent"].sel(checkpoint=6)
    np.testing.assert_allclose(curved.eigenvalue, expected.eigenvalue, rtol=1e-6)
    alone = analyze_checkpoint(last, include=("lyapunov_spectrum",), samples=1, trajectories=1)["lyapunov_spectrum"]
    np.testing.assert_allclose(
        found["lyapunov_spectrum"].sel(checkpoint=6).lyapunov_exponent, alone.lyapunov_exponent, rtol=1e-6
    )
    running = found["lyapunov_spectrum"].running_exponent.sel(checkpoint=6)
    assert running.step.values.tolist() == [6]  # those of long sequences are at every 14th step
    np.testing.assert_allclose(running.isel(step=-1), alone.lyapunov_exponent, rtol=1e-3)


def test_a_stage_analyses_what_it_trains_and_again_what_has_lost_its_file(tmp_path):
    stage = Stage("s", "", lambda rates: [TINY], ("seed",), analyses=lambda config: (exponents("ends"),))
    lines = []
    campaign = Campaign((stage,), tmp_path / "records", tmp_path / "runs", say=lines.append)
    campaign.work()
    path = results_file(campaign.records, "s", run_name(TINY))
    assert read_analyses(path)["lyapunov_spectrum"].checkpoint.values.tolist() == [0, 6]
    assert len(lines) == 1
    campaign.work()
    assert len(lines) == 1
    path.unlink()
    campaign.work()
    assert path.exists()
    assert len(campaign.read()["s"]) == 1
    assert isinstance(load(path).attrs, dict)


def test_recurrent_curvature_is_that_of_the_recurrent_weights_and_their_bias():
    options = curvature("name", "first", k=2).options
    assert options["parameters"] == ("recurrent.weight", "recurrent.bias")
    assert curvature("name", "first", k=2, recurrent=False).options["parameters"] is None


@pytest.mark.parametrize("r", [*STRENGTH_CLASSES, 0.98])
def test_the_classes_of_fig_2_are_analysed_in_full(r):
    names = [each.name for each in strength_analyses(TrainConfig(task="smnist", r=r))]
    expected = ["lyapunov_spectrum"]
    if r in STRENGTH_CLASSES:
        expected += ["variational_term", "gradient_propagation", "hessian_all", "hessian_recurrent"]
        expected += ["ggn_recurrent", "residual_recurrent"]
    assert names == expected


def test_all_analyses_of_all_stages_have_names_of_their_own():
    from figures.campaign.rates import Rates

    for stage in STAGES:
        for config in stage.configs(Rates({})):
            analyses = stage.analyses(config)
            assert all(isinstance(each, Analysis) for each in analyses)
            assert len({each.name for each in analyses}) == len(analyses)
