"""The losses of routers are those of one process, however a batch is shared out."""

from pathlib import Path

import pytest
import torch
from espnet2.asr.ctc import CTC
from espnet2.torch_utils.recursive_op import recursive_average
from torch.nn.parallel import DistributedDataParallel

from espnet_smoe.encoder.speech_moe import SpeechMoEEncoder
from espnet_smoe.model.speech_moe import ESPnetSpeechMoEModel

TOKENS = ["<blank>", "<unk>", "ni3", "hao3", "ma5", "<sos/eos>"]
SHARES = ([0, 1, 2], [3])  # utterances of each rank
LENGTHS = [14, 12, 9, 5]
LOSSES = ("sparsity", "importance", "balance", "z")


def make() -> ESPnetSpeechMoEModel:
    torch.manual_seed(0)
    encoder = SpeechMoEEncoder(
        6,
        output_size=8,
        linear_units=12,
        num_blocks=2,
        attention_every=2,
        attention_heads=2,
        dropout_rate=0.0,
        use_sdpa=False,
        moe={"num_experts": 4, **{f"{name}_weight": 0.5 for name in LOSSES}},
        embedding={"num_blocks": 1},
    )
    rest = ("frontend", "specaug", "normalize", "preencoder", "postencoder")
    return ESPnetSpeechMoEModel(
        vocab_size=len(TOKENS),
        token_list=TOKENS,
        encoder=encoder,
        decoder=None,
        ctc=CTC(len(TOKENS), 8),
        joint_network=None,
        embedding_ctc_weight=0.1,
        **dict.fromkeys(rest),
    ).double()


def batch(rows: list[int]) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    speech = torch.randn(4, 14, 6, dtype=torch.double)
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


def work(rank: int, folder: str) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    model = DistributedDataParallel(make(), find_unused_parameters=False)
    loss, stats, weight = model(**batch(SHARES[rank]))
    keys = list(stats)
    loss = (loss * weight.type(loss.dtype)).sum()  # as ESPnet's trainer does
    stats, total = recursive_average(stats, weight, distributed=True)
    (loss / total * 2).backward()
    done = {"grads": gradients(model.module), "stats": stats, "keys": keys}
    torch.save(done, f"{folder}/{rank}.pth")
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory) -> list[dict]:
    folder: Path = tmp_path_factory.mktemp("ddp")
    torch.multiprocessing.spawn(work, (str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pth") for rank in range(2)]


def test_losses_and_gradients_are_those_of_one_process(ranks):
    model = make()
    loss, stats, _ = model(**batch(SHARES[0] + SHARES[1]))
    loss.backward()
    expected = gradients(model)
    assert sum(bool(g.abs().sum() > 0) for g in expected.values()) > 10
    for rank in ranks:
        for name in LOSSES:
            key = f"encoder_{name}"
            torch.testing.assert_close(rank["stats"][key], stats[key][0], msg=key)
        for key, gradient in expected.items():  # CTC computes in single precision
            torch.testing.assert_close(
                *(rank["grads"][key], gradient), atol=1e-6, rtol=1e-5, msg=key
            )
    assert ranks[0]["keys"] == ranks[1]["keys"]
