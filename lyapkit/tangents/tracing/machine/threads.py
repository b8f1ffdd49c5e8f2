"""Use one thread for products inside compiled code: they are small, and waiting threads would slow others down."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from threading import Lock
from typing import Any

_lock = Lock()
_users = 0
_before: list[tuple[Any, int]] = []


@lru_cache(maxsize=1)
def _libraries() -> list[Any]:
    """Return the BLAS libraries of this process that use threads of their own."""
    from threadpoolctl import ThreadpoolController

    return list(ThreadpoolController().select(user_api="blas").lib_controllers)


@contextmanager
def one_blas_thread(needed: bool = True) -> Iterator[None]:
    """Use one thread for products in the whole process, and restore the earlier number when the last user is done.

    Args:
        needed: False to change nothing.
    """
    global _users, _before
    if not needed:
        yield
        return
    with _lock:
        _users += 1
        if _users == 1:
            _before = [(library, library.get_num_threads()) for library in _libraries()]
            for library, threads in _before:
                if threads != 1:
                    library.set_num_threads(1)
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                for library, threads in _before:
                    if threads != 1:
                        library.set_num_threads(threads)
