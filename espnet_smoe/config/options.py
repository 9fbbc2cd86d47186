"""Options: what a constructor takes is what a user may write, with types and ranges.

The signature is the schema: names, type hints with their ranges
(`espnet_smoe.config.typed`) and the docstring beside them. `options_of` lets a
constructor or a dataclass hold what it is given against it; `check_options` does the
same before anything is built, also for classes that are not ours.
"""

import functools
import inspect
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, TypeVar

from espnet_smoe.config.ignored_options import why_not
from espnet_smoe.config.typed import Range, convert, nearest

__all__ = [
    "check_options",
    "limited",
    "make",
    "nearest",
    "options_of",
    "reject_unknown",
    "require_multiple",
    "section",
]

T = TypeVar("T")
MANY = 5  # unknown keys that an error names
MOST_KNOWN = 60  # known ones; a task of ESPnet has two hundred

# arguments that the task fills in, not the user; section -> names
GIVEN = {
    "encoder_conf": {"input_size"},
    "postencoder_conf": {"input_size"},
    "decoder_conf": {"vocab_size", "encoder_output_size"},
    "ctc_conf": {"odim", "encoder_output_size"},
    "joint_net_conf": {"vocab_size", "encoder_dim", "decoder_dim"},
    "optim_conf": {"params"},
    "scheduler_conf": {"optimizer"},
    "model_conf": {
        *("vocab_size", "token_list", "frontend", "specaug", "normalize"),
        *("preencoder", "encoder", "postencoder", "decoder", "ctc", "joint_network"),
    },
    "preprocessor_conf": {
        *("train", "token_type", "token_list", "bpemodel", "non_linguistic_symbols"),
        *("text_cleaner", "g2p_type", "rir_scp", "rir_apply_prob", "noise_scp"),
        *("noise_apply_prob", "noise_db_range", "short_noise_thres"),
        *("speech_volume_normalize", "aux_task_names"),
        *("use_lang_prompt", "use_nlp_prompt"),
    },
}


def reject_unknown(given: Iterable[str], known: Iterable[str], where: str) -> None:
    """Refuse keys that nothing reads.

    Args:
        given: Keys that the user wrote.
        known: Keys that exist.
        where: Their place, such as ``encoder_conf``.

    Raises:
        ValueError: Names each unknown key, the nearest known one and, unless they are
            very many, all known.
    """
    known = list(known)
    unknown = [key for key in given if key not in known]
    if unknown:
        problems = [
            f"unknown key '{k}'{why_not(k) or nearest(k, known)}"
            for k in unknown[:MANY]
        ]
        problems += [f"{len(unknown) - MANY} more"] if len(unknown) > MANY else []
        names = f"known keys: {', '.join(sorted(known))}"
        if len(known) > MOST_KNOWN:
            names = f"{len(known)} keys are known"
        raise ValueError(f"{where}: {'; '.join(problems)} ({names})")


def section(value: Any, where: str) -> Mapping[str, Any]:
    """A section of a YAML file; one that is left empty holds nothing.

    Raises:
        ValueError: It is no section.
    """
    return convert({} if value is None else value, Mapping, where)


def option_names(init: Callable, where: str) -> list[str]:
    """What a user may write in the section ``where``: the constructor's arguments."""
    given = {"self", *GIVEN.get(where, ())}
    return [name for name in hints_of(init) if name not in given]


def default_of(cls: type, name: str) -> Any:
    """Of an option of a class, or of the one that it hands its options on to."""
    signatures = (inspect.signature(base.__init__) for base in cls.__mro__)
    return next(s.parameters[name].default for s in signatures if name in s.parameters)


def check_options(
    init: Callable,
    values: Mapping[str, Any],
    where: str,
    ranges: Mapping[str, Range] | None = None,
) -> dict[str, Any]:
    """Hold a section against the constructor that it is for.

    Args:
        init: The constructor, or a dataclass.
        values: The section.
        where: Its place, such as ``encoder_conf``.
        ranges: By name, for a constructor whose hints have none.

    Returns:
        The section, its values of the types that the constructor wants.

    Raises:
        ValueError: An unknown key, or a value that does not fit; names place, key,
            value, what fits, and the nearest name.
    """
    values = section(values, where)
    names = option_names(init, where)
    given = GIVEN.get(where, set())
    free = takes_any(init)
    wrong = [name for name in values if not free or name in given]
    reject_unknown(wrong, names, where)
    hints = hints_of(init)
    ranges = ranges or {}
    converted = {}
    for name, value in values.items():
        hint = hints.get(name, Any)
        if name in ranges and hint is not Any:
            hint = limited(hint, ranges[name])
        converted[name] = convert(value, hint, _place(where, name))
    return converted


def make(kind: Callable[..., T], values: Any, where: str) -> T:
    """Make a dataclass of options from a section.

    Args:
        kind: The dataclass.
        values: The section.
        where: Its place, for messages.

    Raises:
        ValueError: As `check_options`, or what the dataclass itself finds wrong.
    """
    converted = check_options(kind, values, where)
    try:
        return kind(**converted)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def options_of(where: str) -> Callable[[T], T]:
    """Let a constructor refuse unknown keywords and values that do not fit.

    Args:
        where: The section of the YAML file that becomes the keywords; empty where
            there are several.

    Returns:
        A decorator for ``__init__`` or for a dataclass.
    """

    def decorate(target: Any) -> Any:
        if isinstance(target, type):
            target.__init__ = decorate(target.__init__)
            return target
        given = GIVEN.get(where, set())

        @functools.wraps(target)
        def checked(self: object, *args: object, **kwargs: Any) -> None:
            hints = hints_of(target)
            if not takes_any(target):
                options = [k for k in kwargs if k not in given]
                reject_unknown(options, option_names(target, where), where)
            named = dict(zip(hints, args)) | kwargs
            for name, value in named.items():
                if name in hints and name not in given:
                    named[name] = convert(value, hints[name], _place(where, name))
            values = [named[name] for name, _ in zip(hints, args)]
            values += args[len(values) :]
            target(self, *values, **{name: named[name] for name in kwargs})

        return checked

    return decorate


def require_multiple(
    where: str, size: int, heads: int, name: str = "output_size"
) -> None:
    """Refuse a width that does not divide into the heads of its attention.

    Raises:
        ValueError: Names both and the nearest number of heads that fits.
    """
    if size % heads:
        fits = [h for h in range(1, size + 1) if size % h == 0]
        best = min(fits, key=lambda h: abs(h - heads))
        raise ValueError(
            f"{where}.attention_heads: {heads} does not divide {name} {size}; "
            f"{best} does"
        )


def takes_any(init: Callable) -> bool:
    """Whether a constructor has ``**kwargs``, whose names nobody knows."""
    return _is_open(list(_constructors(init))[-1])


def _is_open(init: Callable) -> bool:
    """Whether it has ``**kwargs`` whose names no `typing.TypedDict` tells."""
    return any(
        p.kind is p.VAR_KEYWORD and typing.get_origin(p.annotation) is not typing.Unpack
        for p in inspect.signature(init).parameters.values()
    )


def _constructors(init: Callable) -> Iterator[Callable]:
    """A constructor; of a class of ours also those that its ``**kwargs`` go to."""
    if not isinstance(init, type):
        yield init
        return
    ours = init.__module__.startswith("espnet_smoe.")
    for kind in init.__mro__ if ours else [init]:
        own = kind.__init__
        if not ours or "__init__" in vars(kind):
            yield own
            if not _is_open(own):
                return


@functools.cache
def hints_of(init: Callable) -> dict[str, Any]:
    """Argument -> type hint, in order, without self; Any where there is none."""
    found: dict[str, Any] = {}
    for source in _constructors(init):
        found = _own_hints(source) | found
    return found


def _own_hints(init: Callable) -> dict[str, Any]:
    try:
        hints = typing.get_type_hints(init, include_extras=True)
    except (NameError, TypeError, AttributeError):  # written for a type checker alone
        hints = {}
    found = {}
    for name, parameter in inspect.signature(init).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD and not _is_open(init):
            (named,) = typing.get_args(parameter.annotation)
            found |= typing.get_type_hints(named, include_extras=True)
        if name == "self" or parameter.kind in (
            inspect.Parameter.VAR_KEYWORD,
            inspect.Parameter.VAR_POSITIONAL,
        ):
            continue
        hint = hints.get(name, Any)
        if parameter.default is None and hint is not Any:
            hint = hint | None  # as in `size: int = None`
        found[name] = hint
    return found


def _place(where: str, name: str) -> str:
    if not where:
        return name
    return f"{where}.{name}" if "_conf" in where else f"{where}: {name}"


def limited(hint: Any, limits: Range) -> Any:
    """The hint with a range for its numbers."""
    if hint in (int, float):
        return Annotated[hint, limits]
    parts = typing.get_args(hint)
    if parts and typing.get_origin(hint) in (typing.Union, type(int | None)):
        return typing.Union[tuple(limited(part, limits) for part in parts)]
    return hint
