"""What a batch reports: which frames and tokens count."""

import math

import pytest
import torch

from espnet_smoe.data.task_table import task_table
from espnet_smoe.data.text.tokens import BEGIN
from espnet_smoe.model.metrics import (
    auxiliary_loss,
    auxiliary_losses,
    error_rates,
    greedy_ctc,
    nanmean,
    routing_statistics,
)
from espnet_smoe.model.tasks import Task, read_tasks
from espnet_smoe.moe import (
    FeedForward,
    MoEFeedForward,
    MoEOptions,
    Routing,
    build_gate,
)
from tests.gloo import in_two_processes

TOKENS = ["<blank>", "<unk>", "a", "b", "c", "<sos/eos>"]


def test_the_mean_is_over_what_is_a_number():
    assert nanmean([0.5, math.nan, None, 1.5]) == 1.0
    assert math.isnan(nanmean([None, math.nan]))


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
    (task,) = read_tasks(task_table(tasks), tokens).values()
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


def test_a_batch_without_a_reference_has_no_error_rate():
    nothing = torch.full((2, 3), -1)
    rates = error_rates([[2], [3]], nothing, TOKENS, {0, 1, 5}, eos=5)
    assert all(math.isnan(rate) for rate in rates.values())
    one = torch.tensor([[2, 3], [-1, -1]])  # of two: the other counts alone
    rates = error_rates([[2, 3], [4]], one, TOKENS, {0, 1, 5}, eos=5)
    assert rates == {"cer": 0.0, "wer": 0.0}


def test_the_first_token_of_a_list_may_be_a_letter():
    rates = error_rates([[1]], torch.tensor([[0, 1]]), ["a", "b", "<e>"], {2}, eos=2)
    assert rates["cer"] == 0.5


def test_prompts_of_different_lengths_are_refused():
    task = Task("asr", "text", (1, 4))
    own = {"text_prompt": torch.tensor([[1, 2], [3, -1], [0, 2]])}
    with pytest.raises(ValueError, match="text_prompt: prompts of different lengths"):
        task.prompts(own, torch.tensor([0, 1]))
    assert task.prompts(own, torch.tensor([2, 0])).tolist() == [[0, 2, 4], [1, 2, 4]]


def test_a_batch_without_the_field_has_no_target():
    assert Task("st", "text_st", (1,)).present_in({}).tolist() == [False]


def test_a_token_that_is_missing_is_named_beside_those_that_there_are():
    tokens = ["<blank>", "<ko>", "<", "<a", "a>", BEGIN, "<sos/eos>"]
    tasks = {"asr": {"target": "text", "prompt": ["<ko>", "<ja>"]}}
    known = f"tokens: <blank> <ko> {BEGIN} <sos/eos>$"
    with pytest.raises(ValueError, match=f"<ja> is not in the token list.*{known}"):
        read_tasks(task_table(tasks), tokens)


def test_layers_are_told_one_by_one_only_where_asked():
    stats = routing_statistics("encoder", routed([3, 1], [0, 4]))
    assert set(stats) == {"encoder_load_0", "encoder_load_1"}
    assert routing_statistics("encoder", None) == {}
    assert routing_statistics("encoder", routed()) == {}


class Part(torch.nn.Module):
    """A mixture of three experts behind a router, and a second one."""

    loss_weights = {"balance": 0.5, "z": 0.1}

    def __init__(self):
        super().__init__()
        options = MoEOptions("topk", num_experts=3, balance_weight=0.5, z_weight=0.1)
        torch.manual_seed(0)
        self.layers = torch.nn.ModuleList(
            MoEFeedForward(build_gate(options, 4), lambda: FeedForward(4, 4), str(n))
            for n in range(2)
        )
        self.double()

    def run(self, x: torch.Tensor) -> Routing:
        """Frames ``(T, 4)`` of one utterance through both, side by side."""
        routing = Routing(torch.tensor([len(x)]))
        for layer in self.layers:
            layer(x[None], routing)
        return routing


def frames(number: int) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(number, 4, dtype=torch.double)


def test_losses_count_the_frames_of_all_processes(tmp_path):
    whole = Part()
    expected, stats = auxiliary_loss("encoder", whole, whole.run(frames(7)))
    expected.backward()

    def work(rank: int) -> list:
        part, late = Part(), Part()
        mine = part.run(frames(7).split([5, 2])[rank])
        other = late.run(frames(7)) if rank == 0 else None  # a pass that 1 lacks
        results = auxiliary_losses([("encoder", part, mine), ("late", late, other)])
        sum(total for total, _ in results).backward()
        gradients = [layer.gate.router.weight.grad for layer in part.layers]
        return [(total.detach(), each) for total, each in results] + [gradients]

    first, second = in_two_processes(tmp_path, work)
    for (total, each), (again, told), name in zip(first, second, ("encoder", "late")):
        torch.testing.assert_close(total, expected.detach())
        torch.testing.assert_close(again, expected.detach())
        for key, value in stats.items():
            key = key.replace("encoder", name)
            torch.testing.assert_close(each[key], value)
            torch.testing.assert_close(told[key], value)
    for a, b, layer in zip(first[2], second[2], whole.layers):
        torch.testing.assert_close((a + b) / 2, layer.gate.router.weight.grad)


def test_losses_of_no_frames_at_all_are_not_numbers():
    part = Part()
    total, each = auxiliary_loss("encoder", part, None)
    assert total == 0.0 and set(each) == {"encoder_balance", "encoder_z"}
    assert all(value.isnan() for value in each.values())
    for layer in part.layers:  # all frames to the last expert, none to the first
        layer.gate.router.weight.data = torch.diag(torch.tensor([0, 1, 9, 0.0]))[:3]
        layer.gate.router.weight.data = layer.gate.router.weight.double()
    _, each = auxiliary_loss("encoder", part, part.run(frames(5).abs()))
    assert all(value.isfinite() for value in each.values())
    assert auxiliary_loss("encoder", part.eval(), None) == (0.0, {})
