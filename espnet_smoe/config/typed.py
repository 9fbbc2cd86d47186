"""Values from YAML as type hints say: converted, within their range, or refused.

A hint is what stands beside an argument or a field: ``int``, ``float | None``,
``Sequence[str]``, ``Literal["a", "b"]`` and so on; ``Annotated[float, Range(0, 1)]``
adds the range, ``Annotated[str, OneOf(NAMES)]`` the names. YAML 1.1 reads ``1e-3`` as
text, so numbers that are written as text are numbers.
"""

import collections.abc
import difflib
import math
import reprlib
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Annotated, Any, Literal

from espnet_smoe.config.ignored_options import why_not

PLAIN = (str, int, float, bool, list, tuple, dict, type(None))  # what YAML holds
NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
MISFIT = object()


@dataclass(frozen=True)
class Range:
    """Which numbers are allowed.

    Attributes:
        least: The smallest; None for no bound.
        most: The largest; None for no bound.
        above: They are above this.
        below: They are below this.
        infinite: Whether infinity is among them, which means no limit.

    Example:
        >>> str(Range(0, below=1)), Range(0, below=1).holds(1.0)
        ('from 0 to less than 1', False)
    """

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    infinite: bool = False

    def holds(self, value: float) -> bool:
        """Whether `value` is a number in the range."""
        return (
            not math.isnan(value)
            and (self.infinite or not math.isinf(value))
            and (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        low = "" if self.least is None else f"from {self.least}"
        high = "" if self.most is None else f"to {self.most}"
        high = high if self.below is None else f"to less than {self.below}"
        if self.above is not None:
            return f"above {self.above}{high and ' and ' + high[3:]}"
        if low and not high:
            return f"of at least {self.least}"
        return f"{low} {high}".strip()


@dataclass(frozen=True)
class OneOf:
    """Which names are allowed.

    Attributes:
        known: The names, or a mapping whose keys they are.
    """

    known: Iterable[str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "known", tuple(self.known))

    def holds(self, value: object) -> bool:
        """Whether `value` is one of them."""
        return value in self.known

    def __str__(self) -> str:
        return f"one of {', '.join(map(str, self.known))}"


Count = Annotated[int, Range(1)]
Natural = Annotated[int, Range(0)]
Share = Annotated[float, Range(0, 1)]
Rate = Annotated[float, Range(0, below=1)]  # of dropout: 1 leaves nothing
Weight = Annotated[float, Range(0)]
Finite = Annotated[float, Range()]
Above0 = Annotated[float, Range(above=0)]
Seconds = Annotated[float, Range(above=0, infinite=True)]


def nearest(key: str, known: Iterable[str]) -> str:
    """', did you mean ...?' for a misspelt key, or nothing.

    Example:
        >>> nearest("num_expert", ["num_experts", "gate"])
        ", did you mean 'num_experts'?"
    """
    by_lower = {name.lower(): name for name in map(str, known)}
    close = difflib.get_close_matches(str(key).lower(), by_lower, n=1, cutoff=0.6)
    return f", did you mean '{by_lower[close[0]]}'?" if close else ""


def convert(value: Any, hint: Any, where: str) -> Any:
    """`value` as `hint` says.

    Args:
        value: From YAML, or from code.
        hint: A type hint.
        where: The value's place, such as ``encoder_conf.num_blocks``.

    Raises:
        ValueError: It does not fit; names place, value, what fits, the nearest name.

    Example:
        >>> convert("1e-3", float, "optim_conf.lr")
        0.001
    """
    found = fit(value, hint)
    if found is MISFIT:
        for key, item, item_hint in _items(value, hint):
            convert(item, item_hint, f"{where}{key}")  # the first wrong one is named
        shown = reprlib.repr(value)
        names = names_of(hint) if isinstance(value, str) else ()
        reason = why_not(f"{where.rpartition('.')[2]}: {value}")
        raise ValueError(
            f"{where}: {shown} is not {describe_hint(hint)}"
            f"{reason or nearest(value, names)}"
        )
    return found


def fit(value: Any, hint: Any) -> Any:
    """`value` as `hint` says, or `MISFIT`."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        found = fit(value, args[0])
        limits = [a for a in args[1:] if isinstance(a, (Range, OneOf))]
        ok = found is not MISFIT and (
            found is None or all(limit.holds(found) for limit in limits)
        )
        return found if ok else MISFIT
    if origin in (typing.Union, types.UnionType):
        return _fit_any(value, args)
    if origin is Literal:
        return value if any(value is a or value == a for a in args) else MISFIT
    if hint is Any:
        return value
    if hint in (int, float, bool, str):
        return FITS[hint](value)
    if hint is None or hint is type(None):
        return None if value is None else MISFIT
    kind = origin or hint
    if not isinstance(kind, type):
        return value  # a type variable, a hint that nothing is known of
    return _fit_class(value, kind, args)


def describe_hint(hint: Any) -> str:
    """What fits a hint, in words.

    Example:
        >>> describe_hint(Annotated[float, Range(0, 1)] | None)
        'a number from 0 to 1, or null'
    """
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        limits = [a for a in args[1:] if isinstance(a, (Range, OneOf))]
        names = [str(a) for a in limits if isinstance(a, OneOf)]
        name = names[0] if names else describe_hint(args[0])
        return " ".join([name, *(str(a) for a in limits if isinstance(a, Range))])
    if origin in (typing.Union, types.UnionType):
        some = [describe_hint(a) for a in args if a is not type(None) and _is_plain(a)]
        text = " or ".join(dict.fromkeys(some))
        return f"{text}, or null" if type(None) in args else text
    if origin is Literal:
        return f"one of {', '.join(map(str, args))}"
    if hint in NAMES:
        return NAMES[hint]
    kind = origin or hint
    if not isinstance(kind, type):
        return "allowed here"
    if issubclass(kind, Mapping):
        return "a section of 'key: value' lines"
    if _is_general(kind) and issubclass(kind, collections.abc.Iterable):
        inner = [a for a in args if a is not ...]
        items = " and ".join(dict.fromkeys(describe_hint(a) for a in inner))
        few = f" of {len(inner)}" if kind is tuple and inner and ... not in args else ""
        return f"a list{few}{f', each {items}' if items else ''}"
    return "something that can be written in YAML"


def names_of(hint: Any) -> list[str]:
    """The names that a hint allows, to find the nearest."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return [a for a in args if isinstance(a, str)]
    names = [n for a in args if isinstance(a, OneOf) for n in a.known]
    if origin in (typing.Union, types.UnionType, Annotated):
        names += [n for a in args for n in names_of(a)]
    return [n for n in names if isinstance(n, str)]


def _items(value: Any, hint: Any) -> list[tuple[str, Any, Any]]:
    """Place, value and hint of what is in a list or a section; none for the rest."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return _items(value, args[0])
    if origin in (typing.Union, types.UnionType):
        found = [_items(value, a) for a in args]
        return next((items for items in found if items), [])
    if not isinstance(origin, type) or hint is Any or not args:
        return []
    if isinstance(value, Mapping) and issubclass(origin, Mapping):
        return [(f".{key}", item, args[1]) for key, item in value.items()]
    if isinstance(value, (list, tuple)) and _fit_items([], origin, ()) is not MISFIT:
        inner = [a for a in args if a is not ...]
        if origin is tuple and ... not in args:
            hints = inner if len(inner) == len(value) else []
        else:
            hints = inner[:1] * len(value)
        return [(f"[{i}]", v, h) for i, (v, h) in enumerate(zip(value, hints))]
    return []


def _fit_any(value: Any, hints: Iterable[Any]) -> Any:
    """As the hint that leaves the value as it is, or else the first that fits."""
    found = [f for f in (fit(value, hint) for hint in hints) if f is not MISFIT]
    same = [f for f in found if type(f) is type(value) and f == value]
    return (same or found or [MISFIT])[0]


def _fit_class(value: Any, kind: type, args: tuple) -> Any:
    if issubclass(kind, PurePath):
        return value if isinstance(value, (str, PurePath)) else MISFIT
    if issubclass(kind, Mapping):
        return _fit_mapping(value, args)
    if _is_general(kind):
        return _fit_items(value, kind, args)
    if isinstance(value, PLAIN) and kind is not object:
        return value if isinstance(value, kind) else MISFIT
    return value  # made by code, which answers for it


def _fit_mapping(value: Any, args: tuple) -> Any:
    if not isinstance(value, Mapping):
        return MISFIT
    if len(args) != 2:
        return value
    found = {fit(k, args[0]): fit(v, args[1]) for k, v in value.items()}
    return MISFIT if MISFIT in found or MISFIT in found.values() else found


def _fit_items(value: Any, kind: type, args: tuple) -> Any:
    if not issubclass(kind, collections.abc.Iterable):  # Callable, Hashable, ...
        return MISFIT if isinstance(value, PLAIN) else value
    if isinstance(value, (str, bytes, Mapping)) or value is None:
        return MISFIT
    if not isinstance(value, (list, tuple)):
        return MISFIT if isinstance(value, PLAIN) else value
    inner = [a for a in args if a is not ...]
    if kind is tuple and inner and ... not in args:
        if len(value) != len(inner):
            return MISFIT
        items = [fit(v, a) for v, a in zip(value, inner)]
    else:
        items = [fit(v, inner[0]) if inner else v for v in value]
    if any(item is MISFIT for item in items):
        return MISFIT
    return tuple(items) if kind is tuple or isinstance(value, tuple) else items


def _fit_int(value: Any) -> Any:
    if isinstance(value, bool):
        return MISFIT
    if isinstance(value, int):
        return value
    number = _fit_float(value)
    whole = number is not MISFIT and math.isfinite(number) and number == int(number)
    return int(number) if whole else MISFIT


def _fit_float(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return MISFIT
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return MISFIT
    if math.isnan(number):
        return MISFIT
    return value if isinstance(value, float) else number


def _fit_bool(value: Any) -> Any:
    written = {"true": True, "false": False, 0: False, 1: True}
    key = value.lower() if isinstance(value, str) else value
    return written.get(key, MISFIT) if isinstance(key, (str, int)) else MISFIT


def _fit_str(value: Any) -> Any:
    return value if isinstance(value, str) else MISFIT


def _is_plain(hint: Any) -> bool:
    """Whether YAML can write it; a tensor it cannot."""
    if typing.get_origin(hint) is Annotated:
        return True
    kind = typing.get_origin(hint) or hint
    if not isinstance(kind, type) or hint in NAMES:
        return True
    return _is_general(kind) or issubclass(kind, (Mapping, PurePath))


def _is_general(kind: type) -> bool:
    """A list by any name, such as `Sequence`; a tensor is one only by its methods."""
    return kind in (list, tuple, set) or kind.__module__ == "collections.abc"


FITS = {int: _fit_int, float: _fit_float, bool: _fit_bool, str: _fit_str}
