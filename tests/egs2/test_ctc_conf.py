"""The seven systems of SpeechMoE in miniature: trained alike, each until it is done."""

from pathlib import Path

import pytest

from espnet_smoe.config.yaml_file import read_yaml

TUNING = Path(__file__).resolve().parents[2] / "egs2/mini_cmn/ctc1/conf/tuning"
SYSTEMS = ["b1", "b2", "moe_l1", "emb", "2e", "4e", "8e"]
OWN = ("model_conf", "encoder_conf")  # what makes a system


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_system_stops_when_the_loss_of_the_dev_set_falls_no_more(name):
    options = read_yaml(TUNING / f"train_{name}.yaml")
    assert options["patience"] < options["max_epoch"] / 10
    assert options["early_stopping_criterion"] == ["valid", "loss_ctc", "min"]
    assert options["early_stopping_criterion"] in options["best_model_criterion"]
    assert options["scheduler"] == "warmuplr"  # one that need not know the last epoch


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_systems_differ_in_their_networks_alone(name):
    first, other = (read_yaml(TUNING / f"train_{n}.yaml") for n in (SYSTEMS[0], name))
    for options in (first, other):
        for part in OWN:
            options.pop(part, None)
    assert other == first


def test_the_mixtures_differ_in_their_routing_alone():
    encoders = [read_yaml(TUNING / f"train_{n}.yaml")["encoder_conf"] for n in SYSTEMS]
    for encoder in encoders[1:]:
        assert encoder.pop("moe")["num_experts"] in (2, 4, 8)
        encoder.pop("embedding", None)
        assert encoder == encoders[1]
