"""A step of training of several models, on one minibatch."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from espnet_smoe.benchmark import rtf, train
from espnet_smoe.benchmark.comparison import Comparison
from espnet_smoe.benchmark.measure import Sides
from espnet_smoe.compat import to_device
from espnet_smoe.data.text.tokens import BLANK, SOS_EOS, UNKNOWN

BF16 = torch.bfloat16


def large_u2pp(sizes: rtf.Sizes, kind: str, moe: dict | None) -> nn.Module:
    """One of the models of ``espnet-smoe benchmark rtf``, to be trained.

    Args:
        sizes: Of that benchmark.
        kind: ``large`` for the large dense model's sizes, else the others'.
        moe: Its mixtures; None for a dense model.
    """
    prefix = "large_" if kind == "large" else ""
    common = {
        "attention_heads": getattr(sizes, f"{prefix}heads"),
        "linear_units": getattr(sizes, f"{prefix}hidden"),
        "moe": moe,
    }
    layers = sizes.decoder_layers
    torch.manual_seed(0)
    return train.build_from(
        token_list=[BLANK, UNKNOWN, *map(str, range(sizes.vocabulary - 3)), SOS_EOS],
        model="u2pp",
        frontend_conf=train.FRONTEND | {"n_mels": 80},
        normalize=None,
        encoder="u2pp_conformer",
        encoder_conf={
            **common,
            "output_size": getattr(sizes, f"{prefix}size"),
            "num_blocks": getattr(sizes, f"{prefix}layers"),
        },
        decoder="u2pp_transformer",
        decoder_conf={**common, "num_blocks": layers, "r_num_blocks": layers},
    )


def speech_and_text(sizes: train.Sizes) -> dict[str, Any]:
    """A minibatch for a model of one task."""
    names = "speech", "speech_lengths", "text", "text_lengths"
    whole = train.minibatch(sizes)
    return {name: whole[name] for name in names}


def compare_training(
    device: torch.device,
    name: str,
    makers: Mapping[str, Callable[[], nn.Module]],
    make_batch: Callable[[], dict[str, Any]],
    baseline: str,
    seconds: float,
) -> Comparison:
    """A step of each model on one minibatch, of so many seconds of speech."""
    return Comparison(
        name,
        partial(training_sides, device, makers, make_batch),
        baseline,
        check=parameters_of,
        items=seconds,
        unit="s of speech",
    )


class TrainingStep:
    """A step of training; the model is made when it is first run.

    Args:
        device: Where.
        make: The model.
        batch: On the device.
    """

    def __init__(
        self, device: torch.device, make: Callable[[], nn.Module], batch: dict[str, Any]
    ):
        self.device, self.make, self.batch = device, make, batch
        self.model: nn.Module | None = None

    def __call__(self) -> dict[str, float]:
        """Forward, backward, optimizer; the parameters in millions."""
        if self.model is None:
            with torch.device(self.device):
                self.model = self.make()
            self.model.to(self.device).train()
            self.optimizer = torch.optim.AdamW(self.model.parameters(), 1e-5)
        self.optimizer.zero_grad()
        torch.manual_seed(1)  # chunks of one size for all
        with torch.autocast(self.device.type, BF16):
            loss, _, _ = self.model(**self.batch)
        loss.backward()
        self.optimizer.step()
        return {"parameters": sum(p.numel() for p in self.model.parameters()) / 1e6}


def training_sides(
    device: torch.device,
    makers: Mapping[str, Callable[[], nn.Module]],
    make_batch: Callable[[], dict[str, Any]],
) -> Sides:
    """A training step of each model on the same minibatch."""
    batch = to_device(make_batch(), device)
    return {name: TrainingStep(device, make, batch) for name, make in makers.items()}


def parameters_of(results: Mapping[str, Mapping[str, float]]) -> str:
    """The sizes of the models."""
    return ", ".join(
        f"{name} {found['parameters']:,.1f}M parameters"
        for name, found in results.items()
    )
