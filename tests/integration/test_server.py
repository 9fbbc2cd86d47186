"""50 people at once, with a model: ten of them hang up or send garbage."""

import asyncio
import math
from collections import Counter

import numpy as np
import pytest
import torch

from espnet_smoe.inference.streaming.options import StreamOptions
from espnet_smoe.serve.client import talk
from espnet_smoe.serve.limits import Limits
from espnet_smoe.serve.misbehave import MISBEHAVIORS
from espnet_smoe.serve.models import load_models
from espnet_smoe.serve.server import Server
from espnet_smoe.serve.upload import upload
from tests.tiny import save_experiment

SESSIONS, BAD, WAVES = 50, 10, 8
TOKENS = ["<blank>", "<unk>", *"abcdefghijkl", "<sos/eos>"]
OPTIONS = StreamOptions(
    chunk_size=4, left_chunks=2, beam_size=4, longest_seconds=0.7, detect_speech=False
)
SURE = 30.0  # times the weights of the CTC head: near ties could fall either way


def config():
    from espnet2.tasks.asr import ASRTask

    from espnet_smoe import register

    register()
    sizes = {"attention_heads": 2, "linear_units": 24, "num_blocks": 2}
    moe = {"moe": {"num_experts": 4}}
    return ASRTask.get_default_config() | {
        "token_list": TOKENS,
        "token_type": "char",
        "model": "u2pp",
        "model_conf": {},
        "frontend_conf": {"n_fft": 512, "hop_length": 160, "n_mels": 20},
        "normalize": None,
        "encoder": "u2pp_conformer",
        "encoder_conf": {**sizes, **moe, "output_size": 16},
        "decoder": "u2pp_transformer",
        "decoder_conf": {**sizes, **moe, "r_num_blocks": 1},
    }


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exp")
    _, path = save_experiment(folder, config())
    weights = torch.load(path)
    weights["ctc.ctc_lo.weight"] *= SURE
    torch.save(weights, path)
    loaded = load_models([f"u2pp={folder}"], OPTIONS)[0]
    loaded.recordings.detect_speech = False  # this is noise
    return loaded


@pytest.fixture(scope="module")
def recognizer(model):
    return model.streams


@pytest.fixture(scope="module")
def waves():
    """Noise that comes and goes, 16 bits, each with something behind its last chunk."""
    rng = np.random.default_rng(0)
    waves = []
    for n in range(WAVES):
        samples = 2560 * (8 + 2 * n) + 1500
        loudness = np.abs(np.sin(np.arange(samples) / (3000 + 400 * n))) ** 3
        wave = rng.normal(0, 0.1, samples) * loudness
        waves.append((np.round(wave * 32768) / 32768).astype(np.float32))
    return waves


def alone(recognizer, wave):
    """Events of one stream without a server."""
    stream = recognizer.create_stream()
    stream.accept_waveform(wave)
    stream.finish()
    events = []
    while stream.ready:
        events += recognizer.decode_streams([stream])[0]
    return [event.as_dict() for event in events]


def rounded(events):
    """Events without confidences, which a batch rounds in another way."""
    return [
        {**e, "type": "event", "tokens": [{**t, "confidence": 0} for t in e["tokens"]]}
        for e in events
    ]


async def serve(model, talks, talk=talk, **limits):
    """Hold sessions with a server; return them and the server."""
    # a busy machine is late, and nobody shall be sent away for that here
    server = Server([model], Limits(lag=math.inf, **limits))
    port = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(server.run("127.0.0.1", 0, port.set_result))
    url = f"ws://127.0.0.1:{await port}"
    try:
        return await asyncio.gather(*(talk(url, *args) for args in talks)), server
    finally:
        server.stop()
        await task


def test_forty_of_fifty_hear_what_they_hear_alone(model, recognizer, waves):
    expected = [rounded(alone(recognizer, wave)) for wave in waves]
    kinds = Counter(event["kind"] for events in expected for event in events)
    assert kinds["final"] > WAVES and kinds["partial"] > 5 * WAVES  # worth comparing
    bad = {n * SESSIONS // BAD: MISBEHAVIORS[n % len(MISBEHAVIORS)] for n in range(BAD)}
    talks = [(waves[n % WAVES], False, bad.get(n)) for n in range(SESSIONS)]
    results, server = asyncio.run(serve(model, talks, backlog=1.0))
    for n, result in enumerate(results):
        if n in bad:
            assert not result.complete, bad[n]
        else:
            assert result.complete, result.error
            assert rounded(result.events) == expected[n % WAVES]
    assert not server.feeds


def test_a_batch_that_fails_loses_nobody_a_word(model, recognizer, waves, monkeypatch):
    expected = [rounded(alone(recognizer, wave)) for wave in waves[:3]]
    encoder = recognizer.model.encoder
    step, failures = encoder.forward_chunk, []

    def too_large(xs, *args, **kwargs):
        if len(xs) > 1:
            failures.append(len(xs))
            raise RuntimeError("out of memory")
        return step(xs, *args, **kwargs)

    monkeypatch.setattr(encoder, "forward_chunk", too_large)
    talks = [(wave, False) for wave in waves[:3]]
    results, _ = asyncio.run(serve(model, talks))
    assert failures
    assert [rounded(result.events) for result in results] == expected


def test_recordings_beside_streams_are_heard_as_they_are_alone(model, waves):
    """Two threads share the weights: one steps streams, one decodes recordings."""
    texts = [model.recordings([wave])[0]["asr"].text for wave in waves]
    assert len(set(texts)) > WAVES // 2  # worth comparing
    streamed = [
        [e["text"] for e in alone(model.streams, wave) if e["kind"] == "final"]
        for wave in waves
    ]

    async def both(url, wave, by_http):
        return await (upload(url, wave) if by_http else talk(url, wave, False))

    talks = [(waves[n % WAVES], n // WAVES % 2) for n in range(4 * WAVES)]
    results, server = asyncio.run(serve(model, talks, both, requests=SESSIONS))
    for n, result in enumerate(results):
        assert result.complete, result.error
        found = [final["text"] for final in result.finals]
        by_http = n // WAVES % 2
        assert found == ([texts[n % WAVES]] if by_http else streamed[n % WAVES])
    page = server.metrics.page()[0].decode()
    assert 'batch_size_count{kind="recordings",model="u2pp"}' in page
    assert 'expert_rows{expert="3",layer="encoder.' in page
