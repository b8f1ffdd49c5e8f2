"""One process of this machine for every job."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Generic

from wcrnn_models.sweeps.pools import J
from wcrnn_models.sweeps.worker import Outcome


class ProcessPool(Generic[J]):
    """One process for every job, so that a process that is killed takes nothing else with it.

    Args:
        workers: How many at a time.
        task: What a process does with its job.
    """

    def __init__(self, workers: int, task: Callable[[J], list[Outcome]]) -> None:
        self.workers, self.task = workers, task
        self._running: dict[Connection, tuple[BaseProcess, J]] = {}
        self._context = _context()

    def room(self) -> int:
        """Return the number of workers without a job."""
        return self.workers - len(self._running)

    def submit(self, job: J) -> None:
        """Start a process."""
        ours, theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_report, args=(self.task, job, theirs))  # type: ignore[attr-defined]
        process.start()
        theirs.close()
        self._running[ours] = process, job

    def outcomes(self, seconds: float) -> list[Outcome]:
        """Return a process that ends without a word was killed, by a user or by a system without memory."""
        found = []
        for ours in wait(list(self._running), seconds):
            assert isinstance(ours, Connection)
            process, job = self._running.pop(ours)
            try:
                found += ours.recv()
            except EOFError:
                process.join()
                reason = _reason(process.exitcode)
                found += [Outcome(name, "killed", f"its process {reason}") for name in job.names]
            ours.close()
            process.join()
        return found

    def close(self) -> None:
        """End the processes."""
        for process, _ in self._running.values():
            process.terminate()
        for ours, (process, _) in self._running.items():
            process.join()
            ours.close()
        self._running.clear()


def _context() -> BaseContext:
    """Return a context for processes without our threads and locks; if possible copies of one that imported PyTorch."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    # what every run needs; the first optimizer imports torch._dynamo, which takes a second
    context.set_forkserver_preload(["wcrnn_models.training.trainer", "torch._dynamo"])
    with _without_interrupts():  # Ctrl-C in the meantime is for the driver alone
        forkserver.ensure_running()
    return context


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Let processes that are started here ignore Ctrl-C until they decide otherwise."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread may change it
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)


def _report(task: Callable[[J], list[Outcome]], job: J, connection: Connection) -> None:
    """Run the job of a process, and report its outcome."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the driver, which ends its processes
    threading.Thread(target=_end_with_parent, daemon=True).start()
    connection.send(task(job))
    connection.close()


def _end_with_parent() -> None:
    """Do not outlive a driver that was killed: who starts it again should find the machine free."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _reason(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        try:
            return f"was ended by {signal.Signals(-exit_code).name}"
        except ValueError:
            return f"was ended by signal {-exit_code}"
    return f"ended with exit code {exit_code}"
