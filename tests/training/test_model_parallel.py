"""Processes that share weights out train, and write, what one process does."""

import copy
from argparse import Namespace
from functools import partial
from typing import NamedTuple

import pytest
import torch
from espnet2.torch_utils.recursive_op import recursive_average
from espnet2.train.reporter import SubReporter
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from espnet_smoe.moe import FeedForward, MoEFeedForward, TopKGate, TopKOptions
from espnet_smoe.training.model_parallel import ModelParallel
from espnet_smoe.training.step_checkpoint import Parts
from tests.gloo import in_processes
from tests.integration.test_ddp_routers import CASES, batch, gradients, make

MAX_NORM = 0.5
UTTERANCES = {1: [[0, 1, 2, 3]], 2: [[0, 1, 2], [3]], 4: [[0], [1], [2], [3]]}
USED = [
    *("u2pp", "speech_moe", "smoe_a_rank_without_translations"),
    *("smoe_each_rank_one_task", "smoe_each_rank_one_task_in_turns"),
]


class Way(NamedTuple):
    """How weights are shared, by how many processes."""

    processes: int
    experts: int
    fsdp: bool = False

    @property
    def copies(self) -> int:
        """Processes that have the same experts."""
        return self.processes // self.experts


WAYS = [Way(2, 2), Way(4, 4), Way(4, 2), Way(2, 1, True), Way(2, 2, True)]


def optimizer_of(model: torch.nn.Module) -> torch.optim.Optimizer:
    """Of two groups, as ESPnet's exclude_weight_decay makes them."""
    groups = [[], []]
    for name, parameter in model.named_parameters():
        groups[name.endswith("bias")].append(parameter)
    of_biases = {"params": groups[1], "weight_decay": 0.0}
    given = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}
    return torch.optim.SGD([{"params": groups[0]}, of_biases], **given)


def states(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict:
    return copy.deepcopy(
        {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    )


def fused(model: torch.nn.Module) -> torch.optim.Optimizer:
    """One kernel for all weights; with no division by what is nearly zero."""
    return torch.optim.AdamW(model.parameters(), lr=0.1, eps=1.0, fused=True)


def alone(case: str, state: dict | None = None, optimizer_of=optimizer_of) -> dict:
    """An update in one process with all utterances, and what it leaves."""
    model = make(CASES[case].alone or CASES[case].make)
    optimizer = optimizer_of(model)
    if state is not None:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    loss, stats, _ = model(**batch(case, UTTERANCES[1][0]))
    loss.backward()
    for parameter in model.parameters():
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM)
    optimizer.step()
    found = {"loss": stats["loss"][0], "norm": norm, "grads": gradients(model)}
    return found | states(model, optimizer)


def together(
    case: str, way: Way, rank: int, state: dict, optimizer_of=optimizer_of
) -> dict:
    """The same with others, as ESPnet's trainer does it."""
    model = make(CASES[case].make)
    model_parallel = ModelParallel(model, way.experts, way.fsdp)
    optimizer = optimizer_of(model)
    model_parallel.take([optimizer])
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    step = model
    if not way.fsdp:
        step = DistributedDataParallel(model, find_unused_parameters=True)
    loss, stats, weight = step(**batch(case, UTTERANCES[way.processes][rank]))
    loss = (loss * weight.type(loss.dtype)).sum()
    stats, total = recursive_average(stats, weight, distributed=True)
    (loss / total * way.processes).backward()
    norm = model_parallel.clip_gradients(step.parameters(), MAX_NORM)
    optimizer.step()
    model_parallel.collect()
    own = {
        k: g for k, g in gradients(model).items() if k not in model_parallel.gradients
    }
    found = {
        "loss": stats["loss"],
        "norm": norm,
        "grads": own | model_parallel.gradients,
    }
    if rank:
        return {"held": held(model, optimizer)}
    return found | states(model, optimizer) | {"held": held(model, optimizer)}


def held(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> tuple[int, int]:
    """Numbers that a process holds of the weights and of the optimizer."""
    buffers = [value for s in optimizer.state.values() for value in s.values()]
    return tuple(
        sum(getattr(t, "_local_tensor", t).numel() for t in tensors)
        for tensors in (list(model.parameters()), buffers)
    )


@pytest.fixture(scope="module")
def before() -> dict[str, dict]:
    """Of each case a checkpoint that one process has written."""
    return {case: alone(case) for case in USED}


@pytest.fixture(scope="module", params=WAYS, ids=str)
def done(request, before, tmp_path_factory) -> tuple[Way, list[dict]]:
    """How weights were shared, and what each process made of every case."""
    way = request.param

    def work(rank: int) -> dict:
        return {case: together(case, way, rank, before[case]) for case in USED}

    return way, in_processes(way.processes, tmp_path_factory.mktemp("share"), work)


@pytest.mark.parametrize("case", USED)
def test_an_update_is_that_of_one_process(case, done, before):
    """From its checkpoint, with idle experts and tasks that a process lacks."""
    found, expected = done[1][0][case], alone(case, before[case])
    assert float(expected["norm"]) > MAX_NORM
    close = {"atol": 1e-6, "rtol": 1e-5}  # CTC computes in single precision
    for name in ("loss", "norm"):
        torch.testing.assert_close(found[name], expected[name], **close)
    for part in ("grads", "model"):
        assert found[part].keys() == expected[part].keys()
        for key in expected[part].keys() - {"minibatches"}:  # the task whose turn it is
            value = expected[part][key]
            torch.testing.assert_close(found[part][key], value, **close, msg=key)
    optimizer, wanted = found["optimizer"], expected["optimizer"]
    assert optimizer["param_groups"] == wanted["param_groups"]
    assert optimizer["state"].keys() == wanted["state"].keys()
    for number, state in wanted["state"].items():
        mine = optimizer["state"][number]["momentum_buffer"]
        torch.testing.assert_close(mine, state["momentum_buffer"], **close)


@pytest.mark.parametrize("way", [Way(2, 2), Way(2, 1, True), Way(2, 2, True)], ids=str)
def test_a_fused_optimizer_updates_weights_of_both_kinds(way, tmp_path):
    before = alone("u2pp", optimizer_of=fused)

    def work(rank: int) -> dict:
        return together("u2pp", way, rank, before, fused)

    found = in_processes(2, tmp_path, work)[0]
    expected = alone("u2pp", before, fused)
    close = {"atol": 1e-6, "rtol": 1e-5}
    torch.testing.assert_close(found["model"], expected["model"], **close)
    states = found["optimizer"]["state"], expected["optimizer"]["state"]
    torch.testing.assert_close(*states, **close)
    groups = found["optimizer"]["param_groups"], expected["optimizer"]["param_groups"]
    assert groups[0] == groups[1]


class OneOutput(torch.nn.Module):
    """A regression whose parameters are of one row: a process has none of them."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(4, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.layer(x).pow(2).mean(),)


@pytest.mark.parametrize("norm_type", [1.0, 2.0, float("inf")])
def test_a_norm_of_gradients_counts_a_process_without_any(norm_type, tmp_path):
    x = torch.arange(8.0).view(2, 4)
    one = OneOutput()
    one(x)[0].backward()
    clip = torch.nn.utils.clip_grad_norm_
    expected = clip(one.parameters(), MAX_NORM, norm_type).item()

    def work(rank: int) -> float:
        model = OneOutput()
        shared = ModelParallel(model, 1, fsdp=True)
        model(x)[0].backward()
        return shared.clip_gradients(model.parameters(), MAX_NORM, norm_type).item()

    assert in_processes(2, tmp_path, work) == pytest.approx([expected] * 2)


def test_a_process_holds_its_share_of_experts_and_of_what_is_known_of_them(done):
    way, processes = done
    for case in ("u2pp", "smoe_each_rank_one_task"):
        sizes = {k: p.numel() for k, p in make(CASES[case].make).named_parameters()}
        experts = sum(size for key, size in sizes.items() if ".experts." in key)
        shared = sum(sizes.values()) - experts
        assert experts > shared / 4
        for process in processes:
            for numbers in process[case]["held"]:
                assert numbers <= shared + experts / way.processes * way.copies
                assert not way.fsdp or numbers < 0.6 * (shared + experts)


def one_mixture(experts: int) -> torch.nn.Module:
    options = TopKOptions(num_experts=experts)
    expert = partial(FeedForward, 4, 8)
    return torch.nn.Sequential(MoEFeedForward(TopKGate(options, 4), expert, "3"))


def test_numbers_that_do_not_divide_are_named(tmp_path):
    def work(rank: int) -> list[str]:
        messages = []
        for ways, experts in ((2, 3), (3, 3)):
            given = {"collect_stats": False, "dry_run": False, "fsdp": False}
            args = Namespace(expert_parallel=ways, **given)
            with pytest.raises(ValueError) as error:
                ModelParallel.asked_by(args, one_mixture(experts))
            messages.append(str(error.value))
        return messages

    experts, processes = in_processes(2, tmp_path, work)[0]
    assert "2 processes cannot share the 3 experts of layer 3 evenly" in experts
    assert "3 does not divide the processes of this training, 2; choose 1" in processes


def test_a_model_without_experts_has_none_to_share(tmp_path):
    def work(rank: int) -> str:
        with pytest.raises(ValueError) as error:
            ModelParallel(torch.nn.Linear(2, 2), 2, fsdp=False)
        return str(error.value)

    assert "no layer has experts" in in_processes(2, tmp_path, work)[0]


@pytest.mark.parametrize("way", [Way(2, 2), Way(2, 1, True)], ids=str)
def test_a_step_of_processes_that_share_is_whole(way, tmp_path):
    """Weights, optimizers, and what an epoch has left over of gradients."""
    path, case = tmp_path / "step.pth", "smoe_each_rank_one_task"
    (tmp_path / "meet").mkdir()

    def begun() -> Parts:
        model = make(CASES[case].make)
        model_parallel = ModelParallel(model, way.experts, way.fsdp)
        optimizer = optimizer_of(model)
        model_parallel.take([optimizer])
        return Parts(model, [optimizer], [None], None, SubReporter("train", 1, 0))

    def work(rank: int) -> bool:
        parts = begun()
        loss, _, _ = parts.model(**batch(case, UTTERANCES[2][rank]))
        loss.backward()
        parts.optimizers[0].step()
        parts.save(path, 1, True, "")
        distributed.barrier()
        other = begun()
        other.restore(torch.load(path), path)
        whole = [parts.model.named_parameters(), other.model.named_parameters()]
        return all(
            torch.equal(*(getattr(t, "_local_tensor", t) for t in tensors))
            for (name, p), (_, q) in zip(*whole)
            for tensors in ((p, q), (p.grad, q.grad))
            if rank == 0 or name in parts.model.model_parallel.shared_out()
        )

    assert in_processes(2, tmp_path / "meet", work) == [True, True]
    state, model = torch.load(path), make(CASES[case].make)
    model.load_state_dict(state["model"])
    names = {name for name, _ in model.named_parameters()}
    assert {key for key in names if ".experts." in key} <= state["gradients"].keys()
    assert len(state["optimizers"][0]["state"]) == len(state["gradients"])
