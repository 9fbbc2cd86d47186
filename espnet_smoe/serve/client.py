"""One session as a client sees it, with the time at which each thing happened."""

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from espnet_smoe.data.speech.audio import SAMPLE_RATE
from espnet_smoe.serve.misbehave import END, misbehave
from espnet_smoe.serve.protocol import DONE, FULL_SCALE

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

FRAME_SECONDS = 0.1  # of audio in a frame


@dataclass
class Talk:
    """What a session has sent and received; times are seconds of one clock.

    Attributes:
        seconds: Of audio sent.
        begun: When the first audio was sent.
        late: Seconds that frames were sent after their time, at most.
        ended: When ``end`` was sent.
        first: When the first event came.
        done: When ``done`` came.
        events: All events, as dictionaries.
        code: Of the close; None where there was no connection.
        error: Of the server, or of the network.
    """

    seconds: float = 0.0
    begun: float | None = None
    late: float = 0.0
    ended: float | None = None
    first: float | None = None
    done: float | None = None
    events: list[dict] = field(default_factory=list)
    code: int | None = None
    error: str = ""

    @property
    def finals(self) -> list[dict]:
        """Events of utterances that have ended."""
        return [event for event in self.events if event["kind"] == "final"]

    @property
    def complete(self) -> bool:
        """Whether the server has sent its last event."""
        return self.done is not None and self.code == DONE


async def talk(
    url: str, wave: np.ndarray, realtime: bool = True, misbehavior: str | None = None
) -> Talk:
    """Hold one session.

    Args:
        url: Of the server, ``ws://...``.
        wave: ``(samples,)`` float at 16 kHz within [-1, 1].
        realtime: Send each frame when it would have been spoken; else at once.
        misbehavior: One of `MISBEHAVIORS`, to happen in the middle of the wave.

    Returns:
        What happened; errors of the network too.
    """
    from websockets.asyncio.client import connect
    from websockets.exceptions import WebSocketException

    result = Talk()
    try:
        async with connect(
            url, compression=None, max_size=None, ping_interval=None, open_timeout=60
        ) as client:
            listening = asyncio.create_task(_listen(client, result))
            try:
                await _speak(client, wave, result, realtime, misbehavior)
            finally:
                await listening
    except (WebSocketException, OSError) as error:
        result.error = result.error or f"{type(error).__name__}: {error}"
    return result


async def _speak(
    client: "ClientConnection",
    wave: np.ndarray,
    result: Talk,
    realtime: bool,
    misbehavior: str | None,
) -> None:
    size = round(FRAME_SECONDS * SAMPLE_RATE)
    pcm = (np.clip(wave, -1, 1 - 1 / FULL_SCALE) * FULL_SCALE).astype("<i2")
    frames = [pcm[i : i + size].tobytes() for i in range(0, len(pcm), size)]
    result.begun = time.perf_counter()
    for number, frame in enumerate(frames):
        if misbehavior and number == len(frames) // 2:
            rest = (len(frames) - number) * FRAME_SECONDS
            await misbehave(client, misbehavior, rest if realtime else None)
        if realtime:  # a frame is there when its last sample has been spoken
            spoken = result.begun + (number + 1) * FRAME_SECONDS
            await asyncio.sleep(max(0.0, spoken - time.perf_counter()))
        await client.send(frame)
        result.seconds += len(frame) / 2 / SAMPLE_RATE
        if realtime:
            result.late = max(result.late, time.perf_counter() - spoken)
    await client.send(END)
    result.ended = time.perf_counter()


async def _listen(client: "ClientConnection", result: Talk) -> None:
    from websockets.exceptions import ConnectionClosed

    try:
        while True:
            message = json.loads(await client.recv())
            now = time.perf_counter()
            if message["type"] == "done":
                result.done = now
            elif message["type"] == "error":
                result.error = message["message"]
            else:
                result.first = result.first or now
                result.events.append(message)
    except ConnectionClosed:
        result.code = client.close_code
