"""Pre-encoder `stacked_deltas`: features with their deltas, stacked and thinned out."""

import torch
from torch.nn import functional

from espnet_smoe.compat import AbsPreEncoder
from espnet_smoe.config.options import options_of
from espnet_smoe.config.typed import Count, Natural


class StackedDeltas(AbsPreEncoder):
    """Deltas as Kaldi computes them, then several frames side by side.

    SpeechMoE (Section 4.1) reads 40 log-mel features with first and second
    derivatives, 8 frames stacked and every third kept: 960 features, 33.3 frames a
    second. There is nothing to learn here. Features come normalised (ESPnet does it
    before any pre-encoder); their deltas then have mean zero.

    At its edges an utterance repeats its own first and last frame, whatever the batch
    pads it with. The last stack reaches the last frame, so the end is never cut.

    Args:
        input_size: Features a frame, ``frontend_conf.n_mels``.
        delta_order: 2 appends deltas and their deltas, 0 nothing.
        delta_window: Frames on either side of the regression.
        stack: Frames side by side.
        skip: Frames from one stack to the next.

    Raises:
        ValueError: An option that makes no sense.

    Example:
        >>> pre_encoder = StackedDeltas(40)
        >>> out, lengths = pre_encoder(torch.zeros(1, 100, 40), torch.tensor([100]))
        >>> out.shape, lengths
        (torch.Size([1, 32, 960]), tensor([32]))
    """

    @options_of("preencoder_conf")
    def __init__(
        self,
        input_size: Count = 40,
        delta_order: Natural = 2,
        delta_window: Count = 2,
        stack: Count = 8,
        skip: Count = 3,
    ):
        super().__init__()
        if skip > stack:
            raise ValueError(
                f"preencoder_conf: skip {skip} is more than stack {stack}; frames "
                "between two stacks would be lost"
            )
        self.input_size, self.stack, self.skip = input_size, stack, skip
        self.register_buffer("filters", delta_filters(delta_order, delta_window), False)

    def output_size(self) -> int:
        """Features of a stack."""
        return self.input_size * len(self.filters) * self.stack

    @property
    def look_ahead(self) -> int:
        """Frames of the front-end that an output frame sees after its first one."""
        return self.stack - 1 + self.filters.size(-1) // 2

    def output_lengths(self, lengths: torch.Tensor) -> torch.Tensor:
        """Stacks that cover ``lengths`` frames: one, and one for each `skip` more."""
        more = (lengths - self.stack).clamp(min=0)
        return (more + self.skip - 1).div(self.skip, rounding_mode="floor") + 1

    def forward(
        self, input: torch.Tensor, input_lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Map a batch of features to stacks.

        Args:
            input: ``(B, T, input_size)``.
            input_lengths: ``(B,)`` frames.

        Returns:
            ``(B, T', output_size)`` and ``(B,)`` frames T'.

        Raises:
            ValueError: Features of another size.
        """
        if input.size(-1) != self.input_size:
            raise ValueError(
                f"preencoder_conf.input_size is {self.input_size}, but a frame has "
                f"{input.size(-1)} features; make it and the front-end (such as "
                "frontend_conf.n_mels) agree"
            )
        lengths = self.output_lengths(input_lengths)
        starts = torch.arange(self.stack_count(input.size(1))) * self.skip
        x = self.deltas(input, input_lengths)  # (B, T, F)
        frames = starts[:, None] + torch.arange(self.stack)  # (T', stack)
        x = take(x, frames.flatten(), input_lengths)  # (B, T' * stack, F)
        return x.reshape(x.size(0), len(starts), -1), lengths

    def stack_count(self, frames: int) -> int:
        """Stacks of a batch that is ``frames`` long."""
        return int(self.output_lengths(torch.tensor(frames)))

    def deltas(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Append derivatives over time: ``(B, T, F)`` to ``(B, T, F * orders)``."""
        length, width = x.size(1), self.filters.size(1)
        around = torch.arange(-(width // 2), length + width // 2)
        x = take(x, around, lengths)[:, :, None, :]  # (B, T + width - 1, 1, F)
        # not a convolution: autocast would round the features before it subtracts
        y = sum(x[:, k : k + length] * self.filters[:, k, None] for k in range(width))
        return y.flatten(2)  # (B, T, orders, F) -> (B, T, orders * F)


def take(
    x: torch.Tensor, positions: torch.Tensor, lengths: torch.Tensor
) -> torch.Tensor:
    """Frames of each utterance by position, those outside of it being its edges.

    Args:
        x: ``(B, T, F)``.
        positions: ``(P,)``.
        lengths: ``(B,)`` frames of each utterance.

    Returns:
        ``(B, P, F)``.
    """
    last = (lengths - 1).clamp(min=0)[:, None]  # (B, 1)
    positions = positions.clamp(min=0).to(last.device).minimum(last)  # (B, P)
    positions = positions.to(x.device)
    return x.gather(1, positions[..., None].expand(-1, -1, x.size(2)))


def delta_filters(order: int, window: int) -> torch.Tensor:
    """Kaldi's filters of the features, their deltas, deltas of these and so on.

    A delta is the slope of a regression over ``2 * window + 1`` frames. Kaldi
    applies each filter to the features themselves, so that an edge is extended once.

    Returns:
        ``(order + 1, 2 * order * window + 1)``.

    Example:
        >>> delta_filters(1, 2)[1]
        tensor([-0.2000, -0.1000,  0.0000,  0.1000,  0.2000])
    """
    slope = torch.arange(-window, window + 1, dtype=torch.float64)
    slope /= slope.square().sum()
    impulse = torch.zeros(2 * order * window + 1, dtype=torch.float64)
    impulse[order * window] = 1
    filters = [impulse]
    for _ in range(order):
        x = filters[-1][None, None]
        # conv1d correlates; the mirrored slope convolves
        filters.append(functional.conv1d(x, -slope[None, None], padding=window)[0, 0])
    return torch.stack(filters).float()
