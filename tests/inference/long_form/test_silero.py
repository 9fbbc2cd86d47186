"""Speech is found by the network of silero-vad, where it is installed.

A stand-in of its package has a network with the same inputs and outputs, which takes
what is loud for speech; so it is known what it should find.
"""

import logging

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from espnet_smoe.inference import SpeechToText
from espnet_smoe.inference.long_form import detectors, silero
from espnet_smoe.inference.long_form.detectors import new_activity
from espnet_smoe.inference.long_form.speech_activity import HOP
from espnet_smoe.inference.streaming.speech_gate import SpeechGate
from tests.inference.listening import recognizer_of
from tests.inference.sounds import RATE
from tests.inference.tiny_u2pp import tiny_u2pp
from tests.tiny import save_experiment, talk, tiny_config


def save_network(path):
    """Probability: 20 times the mean level; the state counts blocks, and is needed."""

    def tensor(name, shape, kind=TensorProto.FLOAT):
        return helper.make_tensor_value_info(name, kind, shape)

    def constant(name, value):
        return helper.make_tensor(name, TensorProto.FLOAT, [], [value])

    nodes = [
        helper.make_node("Abs", ["input"], ["level"]),
        helper.make_node("ReduceMean", ["level"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("Mul", ["mean", "gain"], ["loud"]),
        helper.make_node("Clip", ["loud", "zero", "one"], ["output"]),
        helper.make_node("Add", ["state", "one"], ["stateN"]),
    ]
    given = [
        tensor("input", [None, silero.CONTEXT + silero.BLOCK]),
        tensor("state", [2, None, 128]),
        tensor("sr", [], TensorProto.INT64),
    ]
    told = [tensor("output", [None, 1]), tensor("stateN", [2, None, 128])]
    constants = [constant("gain", 20.0), constant("zero", 0.0), constant("one", 1.0)]
    graph = helper.make_graph(nodes, "vad", given, told, constants)
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)


@pytest.fixture
def fresh(monkeypatch):
    """What is kept of installed packages is forgotten, before and after."""
    for kept in (silero._network, detectors._best):
        kept.cache_clear()
    yield monkeypatch
    for kept in (silero._network, detectors._best):
        kept.cache_clear()


@pytest.fixture
def installed(fresh, tmp_path):
    package = tmp_path / "silero_vad"
    (package / "data").mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('it needs torchaudio')\n")
    save_network(package / "data/silero_vad.onnx")
    fresh.syspath_prepend(tmp_path)


@pytest.fixture
def missing(fresh):
    find = silero.find_spec
    fresh.setattr(
        silero, "find_spec", lambda name: None if name == "silero_vad" else find(name)
    )


def loud(samples):
    return (0.5 * np.random.default_rng(0).choice([-1, 1], samples)).astype(np.float32)


def talks():
    """Two seconds of speech between seconds of silence, from 1 s and from 4 s on."""
    wave = np.zeros(7 * RATE + 100, np.float32)
    for second in (1, 4):
        wave[second * RATE : (second + 2) * RATE] = loud(2 * RATE)
    return wave


def heard(wave, size=None):
    activity = new_activity("silero")
    for start in range(0, len(wave), size or len(wave)):
        activity.accept(wave[start : start + (size or len(wave))])
    return activity


def test_speech_is_what_the_network_takes_for_it(installed):
    spans = heard(talks()).spans()
    assert len(spans) == 2
    for span, second in zip(spans, (1, 4)):
        assert 0 <= second * RATE - span.start <= 2 * silero.BLOCK
        assert 0 <= span.end - (second + 2) * RATE <= 2 * silero.BLOCK


def test_silence_that_the_network_takes_for_speech_is_left_out(installed):
    late = heard(talks())
    blocks = np.flatnonzero(np.array(late._probabilities) > silero.BEGIN)
    for block in (32 + 62, 32 + 63):  # behind the first speech, which ends in block 93
        assert block not in blocks
        late._probabilities[block] = 0.9
    for span, second in zip(late.spans(), (1, 4)):
        assert 0 <= second * RATE - span.start <= silero.BLOCK
        assert 0 <= span.end - (second + 2) * RATE <= silero.BLOCK


def test_blocks_of_any_size_give_the_same(installed):
    whole = heard(talks()).spans()
    for size in (100, 512, 7777):
        assert heard(talks(), size).spans() == whole


def test_speech_lasts_to_the_end_of_a_wave_that_fills_no_block(installed):
    wave = loud(RATE + 300)
    activity = heard(wave)
    assert [(s.start, s.end) for s in activity.spans()] == [(0, len(wave))]
    activity.accept(wave)  # asking has changed nothing
    assert [(s.start, s.end) for s in activity.spans()] == [(0, 2 * len(wave))]


def test_what_is_forgotten_moves_nothing(installed):
    activity = heard(talks())
    last = activity.spans()[-1]
    activity.forget(int(3.5 * RATE))
    (found,) = activity.spans()
    assert found.start == last.start
    assert abs(found.end - last.end) <= HOP  # the noise floor is another one
    assert len(activity._probabilities) < 4 * RATE / silero.BLOCK


def test_the_quietest_place_is_known_as_by_energy(installed):
    wave = talk(3)
    wave[20000:22000] *= 0.001
    assert 20000 <= heard(wave).quietest(8000, 40000) <= 22000


def test_streams_ask_the_network_too(installed):
    gate = SpeechGate("silero")
    gate.accept(talks())
    gate.measure(7 * RATE)
    assert gate.spoken_between(RATE, 2 * RATE)
    assert not gate.spoken_between(int(3.2 * RATE), int(3.8 * RATE))


def test_auto_takes_the_network_where_it_is_installed(installed):
    assert isinstance(new_activity("auto"), silero.SileroActivity)
    assert not isinstance(new_activity(), silero.SileroActivity)


def test_auto_tells_once_that_it_goes_by_energy(missing, caplog):
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert not isinstance(new_activity("auto"), silero.SileroActivity)
    (record,) = caplog.records
    assert "espnet_smoe[vad]" in record.getMessage()


def test_a_network_that_is_asked_for_and_missing_is_an_error(missing):
    with pytest.raises(ValueError, match=r"silero_vad: pip install 'espnet_smoe\[vad"):
        new_activity("silero")


def test_a_missing_network_is_told_before_any_recording_is_read(missing, tmp_path):
    save_experiment(tmp_path, tiny_config(tmp_path))
    with pytest.raises(ValueError, match="vad: silero needs silero_vad"):
        SpeechToText.load(tmp_path, vad="silero")
    with pytest.raises(ValueError, match="vad: silero needs silero_vad"):
        recognizer_of(tiny_u2pp(), vad="silero")
