"""Features are computed in float32, whatever precision a model trains in."""

import argparse

import pytest
import torch

from tests.inference.tiny_u2pp import tiny_u2pp_config
from tests.tiny import noise, tiny_config, tiny_ctc_config


@pytest.mark.parametrize("kind", ["smoe", "u2pp", "speech_moe"])
def test_autocast_does_not_round_the_features(kind, tmp_path):
    config = {
        "smoe": lambda: tiny_config(tmp_path, moe=False),
        "u2pp": tiny_u2pp_config,
        "speech_moe": lambda: tiny_ctc_config(["<blank>", "<unk>", "a", "<sos/eos>"]),
    }[kind]()
    from espnet2.tasks.asr import ASRTask

    model = ASRTask.build_model(argparse.Namespace(**config)).eval()
    seen = []
    model.normalize = torch.nn.Identity()  # sees the features
    model.normalize.forward = lambda x, n: (seen.append(x) or x, n)
    speech, lengths = torch.from_numpy(noise(1.0))[None], torch.tensor([16000])
    with torch.no_grad():
        for enabled in (False, True):
            with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                model.encode(speech, lengths)
    assert seen[1].dtype == torch.float32
    torch.testing.assert_close(seen[1], seen[0], rtol=0, atol=0)
