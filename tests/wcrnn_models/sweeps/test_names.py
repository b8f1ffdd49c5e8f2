"""Names of the directories of a sweep: readable, unambiguous, and kept when the sweep goes on or grows."""

import dataclasses
import json
import threading

import pytest

from wcrnn_models import TrainConfig, UserError, collect, grid, sweep, train
from wcrnn_models.files import exclusive
from wcrnn_models.sweeps import planning, run_name
from wcrnn_models.sweeps.names import readable_names
from wcrnn_models.sweeps.planning import plan_readable

TINY = TrainConfig(length=4, hidden_size=4, batch_size=2, epochs=1, iterations_per_epoch=2, test_size=5)


def test_names_tell_what_is_swept():
    assert list(readable_names(grid(TINY, r=[0.995, 1, 1e-20], seed=[0, 10**20]), {})) == [
        *("seed=0,r=0.995", f"seed={10**20},r=0.995", "seed=0,r=1", f"seed={10**20},r=1"),
        *("seed=0,r=1e-20", f"seed={10**20},r=1e-20"),
    ]
    assert list(readable_names([TINY, TINY], {})) == ["run"]
    choices = grid(TINY, gradient_clip=[None, 0.5], save_at=[(), (1, 2)])
    assert list(readable_names(choices, {})) == [
        *("gradient_clip=None,save_at=none", "gradient_clip=None,save_at=1+2"),
        *("gradient_clip=0.5,save_at=none", "gradient_clip=0.5,save_at=1+2"),
    ]
    names = readable_names(grid(TINY, residual=["rotation"], phi=["random", -0.5, 1.0]), {})
    assert list(names) == ["phi=random", "phi=-0.5", "phi=1"]
    assert len(readable_names(grid(TINY, r=[0.1, 0.1 + 2**-56]), {})) == 2


def test_files_have_safe_names_that_stay_apart():
    """Folders, cases and characters that a file system does not tell apart."""
    files = ["a.npz", "A.npz", "/x/b.npz", "x-b.npz", "../c d.npz", "\u00e9/\n*?.npz", "CON", "x" * 300, "y" * 300]
    configs = [TrainConfig(task="arrays", data=file) for file in files]
    names = readable_names(configs, {})
    assert [names[name].data for name in names] == files
    assert len({name.casefold() for name in names}) == len(files)
    for name in names:
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789=,._+-")
        assert len(name) < 150
        assert not name.endswith(".")
    assert "data=c-d.npz" in names
    assert f"data=a.npz,{run_name(configs[0])}" in names
    assert readable_names(reversed(configs), {}).keys() == names.keys()


def test_directories_keep_their_names_when_a_sweep_grows(tmp_path):
    first = plan_readable(grid(TINY, r=[0.9, 1.0]), tmp_path)
    assert list(first) == ["r=0.9", "r=1"]
    grown = plan_readable(grid(TINY, r=[0.9, 1.0], seed=[0, 1]), tmp_path)
    assert list(grown) == ["r=0.9", "seed=1,r=0.9", "r=1", "seed=1,r=1"]
    assert plan_readable(grid(TINY, r=[0.9, 1.0], seed=[0, 1]), tmp_path) == grown
    other = plan_readable(grid(dataclasses.replace(TINY, epochs=2), r=[0.9]), tmp_path)
    assert list(other) == ["seed=0,r=0.9,epochs=2"]
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {*grown, *other}
    renamed = (tmp_path / "r=0.9").rename(tmp_path / "mine")
    assert list(plan_readable([next(iter(first.values()))], tmp_path)) == [renamed.name]


def test_a_sweep_goes_on_and_grows_in_place(tmp_path):
    """The results are those of training each by itself; nothing is trained twice."""
    configs = grid(TINY, r=[0.9, 1.0], seed=range(2))
    train(configs[3], tmp_path / run_name(configs[3]))  # of a directory with another kind of name
    assert list(sweep(configs[:1], tmp_path, workers=1)) == ["seed=0,r=0.9"]
    before = (tmp_path / "seed=0,r=0.9" / "history.json").stat().st_mtime_ns
    outcomes = sweep(configs, tmp_path, workers=1)
    assert list(outcomes) == ["seed=0,r=0.9", "seed=1,r=0.9", "seed=0,r=1", run_name(configs[3])]
    assert (tmp_path / "seed=0,r=0.9" / "history.json").stat().st_mtime_ns == before
    results = collect(tmp_path, configs)
    for number, config in enumerate(configs):
        expected = train(config, tmp_path / "alone" / str(number))
        assert results.best_metric.sel(r=config.r, seed=config.seed) == expected.best_metric
    with pytest.raises(UserError, match=r"holds no run of 1 of the configurations, such as seed=9, r=0\.9; train them"):
        collect(tmp_path, [dataclasses.replace(configs[0], seed=9)])


def test_what_has_lost_its_configuration_is_not_taken_for_another_run(tmp_path):
    first = grid(TINY, r=[0.9, 1.0])
    sweep(first, tmp_path, workers=1)
    (tmp_path / "r=0.9" / "config.json").unlink()
    kept = (tmp_path / "r=0.9" / "history.json").read_bytes()
    outcomes = sweep(grid(dataclasses.replace(TINY, epochs=2), r=[0.9, 1.0]), tmp_path, workers=1)
    assert {outcome.status for outcome in outcomes.values()} == {"finished"}
    assert "r=0.9" not in outcomes
    assert (tmp_path / "r=0.9" / "history.json").read_bytes() == kept
    again = plan_readable(first, tmp_path)
    assert "r=0.9" not in again
    for name, config in (plan_readable(first, tmp_path) | outcomes).items():
        if isinstance(config, TrainConfig):
            assert TrainConfig.from_json((tmp_path / name / "config.json").read_text()) == config


def test_a_damaged_configuration_fails_alone(tmp_path):
    configs = grid(TINY, r=[0.9, 1.0])
    plan_readable(configs, tmp_path)
    (tmp_path / "r=0.9" / "config.json").write_text("{")
    outcomes = sweep(configs, tmp_path, workers=1)
    assert [outcome.status for outcome in outcomes.values()] == ["failed", "finished"]
    assert "not valid JSON" in outcomes["r=0.9"].message


def test_one_process_plans_at_a_time(tmp_path, monkeypatch):
    """Two sweeps of different fields would give one configuration two names."""
    found = {}
    with exclusive(tmp_path):
        thread = threading.Thread(target=lambda: found.update(plan_readable([TINY], tmp_path)))
        thread.start()
        thread.join(0.5)
        assert thread.is_alive()
        assert not found
    thread.join()
    assert json.loads((tmp_path / "run" / "config.json").read_text()) == dataclasses.asdict(TINY) | {"save_at": []}
    monkeypatch.setattr(planning, "_PATIENCE", 0.0)
    with exclusive(tmp_path), pytest.raises(UserError, match="is in use by process"):
        plan_readable([TINY], tmp_path)
