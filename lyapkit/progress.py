"""Progress bars: off by default, and silent where the output is not a terminal."""

from __future__ import annotations

from tqdm import tqdm


def progress_bar(total: int | None, description: str, progress: bool) -> tqdm:
    """A tqdm bar, or one that draws nothing.

    Args:
        total: number of steps, or None when it is not known.
        description: what is being computed.
        progress: whether to draw; even then nothing is drawn into files and pipes.
    """
    return tqdm(total=total, desc=description, disable=None if progress else True, leave=False)
