"""A mixture whose experts are spread over processes is the one of one process."""

from collections.abc import Callable

import pytest
import torch
from torch import distributed, nn

from espnet_smoe.moe import (
    FeedForward,
    LabelGate,
    LabelTopKGate,
    LabelTopKOptions,
    MoEFeedForward,
    MoEOptions,
    TopKGate,
    TopKOptions,
    reference,
)
from espnet_smoe.moe.labels import Labels
from tests.gloo import in_processes

SIZE, EXPERTS = 4, 4
LABELS = ["<a>", "<b>", "<c>", "<d>"]
LENGTHS = torch.tensor([5, 3, 4, 0])  # an utterance is all padding
CHOSEN = torch.tensor([3, 0, 3, 0])  # labels: two experts have nothing to do
SHARES = {2: [[0, 1, 2], [3]], 4: [[0], [1], [2], [3]]}
GATES: dict[str, Callable[[], nn.Module]] = {
    "label": lambda: LabelGate(MoEOptions(labels=LABELS), SIZE),
    "topk": lambda: TopKGate(TopKOptions(num_experts=EXPERTS), SIZE),
    "topk_of_2": lambda: TopKGate(TopKOptions(num_experts=EXPERTS, top_k=2), SIZE),
    "label_topk": lambda: LabelTopKGate(
        LabelTopKOptions(labels=LABELS[:2], num_experts=EXPERTS), SIZE
    ),
}


def mixture(gate: str) -> MoEFeedForward:
    torch.manual_seed(0)
    expert = lambda: FeedForward(SIZE, 6, output_size=5)  # noqa: E731
    return MoEFeedForward(GATES[gate](), expert, "layer").double()


def passed(gate: str, block: MoEFeedForward, rows: list[int]) -> tuple:
    """Output and loads of some of the utterances; their input's gradient."""
    torch.manual_seed(1)
    x = torch.randn(4, 5, SIZE, dtype=torch.double)[rows].requires_grad_()
    names = LABELS if gate == "label" else LABELS[:2]
    labels = Labels(names).bind(names)
    chosen = CHOSEN if gate == "label" else CHOSEN.clamp(max=1)
    routing = labels.route(chosen[rows], lengths=LENGTHS[rows])
    y = block(x, routing)
    (y * torch.arange(1.0, 6)).square().sum().backward()
    return y.detach(), routing.loads["layer"], x.grad


def share(gate: str, processes: int, rank: int) -> dict:
    """What a process has of the block, of all utterances that are its own."""
    block = mixture(gate)
    block.spread(distributed.group.WORLD)
    y, loads, dx = passed(gate, block, SHARES[processes][rank])
    with torch.no_grad():  # as in validation
        x = torch.zeros(1, 2, SIZE, dtype=torch.double)
        label = torch.zeros(1, dtype=torch.long)
        names = LABELS if gate == "label" else LABELS[:2]
        routing = Labels(names).bind(names).route(label, lengths=torch.tensor([2]))
        zeros = block(x, routing)
    gradients = {name: p.grad for name, p in block.named_parameters()}
    return {"y": y, "loads": loads, "dx": dx, "gradients": gradients, "zeros": zeros}


@pytest.fixture(scope="module", params=[2, 4])
def shares(request, tmp_path_factory) -> list[dict]:
    """What each process has, of every gate."""

    def work(rank: int) -> dict:
        return {gate: share(gate, request.param, rank) for gate in GATES}

    return in_processes(request.param, tmp_path_factory.mktemp("share"), work)


@pytest.mark.parametrize("gate", GATES)
def test_spread_experts_are_those_of_one_process(gate, shares):
    block = mixture(gate)
    y, loads, dx = passed(gate, block, [0, 1, 2, 3])
    found = [process[gate] for process in shares]
    torch.testing.assert_close(torch.cat([part["y"] for part in found]), y)
    torch.testing.assert_close(torch.cat([part["dx"] for part in found]), dx)
    assert torch.equal(sum(part["loads"] for part in found), loads)
    for name, parameter in block.named_parameters():
        held = [p["gradients"][name] for p in found if name in p["gradients"]]
        assert len(held) == (1 if name.startswith("experts.") else len(found))
        wanted = parameter.grad
        wanted = torch.zeros_like(parameter) if wanted is None else wanted
        torch.testing.assert_close(sum(held), wanted, msg=name)


def test_without_gradients_an_expert_may_have_no_visitor(shares):
    block = mixture("label")
    x = torch.zeros(2, SIZE, dtype=torch.double)
    wanted = reference(x, torch.zeros(2, dtype=torch.long), block.experts)
    for process in shares:
        torch.testing.assert_close(process["label"]["zeros"][0], wanted)


def test_a_state_of_all_experts_fits_a_share(tmp_path):
    def work(rank: int) -> dict:
        block = nn.Sequential(mixture("topk"))
        block[0].spread(distributed.group.WORLD)
        whole = nn.Sequential(mixture("topk")).state_dict()
        block.load_state_dict({key: value + 1 for key, value in whole.items()})
        return block.state_dict()

    whole = nn.Sequential(mixture("topk")).state_dict()
    first, second = in_processes(2, tmp_path, work)
    assert first.keys() | second.keys() == whole.keys()
    for key, value in {**first, **second}.items():
        assert torch.equal(value, whole[key] + 1), key


def test_processes_that_cannot_share_evenly_are_named(tmp_path):
    def work(rank: int) -> str:
        gate = TopKGate(TopKOptions(num_experts=3), SIZE)
        block = MoEFeedForward(gate, lambda: FeedForward(SIZE, 6), "encoder.7")
        with pytest.raises(ValueError) as error:
            block.spread(distributed.group.WORLD)
        return str(error.value)

    message = in_processes(2, tmp_path, work)[0]
    assert message == "encoder.7 has 3 experts, which 2 processes cannot share evenly"
