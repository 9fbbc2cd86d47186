"""Recordings by HTTP: answers in every shape, faults as OpenAI's clients read them."""

import asyncio
import io
import json
import socket
import subprocess
from dataclasses import replace
from pathlib import Path

import httpx2
import numpy as np
import pytest
import soundfile

from espnet_smoe.data.task_table import task_table
from espnet_smoe.serve.access import Access
from espnet_smoe.serve.listener import listen
from espnet_smoe.serve.models import Model
from tests.serve.fake import RATE, FakeSpeechToText, model, running

PATH = "/v1/audio/transcriptions"
# how a form with boundary x begins
FILE = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'


def wav(seconds=1.0, value=0.25, rate=RATE, channels=1):
    """A file of samples that are all the same."""
    file = io.BytesIO()
    samples = np.full((round(seconds * rate), channels), value, np.float32)
    soundfile.write(file, samples, rate, "PCM_16", format="WAV")
    return file.getvalue()


def serve(test, recordings=None, access=None, **limits):
    """Run a coroutine function with a client of a server, and the server."""

    async def run():
        fake = recordings or FakeSpeechToText()
        fake = fake if isinstance(fake, Model) else model(recordings=fake)
        async with running(fake, access, **limits) as (server, url):
            client = httpx2.AsyncClient(base_url=url.replace("ws", "http"), timeout=20)
            async with client:
                await asyncio.wait_for(test(client, server), 20)

    asyncio.run(run())


async def post(client, file=None, path=PATH, name="talk.wav", **fields):
    files = {"file": (name, wav() if file is None else file)}
    return await client.post(path, files=files, data=fields)


def fault(response, status, code=None, param=None):
    """The message of an error in OpenAI's shape."""
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert code is None or error["code"] == code
    assert param is None or error["param"] == param
    return error["message"]


def test_a_recording_is_answered_with_its_text():
    async def test(client, server):
        told = (await post(client, model="fake")).json()
        assert told == {
            "text": "asr 0.25",
            "usage": {"type": "duration", "seconds": 1},
        }
        told = (await post(client, path="/v1/audio/translations")).json()
        assert told["text"] == "st 0.25"

    serve(test)


def test_both_tasks_come_from_one_pass():
    fake = FakeSpeechToText()

    async def test(client, server):
        told = (await post(client, tasks="asr,st")).json()
        assert told["text"] == "asr 0.25"
        assert told["texts"] == {"asr": "asr 0.25", "st": "st 0.25"}
        told = await post(client, **{"tasks[]": ["st", "asr"]}, response_format="text")
        assert told.text == "st 0.25\nasr 0.25\n"

    serve(test, fake)
    assert fake.encoded["talk.wav"] == 2


def test_a_verbose_answer_has_segments_and_words():
    async def test(client, server):
        fields = {"response_format": "verbose_json"}
        told = (await post(client, **fields)).json()
        assert "words" not in told
        fields["timestamp_granularities[]"] = ["word", "segment"]
        told = (await post(client, wav(3), **fields)).json()
        assert (told["task"], told["language"], told["duration"]) == (
            *("transcribe", "ko", 3.0),
        )
        assert [s["id"] for s in told["segments"]] == [0, 1]
        first, second = told["segments"]
        assert first["start"] == 0.0 and first["end"] == second["start"]
        assert second["end"] == 3.0
        assert first["text"] == "asr 0.25"
        keys = "id seek start end text tokens temperature avg_logprob"
        keys += " compression_ratio no_speech_prob"
        assert set(keys.split()) <= set(first)
        assert all(isinstance(token, int) for token in first["tokens"])
        words = told["words"]
        assert [w["word"] for w in words] == ["asr", "0.25"] * 2
        times = [t for w in words for t in (w["start"], w["end"])]
        assert times == sorted(times) and times[-1] == 3.0

    serve(test)


@pytest.mark.parametrize(
    ("shape", "kind", "begins"),
    [
        ("text", "text/plain", "asr 0.25"),
        ("srt", "application/x-subrip", "1\n00:00:00,000 --> 00:00:01,000\nasr 0.25"),
        ("vtt", "text/vtt", "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\nasr 0.25"),
    ],
)
def test_texts_and_subtitles_are_no_json(shape, kind, begins):
    async def test(client, server):
        told = await post(client, response_format=shape)
        assert told.headers["content-type"].startswith(kind)
        assert told.text.startswith(begins)

    serve(test)


def events(text):
    """What server-sent events hold."""
    lines = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


def test_a_stream_tells_each_piece_and_then_all_of_it():
    async def test(client, server):
        told = await post(client, wav(5), stream="true", tasks="asr,st")
        assert told.headers["content-type"].startswith("text/event-stream")
        *deltas, done = events(told.text)
        assert [d["type"] for d in deltas] == ["transcript.text.delta"] * 3
        assert done["type"] == "transcript.text.done"
        assert (
            "".join(d["delta"] for d in deltas)
            == done["text"]
            == "asr 0.25 " * 2 + ("asr 0.25")
        )
        assert done["texts"]["st"].startswith("st 0.25 st")

    serve(test)


def test_a_stream_that_fails_ends_with_the_error():
    async def test(client, server):
        file = np.frombuffer(wav(1)[44:], "<i2")
        samples = np.concatenate([np.tile(file, 40), np.full(RATE, 31000, np.int16)])
        content = io.BytesIO()
        soundfile.write(content, samples, RATE, format="WAV")
        told = await post(client, content.getvalue(), stream="true")
        assert told.status_code == 200
        assert "event: error\n" in told.text
        last = told.text.strip().splitlines()[-1].removeprefix("data: ")
        assert "too loud" in json.loads(last)["error"]["message"]

    serve(test)


def test_silence_gives_an_empty_text():
    async def test(client, server):
        told = await post(client, wav(2, 0.0))
        assert told.json()["text"] == ""
        told = await post(client, wav(2, 0.0), stream="true")
        assert [e["type"] for e in events(told.text)] == ["transcript.text.done"]

    fake = FakeSpeechToText()
    fake.detect_speech = True
    serve(test, fake)


def test_models_health_and_metrics_are_told():
    async def test(client, server):
        (told,) = (await client.get("/v1/models")).json()["data"]
        assert (told["id"], told["object"]) == ("fake", "model")
        assert told["tasks"] == ["asr", "st"]
        assert (await client.get("/v1/models/fake")).json() == told
        fault(await client.get("/v1/models/other"), 404, "model_not_found")
        assert (await client.get("/health")).json() == {"status": "ok"}
        await post(client)
        page = (await client.get("/metrics")).text
        assert 'espnet_smoe_open{kind="requests"} 0.0' in page
        assert (
            'espnet_smoe_batch_size_count{kind="recordings",model="fake"} 1.0' in page
        )
        assert f'answers_total{{path="{PATH}",status="200"}} 1.0' in page
        fault(await client.get("/nothing"), 404)
        fault(await client.get(PATH), 405)

    serve(test)


BROKEN = {
    "empty": (b"", "empty"),
    "no samples": (wav(0), "empty"),
    "too short": (wav(0.01), "too short"),
    "text": (b"these are just words, and no sound at all " * 9, "cannot be read"),
    "a zip": (b"PK\x03\x04 and no more", "a zip archive"),
    "a playlist": (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hosts\n", "cannot be read"),
    "cut off": (wav(2)[:20000], "cut off"),
    "too long": (wav(4), "more than 3 s"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_no_recording_is_named(kind):
    file, said = BROKEN[kind]

    async def test(client, server):
        message = fault(await post(client, file), 400, param="file")
        assert said in message
        assert server.folder not in message
        assert (await post(client)).status_code == 200

    serve(test, seconds=3)


def test_a_video_without_sound_is_named(tmp_path):
    from espnet_smoe.data.speech.codec import ffmpeg_path

    video = tmp_path / "silent.mp4"
    made = [ffmpeg_path(), "-loglevel", "error", "-f", "lavfi"]
    made += ["-i", "color=size=32x32:duration=1", str(video)]
    subprocess.run(made, check=True)

    async def test(client, server):
        answer = await post(client, video.read_bytes(), name="silent.mp4")
        message = fault(answer, 400, param="file")
        assert "silent.mp4 cannot be read as audio: it is MP4 without sound" in message

    serve(test)


@pytest.mark.parametrize(
    ("fields", "status", "param", "said"),
    [
        ({"model": "whisper-1"}, 404, "model", "does not exist; there are fake"),
        ({"response_format": "docx"}, 400, "response_format", "known are json, text"),
        ({"language": "fr"}, 400, "language", "does not transcribe 'fr'; it knows ko"),
        ({"temperature": "0.7"}, 400, "temperature", "leave it out or send 0"),
        ({"temperature": "warm"}, 400, "temperature", "leave it out or send 0"),
        ({"prompt": "names"}, 400, "prompt", "take no prompt"),
        ({"tasks": "asr,tts"}, 400, "tasks", "unknown task 'tts'"),
        ({"bandwidth": "xb"}, 400, "bandwidth", "unknown bandwidth"),
        ({"beam": "3"}, 400, "beam", "unknown field"),
        ({"stream": "true", "response_format": "srt"}, 400, "stream", "json"),
        ({"stream": "maybe"}, 400, "stream", "known are true"),
        ({"timestamp_granularities[]": "letter"}, 400, None, "segment, word"),
        ({"model": ["fake", "fake"]}, 400, "model", "there 2 times"),
        ({"include[]": "logprobs"}, 400, "include", "verbose_json"),
    ],
)
def test_what_cannot_be_had_is_refused_plainly(fields, status, param, said):
    async def test(client, server):
        assert said in fault(await post(client, **fields), status, param=param)

    serve(test)


def test_the_spoken_language_is_told_to_a_model_whose_prompts_name_it():
    rows = {"asr": {"target": "text", "prompt": ["<transcribe>", "<ko>"]}}
    rows["asr"]["spoken"] = "ko"
    fake = FakeSpeechToText(seconds=0.05)
    speaks = replace(model(recordings=fake), rows=task_table(rows))

    async def test(client, server):
        asked = [post(client, language=code) for code in ("ko", "es-MX", "", "es")]
        texts = [told.json()["text"] for told in await asyncio.gather(*asked)]
        assert texts == ["asrko 0.25", "asres 0.25", "asr 0.25", "asres 0.25"]
        told = await post(client, language="es", response_format="verbose_json")
        assert told.json()["language"] == "es"
        message = fault(await post(client, language="xx"), 400, param="language")
        assert "has no token <xx>" in message

    serve(test, speaks)


def test_words_of_a_task_without_times_are_refused():
    async def test(client, server):
        fields = {"response_format": "verbose_json"}
        fields["timestamp_granularities[]"] = "word"
        message = fault(await post(client, **fields), 400)
        assert "does not know when the words of 'asr' are said" in message

    serve(test, FakeSpeechToText(timed=False))


def test_a_form_without_a_file_is_refused():
    async def test(client, server):
        for kind in ({"data": {"model": "fake"}}, {"json": {"file": "a"}}, {}):
            assert "as 'file'" in fault(await client.post(PATH, **kind), 400)
        files = {"file": ("a.wav", wav()), "other": ("b.wav", wav())}
        fault(await client.post(PATH, files=files), 400)
        told = await client.post(PATH, data={"file": "x"}, files={"model": (None, "")})
        assert "is a text without a file name" in fault(told, 400)
        head = {"Content-Type": "multipart/form-data; boundary=x"}
        for body in (
            b"",
            b"--x\r\n",
            b'--x\r\nContent-Disposition: form-data; name="f',
        ):
            fault(await client.post(PATH, content=body, headers=head), 400)
        fault(
            await client.post(PATH, data={"model": "x" * 9000}, files={"a": b""}), 400
        )

    serve(test)


def test_a_form_that_ends_in_its_middle_is_refused():
    async def test(client, server):
        head = {"Content-Type": "multipart/form-data; boundary=x"}
        told = await client.post(PATH, content=FILE + wav(), headers=head)
        fault(told, 400)

    serve(test)


def test_an_upload_that_is_too_large_is_refused_before_it_has_come():
    async def test(client, server):
        message = fault(await post(client, wav(10)), 413, param="file")
        assert "more than 100000 bytes" in message

        async def endless():
            while True:
                sent.append(1)
                yield b"x" * 10000

        sent = []
        head = {"Content-Type": "multipart/form-data; boundary=x"}
        try:
            told = await client.post(PATH, content=endless(), headers=head)
            fault(told, 413)
        except httpx2.TransportError:  # this client sends on, until it is cut off
            pass
        assert (await post(client)).status_code == 200

    serve(test, upload=1e5)


async def raw(client, data, then=b""):
    """What a connection answers to bytes of our own making."""
    url = client.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(data)
    await writer.drain()
    writer.write(then)
    return reader, writer


def head(length):
    """Of a form that is to be so long."""
    return (
        f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data;"
        f" boundary=x\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


def test_a_huge_upload_is_answered_while_it_is_sent():
    async def test(client, server):
        reader, writer = await raw(client, head(2 * 10**9), b"x" * 10**6)
        answer = await reader.readuntil(b"}}")
        assert b" 413 " in answer and b"more than 100000 bytes" in answer
        writer.close()

    serve(test, upload=1e5)


def test_an_upload_that_is_cut_leaves_nothing_behind():
    async def test(client, server):
        before = asyncio.all_tasks()
        for _ in range(3):
            _, writer = await raw(client, head(10**6), FILE + b"y" * 10**5)
            while not server.admission.there["requests"]:
                await asyncio.sleep(0.01)
            writer.transport.abort()
        while server.admission.there["requests"] or asyncio.all_tasks() - before:
            await asyncio.sleep(0.01)
        assert (await post(client)).status_code == 200

    serve(test)


def test_who_sends_nothing_more_is_told_so():
    async def test(client, server):
        reader, writer = await raw(client, head(10**6))
        assert b" 408 " in await reader.readuntil(b"}}")
        writer.close()

    serve(test, idle=0.2)


def test_who_leaves_is_decoded_no_longer():
    fake = FakeSpeechToText(seconds=0.1)

    async def test(client, server):
        asking = asyncio.create_task(post(client, wav(100)))
        while not fake.batches:
            await asyncio.sleep(0.01)
        asking.cancel()
        while server.admission.there["requests"]:
            await asyncio.sleep(0.01)
        await post(client, wav(1), name="next.wav")

    serve(test, fake)
    assert fake.encoded["talk.wav"] < 30  # of 50


def test_requests_share_batches_and_get_their_own_texts():
    fake = FakeSpeechToText(seconds=0.05)
    levels = [n / 20 for n in range(1, 13)]

    async def test(client, server):
        asked = [post(client, wav(2.5, level)) for level in levels]
        texts = [told.json()["text"] for told in await asyncio.gather(*asked)]
        assert texts == [f"asr {level:.2f} asr {level:.2f}" for level in levels]

    serve(test, fake)
    assert max(map(len, fake.batches)) == fake.batch_size


def test_a_sentence_does_not_wait_for_an_hour():
    fake = FakeSpeechToText(seconds=0.05)

    async def test(client, server):
        long = asyncio.create_task(post(client, wav(60), name="long.wav"))
        while not fake.batches:
            await asyncio.sleep(0.01)
        await post(client, name="short.wav")
        assert not long.done()
        assert (await long).status_code == 200

    serve(test, fake)


def test_a_piece_that_fails_fails_for_its_own_client_only():
    fake = FakeSpeechToText(seconds=0.05)

    async def test(client, server):
        good = [post(client, wav(1, 0.5)) for _ in range(6)]
        bad, *others = await asyncio.gather(post(client, wav(1, 0.95)), *good)
        message = fault(bad, 500)
        assert message == "the model failed on this recording: too loud"
        assert {told.json()["text"] for told in others} == {"asr 0.50"}

    serve(test, fake)


def test_more_than_can_be_borne_is_refused_early():
    fake = FakeSpeechToText(seconds=0.2)

    async def test(client, server):
        asked = [asyncio.create_task(post(client)) for _ in range(2)]
        while server.admission.there["requests"] < 2:
            await asyncio.sleep(0.01)
        told = await post(client)
        assert "all 2 requests are taken" in fault(told, 503, "server_busy")
        assert int(told.headers["retry-after"]) >= 1
        assert [t.status_code for t in await asyncio.gather(*asked)] == [200, 200]

    serve(test, fake, requests=2)


def test_a_long_queue_is_refused_early():
    fake = FakeSpeechToText(seconds=0.5)

    async def test(client, server):
        await post(client, wav(2))  # now it is known how fast it is
        long = asyncio.create_task(post(client, wav(60)))
        while not server.service(server.models[0]).recordings.wait > 1:
            await asyncio.sleep(0.01)
        message = fault(await post(client), 503, "server_busy")
        assert "s of work wait" in message
        long.cancel()

    serve(test, fake, wait=1.0)


def test_one_client_cannot_take_all_places():
    fake = FakeSpeechToText(seconds=0.2)

    async def test(client, server):
        asked = asyncio.create_task(post(client))
        while not server.admission.there["requests"]:
            await asyncio.sleep(0.01)
        told = await post(client)
        fault(told, 429, "rate_limit_exceeded")
        assert "retry-after" in told.headers
        assert (await asked).status_code == 200
        assert (await post(client)).status_code == 200

    serve(test, fake, per_client=1)


def test_a_server_out_of_memory_lets_nobody_in():
    async def test(client, server):
        assert "GB of memory" in fault(await post(client), 503, "server_busy")

    serve(test, memory=0.001)


def test_without_the_token_nobody_gets_in():
    async def test(client, server):
        assert (await client.get("/health")).status_code == 200
        for path in ("/v1/models", "/metrics", "/"):
            fault(await client.get(path), 401, "invalid_api_key")
        fault(await post(client), 401)
        client.headers["Authorization"] = "Bearer wrong-token"
        assert "is wrong" in fault(await post(client), 401, "invalid_api_key")
        client.headers["Authorization"] = "Bearer right-token"
        assert (await post(client)).status_code == 200

    serve(test, access=Access(tokens=["other-token", "right-token"]))


def test_pages_of_others_may_not_read_unless_they_are_named():
    async def test(client, server):
        page = {"Origin": "https://page.example"}
        fault(await client.get("/v1/models", headers=page), 403)
        own = {"Origin": f"http://{client.base_url.host}:{client.base_url.port}"}
        told = await client.get("/v1/models", headers=own)
        assert told.status_code == 200
        assert "access-control-allow-origin" not in told.headers

    serve(test)


def test_a_named_page_may_ask_and_read():
    page = "https://page.example"

    async def test(client, server):
        asks = {"Origin": page, "Access-Control-Request-Method": "POST"}
        asks["Access-Control-Request-Headers"] = "authorization"
        told = await client.options(PATH, headers=asks)
        assert told.headers["access-control-allow-origin"] == page
        head = {"Origin": page, "Authorization": "Bearer right-token"}
        told = await client.get("/v1/models", headers=head)
        assert told.status_code == 200
        assert told.headers["access-control-allow-origin"] == page

    serve(test, access=Access([page], [], ["right-token"]))


def test_a_stopping_server_answers_who_is_there():
    fake = FakeSpeechToText(seconds=0.2)

    async def test(client, server):
        asked = asyncio.create_task(post(client))
        while not fake.batches:
            await asyncio.sleep(0.01)
        server.stop()
        assert (await asked).json()["text"] == "asr 0.25"
        with pytest.raises(httpx2.TransportError):
            await post(client)

    serve(test, fake)


def test_uploads_are_gone_with_their_requests():
    seen = []

    class Looking(FakeSpeechToText):
        def recognize(self, waves, labels, tasks, names):
            seen.extend(folder.iterdir())
            return super().recognize(waves, labels, tasks, names)

    async def test(client, server):
        nonlocal folder
        folder = Path(server.folder)
        await post(client, name="../../escape.wav")
        while list(folder.iterdir()):
            await asyncio.sleep(0.01)

    folder = None
    serve(test, Looking())
    assert len(seen) == 1 and not folder.exists()
    assert "escape" not in seen[0].name


def test_a_port_that_is_taken_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"in use.*127.0.0.1:{port}"):
            listen("127.0.0.1", port)
