import dataclasses
import shutil

import numpy as np
import pytest

import lyapkit
from wcrnn_models import TrainConfig, UserError, analyze_checkpoint, train
from wcrnn_models.checkpoints import list_checkpoints
from wcrnn_models.sweeps import Outcome, analyze, analyze_sweep, collect_analyses, grid, run_name
from wcrnn_models.sweeps.choose_pool import make_pool

TINY = TrainConfig(
    length=6,
    hidden_size=4,
    batch_size=4,
    epochs=1,
    iterations_per_epoch=8,
    test_size=10,
    evaluate_every=4,
    save_at=(4, 6),
)
CONFIGS = grid(TINY, r=[0.9, 1.0], seed=range(2))
OPTIONS = dict(samples=2, trajectories=1, hessian_k=2)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    directory = tmp_path_factory.mktemp("trained")
    for config in CONFIGS:
        train(config, directory / run_name(config))
    return directory


@pytest.fixture
def directory(trained, tmp_path):
    copied = tmp_path / "sweep"
    shutil.copytree(trained, copied)
    return copied


class InProcess:
    def __init__(self, task):
        self.task, self.ended = task, []

    def room(self):
        return 1 - len(self.ended)

    def submit(self, job):
        self.ended.append(job)

    def outcomes(self, seconds):
        return [
            outcome
            for job in iter(lambda: self.ended.pop() if self.ended else None, None)
            for outcome in self.task(job)
        ]

    def close(self):
        pass


@pytest.fixture
def in_process(monkeypatch):
    monkeypatch.setattr(analyze, "make_pool", lambda task, workers, scheduler: InProcess(task))


def test_every_checkpoint_of_every_run(directory, in_process):
    """As `analyze_checkpoint` gives it, with all four analyses."""
    outcomes = analyze_sweep(directory, CONFIGS[:2], **OPTIONS)
    files = [file for config in CONFIGS[:2] for file in list_checkpoints(directory / run_name(config))]
    assert set(outcomes) == {f"{file.parent.parent.name}/{file.stem}" for file in files}
    assert {outcome.status for outcome in outcomes.values()} == {"finished"}
    tree = lyapkit.load(directory / run_name(CONFIGS[0]) / "analyses" / "iteration-00000006.nc")
    expected = analyze_checkpoint(
        directory / run_name(CONFIGS[0]) / "checkpoints" / "iteration-00000006.safetensors", **OPTIONS
    )
    assert set(tree.children) == set(expected.children)
    for name, variable in (
        ("lyapunov_spectrum", "lyapunov_exponent"),
        ("variational_term", "log_singular_value"),
        ("gradient_propagation", "gradient_norm"),
        ("hessian_spectrum", "eigenvalue"),
    ):
        np.testing.assert_allclose(tree[name][variable], expected[name][variable], rtol=1e-12)


@pytest.mark.slow
def test_analyses_over_seed_r_and_checkpoint(directory, in_process):
    analyze_sweep(directory, include=["lyapunov_spectrum", "hessian_spectrum"], **OPTIONS)
    ds = collect_analyses(directory, "lyapunov_spectrum")
    assert ds.lyapunov_exponent.dims == ("seed", "r", "checkpoint", "trajectory", "exponent")
    assert set(ds.checkpoint.values) >= {0, 4, 6, 8}
    for config in CONFIGS:
        file = directory / run_name(config) / "analyses" / "iteration-00000008.nc"
        expected = lyapkit.load(file)["lyapunov_spectrum"].lyapunov_exponent
        np.testing.assert_array_equal(ds.lyapunov_exponent.sel(seed=config.seed, r=config.r, checkpoint=8), expected)
    curvature = collect_analyses(directory, "hessian_spectrum", CONFIGS[:1])
    assert curvature.eigenvalue.dims == ("checkpoint", "rank")
    assert curvature.attrs["analysis"] == "hessian_spectrum"
    by_run = collect_analyses(directory, "hessian_spectrum", CONFIGS[:3], by="run")
    assert by_run.eigenvalue.dims == ("run", "checkpoint", "rank")


def test_one_bad_checkpoint_is_named_and_does_not_stop_the_rest(directory, in_process):
    chosen = CONFIGS[:2]
    bad = directory / run_name(CONFIGS[1]) / "checkpoints" / "iteration-00000006.safetensors"
    bad.write_bytes(bad.read_bytes()[:-10])
    outcomes = analyze_sweep(directory, chosen, include=["lyapunov_spectrum"], **OPTIONS)
    failed = [outcome for outcome in outcomes.values() if outcome.status == "failed"]
    assert [outcome.name for outcome in failed] == [f"{run_name(CONFIGS[1])}/iteration-00000006"]
    assert "iteration-00000006.safetensors" in failed[0].message
    assert "truncated" in failed[0].message
    collected = set(collect_analyses(directory, "lyapunov_spectrum", chosen).checkpoint.values)
    assert 6 not in collected
    assert {0, 4, 8} <= collected


def test_analysed_checkpoints_are_skipped_unless_something_changed(directory, in_process, monkeypatch):
    calls, original = [], analyze_checkpoint

    def counted(file, **options):
        calls.append(file.stem)
        return original(file, **options)

    monkeypatch.setattr(analyze, "analyze_checkpoint", counted)
    one = CONFIGS[:1]
    options = dict(include=["lyapunov_spectrum"], **OPTIONS)
    total = len(analyze_sweep(directory, one, **options))
    assert len(calls) == total
    analyze_sweep(directory, one, **options)
    assert len(calls) == total
    result = directory / run_name(CONFIGS[0]) / "analyses" / "iteration-00000004.nc"
    result.write_bytes(result.read_bytes()[:100])  # half written
    analyze_sweep(directory, one, **options)
    assert calls[total:] == ["iteration-00000004"]
    del calls[:]
    other = directory / run_name(CONFIGS[0]) / "checkpoints"
    for suffix in (".safetensors", ".json"):
        shutil.copyfile(other / f"iteration-00000000{suffix}", other / f"iteration-00000006{suffix}")
    analyze_sweep(directory, one, **options)
    assert calls == ["iteration-00000006"]
    del calls[:]
    analyze_sweep(directory, one, checkpoints="ends", **{**options, "samples": 3})
    assert calls == ["iteration-00000000", "iteration-00000008"]


def test_analyses_by_other_defaults_are_done_again(directory, in_process, monkeypatch):
    """A default that changes, or an argument that is new, changes what the same options ask for."""
    seeds, original = [], analyze_checkpoint

    def with_default(seed):
        def changed(file, *, sample_seed=seed, **options):
            seeds.append(sample_seed)
            return original(file, sample_seed=sample_seed, **options)

        return changed

    options = dict(checkpoints="first", include=["lyapunov_spectrum"], **OPTIONS)
    for seed in (0, 0, 5, 5):
        monkeypatch.setattr(analyze, "analyze_checkpoint", with_default(seed))
        analyze_sweep(directory, CONFIGS[:1], **options)
    assert seeds == [0, 5]


def test_the_untrained_network_alone(directory, in_process):
    options = dict(include=["lyapunov_spectrum"], **OPTIONS)
    outcomes = analyze_sweep(directory, CONFIGS[:2], checkpoints="first", **options)
    assert list(outcomes) == [f"{run_name(config)}/iteration-00000000" for config in CONFIGS[:2]]
    collected = collect_analyses(directory, "lyapunov_spectrum", CONFIGS[:2])
    assert collected.checkpoint.values.tolist() == [0]
    file = directory / run_name(CONFIGS[1]) / "checkpoints" / "iteration-00000000.safetensors"
    expected = analyze_checkpoint(file, **options)["lyapunov_spectrum"].lyapunov_exponent
    np.testing.assert_array_equal(collected.lyapunov_exponent.sel(seed=CONFIGS[1].seed, checkpoint=0), expected)


@pytest.mark.slow
def test_in_processes(directory):
    """A process that is killed is reported for all its checkpoints."""
    outcomes = analyze_sweep(directory, workers=2, checkpoints="ends", include=["lyapunov_spectrum"], **OPTIONS)
    assert {outcome.status for outcome in outcomes.values()} == {"finished"}
    assert len(outcomes) == 8


def test_a_killed_process_is_reported(directory, monkeypatch):
    killed = InProcess(lambda job: [Outcome(name, "killed", "its process was ended by SIGKILL") for name in job.names])
    monkeypatch.setattr(analyze, "make_pool", lambda *_: killed)
    outcomes = analyze_sweep(directory, **OPTIONS)
    assert {outcome.status for outcome in outcomes.values()} == {"failed"}
    assert {outcome.message for outcome in outcomes.values()} == {"its process was ended by SIGKILL"}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda d: analyze_sweep(d, checkpoints="last"), "checkpoints must be 'all', 'ends' or 'first', got 'last'"),
        (lambda d: analyze_sweep(d, [dataclasses.replace(TINY, seed=9)]), "holds no run"),
        (lambda d: analyze_sweep(d / "missing"), "there is no directory"),
        (lambda d: analyze_sweep(d, workers=0), "workers must be at least 1"),
        (lambda d: collect_analyses(d, "lyapunov_spectrum"), "has not been analysed; call analyze_sweep first"),
    ],
    ids=["which", "run", "directory", "workers", "not analysed"],
)
def test_mistakes_are_refused(directory, call, message):
    with pytest.raises(UserError, match=message):
        call(directory)


def test_runs_without_checkpoints_and_analyses_that_were_not_done_are_refused(directory, in_process):
    analyze_sweep(directory, CONFIGS[:1], include=["lyapunov_spectrum"], **OPTIONS)
    with pytest.raises(UserError, match=r"has no 'hessian_spectrum', only .*lyapunov_spectrum.*; analyse the"):
        collect_analyses(directory, "hessian_spectrum", CONFIGS[:1])
    analyze_sweep(directory, CONFIGS[1:2], include=["lyapunov_spectrum"], **OPTIONS)
    for run, kept in ((CONFIGS[0], "iteration-00000004.nc"), (CONFIGS[1], "iteration-00000006.nc")):
        for file in (directory / run_name(run) / "analyses").glob("*.nc"):
            if file.name != kept:
                file.unlink()
    with pytest.raises(UserError, match="no analysed checkpoint is common to the 2 runs"):
        collect_analyses(directory, "lyapunov_spectrum", CONFIGS[:2])
    shutil.rmtree(directory / run_name(CONFIGS[0]) / "checkpoints")
    with pytest.raises(UserError, match=r"the run .* has no checkpoint; train it first, or choose configs"):
        analyze_sweep(directory)


def test_a_pool_needs_one_place(tmp_path):
    with pytest.raises(UserError, match="workers does not go with scheduler"):
        make_pool(analyze.analyze, 1, "tcp://127.0.0.1:1")
