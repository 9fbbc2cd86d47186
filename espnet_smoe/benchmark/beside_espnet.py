"""``espnet-smoe benchmark beside_espnet``: our training beside ESPnet's own classes.

Same sizes, data and precision. The Transformers are the same model: their loss on the
same weights is the same. Our Conformer looks back only and normalises frame by frame.
On a CPU ours have the products that every training by ``python3 -m espnet_smoe`` has.
"""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from espnet_smoe.benchmark import train
from espnet_smoe.benchmark.comparison import Comparison, option, quick
from espnet_smoe.benchmark.measure import Sides
from espnet_smoe.compat import to_device
from espnet_smoe.training import cpu_products

ESPNET, OURS, EXPERTS = "ESPnet's classes", "espnet-smoe", "with experts"
GOALS = {OURS: 1.3, EXPERTS: 1.2}
KINDS = ("Transformer", "Conformer")
KERNEL = 15  # taps of the Conformer's convolutions
ROUNDS = 7
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Sizes(train.Sizes):
    """The models of ``benchmark train``, dense and with experts."""

    precision: str = option("float32", f"of autocast: {' or '.join(PRECISIONS)}")


QUICK = quick(Sizes)


def comparisons(sizes: Sizes) -> list[Comparison]:
    """One a kind of model, on the CPU.

    Raises:
        ValueError: No such precision.
    """
    given = f"{sizes.utterances} x {sizes.seconds} s, {sizes.precision}"
    precision = PRECISIONS.get(sizes.precision)
    if precision is None:
        raise ValueError(
            f"--precision {sizes.precision}: write one of {', '.join(PRECISIONS)}"
        )
    return [
        compare_training(
            torch.device("cpu"),
            precision,
            f"{kind}, {given}",
            makers(sizes, kind),
            partial(minibatch, sizes),
            ESPNET,
            GOALS,
            sizes.utterances,
            "utterances",
        )
        for kind in KINDS
    ]


def makers(sizes: train.Sizes, kind: str) -> dict[str, Callable[[], nn.Module]]:
    """The models to compare, by name.

    Experts are of the dense block's active size: one by label for the Transformer, two
    of eight of half the width for the Conformer.

    Args:
        sizes: Of the models.
        kind: Of `KINDS`.
    """
    if kind == "Transformer":
        label = {"gate": "label"}
        return {
            ESPNET: partial(_espnets, sizes, "transformer", {}),
            OURS: partial(_smoe, sizes, None, sizes.hidden),
            EXPERTS: partial(_smoe, sizes, label, sizes.hidden),
        }
    conformer = {
        "macaron_style": True,
        "use_cnn_module": True,
        "cnn_module_kernel": KERNEL,
        "rel_pos_type": "latest",
    }
    topk = {"num_experts": 8, "top_k": 2}
    return {
        ESPNET: partial(_espnets, sizes, "conformer", conformer),
        OURS: partial(_u2pp, sizes, None, sizes.hidden),
        EXPERTS: partial(_u2pp, sizes, topk, sizes.hidden // 2),
    }


def _common(sizes: train.Sizes, hidden: int) -> dict[str, dict[str, Any]]:
    """Options that all have."""
    blocks = {"attention_heads": sizes.heads, "linear_units": hidden}
    encoder = {"output_size": sizes.size, "num_blocks": sizes.encoder_layers}
    return {
        "model_conf": {"ctc_weight": 0.3, "lsm_weight": 0.1},
        "encoder_conf": blocks | encoder | {"input_layer": "conv2d"},
        "decoder_conf": blocks | {"num_blocks": sizes.decoder_layers},
    }


def _build(sizes: train.Sizes, conf: Mapping[str, Any], **config: Any) -> nn.Module:
    torch.manual_seed(0)
    return train.build_from(
        token_list=train.token_list(sizes),
        frontend_conf=train.FRONTEND,
        normalize="utterance_mvn",
        **conf,
        **config,
    )


def _espnets(sizes: train.Sizes, encoder: str, options: dict[str, Any]) -> nn.Module:
    conf = _common(sizes, sizes.hidden)
    conf["encoder_conf"] |= options
    parts = {"encoder": encoder, "decoder": "transformer"}
    return _build(sizes, conf, model="espnet", **parts)


def _smoe(sizes: train.Sizes, moe: dict[str, Any] | None, hidden: int) -> nn.Module:
    conf = _common(sizes, hidden)
    if moe is None:  # a text begins as ESPnet's does, so the numbers are the same
        one = {"target": "text", "prompt": []}
        conf["model_conf"] |= {"tasks": {"asr": one}, "sym_begin": train.SOS_EOS}
    for part in ("encoder", "decoder"):
        conf[f"{part}_conf"]["moe"] = moe
    name = "smoe_transformer"
    return _build(sizes, conf, model="smoe", encoder=name, decoder=name)


def _u2pp(sizes: train.Sizes, moe: dict[str, Any] | None, hidden: int) -> nn.Module:
    conf = _common(sizes, hidden)
    conf["model_conf"]["reverse_weight"] = 0.0
    conf["encoder_conf"] |= {"moe": moe, "cnn_module_kernel": KERNEL}
    conf["decoder_conf"] |= {"moe": moe, "r_num_blocks": 0}
    parts = {"encoder": "u2pp_conformer", "decoder": "u2pp_transformer"}
    return _build(sizes, conf, model="u2pp", **parts)


def minibatch(sizes: train.Sizes) -> dict[str, Any]:
    """Speech and transcripts, half of the utterances narrowband."""
    whole = train.minibatch(sizes)
    return {name: x for name, x in whole.items() if not name.startswith("text_st")}


def compare_training(
    device: torch.device,
    precision: torch.dtype,
    name: str,
    makers: Mapping[str, Callable[[], nn.Module]],
    make_batch: Callable[[], dict[str, Any]],
    baseline: str,
    goals: Mapping[str, float],
    items: float,
    unit: str,
) -> Comparison:
    """A step of each model on one minibatch, of so many items."""
    return Comparison(
        name,
        partial(training_sides, device, precision, makers, make_batch),
        baseline,
        goals,
        faster=bool(goals),
        check=parameters_of,
        items=items,
        unit=unit,
    )


class TrainingStep:
    """A step of training; the model is made when it is first run.

    Args:
        device: Where.
        precision: Of autocast; float32 for none.
        make: The model.
        batch: On the device.
        ours: It trains as by ``python3 -m espnet_smoe``.
    """

    def __init__(
        self,
        device: torch.device,
        precision: torch.dtype,
        make: Callable[[], nn.Module],
        batch: dict[str, Any],
        ours: bool,
    ):
        self.device, self.make, self.batch, self.ours = device, make, batch, ours
        self.context: Callable[[], Any] = nullcontext
        if precision != torch.float32:
            self.context = partial(torch.autocast, device.type, precision)
        self.model: nn.Module | None = None

    def __call__(self) -> dict[str, float]:
        """Forward, backward, optimizer; the parameters in millions."""
        if self.model is None:
            with torch.device(self.device):
                self.model = self.make()
            self.model.to(self.device).train()
            if self.ours and self.device.type == "cpu" and cpu_products.pays():
                cpu_products.use_onednn(self.model)
            self.optimizer = torch.optim.AdamW(self.model.parameters(), 1e-5)
        self.optimizer.zero_grad()
        torch.manual_seed(1)  # chunks of one size for all
        with self.context():
            loss, _, _ = self.model(**self.batch)
        loss.backward()
        self.optimizer.step()
        return {"parameters": sum(p.numel() for p in self.model.parameters()) / 1e6}


def training_sides(
    device: torch.device,
    precision: torch.dtype,
    makers: Mapping[str, Callable[[], nn.Module]],
    make_batch: Callable[[], dict[str, Any]],
) -> Sides:
    """A training step of each model on the same minibatch."""
    batch = to_device(make_batch(), device)
    return {
        name: TrainingStep(device, precision, make, batch, name != ESPNET)
        for name, make in makers.items()
    }


def parameters_of(results: Mapping[str, Mapping[str, float]]) -> str:
    """The sizes of the models."""
    counts = {name: found["parameters"] for name, found in results.items()}
    return ", ".join(f"{n} {m:,.1f}M" for n, m in counts.items()) + " parameters"
