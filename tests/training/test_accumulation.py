"""Two processes that accumulate gradients add them up once an update."""

import inspect

import pytest
import torch
from espnet2.train import trainer
from espnet2.train.reporter import SubReporter
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from espnet_smoe.training.accumulation import reduce_once_an_update
from tests.gloo import in_two_processes
from tests.integration import test_ddp_routers
from tests.training.runs import distributed, options

ESPNETS = inspect.unwrap(trainer.Trainer.train_one_epoch.__func__)
ACCUM_GRAD, UPDATES, ROWS = 4, 3, 2  # utterances of a process in a minibatch
EXPERT_OF_ROW = [0] + [1] * 200  # the first works once, in one of the processes


@pytest.fixture(autouse=True)
def reduced_once(monkeypatch):
    monkeypatch.setattr(trainer.Trainer, "train_one_epoch", classmethod(ESPNETS))
    reduce_once_an_update()


class Experts(nn.Module):
    """Two experts, of which an utterance's number names one."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.experts = nn.ModuleList(nn.Linear(3, 1) for _ in range(2)).double()

    def forward(self, x: torch.Tensor, row: torch.Tensor, utt_id: object) -> tuple:
        of_row = zip(x, row[:, 0].tolist())
        out = [self.experts[EXPERT_OF_ROW[number]](one) for one, number in of_row]
        loss = torch.cat(out).pow(2).mean()[None]
        return loss, {"loss": loss.detach()}, torch.tensor([len(x)])


def rows(numbers: range) -> tuple[list[str], dict[str, torch.Tensor]]:
    data = torch.randn(96, 3, generator=torch.Generator().manual_seed(1)).double()
    batch = {"x": data[list(numbers)], "row": torch.tensor(list(numbers))[:, None]}
    return [str(number) for number in numbers], batch


def minibatches(rank: int, count: int = ACCUM_GRAD * UPDATES) -> list:
    """The share of a process: every second `ROWS` utterances."""
    starts = [(2 * i + rank) * ROWS for i in range(count)]
    return [rows(range(start, start + ROWS)) for start in starts]


def train(
    model: nn.Module, epochs: list, rank: int, processes: int, accum_grad: int
) -> SubReporter:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for number, epoch in enumerate(epochs, 1):
        reporter = SubReporter("train", number, 0)
        trainer.Trainer.train_one_epoch(
            model=model,
            iterator=epoch,
            optimizers=[optimizer],
            schedulers=[None],
            scaler=None,
            reporter=reporter,
            summary_writer=None,
            options=options(accum_grad=accum_grad, grad_clip=1e9, log_interval=99),
            distributed_option=distributed(rank, processes),
        )
    return reporter


def counted(model: nn.Module) -> tuple[DistributedDataParallel, list[int]]:
    """The model for two processes, and the sizes of what they have added up."""
    sizes: list[int] = []

    def hook(state, bucket):
        sizes.append(bucket.buffer().numel())
        return allreduce_hook(state, bucket)

    parallel = DistributedDataParallel(model, find_unused_parameters=True)
    parallel.register_comm_hook(None, hook)
    return parallel, sizes


def in_one_process(batches: list) -> dict[str, torch.Tensor]:
    model = Experts()
    train(model, [batches], 0, 1, 1)
    return model.state_dict()


def assert_both_have(results: list, weights: dict[str, torch.Tensor]) -> None:
    for result in results:
        for key, weight in weights.items():
            torch.testing.assert_close(result[key], weight, msg=key)


def test_an_update_of_many_minibatches_is_one_reduction_and_that_of_a_big_batch(
    tmp_path,
):
    def work(rank: int) -> tuple:
        model, sizes = counted(Experts())
        train(model, [minibatches(rank)], rank, 2, ACCUM_GRAD)
        return model.module.state_dict(), len(sizes)

    big = 2 * ROWS * ACCUM_GRAD  # utterances of an update
    batches = [rows(range(i * big, (i + 1) * big)) for i in range(UPDATES)]
    results = in_two_processes(tmp_path, work)
    assert_both_have([weights for weights, _ in results], in_one_process(batches))
    assert [count for _, count in results] == [UPDATES] * 2


def test_what_an_epoch_leaves_over_is_in_the_first_update_of_the_next(tmp_path):
    def work(rank: int) -> dict:
        model, _ = counted(Experts())
        every = minibatches(rank, ACCUM_GRAD + 1)
        # one process has a minibatch more, with which none of them does anything
        train(model, [every[: 1 + rank], every[1:]], rank, 2, ACCUM_GRAD)
        return model.module.state_dict()

    model = Experts()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for i in range(ACCUM_GRAD + 1):
        _, batch = rows(range(i * 2 * ROWS, (i + 1) * 2 * ROWS))
        (model(**batch, utt_id=None)[0] / ACCUM_GRAD).sum().backward()
    optimizer.step()
    assert_both_have(in_two_processes(tmp_path, work), model.state_dict())


@pytest.mark.parametrize("case", ["u2pp", "smoe_a_rank_without_translations"])
def test_losses_of_routers_are_as_if_every_minibatch_were_reduced(case, tmp_path):
    def run(rank: int) -> tuple:
        model, sizes = counted(test_ddp_routers.make(test_ddp_routers.CASES[case].make))
        shares = test_ddp_routers.SHARES[rank], test_ddp_routers.SHARES[1 - rank]
        epoch = [(["a"], test_ddp_routers.batch(case, share)) for share in shares]
        reporter = train(model, [epoch], rank, 2, 2)
        stats = {key: values[-1].value for key, values in reporter.stats.items()}
        auxiliary = {
            key: value
            for key, value in stats.items()
            if key.endswith(test_ddp_routers.LOSSES)
        }
        assert auxiliary
        return model.module.state_dict(), auxiliary, len(sizes)

    def work(rank: int) -> tuple:
        once = run(rank)
        trainer.Trainer.train_one_epoch = classmethod(ESPNETS)  # of this process
        return once, run(rank)

    for (weights, losses, count), (expected, same, more) in in_two_processes(
        tmp_path, work
    ):
        assert losses == same and 2 * count == more
        for key, weight in expected.items():
            torch.testing.assert_close(weights[key], weight, msg=key)
