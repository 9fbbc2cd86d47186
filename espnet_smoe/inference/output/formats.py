"""What the command prints: plain text, JSON lines, subtitles."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from espnet_smoe.inference.long_form.long_audio import Piece, joined
from espnet_smoe.inference.output.subtitles import blocks_of
from espnet_smoe.inference.output.words import Word
from espnet_smoe.inference.result import Result, mean_confidence
from espnet_smoe.inference.streaming.events import TimedToken


@dataclass(frozen=True)
class Transcript:
    """What was found in a recording.

    Attributes:
        path: Of its file.
        seconds: How long it is.
        bandwidth: ``nb`` or ``wb``.
        tasks: Names.
        pieces: Stretches of speech; none where nobody speaks.
    """

    path: str
    seconds: float
    bandwidth: str
    tasks: Sequence[str]
    pieces: Sequence[Piece]


def as_text(found: Transcript) -> str:
    """One line a task: path, task and text, separated by tabs."""
    return "\n".join(
        f"{found.path}\t{task}\t{joined(task, found.pieces)}" for task in found.tasks
    )


def as_json(found: Transcript) -> str:
    """One JSON object a file, on one line."""
    sure = {
        task: mean_confidence([piece.results[task] for piece in found.pieces])
        for task in found.tasks
    }
    record = {
        "file": found.path,
        "seconds": round(found.seconds, 3),
        "bandwidth": found.bandwidth,
        **{task: joined(task, found.pieces) for task in found.tasks},
        "confidence": {task: _rounded(value) for task, value in sure.items()},
        "pieces": [
            {
                "start": round(piece.start, 3),
                "end": round(piece.end, 3),
                **{
                    task: _record(result, piece.start)
                    for task, result in piece.results.items()
                },
            }
            for piece in found.pieces
        ],
    }
    return json.dumps(record, ensure_ascii=False)


def as_srt(found: Transcript) -> str:
    """Subtitles of one file, as SubRip has them."""
    blocks = [
        [str(number), f"{clock(b.start)} --> {clock(b.end)}", *b.lines, ""]
        for number, b in enumerate(blocks_of(found.pieces), 1)
    ]
    return "\n".join("\n".join(lines) for lines in blocks)


def as_vtt(found: Transcript) -> str:
    """Subtitles of one file, as WebVTT has them."""
    blocks = [
        [f"{clock(b.start, '.')} --> {clock(b.end, '.')}", *map(_escaped, b.lines), ""]
        for b in blocks_of(found.pieces)
    ]
    return "\n".join(["WEBVTT", "", *("\n".join(lines) for lines in blocks)])


FORMATS = {"text": as_text, "json": as_json, "srt": as_srt, "vtt": as_vtt}
SUBTITLES = ("srt", "vtt")  # have no place for a file's name


def _record(result: Result, start: float) -> dict:
    """Text, score and confidence; n-best, times of words and tokens, if any."""
    record: dict = {
        "text": result.text,
        "score": _rounded(result.score, 4),
        "confidence": _rounded(result.confidence),
    }
    if len(result.nbest) > 1:
        record["nbest"] = [
            {"text": text, "score": _rounded(score, 4)} for text, score in result.nbest
        ]
    result = result.shifted(start)
    if result.words:
        record["words"] = [{"word": w.text, **_times(w)} for w in result.words]
    if result.timed:
        record["tokens"] = [{"token": t.token, **_times(t)} for t in result.timed]
    return record


def _times(timed: TimedToken | Word) -> dict[str, float | None]:
    return {
        "start": round(timed.start, 3),
        "end": round(timed.end, 3),
        "confidence": _rounded(timed.confidence),
    }


def _rounded(value: float | None, digits: int = 3) -> float | None:
    """Null where there is none: JSON has neither NaN nor infinity."""
    known = value is not None and math.isfinite(value)
    return round(value, digits) if known else None


def _escaped(line: str) -> str:
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def clock(seconds: float, point: str = ",") -> str:
    """A time as subtitles write it.

    Example:
        >>> clock(62.3451), clock(62.3451, ".")
        ('00:01:02,345', '00:01:02.345')
    """
    whole, milliseconds = divmod(round(seconds * 1000), 1000)
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours:02d}:{minute:02d}:{second:02d}{point}{milliseconds:03d}"
