"""``espnet-smoe benchmark train``: both targets at once beside one after the other.

A step trains on both targets of every utterance of a minibatch: ``joint`` with one
minibatch, ``alternate`` with two, each followed by the optimizer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import torch

from espnet_smoe.benchmark.comparison import Comparison, option, quick
from espnet_smoe.benchmark.measure import Sides
from espnet_smoe.data.text.tokens import BEGIN, BLANK, LABELS, SOS_EOS, UNKNOWN
from espnet_smoe.registry import register

ROUNDS = 5
JOINT, ALTERNATE = "joint", "alternate"
SAMPLE_RATE = 16000
FRONTEND = {"fs": SAMPLE_RATE, "hop_length": 160, "win_length": 400}
SPECIAL = (BLANK, UNKNOWN, *LABELS, BEGIN)


@dataclass(frozen=True)
class Sizes:
    """A model of middle size with experts in encoder and decoder."""

    size: int = option(256, "D, width of the model", quick=16)
    hidden: int = option(1024, "F, width of an expert", quick=32)
    heads: int = option(4, "attention heads", quick=2)
    encoder_layers: int = option(12, "layers", quick=1)
    decoder_layers: int = option(6, "layers", quick=1)
    vocabulary: int = option(5000, "V", quick=50)
    utterances: int = option(4, "in a minibatch", quick=2)
    seconds: int = option(8, "seconds an utterance", quick=1)
    tokens: int = option(30, "tokens a target", quick=3)


QUICK = quick(Sizes)


def comparisons(sizes: Sizes) -> list[Comparison]:
    """One comparison: the two schedules."""
    return [
        Comparison(
            f"both targets of {sizes.utterances} utterances of {sizes.seconds} s",
            partial(schedules, sizes),
            ALTERNATE,
            {JOINT: 1.4},
            faster=True,
            check=same_targets,
            items=sizes.utterances,
            unit="utterances",
        ),
    ]


def schedules(sizes: Sizes) -> Sides:
    """A training step on the same minibatch with either schedule."""
    data = minibatch(sizes)
    minibatches = {ALTERNATE: 2, JOINT: 1}
    return {name: _step(sizes, name, data, n) for name, n in minibatches.items()}


def _step(sizes: Sizes, schedule: str, data: dict[str, Any], minibatches: int) -> Any:
    torch.manual_seed(0)
    model = build_model(sizes, schedule).train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-5)

    def step() -> set[str]:
        trained = set()
        for _ in range(minibatches):
            optimizer.zero_grad()
            loss, stats, _ = model(**data)
            loss.backward()
            optimizer.step()
            trained |= {n for n in ("asr", "st") if not stats[f"loss_{n}"].isnan()}
        return trained

    return step


def build_model(
    sizes: Sizes,
    schedule: str,
    moe: Mapping[str, Any] | None = MappingProxyType({"gate": "label"}),
) -> torch.nn.Module:
    """The model `smoe` as ESPnet's training makes it of a YAML file.

    Args:
        sizes: Of the model.
        schedule: Joint or alternate.
        moe: Mixtures of encoder and decoder; None for a dense model.
    """
    common = {
        "attention_heads": sizes.heads,
        "linear_units": sizes.hidden,
        "moe": None if moe is None else dict(moe),
    }
    return build_from(
        token_list=token_list(sizes),
        model="smoe",
        model_conf={"schedule": schedule, "ctc_weight": 0.3, "lsm_weight": 0.1},
        frontend_conf=FRONTEND,
        normalize="utterance_mvn",
        encoder="smoe_transformer",
        encoder_conf={
            "output_size": sizes.size,
            "num_blocks": sizes.encoder_layers,
            "input_layer": "conv1d_glu",
            "subsampling_channels": 2 * sizes.size,
            **common,
        },
        decoder="smoe_transformer",
        decoder_conf={"num_blocks": sizes.decoder_layers, **common},
    )


def token_list(sizes: Sizes) -> list[str]:
    """Labels, numbers as pieces, start and end."""
    pieces = [str(i) for i in range(sizes.vocabulary - len(SPECIAL) - 1)]
    return [*SPECIAL, *pieces, SOS_EOS]


def build_from(**config: Any) -> torch.nn.Module:
    """The model that ESPnet's training makes of a YAML file.

    Args:
        **config: What the file says; the rest is ESPnet's default.
    """
    register()
    from espnet_smoe.compat import ASRTask

    parser = ASRTask.get_parser()
    parser.set_defaults(**config)
    return ASRTask.build_model(parser.parse_args(["--output_dir", "unused"]))


def minibatch(sizes: Sizes) -> dict[str, Any]:
    """Noise with random targets, half of the utterances narrowband."""
    torch.manual_seed(1)
    b, samples = sizes.utterances, sizes.seconds * SAMPLE_RATE
    bands = [SPECIAL.index(t) for t in ("<wb>", "<nb>")]
    targets = {
        name: torch.randint(len(SPECIAL), sizes.vocabulary - 1, (b, sizes.tokens))
        for name in ("text", "text_st")
    }
    lengths = {f"{n}_lengths": torch.full((b,), sizes.tokens) for n in targets}
    return {
        "speech": torch.randn(b, samples),
        "speech_lengths": torch.full((b,), samples),
        "bandwidth": torch.tensor([[bands[i % 2]] for i in range(b)]),
        "utt_id": [f"utterance{i}" for i in range(b)],
        **targets,
        **lengths,
    }


def same_targets(results: dict[str, set[str]]) -> str:
    """The targets that either schedule has trained in a step."""
    trained = {name: " and ".join(sorted(tasks)) for name, tasks in results.items()}
    return ", ".join(f"{n} trained {t}" for n, t in trained.items())
