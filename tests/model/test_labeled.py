"""An encoder that reads a label hears it where nobody gives one."""

import argparse

import numpy as np
import pytest
import torch

from espnet_smoe.model.labeled import LabeledASRModel
from tests.tiny import talk, tiny_config


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> LabeledASRModel:
    from espnet2.tasks.asr import ASRTask

    torch.manual_seed(0)
    config = tiny_config(tmp_path_factory.mktemp("tokens"))
    return ASRTask.build_model(argparse.Namespace(**config)).eval()


def narrow(wave: np.ndarray) -> np.ndarray:
    """What a telephone leaves of it: nothing above 3.8 kHz."""
    spectrum = np.fft.rfft(wave)
    spectrum[int(len(spectrum) * 3800 / 8000) :] = 0
    return np.fft.irfft(spectrum, len(wave)).astype(np.float32)


def labels_of(model: LabeledASRModel, *given: object) -> list[str]:
    """What the encoder's experts are chosen by."""
    seen, labels = [], model.encoder.labels
    route = labels.route
    labels.route = lambda ids, *others: seen.append(ids) or route(ids, *others)
    with torch.no_grad():
        model.encode(*given)
    del labels.route
    return [model.token_list[i] for i in seen[0].tolist()]


def test_the_bandwidth_of_each_waveform_is_estimated_without_its_padding(model):
    wide = talk(1.0)
    speech = np.stack([wide, narrow(wide), narrow(wide)])
    speech[2, 8000:] = wide[8000:]  # beyond its end
    given = torch.from_numpy(speech), torch.tensor([16000, 16000, 8000])
    assert labels_of(model, *given) == ["<wb>", "<nb>", "<nb>"]


def test_a_label_that_is_given_is_taken(model):
    wide = torch.from_numpy(talk(1.0))[None]
    ids = torch.tensor([model.token_list.index("<nb>")])
    assert labels_of(model, wide, torch.tensor([16000]), ids) == ["<nb>"]


def test_features_have_no_bandwidth_to_hear(model):
    with pytest.raises(ValueError, match="no label reached the encoder; give one of <"):
        model.encode(torch.zeros(1, 100, 80), torch.tensor([100]))


def test_a_label_that_is_no_bandwidth_is_not_heard(model, monkeypatch):
    monkeypatch.setattr(model.encoder.labels, "tokens", ("<ko>", "<en>"))
    with pytest.raises(ValueError, match="give one of <ko>, <en> for each utterance"):
        model.encode(torch.zeros(1, 16000), torch.tensor([16000]))
