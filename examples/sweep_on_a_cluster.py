r"""A sweep on a cluster
====================

Many networks, each trained in a directory of its own by whichever worker is free, analysed and put together into one
Dataset. Here the cluster is two processes on this machine; on a real one only the line that starts it is another.

    python examples/sweep_on_a_cluster.py

The same from a shell, by processes of this machine, is

.. code-block:: console

   $ wcrnn sweep sweeps/r --over r=0.9,0.97,1.0 --over seed=0,1 --length 20 \
       --hidden-size 16 --coupling 0.02 --learning-rate 0.2 --epochs 5 \
       --iterations-per-epoch 100 --test-size 500

and with ``--scheduler tcp://HOST:PORT`` by the workers of a dask scheduler.
"""

# %%
# The grid
# --------
# All combinations of three residuals and two seeds. Dask comes with ``pip install ".[cluster]"``.

import logging
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from dask.distributed import LocalCluster

import lyapkit
from wcrnn_models import (
    TrainConfig,
    analyze_sweep,
    collect,
    collect_analyses,
    grid,
    sweep,
)

base = TrainConfig(
    length=20,
    hidden_size=16,
    coupling=0.02,
    learning_rate=0.2,
    epochs=5,
    iterations_per_epoch=100,
    test_size=500,
)
configs = grid(base, r=[0.9, 0.97, 1.0], seed=[0, 1])

# %%
# Train, analyse, collect
# -----------------------
# Workers must see the directory under the same name: on a cluster, a shared disk. A killed worker loses nothing but
# the iterations since its last evaluation, and the same call after an interruption goes on. Processes import the
# script that starts them, which is why what starts them stands below ``if __name__ == "__main__"``.


def run(scheduler: str, directory: Path) -> tuple[xr.Dataset, xr.Dataset]:
    """Results of training, and spectra of the last networks, over r and seed."""
    outcomes = sweep(configs, directory, scheduler=scheduler)
    analyses = analyze_sweep(
        directory,
        checkpoints="ends",
        scheduler=scheduler,
        include=["lyapunov_spectrum"],
        trajectories=2,
    )
    assert {outcome.status for outcome in (*outcomes.values(), *analyses.values())} == {
        "finished"
    }
    spectra = collect_analyses(directory, "lyapunov_spectrum")
    return collect(directory).load(), spectra.isel(checkpoint=-1).load()


def draw(results: xr.Dataset, spectra: xr.Dataset) -> None:
    """A: learning curves. B: spectra after training, with log r (dashed)."""
    with plt.style.context("lyapkit.plots.paper"):
        _, (left, right) = plt.subplots(1, 2, figsize=(7, 2.8))
        for r, marker in zip(results.r.values, "os^", strict=True):
            curve = results.test_metric.sel(r=r).mean("seed")
            left.plot(curve.iteration, curve, marker=marker, label=f"r = {r:g}")
            lyapkit.plots.lyapunov_spectrum(
                spectra.sel(r=r, seed=0), ax=right, marker=marker
            )
            right.axhline(np.log(r), color="black", linestyle="--", linewidth=0.8)
        right.locator_params(axis="x", integer=True)
        left.set_xlabel("training iteration")
        left.set_ylabel("test RMS, mean of two seeds")
        left.legend()
        for letter, ax in zip("AB", (left, right), strict=True):
            ax.set_title(letter, fontweight="bold")


if __name__ == "__main__":
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            dashboard_address=None,
            silence_logs=logging.ERROR,
        ) as cluster,
        tempfile.TemporaryDirectory() as folder,
    ):
        results, spectra = run(cluster.scheduler_address, Path(folder))
    draw(results, spectra)
    print(results.best_metric.to_pandas().round(3))
    # the mean exponent of every trained network is log r, up to the weak coupling
    mean = spectra.lyapunov_exponent.mean(["trajectory", "exponent"])
    print(mean.to_pandas().round(4))
    assert np.allclose(mean, np.log(mean.r), atol=0.005)
    assert (results.best_metric.sel(r=1.0) < 0.15).all()

# %%
# On SLURM
# --------
# `dask-jobqueue <https://jobqueue.dask.org>`_ starts the workers as jobs; it is a package of its own. Everything else
# stays as it is:
#
# .. code-block:: python
#
#    from dask_jobqueue import SLURMCluster
#
#    cluster = SLURMCluster(cores=1, processes=1, memory="4GB", walltime="04:00:00")
#    cluster.scale(jobs=16)
#    outcomes = sweep(configs, "/shared/disk/sweeps/r", scheduler=cluster.scheduler_address)
#
# Jobs end at their wall time, finished or not. Their runs are then handed to other workers, from their last
# evaluation on; where no worker is left, the same call goes on later. A run that is killed three times without a new
# evaluation counts as failed, so evaluations should be much closer together than wall times (``evaluate_every``).
