"""Labels: they are tokens, and every mistake names its cure."""

import pytest
import torch

from espnet_smoe.moe import Labels, label_ids

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


def test_bandwidths_need_no_token():
    tokens = ["<blank>", "<nb>", "a"]
    assert label_ids(tokens) == {"<blank>": 0, "<nb>": 1, "a": 2, "<wb>": 3}
    labels = Labels(["<wb>", "<nb>"]).bind(tokens)
    assert labels.numbers(torch.tensor([3, 1])).tolist() == [0, 1]
    with pytest.raises(ValueError, match="row 0: a is not a label"):
        labels.numbers(torch.tensor([2]))
    narrow = Labels(["<nb>"]).bind(["a"])
    with pytest.raises(ValueError, match="row 0: <wb> is not a label"):
        narrow.numbers(torch.tensor([label_ids(["a"])["<wb>"]]))


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


OWSM = ["<blank>", "<eng>", "<asr>", "<st_eng>", "<st_kor>", "a", "<sos>"]


@pytest.mark.parametrize(
    "labels, numbers",
    [
        ([["<asr>"], ["<st_eng>", "<st_kor>"]], [0, 1, 1]),
        (["<asr>", "<st_*>"], [0, 1, 1]),
        (["<st_*>", "<asr>"], [1, 0, 0]),
        # what is written out belongs where it stands, in whatever order
        (["<st_*>", "<st_kor>", "<asr>"], [2, 0, 1]),
        (["<st_kor>", "<asr>", "<st_*>"], [1, 2, 0]),
        ([["<asr>", "<st_k*>"], "<st_e*>"], [0, 1, 0]),
    ],
)
def test_several_tokens_share_an_expert(labels, numbers):
    bound = Labels(labels).bind(OWSM)
    assert bound.numbers(torch.tensor([2, 3, 4])).tolist() == numbers
    assert {*bound.tokens} == {"<asr>", "<st_eng>", "<st_kor>"}
    routing = bound.route(torch.tensor([2]), torch.tensor([1]))
    assert routing.labels.num_labels == len(labels)


def test_a_pattern_is_no_regular_expression():
    tokens = ["<a.c>", "<abc>", "[x", "<axc>"]
    assert Labels(["<a.*>"]).bind(tokens).tokens == ("<a.c>",)
    assert Labels(["[*"]).bind(tokens).tokens == ("[x",)


def test_a_token_with_an_asterisk_is_itself():
    assert Labels(["<*>"]).bind(["<*>", "<a>"]).tokens == ("<*>",)


def test_a_pattern_that_no_token_is_like_is_refused():
    with pytest.raises(ValueError, match=r"label <st_\*> is not in the token list"):
        Labels(["<asr>", "<st_*>"]).bind(OWSM[:3])


def test_labels_of_one_expert_are_named_together():
    labels = Labels([["<asr>"], ["<st_eng>", "<st_kor>"]]).bind(OWSM)
    with pytest.raises(ValueError, match=r"labels: <asr>, <st_eng>\|<st_kor>$"):
        labels.numbers(torch.tensor([5]))


@pytest.mark.parametrize(
    "prompt, number", [([6, 1, 4], 1), ([6, 2], 0), ([6, 1], None)]
)
def test_the_label_is_anywhere_in_the_prompt(prompt, number):
    labels = Labels(["<asr>", "<st_*>"]).bind(OWSM)
    assert labels.number_of(prompt) == number
    if number is not None:
        found = labels.find(torch.tensor([prompt]))
        assert labels.numbers(found).tolist() == [number]
