"""What a batch reports: which frames and tokens count."""

import math

import pytest
import torch

from espnet_smoe.data.tokens import BEGIN
from espnet_smoe.model.metrics import (
    error_rates,
    greedy_ctc,
    mean_known,
    routing_statistics,
)
from espnet_smoe.model.tasks import Task, read_tasks
from espnet_smoe.moe import Routing

TOKENS = ["<blank>", "<unk>", "a", "b", "c", "<sos/eos>"]


def test_the_mean_is_over_what_is_a_number():
    assert mean_known([0.5, math.nan, None, 1.5]) == 1.0
    assert math.isnan(mean_known([None, math.nan]))


def test_greedy_ctc_joins_repeats_and_drops_blanks():
    best = torch.tensor([[0, 3, 3, 0, 3, 2], [2, 2, 2, 0, 4, 4]])
    assert greedy_ctc(best, torch.tensor([6, 4]), 0) == [[3, 3, 2], [2]]


def test_error_rates_leave_out_padding_marks_and_what_follows_the_end():
    text = torch.tensor([[2, 3, 4, -1], [2, 2, -1, -1]])
    best = torch.tensor([[2, 1, 4, 5], [2, 5, 3, 3]])  # a <unk> c; a
    rates = error_rates(best, text, TOKENS, {0, 1, 5}, eos=5)
    assert rates["cer"] == pytest.approx(2 / 5)  # b and one a are missing
    assert rates["wer"] == 1.0


@pytest.mark.parametrize("first", range(6))
def test_a_target_may_begin_with_any_token(first):
    task = Task("asr", "text", (1,))
    fields = {"text": torch.tensor([[first, 2], [-1, -1]])}
    assert task.present_in(fields).tolist() == [True, False]


def test_prompts_of_their_own_end_with_one_mark_of_the_text():
    tokens = ["<blank>", "<transcribe>", "<ko>", "<ja>", BEGIN, "a", "<sos/eos>"]
    tasks = {"asr": {"target": "text", "prompt": ["<transcribe>", "<ko>"]}}
    (task,) = read_tasks(tasks, tokens).values()
    rows = torch.tensor([1, 0])
    assert task.prompts({}, rows).tolist() == [[1, 2, 4], [1, 2, 4]]
    own = {"text_prompt": torch.tensor([[1, 3], [1, 2]])}
    assert task.prompts(own, rows).tolist() == [[1, 2, 4], [1, 3, 4]]


def routed(*loads: list[int]) -> Routing:
    routing = Routing(torch.tensor([3]))
    for number, load in enumerate(loads):
        routing.loads[str(number)] = torch.tensor(load)
    return routing


def test_loads_are_fractions_and_those_of_a_part_means_over_its_layers():
    stats = routing_statistics("encoder", routed([3, 1], [0, 4]), each_layer=True)
    assert {key: float(value) for key, value in stats.items()} == {
        "encoder_load_0": 0.375,
        "encoder_load_1": 0.625,
        "encoder_layer0_load_0": 0.75,
        "encoder_layer0_load_1": 0.25,
        "encoder_layer1_load_0": 0.0,
        "encoder_layer1_load_1": 1.0,
    }


def test_a_learned_gate_reports_entropy_and_experts_without_work():
    routing = routed([4, 0, 0])
    logits = torch.tensor([[0.0, 0.0, -torch.inf], [math.log(3), 0.0, -torch.inf]])
    routing.logits["0"] = logits
    stats = routing_statistics("encoder", routing)
    half = math.log(2)
    quarter = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert float(stats["encoder_entropy"]) == pytest.approx((half + quarter) / 2)
    assert float(stats["encoder_dead"]) == 2
