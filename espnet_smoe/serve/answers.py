"""What was found in a recording, in the shapes that OpenAI's clients ask for."""

import json
import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from starlette.responses import JSONResponse, PlainTextResponse, Response

from espnet_smoe.inference.long_form.long_audio import Piece, joined
from espnet_smoe.inference.output.formats import Transcript, as_srt, as_vtt
from espnet_smoe.inference.result import Result
from espnet_smoe.serve.errors import RequestError
from espnet_smoe.serve.models import Model

JSON, VERBOSE = "json", "verbose_json"
SEGMENT, WORD = "segment", "word"
DIGITS = 3  # of seconds


@dataclass(frozen=True)
class Ask:
    """What a client wants.

    Attributes:
        model: That shall answer.
        tasks: Names; the first one's text is `text`.
        translate: To be told as a translation.
        shape: Of the answer, of `SHAPES`.
        times: ``segment``, ``word`` or both, in a verbose answer.
        stream: Text as it is found, as server-sent events.
        bandwidth: ``auto`` or a label.
        language: That is spoken, where the model's prompts name it; else None.
        experts: Those that each segment went to, in a verbose answer.
    """

    model: Model
    tasks: tuple[str, ...]
    translate: bool = False
    shape: str = JSON
    times: tuple[str, ...] = (SEGMENT,)
    stream: bool = False
    bandwidth: str = "auto"
    language: str | None = None
    experts: bool = False


def answer(ask: Ask, found: Transcript) -> Response:
    """The answer of one piece.

    Raises:
        RequestError: Words have no times.
    """
    return SHAPES[ask.shape](ask, found)


def _json(ask: Ask, found: Transcript) -> Response:
    return JSONResponse(_texts(ask, found.pieces) | {"usage": _usage(found)})


def _text(ask: Ask, found: Transcript) -> Response:
    lines = _texts(ask, found.pieces).get(
        "texts", {"": joined(ask.tasks[0], found.pieces)}
    )
    return PlainTextResponse("".join(f"{line}\n" for line in lines.values()))


def _srt(ask: Ask, found: Transcript) -> Response:
    return PlainTextResponse(as_srt(found), media_type="application/x-subrip")


def _vtt(ask: Ask, found: Transcript) -> Response:
    return PlainTextResponse(as_vtt(found), media_type="text/vtt")


def _verbose(ask: Ask, found: Transcript) -> Response:
    task = ask.tasks[0]
    content: dict[str, Any] = {
        "task": "translate" if ask.translate else "transcribe",
        "language": ask.language or ask.model.language_of(task),
        "duration": round(found.seconds, DIGITS),
        "bandwidth": found.bandwidth,
        **_texts(ask, found.pieces),
        "usage": _usage(found),
    }
    if SEGMENT in ask.times:
        content["segments"] = [
            _segment(ask, number, piece) for number, piece in enumerate(found.pieces)
        ]
    if WORD in ask.times:
        content["words"] = [w for p in found.pieces for w in _words(ask, p)]
    return JSONResponse(content)


SHAPES: dict[str, Callable[[Ask, Transcript], Response]] = {
    JSON: _json,
    "text": _text,
    "srt": _srt,
    "vtt": _vtt,
    VERBOSE: _verbose,
}


def delta_event(text: str) -> str:
    """A server-sent event: so much more of the text."""
    return _event({"type": "transcript.text.delta", "delta": text})


def done_event(ask: Ask, found: Transcript) -> str:
    """The server-sent events behind the last piece."""
    content = _texts(ask, found.pieces) | {"usage": _usage(found)}
    return _event({"type": "transcript.text.done", **content}) + "data: [DONE]\n\n"


def error_event(error: RequestError) -> str:
    """A server-sent event in place of the rest."""
    return "event: error\n" + _event(error.body())


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"


def _texts(ask: Ask, pieces: Sequence[Piece]) -> dict[str, Any]:
    """The text; where several tasks were asked for, that of each."""
    texts = {task: joined(task, pieces) for task in ask.tasks}
    main = {"text": texts[ask.tasks[0]]}
    return main | ({"texts": texts} if len(texts) > 1 else {})


def _usage(found: Transcript) -> dict[str, Any]:
    return {"type": "duration", "seconds": math.ceil(found.seconds)}


def _segment(ask: Ask, number: int, piece: Piece) -> dict[str, Any]:
    """A piece with all the keys that clients know, and what they do not."""
    result = piece.results[ask.tasks[0]]
    tokens = ask.model.token_ids(result.tokens)
    content: dict[str, Any] = {
        "id": number,
        "seek": 0,
        "start": round(piece.start, DIGITS),
        "end": round(piece.end, DIGITS),
        "text": result.text,
        "tokens": tokens,
        "temperature": 0.0,
        "avg_logprob": round(result.score / max(1, len(tokens)), 4),
        "compression_ratio": _compression(result.text),
        "no_speech_prob": 0.0,  # where nobody speaks there is no segment
        "confidence": result.confidence,
    }
    if len(ask.tasks) > 1:
        content["texts"] = {task: piece.results[task].text for task in ask.tasks}
    if ask.experts:
        content["experts"] = _experts(piece)
    return content


def _experts(piece: Piece) -> list[dict[str, Any]]:
    """What is the same for all tasks once."""
    used = [use for result in piece.results.values() for use in result.experts]
    return [asdict(use) for use in {(u.layer, u.task): u for u in used}.values()]


def _compression(text: str) -> float:
    """Large where a text repeats itself."""
    raw = text.encode()
    return round(len(raw) / len(zlib.compress(raw)), 4) if raw else 0.0


def _words(ask: Ask, piece: Piece) -> list[dict[str, Any]]:
    result: Result = piece.results[ask.tasks[0]]
    if result.text and not result.words:
        raise RequestError(
            f"{ask.model.name} does not know when the words of '{ask.tasks[0]}' are "
            "said; ask for the times of segments",
            param="timestamp_granularities",
        )
    return [
        {
            "word": word.text,
            "start": round(piece.start + word.start, DIGITS),
            "end": round(piece.start + word.end, DIGITS),
            "confidence": round(word.confidence, DIGITS),
        }
        for word in result.words
    ]
