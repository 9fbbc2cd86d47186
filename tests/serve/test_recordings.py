"""Recordings that a server cuts have the text that they have without a server."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from espnet_smoe.inference import SpeechToText
from espnet_smoe.serve.models import Model
from tests.serve.fake import RATE
from tests.serve.http import post, serve
from tests.tiny import save_experiment, talk, tiny_config


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exp")
    save_experiment(folder, tiny_config(folder))
    return SpeechToText.load(folder, beam_size=1, longest_seconds=2.0, maxlenratio=0.2)


def test_speech_without_a_pause_is_read_once(recordings):
    model = Model("tiny", recordings, rows=recordings.model.task_table)
    wave = (np.round(talk(7.0) * 32768) / 32768).astype(np.float32)
    file = io.BytesIO()
    soundfile.write(file, wave, RATE, "PCM_16", format="WAV")
    (expected,) = recordings([wave], ["asr"], "wb")
    fields = {"bandwidth": "wb", "timestamp_granularities[]": ["segment", "word"]}

    async def test(client, server):
        sent = file.getvalue(), "/v1/audio/transcriptions"
        answer = await post(client, *sent, response_format="verbose_json", **fields)
        told = answer.json()
        assert told["text"] == expected["asr"].text
        assert len(told["segments"]) > 3
        ends = [segment["end"] for segment in told["segments"][:-1]]
        assert ends == [segment["start"] for segment in told["segments"][1:]]
        assert [word["word"] for word in told["words"]] == told["text"].split()
        lines = (await post(client, *sent, stream="true")).text.splitlines()
        events = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
        assert "".join(e["delta"] for e in events if "delta" in e) == told["text"]

    serve(test, model)


def test_the_bandwidth_of_the_models_options_is_that_of_who_names_none(recordings):
    options = replace(recordings.options, bandwidth="nb")
    model = Model("tiny", recordings.with_options(options))
    file = io.BytesIO()
    soundfile.write(file, talk(1.0), RATE, "PCM_16", format="WAV")
    sent = file.getvalue(), "/v1/audio/transcriptions"

    async def test(client, server):
        for fields, used in ({}, "nb"), ({"bandwidth": "auto"}, "wb"):
            answer = await post(
                client, *sent, response_format="verbose_json", tasks="asr", **fields
            )
            assert answer.json()["bandwidth"] == used

    serve(test, model)
