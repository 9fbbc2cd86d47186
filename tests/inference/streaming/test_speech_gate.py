"""Streams: no text where nobody speaks, the usual text where somebody does."""

import numpy as np
import pytest

from espnet_smoe.inference.streaming.speech_gate import HISTORY_SECONDS, SpeechGate
from tests.inference.listening import CUT, events_of, recognizer_of, same
from tests.inference.tiny_u2pp import tiny_u2pp
from tests.tiny import noise, talk

RATE = 16000
TIME = np.arange(3 * RATE) / RATE


@pytest.fixture(scope="module")
def model():
    return tiny_u2pp()


SILENT = {
    "zeros": np.zeros(3 * RATE, np.float32),
    "noise": noise(3.0),
    "soft noise": 0.01 * noise(3.0),
    "tone": 0.3 * np.sin(2000 * np.pi * TIME).astype(np.float32),
}


@pytest.mark.parametrize("wave", SILENT.values(), ids=SILENT)
def test_where_nobody_speaks_there_is_no_event(model, wave):
    assert events_of(recognizer_of(model, detect_speech=True, **CUT), wave) == []


def test_the_model_itself_would_have_found_words_in_noise(model):
    assert events_of(recognizer_of(model, **CUT), noise(3.0))


def test_speech_has_the_finals_that_it_had(model):
    found = [
        [e for e in events_of(recognizer, talk(4.0)) if e.kind == "final"]
        for recognizer in (
            recognizer_of(model, detect_speech=asked, **CUT) for asked in (True, False)
        )
    ]
    assert found[0]
    same(*found)


def test_after_noise_the_stream_goes_on(model):
    wave = np.concatenate([0.02 * noise(6.0), talk(4.0)])
    events = events_of(recognizer_of(model, detect_speech=True, **CUT), wave)
    assert any(event.kind == "final" and event.text for event in events)
    assert all(event.end > 5.5 for event in events)


def pieces(wave: np.ndarray, size: int = 8000) -> list[np.ndarray]:
    return [wave[i : i + size] for i in range(0, len(wave), size)]


def test_a_gate_forgets_what_is_long_past():
    gate = SpeechGate()
    sizes = []
    for seed in range(4):
        for piece in pieces(np.concatenate([talk(20.0, seed), 0.001 * noise(10.0)])):
            gate.accept(piece)
            gate.measure(10**9)
        sizes.append(sum(len(bands) for bands in gate._activity._bands))
    assert max(sizes) <= (HISTORY_SECONDS + 1) * 100
    now = 4 * 30 * RATE
    assert gate.spoken_between(now - 15 * RATE, now)  # the last talk
    assert not gate.spoken_between(now - 9 * RATE, now)


def test_a_gate_looks_no_further_than_it_is_told():
    gate = SpeechGate()
    gate.accept(np.concatenate([np.zeros(40 * RATE, np.float32), talk(4.0)]))
    gate.measure(40 * RATE)
    assert not gate.spoken_between(0, 50 * RATE)
    gate.measure(50 * RATE)
    assert gate.spoken_between(0, 50 * RATE)
    assert not gate.spoken_between(0, 39 * RATE)
