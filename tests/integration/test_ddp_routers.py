"""The losses of routers are those of one process, however a batch is shared out."""

import pytest
import torch
from espnet2.asr.ctc import CTC
from espnet2.torch_utils.recursive_op import recursive_average
from torch.nn.parallel import DistributedDataParallel

from espnet_smoe.decoder.bidirectional import U2PPTransformerDecoder
from espnet_smoe.encoder.conformer import U2PPConformerEncoder
from espnet_smoe.encoder.speech_moe import SpeechMoEEncoder
from espnet_smoe.model.speech_moe import ESPnetSpeechMoEModel
from espnet_smoe.model.u2pp import ESPnetU2PPModel

TOKENS = ["<blank>", "<unk>", "ni3", "hao3", "ma5", "<sos/eos>"]
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


MODELS = {"speech_moe": make_speech_moe, "u2pp": make_u2pp}


def make(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    return MODELS[name]().double()


def batch(rows: list[int]) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    speech = torch.randn(4, max(LENGTHS), FEATURES, dtype=torch.double)
    text = torch.randint(2, 5, (4, 2))
    lengths = torch.tensor(LENGTHS)[rows]
    return {
        "speech": speech[rows][:, : lengths.max()],
        "speech_lengths": lengths,
        "text": text[rows],
        "text_lengths": torch.full((len(rows),), 2),
    }


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {
        key: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for key, p in model.named_parameters()
    }


def work(rank: int, name: str, folder: str) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    model = DistributedDataParallel(make(name), find_unused_parameters=False)
    loss, stats, weight = model(**batch(SHARES[rank]))
    keys = list(stats)
    loss = (loss * weight.type(loss.dtype)).sum()  # as ESPnet's trainer does
    stats, total = recursive_average(stats, weight, distributed=True)
    (loss / total * 2).backward()
    done = {"grads": gradients(model.module), "stats": stats, "keys": keys}
    torch.save(done, f"{folder}/{rank}.pth")
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("name", MODELS)
def test_losses_and_gradients_are_those_of_one_process(name, tmp_path):
    torch.multiprocessing.spawn(work, (name, str(tmp_path)), nprocs=2)
    ranks = [torch.load(tmp_path / f"{rank}.pth") for rank in range(2)]
    model = make(name)
    loss, stats, _ = model(**batch(SHARES[0] + SHARES[1]))
    loss.backward()
    expected = gradients(model)
    assert sum(bool(g.abs().sum() > 0) for g in expected.values()) > 10
    auxiliary = [k for k in stats if k.endswith(LOSSES) and not k.startswith("loss")]
    assert len(auxiliary) == len(LOSSES) * (3 if name == "u2pp" else 1)
    for rank in ranks:
        for key in auxiliary:
            torch.testing.assert_close(rank["stats"][key], stats[key][0], msg=key)
        for key, gradient in expected.items():  # CTC computes in single precision
            torch.testing.assert_close(
                *(rank["grads"][key], gradient), atol=1e-6, rtol=1e-5, msg=key
            )
    assert ranks[0]["keys"] == ranks[1]["keys"]
