"""Auxiliary losses of processes that train together: as if one held all frames."""

import torch

from espnet_smoe.moe.loss import (
    LOSSES,
    FrameSums,
    add_processes,
    balance_loss,
    importance_loss,
    sparsity_loss,
    z_loss,
)
from tests.gloo import in_two_processes

EXPERTS, WEIGHTS = 3, {"balance": 0.5, "importance": 1.0, "sparsity": 2.0, "z": 0.1}


def sums_of(x: torch.Tensor, router: torch.Tensor) -> FrameSums:
    """Of frames ``(N, D)``, which take their two best experts."""
    logits = x @ router.T
    p = logits.softmax(1)
    return FrameSums.of(tuple(LOSSES), logits, p, p.topk(2, dim=1).indices)


def total(layers: list[FrameSums]) -> torch.Tensor:
    losses = [layer.losses() for layer in layers]
    return sum(WEIGHTS[name] * of[name] for of in losses for name in WEIGHTS)


def given() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    x = torch.randn(2, 7, 4, dtype=torch.double)  # frames of two layers
    return x, torch.randn(EXPERTS, 4, dtype=torch.double, requires_grad=True)


def test_loss_and_gradient_are_those_of_all_frames_in_one_process(tmp_path):
    x, router = given()
    expected = total([sums_of(layer, router) for layer in x])
    expected.backward()

    def work(rank: int) -> tuple[torch.Tensor, torch.Tensor]:
        x, router = given()
        shares = x[0].split([5, 2]), x[1].split([7, 0])  # nothing for the last one
        nothing = FrameSums.zeros(tuple(LOSSES), EXPERTS, router)
        mine = [share[rank] for share in shares]
        layers = [sums_of(rows, router) if len(rows) else nothing for rows in mine]
        loss = total(add_processes(layers))
        loss.backward()
        assert add_processes([]) == []
        return loss.detach(), router.grad

    (first, a), (second, b) = in_two_processes(tmp_path, work)
    torch.testing.assert_close(first, expected.detach())
    torch.testing.assert_close(second, expected.detach())
    # gradients are averaged over processes, as DDP does it
    torch.testing.assert_close((a + b) / 2, router.grad)


def test_sums_without_a_frame_are_as_long_as_others_and_cost_nothing():
    x, router = given()
    some = sums_of(x[0], router)
    nothing = FrameSums.zeros(tuple(LOSSES), EXPERTS, router)
    assert nothing.sums.shape == some.sums.shape and not nothing.sums.any()
    assert nothing.sums.dtype == some.sums.dtype == torch.double
    assert set(nothing.losses()) == set(LOSSES)
    assert nothing.losses()["importance"] == nothing.losses()["z"] == 0


def test_a_single_frame_is_its_own_mean():
    x, router = given()
    logits = x[0, :1] @ router.T
    p = logits[0].softmax(0)
    losses = sums_of(x[0, :1], router).losses()
    best = p.topk(2).values
    torch.testing.assert_close(losses["balance"], EXPERTS * best.sum() / 2)
    torch.testing.assert_close(losses["importance"], EXPERTS * p.square().sum())
    torch.testing.assert_close(losses["sparsity"], p.sum() / p.square().sum().sqrt())
    torch.testing.assert_close(losses["z"], logits.logsumexp(1)[0] ** 2)


def test_losses_are_means_over_all_frames():
    x, router = given()
    logits = x[0] @ router.T
    p = logits.softmax(1)
    losses = sums_of(x[0], router).losses()
    chosen = p.topk(2, dim=1).indices
    torch.testing.assert_close(losses["balance"], balance_loss(p, chosen))
    torch.testing.assert_close(losses["importance"], importance_loss(p))
    torch.testing.assert_close(losses["sparsity"], sparsity_loss(p))
    torch.testing.assert_close(losses["z"], z_loss(logits))
