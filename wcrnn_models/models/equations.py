"""One step of a WCRNN, eqs. (11), (18) and (19), written once: the places where sigma acts.

Steps, derivatives and training kernels are made of an `Equation`; another form is another line of `FORMS`.
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
    """x' = sigma_t(sigma_c(q) + gamma sigma_d(u)), where q = R x is carried on and u is the drive.

    Each of the three is tanh or the identity.

    Attributes:
        carried: Whether sigma_c is tanh.
        drive: Whether sigma_d is.
        total: Whether sigma_t is.
    """

    carried: bool = False
    drive: bool = False
    total: bool = False

    @property
    def is_linear(self) -> bool:
        """Whether the state is carried on by R alone, so that x' = R x + g(u)."""
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
    """Return the equation of a form; without a nonlinearity, all forms are one."""
    return Equation() if nonlinearity == "identity" else FORMS[form]
