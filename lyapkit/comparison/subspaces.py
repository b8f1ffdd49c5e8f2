"""Principal angles between the leading subspaces of two networks, along trajectories on the same inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lyapkit.comparison.procrustes import Alignment
from lyapkit.lyapunov.angles import principal_angles
from lyapkit.lyapunov.ginelli import random_frames, settled_frame
from lyapkit.tangents.along import TangentRun

STEPS_AT_ONCE = 64
"""Steps whose angles are computed together; a few MB for 100 units and 32 trajectories."""


@dataclass(frozen=True)
class SubspaceAngles:
    """Angles between the spans of the first j frame vectors of two networks, j = 1, ..., d, in W counted steps.

    Attributes:
        angles: Principal angles in radians by j and rank, ascending, shape (W, B, d, d); 0 behind rank j.
        open: Bound on the change of the mean cosine of the angles by another alignment as good, shape (W, B, d); 0
            where the alignment is unique.
        settled: Distances of the spans of the first j frame vectors from those of another random start, where the
            window begins, for both networks, shape (2, B, d).
    """

    angles: Tensor
    open: Tensor
    settled: Tensor


def subspace_angles(
    first: TangentRun,
    second: TangentRun,
    alignment: Alignment,
    *,
    generator: torch.Generator,
    on_step: Callable[[], object] = lambda: None,
) -> SubspaceAngles:
    """Compute the angles while both networks run side by side, so that no frames are kept.

    The span of the first j frame vectors is that of the first j covariant vectors. The frame of the second network
    starts where the alignment takes that of the first.

    Args:
        first: Trajectories of the first network with d directions; transient steps settle state and frame.
        second: Those of the second network with as many directions, on the same inputs.
        alignment: The best orthogonal map between their states.
        generator: For the random starts of the frames.
        on_step: Called after every step of both (progress).
    """
    rotation, d, batch = alignment.rotation, first.k, len(first.drive.state)
    starts = random_frames(first.map.state_size, d, generator)
    turned = torch.linalg.qr(rotation.T.cpu() @ starts).Q
    settled, frames = [], []
    for run, start in ((first, starts), (second, turned)):
        state, frame, distance = settled_frame(run, start.repeat(1, batch, 1, 1), generator, lambda: None)
        settled.append(distance)
        frames.append(_frames(run, state, frame))
    angles, open_shares, kept = [], [], []
    steps = first.drive.steps - first.drive.transient
    for done, pair in enumerate(zip(*frames, strict=True), start=1):
        kept.append(pair)
        on_step()
        if len(kept) == STEPS_AT_ONCE or done == steps:
            own, other = (torch.stack(each) for each in zip(*kept, strict=True))
            angles.append(_angles(own, other, rotation))
            open_shares.append(_open(own, other, alignment))
            kept = []
    return SubspaceAngles(torch.cat(angles), torch.cat(open_shares), torch.stack(settled))


def _frames(run: TangentRun, state: Tensor, frame: Tensor) -> Iterator[Tensor]:
    """Yield the frame after each step behind the transient, shape (B, N, d)."""
    drive = run.drive
    for push, _, _ in run.steps(drive.part(drive.transient, drive.steps - drive.transient, state)):
        frame = torch.linalg.qr(push(frame)).Q
        yield frame


def _angles(frame: Tensor, other: Tensor, rotation: Tensor) -> Tensor:
    """Return principal angles by j and rank, shape (W, B, d, d), in the larger of the two state spaces.

    Args:
        frame: Frames of the first network, shape (W, B, N, d).
        other: Those of the second, shape (W, B, M, d).
        rotation: From the second state space to the first, shape (N, M).
    """
    if rotation.shape[0] >= rotation.shape[1]:
        other = rotation @ other
    else:
        frame = rotation.T @ frame
    d = frame.shape[-1]
    angles = frame.new_zeros(*frame.shape[:-2], d, d)
    for count in range(1, d + 1):
        angles[..., count - 1, :count] = principal_angles(frame[..., :count], other[..., :count])
    return angles


def _open(frame: Tensor, other: Tensor, alignment: Alignment) -> Tensor:
    r"""Return how far another alignment could change the mean cosine of the angles, shape (W, B, d).

    With projections :math:`A` and :math:`B` of both frames on the directions between which the alignment is arbitrary,
    their overlap changes by at most :math:`A^T O B`, whose nuclear norm is at most :math:`|A|_F |B|_F`.
    """
    sizes = [(part.mT @ each).square().sum(dim=-2) for part, each in zip(alignment.open, (frame, other), strict=True)]
    bound = sizes[0].cumsum(dim=-1).sqrt() * sizes[1].cumsum(dim=-1).sqrt()
    return bound / torch.arange(1, frame.shape[-1] + 1, device=frame.device)
