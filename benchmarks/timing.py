"""Times of repeated calls."""

import statistics
import time
from collections.abc import Callable


def median_seconds(call: Callable[[], object], repeats: int = 5) -> float:
    """Measure the median wall time of ``repeats`` calls after one that is not counted."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def processor_seconds(call: Callable[[], object], repeats: int = 3) -> float:
    """Measure the smallest processor time of ``repeats`` calls after one that is not counted.

    On one thread this is the wall time of an idle machine, or little more.
    """
    call()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


def row(name: str, seconds: float, reference: float | None = None) -> None:
    """Print one line, with how many times faster than a reference it is."""
    ratio = "" if reference is None else f"{reference / seconds:8.1f}x"
    print(f"{name:<66}{seconds:10.4f} s{ratio}", flush=True)
