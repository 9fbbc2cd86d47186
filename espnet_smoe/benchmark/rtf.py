"""``espnet-smoe benchmark rtf``: a mixture beside the dense model of its active size,
and beside the dense one of all its parameters.

Weights and features are random, so the experts are used evenly: the worst case for a
chunk, whose few frames then ask for most of them. Rates are seconds of speech a second:
the real-time factor is their inverse, for the encoder with its CTC head and for
rescoring apart.

All models stay in memory, 10 GB of them; the memory above that is
not measured, which would take building them anew for each figure.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import torch
from torch import nn

from espnet_smoe.benchmark import rescore as rescoring
from espnet_smoe.benchmark.comparison import Comparison, option, quick
from espnet_smoe.benchmark.measure import Sides
from espnet_smoe.check_config import count_parameters
from espnet_smoe.decoder.bidirectional import U2PPTransformerDecoder
from espnet_smoe.encoder.conformer import U2PPConformerEncoder
from espnet_smoe.inference.runtime.mkldnn_linear import convert_to_mkldnn
from espnet_smoe.inference.runtime.quantize import quantize
from espnet_smoe.inference.search.ctc_prefix import prefix_beam
from espnet_smoe.inference.search.rescoring import rescore
from espnet_smoe.moe import Routing

ROUNDS = 3
DENSE, MOE, LARGE = "Dense-225M", "MoE-1B", "Dense-1B"
INT8 = f"{MOE}, int8"
# of the time of the dense model of the active size, by precision
MOST_OF_DENSE = {"float32": 1.5, "bfloat16": 1.5, "int8": 1.3}
MOST_OF_INT8 = 1.0  # beside a dense model in float32
TIMES_AS_FAST = 2.0
FRAMES_A_SECOND, MEL = 100, 80
MODELS_IN_MEMORY = 3  # models in memory


@dataclass(frozen=True)
class Sizes:
    """The models, and their input."""

    size: int = option(640, "D", quick=16)
    hidden: int = option(2560, "F, width of an expert", quick=32)
    heads: int = option(8, "attention heads", quick=2)
    layers: int = option(15, "layers of the encoder", quick=1)
    decoder_layers: int = option(3, "of each decoder", quick=1)
    experts: int = option(8, "E", quick=4)
    top_k: int = option(2, "experts a frame")
    vocabulary: int = option(8000, "V", quick=50)
    large_size: int = option(1280, f"D of {LARGE}", quick=32)
    large_hidden: int = option(5120, f"F of {LARGE}", quick=64)
    large_heads: int = option(16, f"heads of {LARGE}", quick=2)
    large_layers: int = option(20, f"layers of {LARGE}", quick=1)
    seconds: int = option(10, "seconds an utterance", quick=1)
    chunk: int = option(16, "encoder frames a chunk", quick=4)
    left: int = option(4, "chunks seen on the left", quick=1)
    chunks: int = option(4, "chunks of each stream", quick=2)
    streams: int = option(8, "streams in one batch", quick=2)
    hypotheses: int = option(10, "of an utterance", quick=3)
    tokens: int = option(40, "tokens a hypothesis, about", quick=4)
    precision: str = option("float32", f"of all: {', '.join(MOST_OF_DENSE)}")


QUICK = quick(Sizes)


class Model(nn.Module):
    """What decoding costs: encoder, CTC head, both decoders."""

    def __init__(self, sizes: Sizes, kind: str):
        super().__init__()
        large, mixture = kind == LARGE, kind in (MOE, INT8)
        self.size = sizes.large_size if large else sizes.size
        common = {
            "attention_heads": sizes.large_heads if large else sizes.heads,
            "linear_units": sizes.large_hidden if large else sizes.hidden,
            "moe": {"num_experts": sizes.experts, "top_k": sizes.top_k}
            if mixture
            else None,
        }
        layers = sizes.large_layers if large else sizes.layers
        self.encoder = U2PPConformerEncoder(MEL, self.size, num_blocks=layers, **common)
        self.decoder = U2PPTransformerDecoder(
            sizes.vocabulary,
            self.size,
            num_blocks=sizes.decoder_layers,
            r_num_blocks=sizes.decoder_layers,
            **common,
        )
        self.ctc = nn.Linear(self.size, sizes.vocabulary)


@lru_cache(maxsize=MODELS_IN_MEMORY)
def model_of(sizes: Sizes, kind: str) -> Model:
    """A model with seeded random weights."""
    torch.manual_seed(0)
    model = Model(sizes, kind).eval().requires_grad_(False)
    if kind == INT8 or sizes.precision == "int8":
        return quantize(model)
    if sizes.precision == "bfloat16":
        return model.bfloat16()
    return convert_to_mkldnn(model)


def comparisons(sizes: Sizes) -> list[Comparison]:
    """The mixture beside one dense model in everything, then beside the other.

    Raises:
        ValueError: No such precision.
    """
    most = MOST_OF_DENSE.get(sizes.precision)
    if most is None:
        known = ", ".join(MOST_OF_DENSE)
        raise ValueError(f"--precision {sizes.precision}: write one of {known}")
    mixtures = (MOE, INT8) if sizes.precision == "float32" else (MOE,)
    of_chunks = sizes.chunks * sizes.chunk * 4 / FRAMES_A_SECOND
    many = sizes.streams
    tasks: list[tuple[str, Callable, float]] = [
        (f"whole utterance of {sizes.seconds} s", whole, sizes.seconds),
        (f"chunk {sizes.chunk}, 1 stream", partial(streamed, streams=1), of_chunks),
        (
            f"chunk {sizes.chunk}, {many} streams in one batch",
            partial(streamed, streams=many),
            many * of_chunks,
        ),
        (
            f"rescoring {sizes.hypotheses} hypotheses of {sizes.seconds} s",
            rescored,
            sizes.seconds,
        ),
    ]
    return [
        Comparison(
            f"{name}, beside {baseline}",
            partial(sides_of, sizes, task, (baseline, *mixtures)),
            baseline,
            goals=goals,
            faster=faster,
            check=partial(description_of, sizes),
            items=seconds,
            unit="s of speech",
            memory=False,
        )
        for baseline, goals, faster in (
            (DENSE, {MOE: most, INT8: MOST_OF_INT8}, False),
            (LARGE, {MOE: TIMES_AS_FAST}, True),
        )
        for name, task, seconds in tasks
    ]


def parameters(sizes: Sizes, kind: str) -> dict[str, int]:
    """Parameters of a model, in all and active."""
    with torch.device("meta"):
        return count_parameters(Model(sizes, kind))


def sides_of(sizes: Sizes, task: Callable, kinds: tuple[str, ...]) -> Sides:
    """The same task for several models."""
    return {kind: task(sizes, model_of(sizes, kind)) for kind in kinds}


def whole(
    sizes: Sizes, model: Model, utterances: int = 1
) -> Callable[[], list[Routing]]:
    """Encode utterances at once."""
    torch.manual_seed(1)
    like = model.encoder.after_norm.weight
    frames = torch.full((utterances,), sizes.seconds * FRAMES_A_SECOND)
    feats = torch.randn(utterances, int(frames[0]), MEL).to(like)

    @torch.inference_mode()
    def run() -> list[Routing]:
        routing = Routing(frames)
        encoded, _, _ = model.encoder(feats, frames, routing=routing, chunk_size=0)
        model.ctc(encoded).log_softmax(dim=2)
        return [routing]

    return run


def streamed(sizes: Sizes, model: Model, streams: int) -> Callable[[], list[Routing]]:
    """Encode some chunks of streams; each costs what any later one does."""
    torch.manual_seed(1)
    width = sizes.chunk * model.encoder.stride
    feats = torch.randn(sizes.chunks, streams, width, MEL).to(
        model.encoder.after_norm.weight
    )

    @torch.inference_mode()
    def run() -> list[Routing]:
        cache = model.encoder.new_cache(streams, sizes.chunk, sizes.left)
        routings = []
        for chunk in feats:
            routing = Routing(torch.zeros(0))
            encoded, _, cache = model.encoder.forward_chunk(
                chunk, cache, routing=routing
            )
            model.ctc(encoded).log_softmax(dim=2)
            routings.append(routing)
        return routings

    return run


def rescored(sizes: Sizes, model: Model) -> Callable[[], None]:
    """Rescore the hypotheses of one utterance with both decoders."""
    made_up = rescoring.Sizes(
        vocabulary=sizes.vocabulary,
        utterances=1,
        hypotheses=sizes.hypotheses,
        tokens=sizes.tokens,
        seconds=sizes.seconds,
    )
    nbests = [
        prefix_beam(log_probs, beam=sizes.hypotheses)
        for log_probs in rescoring.posteriors(made_up)
    ]
    frames = sizes.seconds * rescoring.FRAMES_A_SECOND
    lengths = torch.tensor([frames])
    encoded = torch.randn(1, frames, model.size).to(model.encoder.after_norm.weight)
    end = sizes.vocabulary - 1

    def run() -> None:
        rescore(model.decoder, encoded, lengths, nbests, end, end)

    return run


def fraction_of_experts(routings: Sequence[Routing]) -> float:
    """How many of the experts had a frame, over all layers; 1 of a dense model."""
    loads = [of_layer for r in routings for of_layer in r.loads.values()]
    used = [int((of_layer > 0).sum()) for of_layer in loads]
    return sum(used) / sum(map(len, loads)) if used else 1.0


def description_of(
    sizes: Sizes, results: Mapping[str, Sequence[Routing] | None]
) -> str:
    """The models' parameters, and how many of the experts a pass reads."""
    parts = []
    for kind, read in results.items():
        count = parameters(sizes, kind)
        text = f"{kind} {count['total'] / 1e6:,.1f}M parameters"
        if kind in (MOE, INT8):
            text += f", {count['active'] / 1e6:,.1f}M active"
            if read is not None:
                text += f", a pass reads {fraction_of_experts(read):.0%} of the experts"
        parts.append(text)
    return "; ".join(parts)
