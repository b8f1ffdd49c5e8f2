"""Progress bars: off by default, and silent where the output is neither a terminal nor a notebook."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor
from tqdm.auto import tqdm

from lyapkit.checks.arguments import check_flag


def progress_bar(total: int | None, description: str, progress: bool) -> tqdm:
    """Return a tqdm bar, or one that draws nothing.

    Args:
        total: Number of steps, or None when it is not known.
        description: Text in front of the bar.
        progress: Whether to draw it; even then nothing is drawn into files and pipes.

    Raises:
        TypeError: If ``progress`` is not a boolean.
    """
    is_drawn = check_flag("progress", progress)
    quiet_in_files = None if is_drawn and not _in_notebook() else not is_drawn
    return tqdm(total=total, desc=description, disable=quiet_in_files, leave=False)


@contextmanager
def shown_products(
    product: Callable[[Tensor], Tensor], description: str, progress: bool
) -> Iterator[Callable[[Tensor], Tensor]]:
    """Draw a progress bar while the context is open, and yield a product that advances it by each of its columns.

    Args:
        product: Function of the columns of a block.
        description: Text in front of the bar.
        progress: True to draw it, as for `progress_bar`.
    """
    with progress_bar(None, description, progress) as bar:

        def shown(block: Tensor) -> Tensor:
            images = product(block)
            bar.update(block.shape[1])
            return images

        yield shown


def _in_notebook() -> bool:
    """Return whether this is a Jupyter kernel, whose output is not a terminal but is read by people."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell is not None and "IPKernelApp" in shell.config
