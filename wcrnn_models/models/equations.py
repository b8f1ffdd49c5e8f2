"""Define one step of a WCRNN, eqs. (11), (18) and (19), by the places where sigma acts.

Steps, derivatives and training kernels are built from an `Equation`. To add a form, add a line to `FORMS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from wcrnn_models.names import Form, Nonlinearity


@dataclass(frozen=True)
class Equation:
    """The equation x' = sigma_t(sigma_c(q) + gamma sigma_d(u)), where q = R x is carried on and u is the drive.

    Each of sigma_t, sigma_c and sigma_d is tanh or the identity.

    Attributes:
        carried: True if sigma_c is tanh.
        drive: True if sigma_d is tanh.
        total: True if sigma_t is tanh.
    """

    carried: bool = False
    drive: bool = False
    total: bool = False

    @property
    def is_linear(self) -> bool:
        """Return True if R alone carries the state on, so that x' = R x + gamma sigma_d(u)."""
        return not (self.carried or self.total)

    def advance(self, carried: Tensor, drive: Tensor, coupling: Tensor) -> Tensor:
        """Return x' from q, u and gamma, of shapes (..., N), (..., N), and () or (N,)."""
        carried = torch.tanh(carried) if self.carried else carried
        drive = torch.tanh(drive) if self.drive else drive
        total = torch.addcmul(carried, coupling, drive)
        return torch.tanh(total) if self.total else total


FORMS: Mapping[Form, Equation] = MappingProxyType(
    {
        "linear": Equation(drive=True),  # eq. (11)
        "A": Equation(carried=True, drive=True),  # eq. (18)
        "B": Equation(total=True),  # eq. (19)
    }
)


def equation(form: Form, nonlinearity: Nonlinearity) -> Equation:
    """Return the equation of a form; without a nonlinearity, all forms are the same."""
    return Equation() if nonlinearity == "identity" else FORMS[form]
