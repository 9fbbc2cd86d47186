"""A mixture of experts in a plain PyTorch model, with a loss that balances it.

Each frame is of one of four kinds, and each kind wants another linear map.
"""

import torch
from torch import nn

from espnet_smoe.moe import FeedForward, MoEFeedForward, MoEOptions, Routing, build_gate

BATCH, FRAMES, SIZE, EXPERTS = 8, 50, 16, 4


class Model(nn.Module):
    """A feed-forward block that is a mixture, with a residual around it."""

    def __init__(self) -> None:
        super().__init__()
        options = MoEOptions("topk", EXPERTS, balance_weight=0.5)
        self.loss_weights = options.loss_weights  # {"balance": 0.5}
        gate = build_gate(options, SIZE)
        self.block = MoEFeedForward(gate, lambda: FeedForward(SIZE, 32), name="block")

    def forward(self, x: torch.Tensor, routing: Routing) -> torch.Tensor:
        """Map ``(B, T, D)`` to ``(B, T, D)``."""
        return x + self.block(x, routing)


def batch(maps: torch.Tensor, marks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames that carry the mark of their kind, and what to make of them."""
    kinds = torch.randint(EXPERTS, (BATCH, FRAMES))
    x = torch.randn(BATCH, FRAMES, SIZE) + marks[kinds]
    return x, torch.einsum("btd,btde->bte", x, maps[kinds])


def main() -> None:
    """Train it and say which expert took how many frames."""
    torch.manual_seed(0)
    maps, marks = torch.randn(EXPERTS, SIZE, SIZE) / 4, torch.randn(EXPERTS, SIZE)
    model = Model()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    lengths = torch.full((BATCH,), FRAMES)  # frames that are not padding
    for step in range(301):
        x, wanted = batch(maps, marks)
        routing = Routing(lengths)
        loss = error = nn.functional.mse_loss(model(x, routing), x + wanted)
        for losses in routing.losses.values():  # of each mixture
            for name, weight in model.loss_weights.items():
                loss = loss + weight * losses[name]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 100 == 0:
            load = routing.loads["block"].tolist()
            print(f"step {step}: error {error:.3f}, frames of each expert {load}")


if __name__ == "__main__":
    main()
