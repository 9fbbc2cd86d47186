"""The decoder of ESPnet's S2T model (OWSM) reads its experts' labels in the texts."""

import argparse

import pytest
import torch
from espnet2.tasks.s2t import S2TTask

from espnet_smoe import register
from espnet_smoe.moe.upcycle import upcycle

register()
SPECIALS = ["<blank>", "<unk>", "<na>", "<kor>", "<asr>", "<st_eng>", "<st_jpn>"]
SPECIALS += ["<notimestamps>", "<0.00>", "<30.00>"]
TOKENS = [*SPECIALS, *"abcdef", "<sop>", "<sos>", "<eos>"]
SIZES = {"attention_heads": 2, "linear_units": 12, "num_blocks": 2}
SIZES |= {"dropout_rate": 0.0, "positional_dropout_rate": 0.0}
LABELS = (["<asr>", "<st_*>"], [["<asr>"], ["<st_eng>", "<st_jpn>"]])


def make(labels=None, gate: str = "label", **more) -> torch.nn.Module:
    """ESPnet's own model; its decoder has an expert a label where there are any."""
    moe = {"moe": {"gate": gate, "labels": labels, **more}} if labels else {}
    config = S2TTask.get_default_config() | {
        "token_list": TOKENS,
        "input_size": 6,
        "specaug": None,
        "normalize": None,
        "model_conf": {"ctc_weight": 0.3, "report_cer": False, "report_wer": False},
        "encoder": "transformer",
        "encoder_conf": {**SIZES, "output_size": 8, "input_layer": "linear"},
        "decoder": "smoe_transformer" if labels else "transformer",
        "decoder_conf": {**SIZES, **moe},
    }
    torch.manual_seed(0)
    return S2TTask.build_model(argparse.Namespace(**config))


def padded(rows: list[list[str]]) -> tuple[torch.Tensor, torch.Tensor]:
    lengths = torch.tensor([len(row) for row in rows])
    ids = torch.full((len(rows), int(lengths.max())), -1)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor([TOKENS.index(token) for token in row])
    return ids, lengths


def batch(verbs=("<asr>", "<st_eng>", "<st_jpn>")) -> dict[str, torch.Tensor]:
    """Three utterances; the second goes on where an earlier text ended."""
    torch.manual_seed(1)
    texts = [["<kor>", verb, "<notimestamps>", *"abc"] for verb in verbs]
    texts[1] = ["<kor>", verbs[1], "<0.00>", "d", "<30.00>"]
    fields = {"text": texts, "text_prev": [["<na>"], [*"efab"], ["<na>"]]}
    fields["text_ctc"] = [[*"ab"], ["<na>"], ["c"]]
    found = {
        "speech": torch.randn(3, 12, 6),
        "speech_lengths": torch.tensor([12, 9, 7]),
    }
    for name, rows in fields.items():
        found[name], found[f"{name}_lengths"] = padded(rows)
    return found


@pytest.mark.parametrize("labels", LABELS, ids=str)
def test_upcycled_experts_compute_what_the_dense_model_computes(labels):
    dense, mixture = make(), make(labels)
    mixture.load_state_dict(upcycle(dense.state_dict(), mixture.state_dict()).state)
    for train in (True, False):
        losses = [m.train(train)(**batch())[0] for m in (dense, mixture)]
        assert (losses[0] - losses[1]).detach().abs() == 0


@pytest.mark.parametrize("labels", LABELS, ids=str)
def test_each_text_is_read_by_the_experts_of_its_own_label(labels):
    model = make(labels).eval()
    stats = model(**batch())[1]
    # <sos> and text of one, <sop>, the text before, <sos> and text of the other two
    counts = 1 + 6, (1 + 4 + 1 + 5) + (1 + 6)
    loads = [float(stats[f"decoder_load_{e}"]) for e in range(2)]
    assert loads == pytest.approx([n / sum(counts) for n in counts])
    translations = batch(["<st_eng>", "<st_jpn>", "<st_eng>"])
    losses = model(**batch())[0], model(**translations)[0]
    for layer in model.decoder.decoders:
        torch.nn.init.zeros_(layer.feed_forward.experts[0].w_2.weight)
    assert not torch.equal(model(**batch())[0], losses[0])
    assert torch.equal(model(**translations)[0], losses[1])


def test_a_router_inside_the_group_of_a_label_trains():
    weights = {"num_experts": 4, "top_k": 1, "balance_weight": 0.1}
    model = make(["<asr>", "<st_*>"], "label_topk", **weights)
    loss, stats, _ = model(**batch())
    loss.backward()
    assert stats["decoder_balance"] > 0
    routers = [p for n, p in model.named_parameters() if "router" in n]
    assert routers and all(p.grad.abs().sum() > 0 for p in routers)


def test_a_text_without_label_is_refused_by_name():
    with pytest.raises(ValueError, match="<sos> is not a label .* <asr>, <st_"):
        make(["<asr>", "<st_*>"])(**batch(["<asr>", "<asr>", "<kor>"]))


def test_labels_that_are_no_tokens_are_refused_with_their_place():
    with pytest.raises(ValueError, match="decoder_conf.moe.labels: label <translate>"):
        make(["<translate>", "<asr>"])
