"""Recordings by HTTP: answers in every shape, faults as OpenAI's clients read them."""

import asyncio
import io
import json
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from espnet_smoe.data.speech import container, ffmpeg
from espnet_smoe.data.speech.codec import ffmpeg_path
from espnet_smoe.data.task_table import task_table
from tests.serve.fake import RATE, FakeSpeechToText, model
from tests.serve.http import PATH, fault, post, serve, wav


def test_a_recording_is_answered_with_its_text():
    async def test(client, server):
        sampling = {"seed": "4419", "repetition_penalty": "1.3"}  # of vLLM's client
        told = (await post(client, model="fake", **sampling)).json()
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


def test_who_asks_is_told_the_experts_of_each_segment():
    async def test(client, server):
        fields = {"response_format": "verbose_json", "tasks": "asr,st"}
        told = (await post(client, wav(3), **fields, experts="true")).json()
        layers = {"layer": "encoder", "experts": 2, "chosen": [0], "label": "wb"}
        routed = {"layer": "encoder.1", "experts": 8, "chosen": [3, 7, 7, 0]}
        for segment in told["segments"]:
            assert segment["experts"] == [
                layers | {"task": None},
                routed | {"label": None, "task": None},
                *(
                    {"layer": "decoder", "experts": 2, "chosen": [n], "label": task}
                    | {"task": task}
                    for task, n in (("asr", 1), ("st", 0))
                ),
            ]
        # not in one batch with those who do not ask
        asked, plain = await asyncio.gather(
            post(client, **fields, experts="true"), post(client, **fields)
        )
        assert "experts" in asked.json()["segments"][0]
        assert "experts" not in plain.json()["segments"][0]

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
        assert told["translations"] == ["st"] and told["word_times"] == ["asr"]
        assert told["languages"] == {"asr": "ko", "st": "en"}
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


def test_a_fault_of_the_server_is_counted():
    async def test(client, server):
        server.folder = "/nowhere"  # as with a disk that is full
        assert "its log has more" in fault(await post(client), 500)
        page = (await client.get("/metrics")).text
        assert f'answers_total{{path="{PATH}",status="500"}} 1.0' in page

    serve(test)


def test_of_what_was_converted_nothing_stays(tmp_path):
    made = webm(tmp_path, 1)

    async def test(client, server):
        for status, file in ((200, made), (400, made[:-999])):
            told = await post(client, file, name="talk.webm")
            assert told.status_code == status
            while container._scratch_of_file.cache_info().currsize:
                await asyncio.sleep(0.01)

    serve(test)


def test_no_more_is_converted_than_may_be_sent(tmp_path, monkeypatch):
    converted = []
    whole = ffmpeg._decode

    def decode(*args):
        converted.append(whole(*args))
        return converted[-1]

    monkeypatch.setattr(ffmpeg, "_decode", decode)
    made = webm(tmp_path, 60)

    async def test(client, server):
        assert "more than 3 s" in fault(await post(client, made), 400, param="file")
        assert converted[0].seconds < 5

    serve(test, seconds=3)


def webm(folder, seconds):
    """A file that FFmpeg has to convert."""
    made = folder / "a.webm"
    command = [ffmpeg_path(), "-loglevel", "error", "-i", "-", str(made)]
    subprocess.run(command, check=True, input=wav(seconds))
    return made.read_bytes()


def test_a_video_without_sound_is_named(tmp_path):
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
        ({"experts": "true"}, 400, "experts", "verbose_json"),
        ({"experts": "all"}, 400, "experts", "known are true"),
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
