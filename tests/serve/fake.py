"""Recognizers without a model: they tell how much they heard, and how loud."""

import asyncio
import copy
import json
import time
import weakref
from collections import Counter
from contextlib import asynccontextmanager
from types import SimpleNamespace

import numpy as np
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from espnet_smoe.data.task_table import task_table
from espnet_smoe.inference.expert_use import ExpertUse
from espnet_smoe.inference.output.words import words_of
from espnet_smoe.inference.result import Result
from espnet_smoe.inference.streaming.events import Event, TimedToken
from espnet_smoe.serve.limits import Limits
from espnet_smoe.serve.models import Model
from espnet_smoe.serve.server import Server

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


class FakeSpeechToText:
    """Writes a word of what it hears for each task: its loudness.

    Args: what a batch takes in seconds; whether its words have times.
    """

    tasks = ("asr", "st")
    bandwidths = ("wb", "nb")
    own_bandwidth = "auto"
    batch_size = 4
    longest_seconds = longest_utterance = 2.0
    lead_seconds = tail_seconds = None
    detect_speech = False
    vad = "energy"
    spoken = ""  # where somebody has said it
    watches = False

    def __init__(self, seconds=0.0, timed=True):
        self.seconds, self.timed = seconds, timed
        self.batches = []
        self.encoded = Counter()
        self.model = SimpleNamespace(token_list=["<blank>", *"0123456789. asrt"])

    def join(self, tokens):
        return "".join(tokens)

    def tells_times(self, tasks):
        return False

    def check_tasks(self, tasks):
        for task in tasks:
            if task not in self.tasks:
                raise ValueError(f"unknown task '{task}'")
        return tuple(tasks)

    def check_bandwidth(self, bandwidth):
        if bandwidth not in ("auto", *self.bandwidths):
            raise ValueError(f"unknown bandwidth '{bandwidth}'")

    def in_language(self, language):
        if language not in ("ko", "es"):
            raise ValueError(f"the model has no token <{language}>")
        other = copy.copy(self)
        other.spoken = language
        return other

    def is_timed(self, task):
        return self.timed and task == "asr"

    def watching_experts(self):
        other = copy.copy(self)
        other.watches = True
        return other

    def check_label(self, label, name):
        assert label in self.bandwidths

    def recognize(self, waves, labels, tasks, names):
        self.batches.append(list(names))
        self.encoded.update(names)
        time.sleep(self.seconds)
        if any(np.abs(wave).max(initial=0) >= POISON for wave in waves):
            raise RuntimeError("too loud")
        return [{task: self._result(wave, task) for task in tasks} for wave in waves]

    def _result(self, wave, task):
        text = f"{task}{self.spoken} {np.abs(wave).max(initial=0):.2f}"
        step = len(wave) / RATE / len(text)
        timed = tuple(
            TimedToken(c, i * step, (i + 1) * step, 0.5) for i, c in enumerate(text)
        )
        timed = timed if self.timed and task == "asr" else ()
        label = ExpertUse("encoder", 2, (0,), "wb")
        routed = ExpertUse("encoder.1", 8, (3, 7, 7, 0))
        own = ExpertUse("decoder", 2, (int(task == "asr"),), task, task)
        experts = (label, routed, own) if self.watches else ()
        words = tuple(words_of(timed, self.join))
        return Result(
            *(text, tuple(text), -1.0, ((text, -1.0),), timed, 0.5, experts, words)
        )


def model(streams=None, recordings=None, name="fake"):
    """Both kinds of recognizers as one model of a server."""
    return Model(
        name,
        recordings or FakeSpeechToText(),
        streams,
        "" if streams else "it is no U2++ model",
        rows=task_table(),
    )


def pcm(seconds, value=0.25, rate=RATE):
    """Audio as bytes, all samples the same."""
    return np.full(round(seconds * rate), value * 32768).astype("<i2").tobytes()


START, END = json.dumps({"type": "start"}), json.dumps({"type": "end"})


@asynccontextmanager
async def running(
    recognizer=None,
    access=None,
    clock=time.monotonic,
    protocol="espnet-smoe",
    **limits,
):
    """A server and its address."""
    fake = recognizer or FakeRecognizer()
    models = [fake] if isinstance(fake, Model) else [model(fake)]
    server = Server(models, Limits(**limits), access, clock, protocol=protocol)
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
