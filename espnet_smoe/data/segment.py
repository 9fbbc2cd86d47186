"""Parts of recordings by reference: ``talk.wav#12.340-15.600``, in seconds."""

import os
import re

SEGMENT = re.compile(
    r"(?P<file>.+)#(?P<start>\d+\.?\d*)-(?P<end>\d+\.?\d*)?", re.DOTALL
)


def split_segment(reference: str) -> tuple[str, float, float | None]:
    """Take a reference apart: recording, start and end in seconds.

    Example:
        >>> split_segment("talk.wav#1.5-3"), split_segment("talk.wav")
        (('talk.wav', 1.5, 3.0), ('talk.wav', 0.0, None))
    """
    match = SEGMENT.fullmatch(reference)
    if match is None or os.path.isfile(reference):
        return reference, 0.0, None
    end = match["end"]
    return match["file"], float(match["start"]), None if end is None else float(end)


def segment(reference: str, start: float, end: float | None) -> str:
    """Name a part of a recording, ``start`` to ``end`` in seconds; None: to its end.

    Example:
        >>> segment("TS.zip!talk.wav", 1.5, 3), segment("talk.wav", 0.00625, None)
        ('TS.zip!talk.wav#1.500-3.000', 'talk.wav#0.00625-')
    """
    return f"{reference}#{_seconds(start)}-{'' if end is None else _seconds(end)}"


def _seconds(value: float) -> str:
    """Three digits behind the point, up to six where they say something."""
    whole, _, digits = f"{value:.6f}".partition(".")
    return f"{whole}.{digits.rstrip('0'):0<3}"
