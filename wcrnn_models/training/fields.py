"""Read from annotations which values the fields of a configuration may have, and check them."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from wcrnn_models.errors import UserError, suggestion
from wcrnn_models.values import is_finite, is_integer, is_number


@dataclass(frozen=True)
class Choice:
    """Values of another field that a field goes with; with other values, the field must keep its default.

    Attributes:
        field: The other field.
        values: Values of the other field that the field goes with.
        why: A clause that explains why it does not go with the rest, for the message.
    """

    field: str
    values: tuple[str, ...]
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Rules for the value of a field that its type does not express.

    Attributes:
        at_least: The smallest number allowed; for a tuple, the smallest entry.
        at_most: The largest integer allowed; no memory holds more than the default.
        above: Numbers must be greater than this.
        below: Numbers must be less than this.
        goes_with: Choices of other fields that the field goes with.
        needed_by: Another field and its value that require a value of this field.
        such_as: Example of a value to give then, for the message; the option of the command line by default.
        in_dtype: True if the floating-point type of the network must be able to hold the number.
        per_network: True if networks that are trained together may differ in the field.
        counts_at_default: True if the field counts in a fingerprint when it has its default. Set False for fields that
            are added later, so that earlier configurations keep their fingerprint.
    """

    at_least: float = -math.inf
    at_most: float = 2**31 - 1
    above: float = -math.inf
    below: float = math.inf
    goes_with: tuple[Choice, ...] = ()
    needed_by: tuple[str, str] | None = None
    such_as: str = ""
    in_dtype: bool = False
    per_network: bool = False
    counts_at_default: bool = True

    def missed(self, values: Mapping[str, Any]) -> Choice | None:
        """Return the first choice that the values of other fields do not meet; None if they meet all."""
        return next((choice for choice in self.goes_with if values[choice.field] not in choice.values), None)


@dataclass(frozen=True)
class Field:
    """A field, as its declaration describes it.

    Attributes:
        kinds: The types that its annotation joins.
        default: Default of the field.
        rule: Rules that the type does not express.
    """

    kinds: tuple[Any, ...]
    default: object
    rule: Rule

    @property
    def names(self) -> tuple[str, ...]:
        """Return the strings that the field allows; empty if it is not limited to some."""
        return tuple(name for kind in self.kinds if get_origin(kind) is Literal for name in get_args(kind))


@cache
def described_fields(config: type) -> dict[str, Field]:
    """Return the fields of a dataclass by name. Their types may be annotated with a `Rule`."""
    hints = get_type_hints(config, include_extras=True)
    found = {}
    for field in fields(config):
        hint, rule = hints[field.name], Rule()
        if metadata := getattr(hint, "__metadata__", ()):
            hint, rule = get_args(hint)[0], next(each for each in metadata if isinstance(each, Rule))
        kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
        found[field.name] = Field(kinds, field.default, rule)
    return found


def check_fields(values: Mapping[str, object], described: Mapping[str, Field]) -> None:
    """Check each value, and check that it goes with the values of other fields.

    Raises:
        UserError: If a value is of the wrong type, out of range or unknown, missing, or does not go with another.
    """
    for name, field in described.items():
        _check_value(name, values[name], field)
    for name, field in described.items():
        rule = field.rule
        if values[name] != field.default and (choice := rule.missed(values)):
            other, why = values[choice.field], choice.why and f", {choice.why}"
            raise UserError(
                f"{name} does not go with {choice.field} {other!r}{why}; leave it out, or use {choice.values[0]!r}."
            )
        if rule.needed_by is not None and values[name] is None:
            other, value = rule.needed_by
            if values[other] == value:
                remedy = rule.such_as or f"--{name.replace('_', '-')}"
                raise UserError(f"{other} {value!r} needs {name}; give {remedy}.")


def _check_value(name: str, value: object, field: Field) -> None:
    if value is None and types.NoneType in field.kinds:
        return
    if field.names and (isinstance(value, str) or not {int, float} & set(field.kinds)):
        if value not in field.names:
            known = ", ".join(field.names)
            raise UserError(f"{name} must be one of {known}, got {value!r}." + suggestion(str(value), field.names))
    elif str in field.kinds:
        if not isinstance(value, str):
            raise UserError(f"{name} must be the name of a file, got {value!r}.")
    elif int in field.kinds or float in field.kinds:
        _check_number(name, value, field)
    else:
        if not isinstance(value, tuple) or not all(map(is_integer, value)):
            raise UserError(f"{name} must be a tuple of integers, got {value!r}.")
        if value and min(value) < field.rule.at_least:
            raise UserError(f"{name} must hold numbers of at least {field.rule.at_least}, got {min(value)}.")


def _check_number(name: str, value: object, field: Field) -> None:
    rule = field.rule
    if int in field.kinds and not is_integer(value):
        raise UserError(f"{name} must be an integer, got {value!r}.")
    if not is_number(value):
        raise UserError(f"{name} must be a number, got {value!r}.")
    if float in field.kinds and not is_finite(value):
        found = str(value) if isinstance(value, float) else f"an integer of {value.bit_length()} bits"
        raise UserError(f"{name} must be finite, got {found}.")
    if value < rule.at_least:
        raise UserError(f"{name} must be at least {rule.at_least:g}, got {value}.")
    if value <= rule.above:
        raise UserError(f"{name} must be greater than {rule.above:g}, got {value}.")
    if value >= rule.below:
        raise UserError(f"{name} must be less than {rule.below:g}, got {value}.")
    if int in field.kinds and value > rule.at_most:
        raise UserError(f"{name} must be at most {rule.at_most}, got {value}.")
