"""State that PyTorch and Python keep once per process, made safe for analyses in several threads."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from typing import Literal

ONE_AT_A_TIME = threading.RLock()
"""Held by one thread at a time for what PyTorch keeps once per process: the levels of dual numbers that forward-mode
derivatives enter, the classes that its tracer patches while it records, and the stance of compiled modules. It is held
for a step, never for a run, and code of the user is called under it: a map must not wait for another thread that
analyses something. All else that an analysis changes belongs to its own call or thread."""

# a process that is forked while another thread has entered a level of dual numbers would be born inside of it
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(
        before=ONE_AT_A_TIME.acquire, after_in_parent=ONE_AT_A_TIME.release, after_in_child=ONE_AT_A_TIME.release
    )


class _ThisThread(type(Warning)):  # type: ignore[misc]
    """The type of categories of warnings that warnings belong to in some threads only."""

    base: type[Warning]
    other_than: tuple[type[Warning], ...]
    open: threading.local

    def __subclasscheck__(cls, category: type) -> bool:
        if not getattr(cls.open, "depth", 0):
            return False
        return issubclass(category, cls.base) and not issubclass(category, cls.other_than)


class WarningsHere:
    """A filter of warnings that holds in the thread that opens it, while it is open.

    `warnings.catch_warnings` changes the filters of the whole process, and puts back what another thread may have
    changed meanwhile. This adds one filter when it is first opened, which asks the thread whether it is meant.

    Args:
        action: What to do with the warnings.
        message: Regular expression that their texts begin with; all by default.
        base: Their category.
        other_than: Categories that are left alone.

    Example:
        >>> quiet = WarningsHere("ignore", "this is fine")
        >>> with quiet.open():
        ...     warnings.warn("this is fine, really")
    """

    def __init__(
        self,
        action: Literal["error", "ignore"],
        message: str = "",
        base: type[Warning] = Warning,
        other_than: tuple[type[Warning], ...] = (),
    ) -> None:
        self._action, self._message = action, message
        self._category = _ThisThread("HereOnly", (Warning,), {"base": base, "other_than": other_than})
        self._thread = self._category.open = threading.local()

    @contextmanager
    def open(self) -> Iterator[None]:
        """Hold while the context is open; may be nested."""
        self._add()
        self._thread.depth = getattr(self._thread, "depth", 0) + 1
        try:
            yield
        finally:
            self._thread.depth -= 1

    def _add(self) -> None:
        """Insert the filter before those of others, unless it still stands there."""
        with _ADDING:
            ours = takewhile(
                lambda category: isinstance(category, _ThisThread), (entry[2] for entry in warnings.filters)
            )
            if self._category not in list(ours):
                warnings.filterwarnings(self._action, self._message, self._category)


_ADDING = threading.Lock()
