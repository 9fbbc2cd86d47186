"""What is timed: mixtures, search, encoding whole utterances, training steps."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from espnet_smoe.benchmark import beside_espnet, decode, moe, rtf, train
from espnet_smoe.benchmark.beside_espnet import compare_training
from espnet_smoe.benchmark.comparison import Comparison
from espnet_smoe.benchmark.gpu.training_step import large_u2pp, speech_and_text
from espnet_smoe.benchmark.measure import Sides

BF16, F32 = torch.bfloat16, torch.float32
SPEECH = "s of speech"
SIDES = (moe.DENSE, moe.LEARNED, moe.SLICES, moe.GROUPED, moe.LOOP)
MOST_OF_DENSE, TIMES_THE_LOOP = 1.35, 3.0
MOST_OF_SMALL = 1.25  # of the time of the dense model of the active size
SMALL_BATCH, BATCH = 1, 16
PASSES = {  # name -> backward, type of weights, autocast
    "bf16, forward": (False, BF16, None),
    "bf16 autocast, forward and backward": (True, F32, BF16),
    "float32, forward": (False, F32, None),
    "float32, forward and backward": (True, F32, None),
    "bf16 autocast, forward": (False, F32, BF16),
}


@dataclass(frozen=True)
class Sizes:
    """Of all that is timed; how often, and how long a measurement is to be."""

    moe: moe.Sizes
    decode: decode.Sizes
    rtf: rtf.Sizes
    smoe: train.Sizes
    u2pp_utterances: int
    u2pp_seconds: int
    rounds: int
    measured_seconds: float


# the paper's model and utterances of 5 s; models of `rtf` and utterances of 10 s
FULL = Sizes(
    moe.Sizes(),
    decode.Sizes(),
    rtf.Sizes(),
    train.Sizes(
        size=512,
        hidden=2048,
        heads=8,
        vocabulary=40000,
        utterances=100,
        seconds=5,
    ),
    u2pp_utterances=32,
    u2pp_seconds=10,
    rounds=7,
    measured_seconds=0.02,
)
QUICK = Sizes(
    replace(moe.QUICK, size=16, hidden=32),
    decode.QUICK,
    rtf.QUICK,
    train.QUICK,
    u2pp_utterances=2,
    u2pp_seconds=1,
    rounds=1,
    measured_seconds=0.0,
)


def comparisons(device: torch.device, sizes: Sizes) -> Iterator[Comparison]:
    """The comparisons, those first that matter most."""
    yield from mixtures(device, sizes.moe, large=True)
    yield from whole_utterances(device, sizes)
    yield from training(device, sizes)
    yield from searches(device, sizes.decode)
    yield from mixtures(device, sizes.moe, large=False)
    yield from chunks(device, sizes)


def mixtures(
    device: torch.device, sizes: moe.Sizes, large: bool
) -> Iterator[Comparison]:
    """One expert a frame beside the dense block and beside other ways to compute it."""
    utterances = sizes.more_utterances if large else sizes.utterances
    shape = utterances, sizes.frames
    for name, (backward, dtype, autocast) in PASSES.items():
        for experts in (sizes.few_experts, sizes.many_experts):
            goal = large and experts == sizes.few_experts and name.startswith("bf16")
            sides = SIDES + (moe.EVERY,) * (experts == sizes.few_experts)
            title = f"{name}: 1 of {experts} experts, {shape[0] * shape[1]:,} frames"
            build = partial(moe.learned, sizes, experts, shape, backward)
            yield Comparison(
                title,
                partial(cast_sides, device, autocast, partial(build, sides), dtype),
                moe.DENSE,
                {moe.LEARNED: MOST_OF_DENSE} if goal else {},
                check=partial(largest_difference, dtype),
            )
            if not goal:
                continue
            sides = moe.LOOP, moe.LEARNED
            yield Comparison(
                f"{title}, beside the loop",
                partial(cast_sides, device, autocast, partial(build, sides), dtype),
                moe.LOOP,
                {moe.LEARNED: TIMES_THE_LOOP},
                faster=True,
                check=partial(largest_difference, dtype),
            )


def cast_sides(
    device: torch.device,
    autocast: torch.dtype | None,
    build: Callable,
    dtype: torch.dtype,
) -> Sides:
    """Sides on the device, run under autocast where it is asked for."""
    sides = build(device=device, dtype=dtype)
    if autocast is None:
        return sides
    cast = partial(under_autocast, device, autocast)
    return {name: partial(cast, run) for name, run in sides.items()}


def under_autocast(
    device: torch.device, dtype: torch.dtype, run: Callable[[], Any]
) -> Any:
    """One run under autocast."""
    with torch.autocast(device.type, dtype):
        return run()


def largest_difference(dtype: torch.dtype, results: Mapping[str, torch.Tensor]) -> str:
    """How far the mixtures are from the loop; a frame whose choice is near may differ.

    Args:
        dtype: Of the weights.
        results: Outputs of all sides.
    """
    mixed = {n: y.double() for n, y in results.items() if n != moe.DENSE}
    loop = mixed.get(moe.LOOP, next(iter(mixed.values())))
    off = {n: float((y - loop).norm() / loop.norm()) for n, y in mixed.items()}
    worst = max(off, key=off.get)
    return f"the outputs differ by {off[worst]:.1e} at most ({worst})"


def whole_utterances(device: torch.device, sizes: Sizes) -> Iterator[Comparison]:
    """Encoder and CTC head of whole utterances, in bf16."""
    given = sizes.rtf
    for count in (SMALL_BATCH, BATCH):
        task = partial(rtf.whole, given, utterances=count)
        yield _compare_models(
            device,
            given,
            f"bf16, {count} utterance{'s' * (count > 1)} of {given.seconds} s at once",
            task,
            count * given.seconds,
            {rtf.MOE: MOST_OF_SMALL},
        )


def chunks(device: torch.device, sizes: Sizes) -> Iterator[Comparison]:
    """Chunks of streams, in bf16."""
    given = sizes.rtf
    of_chunks = given.chunks * given.chunk * 4 / rtf.FRAMES_A_SECOND
    for count in (1, given.streams):
        yield _compare_models(
            device,
            given,
            f"bf16, chunks of {given.chunk} frames, {count} streams",
            partial(rtf.streamed, given, streams=count),
            count * of_chunks,
            {},
        )


def _compare_models(
    device: torch.device,
    sizes: rtf.Sizes,
    name: str,
    task: Callable,
    seconds: float,
    goals: dict[str, float],
) -> Comparison:
    return Comparison(
        name,
        partial(model_sides, device, sizes, task),
        rtf.DENSE,
        goals,
        check=partial(rtf.description_of, sizes),
        items=seconds,
        unit=SPEECH,
    )


def model_sides(device: torch.device, sizes: rtf.Sizes, task: Callable) -> Sides:
    """A task for the small dense model, the mixture and the large dense one."""
    sides = {}
    for kind in (rtf.DENSE, rtf.MOE, rtf.LARGE):
        torch.manual_seed(0)
        with torch.device(device):
            model = rtf.Model(sizes, kind).eval().requires_grad_(False)
        sides[kind] = task(model.to(device, BF16))
    return sides


def training(device: torch.device, sizes: Sizes) -> Iterator[Comparison]:
    """A step of AdamW under bf16 autocast, from the waveforms on."""
    of_smoe, given = sizes.smoe, sizes.rtf
    smoe = {
        "dense": partial(train.build_model, of_smoe, train.JOINT, None),
        "S-MoE": partial(train.build_model, of_smoe, train.JOINT),
    }
    yield compare_training(
        device,
        BF16,
        f"bf16 autocast: training step of the paper's S-MoE, both tasks of "
        f"{of_smoe.utterances} utterances of {of_smoe.seconds} s; all its memory",
        smoe,
        partial(train.minibatch, of_smoe),
        "dense",
        {},
        of_smoe.utterances * of_smoe.seconds,
        SPEECH,
    )
    mixture = {"num_experts": given.experts, "top_k": given.top_k}
    u2pp = {
        name: partial(large_u2pp, given, kind, moe_options)
        for name, kind, moe_options in (
            (rtf.DENSE, "small", None),
            (rtf.MOE, "small", mixture),
            (rtf.LARGE, "large", None),
        )
    }
    of_u2pp = replace(
        of_smoe,
        vocabulary=given.vocabulary,
        utterances=sizes.u2pp_utterances,
        seconds=sizes.u2pp_seconds,
    )
    yield compare_training(
        device,
        BF16,
        f"bf16 autocast: training step of U2++, {of_u2pp.utterances} utterances of "
        f"{of_u2pp.seconds} s; all its memory",
        u2pp,
        partial(speech_and_text, of_u2pp),
        rtf.DENSE,
        {},
        of_u2pp.utterances * of_u2pp.seconds,
        SPEECH,
    )
    for kind in beside_espnet.KINDS:
        yield compare_training(
            device,
            BF16,
            f"bf16 autocast: training step of a {kind} beside ESPnet's, "
            f"{of_u2pp.utterances} utterances of {of_u2pp.seconds} s; all its memory",
            beside_espnet.makers(of_u2pp, kind),
            partial(beside_espnet.minibatch, of_u2pp),
            beside_espnet.ESPNET,
            beside_espnet.GOALS,
            of_u2pp.utterances,
            "utterances",
        )


def searches(device: torch.device, sizes: decode.Sizes) -> Iterator[Comparison]:
    """Beam search beside ESPnet's, frames of the encoder's output a second."""
    frames = sizes.seconds * decode.FRAMES_A_SECOND // 4
    for word, dtype in (("float32", F32), ("bf16", BF16)):
        count = sizes.utterances
        yield Comparison(
            f"{word}: beam search, {count} utterances of {sizes.seconds} s, "
            f"{sizes.tokens} tokens each",
            partial(decode.searches_of, sizes, count, device, dtype),
            decode.ESPNET,
            {decode.OURS: 3.0},
            faster=True,
            check=decode.same_hypotheses,
            items=count * frames,
            unit="encoder frames",
        )
    for count in (sizes.utterances, 4 * sizes.utterances):
        yield Comparison(
            f"bf16: both tasks of {count} utterances of {sizes.seconds} s, S-MoE",
            partial(both_tasks, device, sizes, count),
            ENCODED_AND_SEARCHED,
            items=count * sizes.seconds,
            unit=SPEECH,
        )


ENCODED_AND_SEARCHED = "encoder and beam search, ASR and ST together"


def both_tasks(device: torch.device, sizes: decode.Sizes, utterances: int) -> Sides:
    """From the features on, with experts in encoder and decoder."""
    parts = decode.model(sizes, {"gate": "label"})
    encoder, decoder = (part.to(device, BF16) for part in parts)
    search = decode.search_of(sizes, decoder)
    feats, lengths = decode.features(sizes, utterances)
    given = feats.to(device, BF16), lengths.to(device)

    def run() -> list[list[int]]:
        encoded = decode.encode(encoder, *given)
        found = search(*encoded, (decode.ASR, decode.ST))
        return [tokens for of_prompt in found for tokens in decode.best(of_prompt)]

    return {ENCODED_AND_SEARCHED: run}
