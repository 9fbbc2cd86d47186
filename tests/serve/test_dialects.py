"""Clients of other servers get what those would send."""

import asyncio
import base64
import json

import numpy as np
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from espnet_smoe.serve.app import DIALECTS
from espnet_smoe.serve.command import PROTOCOLS
from tests.serve.fake import RATE, FakeRecognizer, hear, model, pcm, running, talk


def serve(test, fake=None, protocol="espnet-smoe", **limits):
    async def run():
        fakes = fake or FakeRecognizer()
        async with running(fakes, protocol=protocol, **limits) as (server, url):
            await asyncio.wait_for(test(url), 20)

    asyncio.run(run())


def floats(seconds, value=0.25):
    return np.full(round(seconds * RATE), value, "<f4").tobytes()


def append(audio):
    told = {"type": "input_audio_buffer.append"}
    return json.dumps({**told, "audio": base64.b64encode(audio).decode()})


UPDATE = json.dumps({"type": "session.update", "model": "fake"})
COMMIT = json.dumps({"type": "input_audio_buffer.commit"})
FINAL = json.dumps({"type": "input_audio_buffer.commit", "final": True})


def test_the_command_knows_every_protocol():
    assert tuple(DIALECTS) == PROTOCOLS


def test_a_realtime_session_holds_several_recordings():
    async def test(url):
        async with connect(f"{url}/v1/realtime") as client:
            created = json.loads(await client.recv())
            assert created["type"] == "session.created"
            assert set(created) == {"type", "id", "created"}
            for frame in (UPDATE, COMMIT, append(pcm(0.25)), append(pcm(0.15)), FINAL):
                await client.send(frame)
            for text, value in (("1600.000", 0.25), ("800.000", 0.5)):
                delta, done = [json.loads(await client.recv()) for _ in range(2)]
                assert delta == {"type": "transcription.delta", "delta": text}
                assert (done["type"], done["text"]) == ("transcription.done", text)
                for frame in (COMMIT, append(pcm(0.1, 0.5)), FINAL):
                    await client.send(frame)

    serve(test)


@pytest.mark.parametrize("begin", [UPDATE, COMMIT])  # a model by name, or the server's
def test_the_deltas_of_a_session_are_its_text(begin):
    async def test(url):
        frames = (begin, append(pcm(0.25)), FINAL)
        async with connect(f"{url}/v1/realtime") as client:
            for frame in frames:
                await client.send(frame)
            told = []
            while not told or told[-1]["type"] != "transcription.done":
                told.append(json.loads(await client.recv()))
            deltas = [m["delta"] for m in told if m["type"] == "transcription.delta"]
            assert len(deltas) == 3
            assert "".join(deltas) == told[-1]["text"]

    serve(test, FakeRecognizer(finals=True))


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        ((append(pcm(0.1)),), "audio before session.update"),
        ((json.dumps({"type": "session.update", "model": "gpt"}),), "does not exist"),
        ((UPDATE, json.dumps({"type": "response.create"})), "known are session.update"),
        ((UPDATE, '{"type": "input_audio_buffer.append", "audio": 3}'), "no 'audio'"),
        ((UPDATE, '{"type": "input_audio_buffer.append", "audio": "§"}'), "no base64"),
        ((UPDATE, append(b"odd")), "signed 16 bit"),
        ((UPDATE, pcm(0.1)), "a binary frame"),
        ((UPDATE, FINAL.replace("true", '"true"')), "neither true nor false"),
        ((COMMIT, UPDATE), "is the server's own already"),
        (("no json",), "no JSON"),
    ],
)
def test_a_realtime_client_is_told_what_it_did_wrong(frames, said):
    async def test(url):
        messages, code = await talk(f"{url}/v1/realtime", *frames)
        assert messages[-1]["type"] == "error"
        assert said in messages[-1]["error"]
        assert code == 1003

    serve(test)


def test_a_final_commit_alone_is_a_recording_of_nothing():
    async def test(url):
        async with connect(f"{url}/v1/realtime") as client:
            await client.recv()
            for frames in ((FINAL,), (append(pcm(0.25)), FINAL)):
                for frame in frames:
                    await client.send(frame)
                told = {}
                while told.get("type") != "transcription.done":
                    told = json.loads(await client.recv())
                assert told["text"] == ("" if len(frames) == 1 else "1000.000")

    serve(test, SilentRecognizer())


class SilentRecognizer(FakeRecognizer):
    """Hears nothing where there is nothing."""

    def _one(self, stream, chunk):
        events = super()._one(stream, chunk)
        return events if stream.position else []


def test_a_client_s_own_words_do_not_fill_the_answer():
    async def test(url):
        long = json.dumps({"type": "x" * 900_000})
        messages, code = await talk(f"{url}/v1/realtime", UPDATE, long)
        assert len(messages[-1]["error"]) < 1000
        assert messages[-1]["error"].endswith("input_audio_buffer.commit")  # the cure
        assert code == 1003

    serve(test)


def test_who_asks_for_no_model_is_sent_away():
    async def test(url):
        messages, code = await talk(f"{url}/v1/realtime")
        assert "no model was asked for" in messages[-1]["error"]
        assert code == 1008

    serve(test, idle=0.1)


@pytest.mark.parametrize("path, protocol", [("/sherpa-onnx", "wenet"), ("", None)])
def test_a_client_of_sherpa_gets_its_results(path, protocol):
    async def test(url):
        async with connect(url + path) as client:
            await client.send(floats(0.25))
            await client.send(floats(0.15))
            await client.send("Done")
            messages = [message async for message in client]
        assert messages.pop() == "Done!"
        *partials, final = map(json.loads, messages)
        assert [p["is_final"] for p in partials] == [False] * 4
        assert final["is_final"] and final["text"] == "1600.000"
        keys = {"text", "tokens", "timestamps", "segment", "start_time", "is_final"}
        assert keys <= set(final)

    serve(test, protocol=protocol or "sherpa-onnx")


@pytest.mark.parametrize(
    "frames",
    [
        (b"abc",),
        ("Hello",),
        (np.arange(-4000, 4000, dtype="<i2").tobytes(),),
        (floats(0.1, np.nan),),
        (floats(0.1), "Done", floats(0.1)),
    ],
)
def test_what_is_not_of_sherpa_ends_the_session(frames):
    async def test(url):
        async with connect(f"{url}/sherpa-onnx") as client:
            for frame in frames:
                await client.send(frame)
            with pytest.raises(ConnectionClosed):
                while True:
                    assert await client.recv() != "Done!"
        assert client.close_code == 1003

    serve(test, FakeRecognizer(seconds=0.05))


@pytest.mark.parametrize("path, protocol", [("/wenet", "espnet-smoe"), ("", "wenet")])
def test_a_client_of_wenet_gets_its_results(path, protocol):
    start = {"signal": "start", "nbest": 1, "continuous_decoding": True}
    frames = (json.dumps(start), pcm(0.25), '{"signal": "end"}')

    async def test(url):
        messages, code = await talk(url + path, *frames)
        assert code == 1000
        assert messages[0] == {"status": "ok", "type": "server_ready"}
        assert messages[-1] == {"status": "ok", "type": "speech_end"}
        kinds = [m["type"] for m in messages[1:-1]]
        assert kinds == ["partial_result"] * 2 + ["final_result"]
        (best,) = json.loads(messages[-2]["nbest"])
        assert best == {"sentence": "1000.000", "word_pieces": []}

    serve(test, protocol=protocol)


@pytest.mark.parametrize(
    "frames", [(pcm(0.1),), ('{"signal": "pause"}',), ('{"signal": "start"}',) * 2]
)
def test_what_is_not_of_wenet_ends_the_session(frames):
    async def test(url):
        messages, code = await talk(f"{url}/wenet", *frames)
        assert messages[-1]["status"] == "failed"
        assert code == 1003

    serve(test)


def test_a_model_that_takes_no_streams_says_why():
    async def test(url):
        for path in ("", "/?model=fake"):
            messages, code = await talk(url + path)
            assert (
                "fake takes no streams: it is no U2++ model"
                in (messages[-1]["message"])
            )
            assert code == 1003

    serve(test, model())


def test_the_address_chooses_the_model():
    async def test(url):
        messages, code = await talk(f"{url}/?model=other")
        assert "does not exist; there are fake" in messages[-1]["message"]
        async with connect(f"{url}/some/path?model=fake") as client:
            await client.send('{"type": "end"}')
            assert (await hear(client))[1] == 1000

    serve(test)
