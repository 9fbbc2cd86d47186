"""What a training leaves beside its weights."""

import json
from argparse import Namespace

import pytest
import yaml
from espnet2.tasks.abs_task import AbsTask
from espnet2.tasks.asr import ASRTask

from espnet_smoe.trained import describe_trained

FEATURES = {  # given in place of audio
    "input_size": 20,
    "model_conf": {"ctc_weight": 1.0},
    "token_list": ["<blank>", "<unk>", "a", "<sos/eos>"],
    "encoder": "transformer",
    "encoder_conf": {"output_size": 8, "attention_heads": 2, "num_blocks": 1},
}


@pytest.fixture
def train(monkeypatch, tmp_path):
    """A training that leaves nothing but what is to be tested."""
    monkeypatch.setattr(AbsTask, "main_worker", classmethod(lambda cls, args: None))
    describe_trained()
    options = {"output_dir": str(tmp_path), "dry_run": False}
    return lambda **more: ASRTask.main_worker(Namespace(**options | more))


def test_a_model_of_features_is_described_too(train, tmp_path):
    config = ASRTask.get_default_config() | FEATURES
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    train(collect_stats=False)
    size = json.loads((tmp_path / "params.json").read_text())
    assert size["total"] == size["active"] > 0
    assert size["multiply_accumulates"] is None


def test_a_training_is_done_though_its_model_cannot_be_described(train, caplog):
    train(collect_stats=False)  # there is no config.yaml
    assert "the model's size is not told" in caplog.text


def test_statistics_have_no_model(train, tmp_path, caplog):
    train(collect_stats=True)
    assert not caplog.text and not list(tmp_path.iterdir())
