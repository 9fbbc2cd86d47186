"""A recognizer without a model: it tells how much it heard, and how loud."""

import asyncio
import json
import time
import weakref
from contextlib import asynccontextmanager

import numpy as np
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from espnet_smoe.inference.streaming.events import Event
from espnet_smoe.serve.server import Server
from espnet_smoe.serve.session import Limits

RATE = 16000
CHUNK = 1600  # samples
POISON = 0.9  # a chunk as loud makes the model fail


class FakeStream:
    """Chunks of 0.1 s; a partial each, and a final that adds all of them up."""

    def __init__(self):
        self.wave = np.zeros(0, dtype=np.float32)
        self.position = 0
        self.finished = self.done = False

    def accept_waveform(self, samples):
        assert not self.finished
        self.wave = np.concatenate([self.wave, samples])

    def finish(self):
        self.finished = True

    @property
    def ready(self):
        return not self.done and (
            self.finished or len(self.wave) >= self.position + CHUNK
        )


class FakeRecognizer:
    """Args: what a step takes in seconds; whether each chunk is a final too."""

    chunk_seconds = CHUNK / RATE

    def __init__(self, seconds=0.0, finals=False):
        self.seconds, self.finals = seconds, finals
        self.batches = []
        self.streams = weakref.WeakSet()

    def create_stream(self):
        stream = FakeStream()
        self.streams.add(stream)
        return stream

    def decode_streams(self, streams):
        assert len(set(streams)) == len(streams)
        self.batches.append(len(streams))
        time.sleep(self.seconds)
        chunks = [s.wave[s.position : s.position + CHUNK] for s in streams]
        if any(np.abs(chunk).max(initial=0) >= POISON for chunk in chunks):
            raise RuntimeError("too loud")
        return [self._one(*pair) for pair in zip(streams, chunks)]

    def _one(self, stream, chunk):
        stream.position += len(chunk)
        end = stream.position / RATE
        loudness = float(np.abs(stream.wave[: stream.position]).sum())
        stream.done = len(chunk) < CHUNK  # as finished streams end, if by nothing
        kind = "final" if stream.done or self.finals else "partial"
        return [Event(kind, f"{loudness:.3f}", 0.0, end)]


def pcm(seconds, value=0.25, rate=RATE):
    """Audio as bytes, all samples the same."""
    return np.full(round(seconds * rate), value * 32768).astype("<i2").tobytes()


START, END = json.dumps({"type": "start"}), json.dumps({"type": "end"})


@asynccontextmanager
async def running(recognizer=None, access=None, clock=time.monotonic, **limits):
    """A server and its address."""
    fake = recognizer or FakeRecognizer()
    server = Server(fake, Limits(**limits), access, clock)
    port = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(server.run("127.0.0.1", 0, port.set_result))
    await asyncio.wait([task, port], return_when=asyncio.FIRST_COMPLETED)
    try:
        yield server, f"ws://127.0.0.1:{await port}"
    finally:
        server.stop()
        server.stop()
        await task


async def talk(url, *frames):
    """Send all frames; return the messages heard, and the code of the close."""
    async with connect(url) as client:
        for frame in frames:
            await client.send(frame)
        return await hear(client)


async def hear(client):
    messages = [json.loads(message) async for message in _until_closed(client)]
    return messages, client.close_code


async def _until_closed(client):
    try:
        while True:
            yield await client.recv()
    except ConnectionClosed:
        return
