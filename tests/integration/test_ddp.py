"""Gradients of two processes on CPU are those of one process on the joined batch."""

import pytest
import torch
from espnet2.asr.ctc import CTC
from espnet2.torch_utils.recursive_op import recursive_average
from torch.nn.parallel import DistributedDataParallel

from espnet_smoe.decoder.transformer import SMoETransformerDecoder
from espnet_smoe.encoder.transformer import SMoETransformerEncoder
from espnet_smoe.model.smoe import ESPnetSMoEModel
from tests.gloo import in_two_processes

SPECIALS = ["<transcribe>", "<translate>", "<ko>", "<en>", "<wb>", "<nb>"]
TOKENS = [
    "<blank>",
    "<unk>",
    *SPECIALS,
    "<beginning_of_sentence>",
    *"abcd",
    "<sos/eos>",
]
WB, NB = TOKENS.index("<wb>"), TOKENS.index("<nb>")
A, END = TOKENS.index("a"), TOKENS.index("d") + 1
SIZES = {
    "attention_heads": 2,
    "linear_units": 12,
    "num_blocks": 2,
    "dropout_rate": 0.0,
    "positional_dropout_rate": 0.0,
    "moe": {},
}
WORLD = 2

# case -> for each rank its utterances: label, has a transcript, has a translation
CASES: dict[str, list[list[tuple[int, bool, bool]]]] = {
    "all_targets": [
        [(WB, True, True), (NB, True, True)],
        [(NB, True, True), (WB, True, True)],
    ],
    "unequal_shares": [
        [(WB, True, True), (NB, True, True), (NB, True, True)],
        [(NB, True, True)],
    ],
    "some_translations_missing": [
        [(WB, True, False), (NB, True, True), (NB, True, False)],
        [(NB, True, True), (WB, True, True)],
    ],
    "a_rank_without_translations": [
        [(WB, True, True), (NB, True, True)],
        [(NB, True, False), (WB, True, False)],
    ],
    "each_rank_one_task": [
        [(WB, True, False), (NB, True, False)],
        [(NB, False, True), (WB, False, True)],
    ],
    "each_rank_one_bandwidth": [
        [(WB, True, True), (WB, True, True)],
        [(NB, True, True), (NB, True, True)],
    ],
}


def make(schedule: str) -> ESPnetSMoEModel:
    torch.manual_seed(0)
    model = ESPnetSMoEModel(
        vocab_size=len(TOKENS),
        token_list=TOKENS,
        frontend=None,
        specaug=None,
        normalize=None,
        preencoder=None,
        encoder=SMoETransformerEncoder(6, output_size=8, input_layer="linear", **SIZES),
        postencoder=None,
        decoder=SMoETransformerDecoder(len(TOKENS), 8, **SIZES),
        ctc=CTC(len(TOKENS), 8),
        joint_network=None,
        schedule=schedule,
        lsm_weight=0.1,
    )
    return model.double().train()


def texts(present: list[bool]) -> torch.Tensor:
    rows = [torch.randint(A, END, (4,)) for _ in present]
    return torch.stack(
        [t if p else torch.full((4,), -1) for t, p in zip(rows, present)]
    )


def batches(case: str) -> list[dict[str, torch.Tensor]]:
    """The share of each rank."""
    torch.manual_seed(1)
    shares = []
    for share in CASES[case]:
        labels, transcripts, translations = zip(*share)
        shares.append(
            {
                "speech": torch.randn(len(share), 20, 6, dtype=torch.float64),
                "speech_lengths": 20 - torch.arange(len(share)),
                "text": texts(transcripts),
                "text_st": texts(translations),
                "bandwidth": torch.tensor(labels)[:, None],
            }
        )
    return shares


def joined(case: str) -> dict[str, torch.Tensor]:
    shares = batches(case)
    return {key: torch.cat([share[key] for share in shares]) for key in shares[0]}


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """An expert without work may have none, which is as good as zero."""
    return {
        key: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for key, p in model.named_parameters()
    }


def step(dp: DistributedDataParallel, share: dict[str, torch.Tensor]) -> dict:
    """Forward and backward with the weights of ESPnet's trainer."""
    dp.zero_grad()
    loss, stats, weight = dp(**share)
    keys = list(stats)
    loss = (loss * weight.type(loss.dtype)).sum()
    stats, total = recursive_average(stats, weight, distributed=True)
    (loss / total * WORLD).backward()
    return {"grads": gradients(dp.module), "stats": stats, "keys": keys}


def work(rank: int) -> dict:
    done = {}
    for case in CASES:
        dp = DistributedDataParallel(make("joint"), find_unused_parameters=True)
        done["joint", case] = step(dp, batches(case)[rank])
    # both experts take part wherever a rank has work for one of them
    dp = DistributedDataParallel(make("joint"), find_unused_parameters=False)
    done["strict", "each_rank_one_bandwidth"] = step(
        dp, batches("each_rank_one_bandwidth")[rank]
    )
    dp = DistributedDataParallel(make("alternate"), find_unused_parameters=True)
    for turn in range(3):
        done["alternate", turn] = step(dp, batches("each_rank_one_bandwidth")[rank])
    return done


@pytest.fixture(scope="module")
def ranks(tmp_path_factory) -> list[dict]:
    """What each of the two processes made of every case."""
    return in_two_processes(tmp_path_factory.mktemp("ddp"), work)


def check(rank_grads: list[dict], model: ESPnetSMoEModel) -> None:
    expected = gradients(model)
    # double precision, but ESPnet's CTC loss computes in single
    assert sum(g.abs().sum() > 0 for g in expected.values()) > 10
    for grads in rank_grads:
        for key, gradient in expected.items():
            torch.testing.assert_close(
                *(grads[key], gradient), atol=1e-6, rtol=1e-6, msg=lambda m: key + m
            )


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_those_of_one_process(ranks, case):
    model = make("joint")
    loss, stats, _ = model(**joined(case))
    loss.backward()
    check([rank["joint", case]["grads"] for rank in ranks], model)
    for rank in ranks:
        got = rank["joint", case]["stats"]["loss"]
        torch.testing.assert_close(got, stats["loss"][0])


def test_a_bandwidth_that_a_rank_lacks_needs_no_search_for_unused_parameters(ranks):
    case = "each_rank_one_bandwidth"
    model = make("joint")
    model(**joined(case))[0].backward()
    check([rank["strict", case]["grads"] for rank in ranks], model)


@pytest.mark.parametrize("turn", range(3))
def test_alternating_ranks_take_the_same_task(ranks, turn):
    model = make("alternate")
    for _ in range(turn + 1):
        model.zero_grad()
        loss, stats, _ = model(**joined("each_rank_one_bandwidth"))
        loss.backward()
    due, other = ("asr", "st") if turn % 2 == 0 else ("st", "asr")
    for rank in ranks:
        got = rank["alternate", turn]["stats"]
        assert got[f"loss_{due}"].isfinite() and got[f"loss_{other}"].isnan()
    check([rank["alternate", turn]["grads"] for rank in ranks], model)


def test_every_rank_reports_the_same_statistics(ranks):
    first, second = ranks
    for case, one in first.items():
        assert one["keys"] == second[case]["keys"], case
