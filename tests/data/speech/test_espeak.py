"""Synthetic speech."""

import sys

import numpy as np
import pytest

from espnet_smoe.data.speech.espeak import speak


@pytest.fixture(autouse=True)
def needs_espeak(request) -> None:
    if "without" not in request.node.name:
        pytest.importorskip("espeakng_loader")


def test_the_same_request_gives_the_same_samples_whatever_came_before():
    first, rate = speak("물을 주세요", "ko+f2", seed=3)
    speak("안녕하세요", "ko+m3", seed=4)
    again, _ = speak("물을 주세요", "ko+f2", seed=3)
    assert rate > 16000
    np.testing.assert_array_equal(first, again)
    assert 0.1 < np.abs(first).max() <= 1


def test_faster_speech_is_shorter():
    text = "어제 동생은 사과를 샀어요"
    lengths = [len(speak(text, words_per_minute=wpm)[0]) for wpm in (160, 200, 260)]
    assert lengths[0] > 1.1 * lengths[1] > 1.2 * lengths[2]


@pytest.mark.parametrize("text, voice", [("물", "no-such-language"), ("", "ko")])
def test_what_cannot_be_spoken_is_named(text, voice):
    with pytest.raises(ValueError, match=f"cannot speak '{text}' with voice '{voice}'"):
        speak(text, voice)


def test_without_the_loader_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(ImportError, match=r"espnet_smoe\[espeak\]"):
        speak("물")
