"""Run every job in a process of its own on this machine."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Generic

from lyapkit_command import stopping
from wcrnn_models.errors import UserError
from wcrnn_models.sweeps.pools import J
from wcrnn_models.sweeps.worker import Outcome

_ATTEMPTS = 3  # to start a process, if the process that starts it is killed meanwhile
_PATIENCE = 10.0  # seconds that processes have to save their work before they are killed

_log = logging.getLogger(__name__)


class ProcessPool(Generic[J]):
    """A pool with one process for every job, so that a killed process affects no other job.

    Args:
        workers: Number of processes at a time.
        task: Function that a process calls with its job.
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
        for attempt in range(1, _ATTEMPTS + 1):
            process = self._context.Process(target=_report, args=(self.task, job, theirs))  # type: ignore[attr-defined]
            try:
                with _without_interrupts():  # this may also start the process that starts others
                    process.start()
                break
            except (EOFError, OSError) as error:
                if attempt == _ATTEMPTS or (isinstance(error, OSError) and not isinstance(error, ConnectionError)):
                    ours.close()
                    theirs.close()
                    raise UserError(
                        f"no process can be started ({' '.join(str(error).split()) or 'what starts them was killed'}); "
                        "free some memory, and give the same command again, which resumes."
                    ) from error
                _log.warning("the process that starts the others was killed; it is started again")
        theirs.close()
        self._running[ours] = process, job

    def outcomes(self, seconds: float) -> list[Outcome]:
        """Return the outcomes of jobs that have just ended; a process that ends without a report was killed."""
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
        """End the processes; they first save their work, if that does not take long."""
        for process, _ in self._running.values():
            with suppress(OSError):  # it has just ended
                process.terminate()
        until = time.monotonic() + _PATIENCE
        for ours, (process, _) in self._running.items():
            process.join(max(until - time.monotonic(), 0))
            if process.exitcode is None:
                process.kill()
                process.join()
            ours.close()
        self._running.clear()


def _context() -> BaseContext:
    """Return a context for processes without our threads and locks, if possible copies of one that imported PyTorch."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    # every run needs these; the first optimizer imports torch._dynamo, which takes a second
    context.set_forkserver_preload(["wcrnn_models.training.trainer", "torch._dynamo"])
    with _without_interrupts():  # Ctrl-C in the meantime is for the driver alone
        forkserver.ensure_running()
    return context


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Start processes that do not receive Ctrl-C; this process receives it when the context is left."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _report(task: Callable[[J], list[Outcome]], job: J, connection: Connection) -> None:
    """Run the job of a process, and report its outcome."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the driver, which ends its processes
    stopping.heed(None, (signal.SIGTERM,))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        connection.send(task(job))
    except stopping.Terminated:
        os._exit(stopping.EXIT_CODES[signal.SIGTERM])
    except BrokenPipeError:  # the driver has ended
        os._exit(1)
    connection.close()


def _end_with_parent() -> None:
    """Do not outlive a killed driver: whoever starts it again should find the machine free."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _reason(exit_code: int | None) -> str:
    if exit_code == stopping.EXIT_CODES[signal.SIGTERM]:
        exit_code = -signal.SIGTERM
    if exit_code is not None and exit_code < 0:
        try:
            return f"was ended by {signal.Signals(-exit_code).name}"
        except ValueError:
            return f"was ended by signal {-exit_code}"
    return f"ended with exit code {exit_code}"
