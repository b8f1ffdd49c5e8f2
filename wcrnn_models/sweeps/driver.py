"""Train every configuration of a sweep once, through any interruptions."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from lyapkit_command.stopping import orderly
from wcrnn_models.errors import UserError
from wcrnn_models.sweeps.choose_pool import make_pool
from wcrnn_models.sweeps.groups import groups
from wcrnn_models.sweeps.layout import plan, read_result
from wcrnn_models.sweeps.planning import plan_readable
from wcrnn_models.sweeps.pools import Pool
from wcrnn_models.sweeps.table import LiveTable, Row, State
from wcrnn_models.sweeps.worker import Job, Outcome, complete, work
from wcrnn_models.training.config import TrainConfig
from wcrnn_models.training.result import TrainResult
from wcrnn_models.training.trainer import known_device

_BUSY_SECONDS = 5.0  # before a run that another process is at is tried again
_POLL_SECONDS = 1.0
_IDLE_SECONDS = 0.2
_KILLS = 3  # in a row without a new evaluation, after which a run counts as failed


def sweep(
    configs: Iterable[TrainConfig],
    directory: str | Path,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    together: int = 1,
    device: str = "cpu",
    readable: bool = True,
    progress: bool = False,
) -> dict[str, Outcome]:
    """Train many configurations, each in a directory of its own.

    Finished runs are skipped, and unfinished ones resume from their last evaluation. So the same call completes the
    sweep after any interruption. The results equal those of `train`, called for one configuration after the other with
    one thread. Several sweeps may share a directory, even on several machines: one of them trains a run, and the others
    wait for it. A process that is killed is replaced. A run that fails is reported, and does not stop the others.

    Processes import the script that calls this function. So the call must stand below ``if __name__ == "__main__":``,
    as always if Python starts processes.

    Args:
        configs: Configurations to train, such as a `grid`. Of equal ones, only one is trained.
        directory: Directory of the sweep; made if missing.
        workers: Number of processes at a time on this machine, with one thread each. The default is the number of
            cores, or one if ``device`` is not the CPU.
        scheduler: Address of a dask.distributed scheduler, whose workers train instead. They must see the directory
            under the same name.
        together: Number of networks that a worker trains at once, by `train_ensemble`. More than one is meant for GPUs.
        device: Device to train on, such as ``"cuda"``.
        readable: True to name a new directory by what differs between the runs, such as ``seed=0,r=0.995``. False to
            name it by a hash of its configuration, `run_name`, which does not depend on the other runs. Runs whose
            directory has a readable name are found by their configuration.
        progress: True to show a table of the runs on standard error.

    Returns:
        The outcome of every run, by the name of its directory. `collect` makes one Dataset of the results.

    Raises:
        UserError: If there is nothing to train, a number is out of range, ``directory`` is a file or cannot be
            made or written, or the scheduler cannot be reached.

    Example:
        >>> import tempfile
        >>> from wcrnn_models.sweeps import collect, grid, sweep
        >>> tiny = TrainConfig(length=4, hidden_size=4, batch_size=2, epochs=1, iterations_per_epoch=2, test_size=5)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     outcomes = sweep(grid(tiny, r=[0.9, 1.0], seed=range(2)), folder, workers=1)
        ...     results = collect(folder)
        >>> {outcome.status for outcome in outcomes.values()}, dict(results.best_metric.sizes)
        ({'finished'}, {'seed': 2, 'r': 2})
    """
    if together < 1:
        raise UserError(f"together must be at least 1, got {together}.")
    directory = Path(directory).absolute()
    configs = list(configs)
    if not configs:
        raise UserError("the sweep has no configuration; give at least one.")
    if scheduler is None:
        known_device(device)
    if workers is None and scheduler is None and device != "cpu":
        workers = 1
    with orderly(), closing(make_pool(work, workers, scheduler)) as pool:
        planned = (plan_readable if readable else plan)(configs, directory)  # after all that may be refused
        table = LiveTable(sys.stderr) if progress else None
        return _Driver(planned, directory, pool, together, device, table).until_done()


class _Driver:
    """Distribution of runs to a pool until each has ended."""

    def __init__(
        self,
        planned: dict[str, TrainConfig],
        directory: Path,
        pool: Pool[Job],
        together: int,
        device: str,
        table: LiveTable | None,
    ) -> None:
        self.planned, self.directory, self.pool = planned, directory, pool
        self.together, self.device, self.table = together, device, table
        self.ended: dict[str, Outcome] = {}
        self.states: dict[str, State] = dict.fromkeys(planned, "waiting")
        self.ready_at = dict.fromkeys(planned, 0.0)  # when a run may be handed out
        self.rows: dict[str, Row] = {}
        self.kills: dict[str, list[int]] = {name: [] for name in planned}  # iterations reached at each

    def until_done(self) -> dict[str, Outcome]:
        """Return the outcome of every run."""
        for name in self.planned:
            self._skip_if_complete(name)
        while len(self.ended) < len(self.planned):
            self._hand_out()
            self._show()
            for outcome in self.pool.outcomes(_POLL_SECONDS):
                self._take(outcome)
            if not any(state == "running" for state in self.states.values()):
                time.sleep(_IDLE_SECONDS)  # the remaining runs are trained elsewhere
        self._show()
        return {name: self.ended[name] for name in self.planned}

    def _hand_out(self) -> None:
        now = time.monotonic()
        ready = {
            name: config
            for name, config in self.planned.items()
            if self.states[name] in ("waiting", "elsewhere") and self.ready_at[name] <= now
        }
        for names in groups(ready, self.together)[: self.pool.room()]:
            names = [name for name in names if not self._skip_if_complete(name)]
            if names:
                configs = {name: self.planned[name].to_json() for name in names}
                self.pool.submit(Job(self.directory, configs, self.device))
                self.states.update(dict.fromkeys(names, "running"))

    def _take(self, outcome: Outcome) -> None:
        name = outcome.name
        if outcome.status == "busy":
            self.states[name] = "elsewhere"
            self.ready_at[name] = time.monotonic() + _BUSY_SECONDS
        elif outcome.status == "killed":
            reached = self._result(name)
            self.kills[name].append(reached.iterations[-1] if reached is not None and reached.iterations else -1)
            if self.kills[name][-_KILLS:].count(self.kills[name][-1]) == _KILLS:
                self._end(Outcome(name, "failed", f"{outcome.message}, {_KILLS} times without a new evaluation"))
            else:
                self.states[name] = "waiting"
        else:
            self._end(outcome)

    def _skip_if_complete(self, name: str) -> bool:
        try:
            outcome = complete(self.directory / name)
        except UserError:  # damaged; the worker says so
            return False
        if outcome is not None:
            self._end(outcome)
        return outcome is not None

    def _end(self, outcome: Outcome) -> None:
        self.ended[outcome.name] = outcome
        self.states[outcome.name] = outcome.ended

    def _result(self, name: str) -> TrainResult | None:
        try:
            return read_result(self.directory / name)
        except UserError:
            return None

    def _show(self) -> None:
        if self.table is None:
            return
        for name, state in self.states.items():
            if state in ("running", "elsewhere") or name not in self.rows or self.rows[name].state != state:
                self.rows[name] = Row(self.planned[name], state, self._result(name))
        self.table.show(self.rows)
