"""Options of a YAML file: an unknown key names the nearest known one."""

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable

# arguments that the task fills in, not the user; section -> names
GIVEN = {
    "encoder_conf": {"input_size"},
    "postencoder_conf": {"input_size"},
    "decoder_conf": {"vocab_size", "encoder_output_size"},
    "model_conf": {
        *("vocab_size", "token_list", "frontend", "specaug", "normalize"),
        *("preencoder", "encoder", "postencoder", "decoder", "ctc", "joint_network"),
    },
}


def nearest(key: str, known: Iterable[str]) -> str:
    """', did you mean ...?' for a misspelt key, or nothing.

    Example:
        >>> nearest("num_expert", ["num_experts", "gate"])
        ", did you mean 'num_experts'?"
    """
    close = difflib.get_close_matches(key, list(known), n=1, cutoff=0.6)
    return f", did you mean '{close[0]}'?" if close else ""


def reject_unknown(given: Iterable[str], known: Iterable[str], where: str) -> None:
    """Refuse keys that nothing reads.

    Args:
        given: Keys that the user wrote.
        known: Keys that exist.
        where: Their place, such as ``encoder_conf``.

    Raises:
        ValueError: Names each unknown key, the nearest known one and all known.
    """
    known = list(known)
    unknown = [key for key in given if key not in known]
    if unknown:
        what = "; ".join(f"unknown key '{k}'{nearest(k, known)}" for k in unknown)
        raise ValueError(f"{where}: {what} (known keys: {', '.join(sorted(known))})")


def option_names(init: Callable, where: str) -> list[str]:
    """What a user may write in the section ``where``: the constructor's arguments."""
    given = {"self", *GIVEN.get(where, ())}
    return [p for p in inspect.signature(init).parameters if p not in given]


def options_of(where: str) -> Callable[[Callable], Callable]:
    """Let a constructor refuse unknown keywords with the nearest known one.

    Args:
        where: The section of the YAML file that becomes the keywords.
    """

    def decorate(init: Callable) -> Callable:
        known = option_names(init, where)
        given = GIVEN.get(where, set())

        @functools.wraps(init)
        def checked(self: object, *args: object, **kwargs: object) -> None:
            reject_unknown([k for k in kwargs if k not in given], known, where)
            init(self, *args, **kwargs)

        return checked

    return decorate
