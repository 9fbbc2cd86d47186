"""Labels: they are tokens, and every mistake names its cure."""

import pytest
import torch

from espnet_smoe.moe import Labels

TOKENS = ["<blank>", "<nb>", "a", "<wb>", "<swb>", "<sos/eos>"]


def test_each_label_has_its_own_number():
    labels = Labels(["<wb>", "<nb>", "<swb>"]).bind(TOKENS)
    assert labels.numbers(torch.tensor([3, 1, 4, 1])).tolist() == [0, 1, 2, 1]


@pytest.mark.parametrize("label", [1, 3])
def test_a_foreign_token_names_utterance_and_labels(label):
    labels = Labels(["<wb>", "<nb>"]).bind(TOKENS)
    with pytest.raises(ValueError, match=r"utterance b: a is not a label .*<wb>, <nb>"):
        labels.numbers(torch.tensor([label, 2]), ["a", "b"])
    with pytest.raises(ValueError, match=r"row 1: <sos/eos> is not a label"):
        labels.numbers(torch.tensor([label, 5, 2]))


def test_a_label_that_is_no_token_is_refused():
    with pytest.raises(ValueError, match="<fm> is not in the token list"):
        Labels(["<wb>", "<fm>"]).bind(TOKENS)


def test_unbound_labels_say_who_binds_them():
    with pytest.raises(ValueError, match="model: smoe"):
        Labels(["<wb>"]).numbers(torch.tensor([0]))


def test_a_label_given_twice_is_refused():
    with pytest.raises(ValueError, match="different"):
        Labels(["<wb>", "<wb>"])


def test_labels_add_nothing_to_a_checkpoint():
    assert Labels(["<wb>"]).bind(TOKENS).state_dict() == {}


def test_no_label_at_all_is_refused():
    with pytest.raises(ValueError, match="different tokens, got"):
        Labels([])
