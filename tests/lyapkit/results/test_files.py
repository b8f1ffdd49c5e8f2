"""Results go to files whole or not at all, and come back as they were."""

import errno
import math
import multiprocessing
import os
import shutil
import signal
import stat
import sys
import time

import h5netcdf
import numpy as np
import pytest
import xarray as xr

import lyapkit
from lyapkit import save
from lyapkit.analyze import ANALYSES as INCLUDED
from lyapkit.results.temporary import temporary_file
from sample_results import ANALYSES, annihilating, tree


def test_infinities_survive_a_file(tmp_path) -> None:
    ds = annihilating()
    assert ds.lyapunov_exponent.values[0].tolist() == [math.log(1.5), math.log(0.5), -math.inf]
    assert ds.memory_timescale.values[0, [0, 2]].tolist() == [math.inf, 0]
    np.testing.assert_array_equal(ds.standard_error.values[0], [math.inf, math.inf, math.nan])
    xr.testing.assert_identical(lyapkit.load(lyapkit.save(ds, tmp_path / "x.nc")), ds)


@pytest.mark.parametrize("name", ANALYSES)
def test_a_dataset_comes_back_identical(tmp_path, name: str) -> None:
    ds = ANALYSES[name]()
    path = lyapkit.save(ds, str(tmp_path / "result.nc"))
    assert path == tmp_path / "result.nc"
    loaded = lyapkit.load(str(path))
    assert isinstance(loaded, xr.Dataset)
    xr.testing.assert_identical(loaded, ds)
    assert {key: loaded[key].dtype for key in loaded.variables} == {key: ds[key].dtype for key in ds.variables}
    path.unlink()  # the file is closed
    assert float(loaded[next(iter(loaded.data_vars))].values.sum()) == float(ds[next(iter(ds.data_vars))].values.sum())


def test_a_tree_comes_back_identical_and_other_readers_open_it(tmp_path) -> None:
    result = tree()
    result.attrs["note"] = "of the whole tree"
    path = lyapkit.save(result, tmp_path / "tree.nc")
    loaded = lyapkit.load(path)
    assert isinstance(loaded, xr.DataTree)
    assert tuple(loaded.children) == INCLUDED
    xr.testing.assert_identical(loaded, result)
    with xr.open_datatree(path, engine="h5netcdf") as opened:
        xr.testing.assert_identical(opened.load(), result)
    with xr.open_dataset(path, group="hessian_spectrum", engine="h5netcdf") as opened:
        xr.testing.assert_identical(opened.load(), result["hessian_spectrum"].to_dataset())
    with h5netcdf.File(path) as file:
        stored = file["lyapunov_spectrum"]["lyapunov_exponent"]
        assert stored.dimensions == ("trajectory", "exponent")
        assert stored.attrs["units"] == "nats per step"
        np.testing.assert_array_equal(stored[...], result["lyapunov_spectrum/lyapunov_exponent"])


def test_a_tree_without_children_is_a_dataset_again(tmp_path) -> None:
    ds = annihilating()
    xr.testing.assert_identical(lyapkit.load(lyapkit.save(xr.DataTree(ds), tmp_path / "x.nc")), ds)


@pytest.mark.parametrize("kind", [xr.Dataset, xr.DataTree])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=["disk full", "interrupted"])
def test_a_failing_save_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, kind, error) -> None:
    old = annihilating()
    path = lyapkit.save(old, tmp_path / "x.nc")
    before = path.read_bytes()

    def half(self, target, **options) -> None:
        target.write_bytes(b"half a fi")
        raise error

    monkeypatch.setattr(kind, "to_netcdf", half)
    with pytest.raises(type(error)):
        lyapkit.save(old if kind is xr.Dataset else xr.DataTree(old), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_without_room_is_refused_beforehand(tmp_path, monkeypatch) -> None:
    path = lyapkit.save(annihilating(), tmp_path / "x.nc")
    before, usage = path.read_bytes(), shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda directory: usage._replace(free=100_000))
    with pytest.raises(OSError, match=r"No space left on device: \d+ bytes are needed, 100000 are free") as error:
        lyapkit.save(annihilating(), path)
    assert error.value.errno == errno.ENOSPC
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_save_replaces_the_old_file_and_leaves_nothing_else(tmp_path) -> None:
    path = lyapkit.save(ANALYSES["variational_term"](), tmp_path / "x.nc")
    lyapkit.save(annihilating(), path)
    xr.testing.assert_identical(lyapkit.load(path).lyapunov_exponent, annihilating().lyapunov_exponent)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_files_are_as_readable_as_any_other(tmp_path, umask: int) -> None:
    previous = os.umask(umask)
    try:
        path = lyapkit.save(annihilating(), tmp_path / "x.nc")
        assert os.umask(umask) == umask  # and the setting itself is left alone
    finally:
        os.umask(previous)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


def saved(folder, change) -> str:
    path = folder / "changed.nc"
    path.write_bytes(change(lyapkit.save(tree(), folder / "tree.nc").read_bytes()))
    return path


FILE_REFUSALS = {
    "save a dictionary": (lambda folder: lyapkit.save({}, folder / "x.nc"), TypeError, "Dataset or DataTree, got dict"),
    "save an array": (
        lambda folder: lyapkit.save(annihilating().lyapunov_exponent, folder / "x.nc"),
        TypeError,
        "Dataset or DataTree, got DataArray",
    ),
    "save into nowhere": (
        lambda folder: lyapkit.save(annihilating(), folder / "no" / "x.nc"),
        FileNotFoundError,
        "no does not exist; create it first",
    ),
    "save over a directory": (lambda folder: lyapkit.save(annihilating(), folder), IsADirectoryError, "is a directory"),
    "load nothing": (lambda folder: lyapkit.load(folder / "x.nc"), FileNotFoundError, r"no result file .*x\.nc"),
    "load a directory": (lambda folder: lyapkit.load(folder), FileNotFoundError, "no result file"),
    "load a text": (
        lambda folder: lyapkit.load(saved(folder, lambda _: b"a,b\n1,2\n")),
        ValueError,
        "not a result file",
    ),
    "load an empty file": (lambda folder: lyapkit.load(saved(folder, lambda _: b"")), ValueError, "not a result file"),
    "load half a file": (
        lambda folder: lyapkit.load(saved(folder, lambda content: content[: len(content) // 2])),
        ValueError,
        r"changed\.nc is not a result file \(netCDF-4\): .*truncated",
    ),
    "load all but the last byte": (
        lambda folder: lyapkit.load(saved(folder, lambda content: content[:-1])),
        ValueError,
        "not a result file",
    ),
}


@pytest.mark.parametrize("name", FILE_REFUSALS)
def test_refusals_say_what_is_wrong(tmp_path, name: str) -> None:
    action, error, message = FILE_REFUSALS[name]
    with pytest.raises(error, match=message):
        action(tmp_path)
    assert not list(tmp_path.glob(".*"))  # no temporary files either


def test_links_stay_and_their_targets_are_written(tmp_path) -> None:
    target, link = tmp_path / "target.nc", tmp_path / "link.nc"
    target.write_text("old")
    link.symlink_to(target)
    assert lyapkit.save(annihilating(), link) == link
    assert link.is_symlink()
    assert set(lyapkit.load(target)) == set(annihilating())


def test_devices_and_pipes_are_refused(tmp_path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(ValueError, match="not a regular file"):
        lyapkit.save(annihilating(), pipe)
    assert pipe.is_fifo()


def test_files_of_other_programs_are_refused(tmp_path) -> None:
    xr.Dataset({"a": ("x", [1.0])}).to_netcdf(tmp_path / "other.nc", engine="h5netcdf")
    with pytest.raises(ValueError, match="holds no results"):
        lyapkit.load(tmp_path / "other.nc")


def test_long_names_fit(tmp_path) -> None:
    path = tmp_path / ("n" * 240 + ".nc")
    lyapkit.save(annihilating(), path)
    assert path.is_file()


def killed_while_saving(folder: str) -> None:
    xr.Dataset.to_netcdf = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
    save(annihilating(), f"{folder}/x.nc")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_what_killed_writers_left_is_deleted_by_the_next(tmp_path, monkeypatch) -> None:
    process = multiprocessing.get_context("spawn").Process(target=killed_while_saving, args=(str(tmp_path),))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 1
    of_others = tmp_path / ".lyapkit-0123456789ab-1-x.partial"
    of_older = tmp_path / ".lyapkit-x.partial"
    for path in (of_others, of_older):
        path.touch()
    with temporary_file(tmp_path) as mine:  # of a process that is alive
        save(annihilating(), tmp_path / "x.nc")
        assert sorted(tmp_path.iterdir()) == sorted([mine, of_others, of_older, tmp_path / "x.nc"])
    later = time.time() + 4000
    monkeypatch.setattr(time, "time", lambda: later)
    save(annihilating(), tmp_path / "x.nc")
    assert [path.name for path in tmp_path.iterdir()] == ["x.nc"]


def test_a_small_file_cannot_ask_for_much_memory(tmp_path) -> None:
    path = save(annihilating(), tmp_path / "x.nc")
    with h5netcdf.File(path, "a") as file:  # chunks that were never written take no room in a file
        file.dimensions["long"], file.dimensions["wide"] = 2**20, 2**14
        file.create_variable("bomb", ("long", "wide"), "f8", chunks=(2**10, 2**10))
    assert path.stat().st_size < 2**20
    with pytest.raises(ValueError, match=r"x\.nc is not a result file .*would take 137\d+ bytes of memory.*damaged"):
        lyapkit.load(path)
