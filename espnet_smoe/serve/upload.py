"""One recording as a client sends it by HTTP, whole or as no client should."""

import asyncio
import json
import ssl
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import numpy as np

from espnet_smoe.data.speech.audio import SAMPLE_RATE, wav_of
from espnet_smoe.serve.client import Talk
from espnet_smoe.serve.protocol import DONE, FULL

PATH = "/v1/audio/transcriptions"
BOUNDARY = "espnet-smoe-load"
PIECE = 2**16  # bytes of a write
CUT, FLOOD = "cut upload", "tiny chunks"
GARBAGE: dict[str, bytes] = {
    "empty file": b"",
    "no recording": b"these are words and not a recording of somebody's speech " * 40,
    "half a header": b"RIFF\0\0",
}
UPLOAD_MISBEHAVIOURS = (CUT, *GARBAGE, "half a form", FLOOD)
FLOOD_CHUNKS = 20_000


async def upload(url: str, wave: np.ndarray, misbehaviour: str | None = None) -> Talk:
    """Send a recording and wait for its text.

    Args:
        url: Of the server, ``ws://...`` or ``http://...``.
        wave: ``(samples,)`` float at 16 kHz within [-1, 1].
        misbehaviour: One of `UPLOAD_MISBEHAVIOURS`.

    Returns:
        What happened: a final, and the code with which a good session is closed, where
        there was an answer.
    """
    result = Talk(begun=time.perf_counter())
    parts = urlsplit(url)
    secure = ssl.create_default_context() if parts.scheme in ("wss", "https") else None
    try:
        reader, writer = await asyncio.open_connection(
            parts.hostname, parts.port or (443 if secure else 80), ssl=secure
        )
        try:
            file = GARBAGE.get(misbehaviour or "", wav_of(wave))
            await _send(writer, _form(bytes(file)), parts.netloc, misbehaviour)
            result.seconds, result.ended = len(wave) / SAMPLE_RATE, time.perf_counter()
            if misbehaviour == CUT:
                writer.transport.abort()
            else:
                _read(await reader.read(), result)
        finally:
            writer.close()
    except OSError as error:
        result.error = f"{type(error).__name__}: {error}"
    return result


def _form(file: bytes) -> bytes:
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; '
        'filename="load.wav"\r\n\r\n'
    )
    return head.encode() + file + f"\r\n--{BOUNDARY}--\r\n".encode()


async def _send(
    writer: asyncio.StreamWriter, form: bytes, host: str, misbehaviour: str | None
) -> None:
    kind = "Content-Type: multipart/form-data; boundary=" + BOUNDARY
    length = f"Content-Length: {len(form)}"
    if misbehaviour == FLOOD:
        length = "Transfer-Encoding: chunked"
    lines = [f"POST {PATH} HTTP/1.1", f"Host: {host}", kind, length]
    writer.write("\r\n".join([*lines, "Connection: close", "", ""]).encode())
    for part in _parts(form, misbehaviour):
        writer.write(part)
        await writer.drain()


def _parts(form: bytes, misbehaviour: str | None) -> Iterator[bytes]:
    """What to write behind the headers."""
    if misbehaviour == FLOOD:
        for i in range(0, min(len(form) // 2, FLOOD_CHUNKS), 100):
            yield b"".join(b"1\r\n%c\r\n" % byte for byte in form[i : i + 100])
        yield b"0\r\n\r\n"
        return
    if misbehaviour == "half a form":  # as long as it should be
        form = form[: len(form) // 2] + b"x" * (len(form) - len(form) // 2)
    end = len(form) // 2 if misbehaviour == CUT else len(form)
    for i in range(0, end, PIECE):
        yield form[i : min(end, i + PIECE)]


def _read(answer: bytes, result: Talk) -> None:
    """Note an answer, whose connection was closed."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1]) if head.startswith(b"HTTP/") else 0
    if not status:
        result.error = "the connection was closed without an answer"
        return
    content = json.loads(body)
    if status == 200:
        result.first = result.done = time.perf_counter()
        result.events.append({"kind": "final", "text": content["text"]})
        result.code = DONE
    else:
        result.error = content["error"]["message"]
        result.code = FULL if status in (429, 503) else status
