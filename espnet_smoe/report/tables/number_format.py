"""How numbers and names are written in every table."""

from collections.abc import Iterable

from rich.console import Console

MINUS = "\N{MINUS SIGN}"


def terminal(**options: bool) -> Console:
    """Where tables are printed: ``[b]`` and ``:b:`` in a name are no markup.

    Args:
        options: Others of `rich.console.Console`.
    """
    return Console(markup=False, emoji=False, **options)


def markdown_row(cells: Iterable[str]) -> str:
    """A line of a table in Markdown; a ``|`` in a name does not end its cell.

    Example:
        >>> print(markdown_row(["a|b", "1"]))
        | a\\|b | 1 |
    """
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def group_label(group: str) -> str:
    """``mean_nb`` -> ``mean of NB``; other groups keep their name."""
    return f"mean of {group[5:].upper()}" if group.startswith("mean_") else group


def with_interval(score: dict | None, digits: int = 2) -> str:
    """``3.93 [3.51–4.40]`` of a ``{value, low, high}``; ``-`` without a value."""
    if score is None or score["value"] is None:
        return "-"
    value, low, high = (score[key] for key in ("value", "low", "high"))
    if low is None:
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} [{low:.{digits}f}–{high:.{digits}f}]"


def relative_change(old: float, new: float) -> str:
    """Signed change in percent of the old value: ``(new - old) / old``."""
    if old == 0:
        return "-"
    change = 100 * (new - old) / old
    return f"{change:+.1f} %".replace("-", MINUS)


def percent(value: float | None) -> str:
    """``12.3``; ``-`` if unknown."""
    return "-" if value is None else f"{value:.1f}"


def p_value(p: float | None) -> str:
    """``p=0.031``, ``p<0.001``; ``p=-`` where there was no test."""
    if p is None:
        return "p=-"
    return "p<0.001" if p < 0.001 else f"p={p:.3f}"


def count(number: int | None) -> str:
    """``107.1M``, ``35.2k``; ``-`` if unknown."""
    if number is None:
        return "-"
    if number >= 1_000_000:
        return f"{number / 1e6:.1f}M"
    return f"{number / 1e3:.1f}k" if number >= 1_000 else str(number)


def duration(seconds: float | None) -> str:
    """``2 h 05 min``, ``3 min 20 s``, ``12.5 s``; ``-`` if unknown."""
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def factor(value: float | None) -> str:
    """A real-time factor, ``0.123``; ``-`` if unknown."""
    return "-" if value is None else f"{value:.3f}"
