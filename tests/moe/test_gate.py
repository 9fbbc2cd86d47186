"""The label gate: labels are tokens, every mistake names its cure."""

import pytest
import torch

from espnet_smoe.moe import LabelGate, MoEOptions, Routing, build_gate

TOKENS = ["<blank>", "<nb>", "a", "<wb>", "<swb>", "<sos/eos>"]


def test_each_label_goes_to_its_own_expert():
    gate = LabelGate(["<wb>", "<nb>", "<swb>"]).bind(TOKENS)
    assert gate.experts(torch.tensor([3, 1, 4, 1])).tolist() == [0, 1, 2, 1]


def test_a_foreign_token_names_utterance_and_labels():
    gate = LabelGate(["<wb>", "<nb>"]).bind(TOKENS)
    with pytest.raises(ValueError, match=r"utterance b: a is not a label .*<wb>, <nb>"):
        gate.experts(torch.tensor([1, 2]), ["a", "b"])


def test_a_label_that_is_no_token_is_refused():
    with pytest.raises(ValueError, match="<fm> is not in the token list"):
        LabelGate(["<wb>", "<fm>"]).bind(TOKENS)


def test_an_unbound_gate_says_who_binds_it():
    with pytest.raises(ValueError, match="model: smoe"):
        LabelGate(["<wb>"]).experts(torch.tensor([0]))


def test_no_label_at_all_is_an_error_that_names_the_labels():
    gate = LabelGate(["<wb>", "<nb>"]).bind(TOKENS)
    with pytest.raises(ValueError, match="<wb>, <nb>"):
        gate(torch.zeros(1, 2, 3), Routing(torch.tensor([2])))


def test_the_gate_adds_nothing_to_a_checkpoint():
    assert LabelGate(["<wb>"]).bind(TOKENS).state_dict() == {}


def test_options_default_to_one_expert_a_label():
    options = MoEOptions.parse({"num_experts": 2}, "encoder_conf.moe", ["<a>", "<b>"])
    assert build_gate(options).labels == ("<a>", "<b>")


@pytest.mark.parametrize(
    "moe, message",
    [
        (
            {"num_expert": 2},
            r"encoder_conf.moe: unknown key 'num_expert', did you mean "
            r"'num_experts'",
        ),
        ({"gate": "lable"}, r"encoder_conf.moe.gate: 'lable' .* did you mean 'label'"),
        ({"num_experts": 3}, "num_experts is 3, but there are 2 labels"),
        ({"labels": ["<a>", "<a>"]}, "different"),
    ],
)
def test_a_wrong_option_names_its_place_and_the_nearest_known(moe, message):
    with pytest.raises(ValueError, match=message):
        build_gate(MoEOptions.parse(moe, "encoder_conf.moe", ["<a>", "<b>"]))
