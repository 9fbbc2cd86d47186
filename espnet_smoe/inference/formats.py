"""What the command prints: plain text, JSON lines, subtitles."""

import json
from collections.abc import Sequence

from espnet_smoe.inference.long import Piece, joined
from espnet_smoe.inference.speech_to_text import Result


def as_text(path: str, bandwidth: str, pieces: Sequence[Piece]) -> str:
    """One line a task: path, task and text, separated by tabs."""
    return "\n".join(
        f"{path}\t{task}\t{joined(task, pieces)}" for task in pieces[0].results
    )


def as_json(path: str, bandwidth: str, pieces: Sequence[Piece]) -> str:
    """One JSON object a file, on one line."""
    record = {
        "file": path,
        "seconds": round(pieces[-1].end, 3),
        "bandwidth": bandwidth,
        **{task: joined(task, pieces) for task in pieces[0].results},
        "pieces": [
            {
                "start": round(piece.start, 3),
                "end": round(piece.end, 3),
                **{
                    task: _record(result, piece.start)
                    for task, result in piece.results.items()
                },
            }
            for piece in pieces
        ],
    }
    return json.dumps(record, ensure_ascii=False)


def as_srt(path: str, bandwidth: str, pieces: Sequence[Piece]) -> str:
    """Subtitles of one file: a line a task, a block a piece."""
    blocks = []
    for piece in pieces:
        lines = [result.text for result in piece.results.values() if result.text]
        if lines:
            span = f"{_clock(piece.start)} --> {_clock(piece.end)}"
            blocks.append("\n".join([str(len(blocks) + 1), span, *lines, ""]))
    return "\n".join(blocks)


FORMATS = {"text": as_text, "json": as_json, "srt": as_srt}


def _record(result: Result, start: float) -> dict:
    """Text and score; where they are known, tokens with their times in the file."""
    record: dict = {"text": result.text, "score": round(result.score, 4)}
    if result.timed:
        record["tokens"] = [
            {
                "token": token.token,
                "start": round(start + token.start, 3),
                "end": round(start + token.end, 3),
                "confidence": round(token.confidence, 3),
            }
            for token in result.timed
        ]
    return record


def _clock(seconds: float) -> str:
    """``00:01:02,345``.

    Example:
        >>> _clock(62.3451)
        '00:01:02,345'
    """
    whole, milliseconds = divmod(round(seconds * 1000), 1000)
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours:02d}:{minute:02d}:{second:02d},{milliseconds:03d}"
