"""The losses of routers are those of one process, however a batch is shared out."""

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from espnet2.asr.ctc import CTC
from espnet2.asr.espnet_model import ESPnetASRModel
from espnet2.torch_utils.recursive_op import recursive_average
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from espnet_smoe.decoder.bidirectional import U2PPTransformerDecoder
from espnet_smoe.decoder.transformer import SMoETransformerDecoder
from espnet_smoe.encoder.conformer import U2PPConformerEncoder
from espnet_smoe.encoder.speech_moe import SpeechMoEEncoder
from espnet_smoe.encoder.transformer import SMoETransformerEncoder
from espnet_smoe.model.smoe import ESPnetSMoEModel
from espnet_smoe.model.speech_moe import ESPnetSpeechMoEModel
from espnet_smoe.model.stock import route_stock_model
from espnet_smoe.model.u2pp import ESPnetU2PPModel
from espnet_smoe.moe import MoEFeedForward
from tests.gloo import in_two_processes

TOKENS = ["<blank>", "<unk>", "ni3", "hao3", "ma5", "<sos/eos>"]
SPECIALS = ["<transcribe>", "<translate>", "<ko>", "<en>", "<beginning_of_sentence>"]
SMOE_TOKENS = TOKENS[:-1] + SPECIALS + TOKENS[-1:]
SHARES = ([0, 1, 2], [3])  # utterances of each rank
LENGTHS = [34, 30, 21, 17]
FEATURES = 8
LOSSES = ("sparsity", "importance", "balance", "z")
MOE = {"num_experts": 4, **{f"{name}_weight": 0.5 for name in LOSSES}}
NOTHING = dict.fromkeys(
    ("frontend", "specaug", "normalize", "preencoder", "postencoder", "joint_network")
)
SIZES = {"output_size": 8, "linear_units": 12, "attention_heads": 2}


def make_speech_moe() -> ESPnetSpeechMoEModel:
    encoder = SpeechMoEEncoder(
        FEATURES,
        **SIZES,
        num_blocks=2,
        attention_every=2,
        dropout_rate=0.0,
        use_sdpa=False,
        moe=MOE,
        embedding={"num_blocks": 1},
    )
    return ESPnetSpeechMoEModel(
        vocab_size=len(TOKENS),
        token_list=TOKENS,
        encoder=encoder,
        decoder=None,
        ctc=CTC(len(TOKENS), 8),
        embedding_ctc_weight=0.1,
        **NOTHING,
    )


def make_u2pp() -> ESPnetU2PPModel:
    quiet = {"dropout_rate": 0.0, "positional_dropout_rate": 0.0, "moe": MOE}
    encoder = U2PPConformerEncoder(
        FEATURES,
        **SIZES,
        **quiet,
        num_blocks=2,
        input_layer="conv2d2",
        use_dynamic_chunk=False,  # every process draws its own
        static_chunk_size=4,
    )
    heads = {"attention_heads": 2, "linear_units": 12}
    decoder = U2PPTransformerDecoder(len(TOKENS), 8, **heads, **quiet, num_blocks=1)
    return ESPnetU2PPModel(
        vocab_size=len(TOKENS),
        token_list=TOKENS,
        encoder=encoder,
        decoder=decoder,
        ctc=CTC(len(TOKENS), 8),
        **NOTHING,
    )


def make_smoe(schedule: str = "joint") -> ESPnetSMoEModel:
    quiet = {"dropout_rate": 0.0, "positional_dropout_rate": 0.0}
    moe = {"gate": "topk", "top_k": 2, **MOE}
    sizes = {"attention_heads": 2, "linear_units": 12, "num_blocks": 2, "moe": moe}
    encoder = SMoETransformerEncoder(
        FEATURES, output_size=8, input_layer="linear", **quiet, **sizes
    )
    return ESPnetSMoEModel(
        vocab_size=len(SMOE_TOKENS),
        token_list=SMOE_TOKENS,
        encoder=encoder,
        decoder=SMoETransformerDecoder(len(SMOE_TOKENS), 8, **quiet, **sizes),
        ctc=CTC(len(SMOE_TOKENS), 8),
        schedule=schedule,
        **NOTHING,
    )


def make_espnet() -> ESPnetASRModel:
    """ESPnet's own model with our parts, as its task hands it out."""
    ours = make_u2pp()
    ours.decoder.right = None
    model = ESPnetASRModel(
        vocab_size=len(TOKENS),
        token_list=TOKENS,
        encoder=ours.encoder,
        decoder=ours.decoder,
        ctc=ours.ctc,
        report_cer=False,
        report_wer=False,
        **NOTHING,
    )
    return route_stock_model(model)


def make_smoe_alternate() -> ESPnetSMoEModel:
    return make_smoe("alternate")


class Case(NamedTuple):
    """A model, and which utterances of the four lack a field."""

    make: Callable[[], torch.nn.Module]
    parts: int  # whose auxiliary losses are told apart
    lacks: dict[str, list[int]] = {}
    alone: Callable[[], torch.nn.Module] | None = None  # the same in one process


CASES = {
    "speech_moe": Case(make_speech_moe, 1),
    "u2pp": Case(make_u2pp, 3),
    "espnet": Case(make_espnet, 2),
    "smoe": Case(make_smoe, 3),
    "smoe_a_rank_without_translations": Case(make_smoe, 3, {"text_st": [3]}),
    "smoe_each_rank_one_task": Case(make_smoe, 3, {"text_st": [0, 1, 2], "text": [3]}),
    "smoe_each_rank_one_task_in_turns": Case(
        make_smoe_alternate, 3, {"text_st": [0, 1, 2], "text": [3]}, make_smoe
    ),
}


def make(builder: Callable[[], torch.nn.Module]) -> torch.nn.Module:
    torch.manual_seed(0)
    return builder().double()


def batch(case: str, rows: list[int]) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    speech = torch.randn(4, max(LENGTHS), FEATURES, dtype=torch.double)
    lengths = torch.tensor(LENGTHS)[rows]
    fields = {
        "speech": speech[rows][:, : lengths.max()],
        "speech_lengths": lengths,
    }
    smoe = case.startswith("smoe")
    for name in ("text", "text_st") if smoe else ("text",):
        text = torch.randint(len(TOKENS) - 4, len(TOKENS) - 1, (4, 2))
        text[CASES[case].lacks.get(name, [])] = -1
        fields[name] = text[rows]
    if not smoe:
        fields["text_lengths"] = torch.full((len(rows),), 2)
    return fields


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {
        key: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for key, p in model.named_parameters()
    }


def step(case: str, rank: int) -> dict:
    model = make(CASES[case].make)
    # a process without transcripts has no work for the CTC head
    model = DistributedDataParallel(
        model, find_unused_parameters="text" in CASES[case].lacks
    )
    loss, stats, weight = model(**batch(case, SHARES[rank]))
    keys = list(stats)
    loss = (loss * weight.type(loss.dtype)).sum()  # as ESPnet's trainer does
    stats, total = recursive_average(stats, weight, distributed=True)
    (loss / total * 2).backward()
    return {"grads": gradients(model.module), "stats": stats, "keys": keys}


def layers_of(model: torch.nn.Module) -> list[torch.nn.Module]:
    """Encoder and decoder layers."""
    parts = [model.encoder, model.decoder, getattr(model.decoder, "right", None)]
    return [
        layer
        for part in parts
        if part is not None
        for layer in getattr(part, "encoders", getattr(part, "decoders", ()))
    ]


def mixtures_of(model: torch.nn.Module) -> list[torch.nn.Module]:
    return [m for m in model.modules() if isinstance(m, MoEFeedForward)]


UNITS = {"layers": layers_of, "mixtures": mixtures_of}
SHARDED = [(case, unit) for case in ("smoe", "u2pp") for unit in UNITS]


def sharded_step(case: str, unit: str, rank: int) -> dict:
    """A training step of a model whose parts FSDP2 has sharded, each by itself."""
    model = make(CASES[case].make)
    for module in UNITS[unit](model):
        fully_shard(module)
    fully_shard(model)
    loss, stats, weight = model(**batch(case, SHARES[rank]))
    own = {key: value for key, value in stats.items() if "load" in key}
    loss = (loss * weight.type(loss.dtype)).sum()
    stats, total = recursive_average(stats, weight, distributed=True)
    (loss / total * 2).backward()
    grads = {
        key: p.grad.full_tensor()
        for key, p in model.named_parameters()
        if p.requires_grad
    }
    return {"grads": grads, "stats": stats, "loads": own}


def work(rank: int) -> dict:
    done = {case: step(case, rank) for case in CASES}
    return done | {given: sharded_step(*given, rank) for given in SHARDED}


@pytest.fixture(scope="module")
def ranks(tmp_path_factory) -> list[dict]:
    """What each of the two processes made of every case."""
    return in_two_processes(tmp_path_factory.mktemp("ddp"), work)


@pytest.mark.parametrize("case", CASES)
def test_losses_and_gradients_are_those_of_one_process(case, ranks):
    model = make(CASES[case].alone or CASES[case].make)
    loss, stats, _ = model(**batch(case, SHARES[0] + SHARES[1]))
    loss.backward()
    expected = gradients(model)
    assert sum(bool(g.abs().sum() > 0) for g in expected.values()) > 10
    auxiliary = [k for k in stats if any(f"_{loss}" in k for loss in LOSSES)]
    assert len(auxiliary) == len(LOSSES) * CASES[case].parts
    first, second = (rank[case] for rank in ranks)
    for one in (first, second):
        for key in auxiliary:
            torch.testing.assert_close(one["stats"][key], stats[key][0], msg=key)
        for key, gradient in expected.items():  # CTC computes in single precision
            torch.testing.assert_close(
                *(one["grads"][key], gradient), atol=1e-6, rtol=1e-5, msg=key
            )
    assert first["keys"] == second["keys"]


@pytest.mark.parametrize(("case", "unit"), SHARDED)
def test_sharded_units_train_as_one_process_does(case, unit, ranks):
    """FSDP2 around each layer or each mixture loses no loss, load or gradient."""
    model = make(CASES[case].make)
    loss, stats, _ = model(**batch(case, SHARES[0] + SHARES[1]))
    loss.backward()
    expected = gradients(model)
    for rank, done in enumerate(of[case, unit] for of in ranks):
        torch.testing.assert_close(done["stats"]["loss"], stats["loss"][0])
        for key in [k for k in stats if k.endswith(LOSSES)]:
            torch.testing.assert_close(done["stats"][key], stats[key][0], msg=key)
        for key, gradient in expected.items():  # CTC computes in single precision
            torch.testing.assert_close(
                done["grads"][key], gradient, atol=1e-6, rtol=1e-5, msg=key
            )
        own = make(CASES[case].make)(**batch(case, SHARES[rank]))[1]
        loads = {key for key in own if "load" in key}
        assert loads and set(done["loads"]) == loads
        for key in loads:
            torch.testing.assert_close(done["loads"][key], own[key], msg=key)
