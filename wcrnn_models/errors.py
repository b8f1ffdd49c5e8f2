"""The exception of expected mistakes, under the name by which this package shows it."""

from __future__ import annotations

from lyapkit_command.errors import UserError as UserError
from lyapkit_command.errors import clause as clause
from lyapkit_command.errors import suggestion as suggestion
