"""ESPnet's own models train the routers of our encoders and decoders."""

import argparse
import copy
import importlib
import logging

import pytest
import torch

from espnet_smoe import register
from espnet_smoe.encoder.transformer import SMoETransformerEncoder
from espnet_smoe.model.stock import joined_routing, route_stock_model
from espnet_smoe.moe import Routing
from espnet_smoe.registry import TASKS

register()
SPECIALS = ["<blank>", "<unk>", "<na>", "<sop>", "<sos>", "<wb>", "<nb>"]
SPECIALS += ["<translate>", "<transcribe>"]
TOKENS = [*SPECIALS, *"abcdef", "<eos>", "<sos/eos>"]
QUIET = {"dropout_rate": 0.0, "positional_dropout_rate": 0.0}
SIZES = {"attention_heads": 2, "linear_units": 12, "num_blocks": 2, **QUIET}
LOSSES = ("balance", "importance", "sparsity", "z")
WEIGHTS = {f"{name}_weight": 0.5 for name in LOSSES}
QUIET_MODEL = {
    "asr": {"ctc_weight": 0.3, "report_cer": False, "report_wer": False},
    "s2t": {"ctc_weight": 0.3, "report_cer": False, "report_wer": False},
    "st": {"st_mtlalpha": 0.3, "report_bleu": False},
}


def make(task: str, moe: dict | None = None, **changes) -> torch.nn.Module:
    """The model that ESPnet's task builds, with ESPnet's own model class."""
    cls = getattr(importlib.import_module(f"espnet2.tasks.{task}"), TASKS[task])
    mixture = {"moe": moe} if moe else {}
    config = cls.get_default_config() | {
        "token_list": TOKENS,
        "src_token_list": TOKENS,
        "input_size": 6,
        "specaug": None,
        "normalize": None,
        "model_conf": QUIET_MODEL[task],
        "encoder": "smoe_transformer",
        "encoder_conf": {**SIZES, "output_size": 8, "input_layer": "linear", **mixture},
        "decoder": "smoe_transformer",
        "decoder_conf": {**SIZES, **mixture},
    }
    torch.manual_seed(0)
    return cls.build_model(argparse.Namespace(**config | changes)).double()


def topk(**weights) -> dict:
    return {"gate": "topk", "num_experts": 4, "top_k": 2, **weights}


def batch(task: str) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    fields = {
        "speech": torch.randn(2, 12, 6, dtype=torch.double),
        "speech_lengths": torch.tensor([12, 9]),
        "text": torch.tensor([[9, 10, 11], [12, 13, -1]]),
        "text_lengths": torch.tensor([3, 2]),
    }
    if task == "s2t":
        for name in ("text_prev", "text_ctc"):
            fields[name] = fields["text"].clone()
            fields[f"{name}_lengths"] = fields["text_lengths"].clone()
    return fields


@pytest.mark.parametrize("task", QUIET_MODEL)
def test_the_weighted_losses_are_in_the_loss_and_their_numbers_in_the_stats(task):
    plain, weighted = make(task, topk()), make(task, topk(**WEIGHTS))
    assert type(weighted).__module__.startswith("espnet2.")
    loss, stats, _ = weighted(**batch(task))
    parts = [stats[f"{p}_{name}"] for p in ("encoder", "decoder") for name in LOSSES]
    added = (loss - plain(**batch(task))[0]).float()
    torch.testing.assert_close(added, 0.5 * sum(parts))
    torch.testing.assert_close(stats["loss"], loss.detach())
    loss.backward()
    routers = [p for n, p in weighted.named_parameters() if "router" in n]
    assert len(routers) == 4 and all(p.grad.abs().sum() > 0 for p in routers)


@pytest.mark.parametrize("task", QUIET_MODEL)
def test_the_statistics_tell_what_the_experts_do(task):
    for model in (make(task, topk()), make(task, topk()).eval()):
        _, stats, _ = model(**batch(task))
        for part in ("encoder", "decoder"):
            loads = [float(stats[f"{part}_load_{e}"]) for e in range(4)]
            assert sum(loads) == pytest.approx(1.0)
            assert stats[f"{part}_entropy"] > 0 and stats[f"{part}_dead"] >= 0
        assert ("encoder_layer0_load_0" in stats) == (not model.training)


def test_validation_and_decoding_are_those_of_the_model_without_weights():
    plain, weighted = make("asr", topk()).eval(), make("asr", topk(**WEIGHTS)).eval()
    losses = [model(**batch("asr"))[0] for model in (plain, weighted)]
    torch.testing.assert_close(*losses)
    speech = batch("asr")["speech"], batch("asr")["speech_lengths"]
    torch.testing.assert_close(plain.encode(*speech)[0], weighted.encode(*speech)[0])


def test_a_failed_step_leaves_nothing_for_the_next():
    model = make("asr", topk(**WEIGHTS))
    first = model(**batch("asr"))[0]
    with pytest.raises(AssertionError):
        model(**batch("asr") | {"text_lengths": torch.tensor([3])})
    given = []
    hook = model.encoder.register_forward_pre_hook(
        lambda m, args, kwargs: given.append(kwargs.get("routing")), with_kwargs=True
    )
    model.eval().encode(batch("asr")["speech"], batch("asr")["speech_lengths"])
    assert given == [None]  # it is not taken for a part of the failed step
    hook.remove()
    torch.testing.assert_close(model.train()(**batch("asr"))[0], first)


def test_parameters_keep_their_names_and_a_copy_trains_alike():
    model = make("asr", topk(**WEIGHTS))
    assert not any("routing" in key or "hook" in key for key in model.state_dict())
    twin = route_stock_model(copy.deepcopy(model))
    loss = model(**batch("asr"))[0]
    torch.testing.assert_close(twin(**batch("asr"))[0], loss)


def test_amp_keeps_the_losses_in_single_precision():
    model = make("asr", topk(**WEIGHTS)).float()
    fields = batch("asr")
    fields["speech"] = fields["speech"].float()
    exact = model(**fields)[1]
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model(**fields)[1]
    for name in LOSSES:
        key = f"decoder_{name}"
        assert rounded[key].dtype == torch.float32
        torch.testing.assert_close(rounded[key], exact[key], rtol=0.05, atol=0.05)


def test_parts_without_experts_are_left_alone():
    keys = make("asr")(**batch("asr"))[1].keys()
    assert not any("load" in key or "balance" in key for key in keys)


@pytest.mark.parametrize(
    "moe", [{"gate": "label"}, {**topk(), "gate": "label_topk"}], ids=str
)
@pytest.mark.parametrize(
    "task, part",  # the texts of S2T begin with labels, which its decoder reads
    [
        (t, p)
        for t in QUIET_MODEL
        for p in ("encoder", "decoder")
        if t + p != "s2tdecoder"
    ],
)
def test_a_gate_that_reads_labels_is_refused_when_the_model_is_built(task, moe, part):
    conf = {**SIZES, "moe": moe}
    if part == "encoder":
        conf |= {"output_size": 8, "input_layer": "linear"}
    with pytest.raises(ValueError, match=f"{part}_conf.moe: its gates read a label"):
        make(task, **{f"{part}_conf": conf})


def test_a_part_that_the_model_does_not_train_is_named(caplog):
    right = {**SIZES, "num_blocks": 1, "r_num_blocks": 1}
    with caplog.at_level(logging.WARNING):
        make("asr", decoder="u2pp_transformer", decoder_conf=right)
    assert "r_num_blocks: ESPnetASRModel does not train" in caplog.text


def test_an_encoder_alone_says_once_that_its_losses_are_lost(caplog):
    encoder = SMoETransformerEncoder(
        6, output_size=8, input_layer="linear", moe=topk(balance_weight=0.1), **SIZES
    )
    given = torch.zeros(1, 5, 6), torch.tensor([5])
    encoder.eval()(*given)
    assert not caplog.text
    for _ in range(2):
        encoder.train()(*given)
    (record,) = caplog.records
    assert "balance_weight: nothing adds the losses" in record.getMessage()


def test_several_passes_through_a_part_count_as_one():
    model = make("asr", topk(**WEIGHTS)).encoder
    speech, lengths = batch("asr")["speech"], batch("asr")["speech_lengths"]
    whole = Routing(lengths)
    model(speech, lengths, routing=whole)
    halves = [Routing(n) for n in lengths.split(1)]
    for x, n, half in zip(speech.split(1), lengths.split(1), halves):
        model(x[:, : int(n)], n, routing=half)
    joined = joined_routing(halves)
    assert joined.logits.keys() == joined.loads.keys() == whole.loads.keys()
    for name, losses in whole.losses.items():
        torch.testing.assert_close(joined.losses[name], losses)
        torch.testing.assert_close(joined.loads[name], whole.loads[name])
        assert len(joined.logits[name]) == 21


@pytest.mark.parametrize("task", QUIET_MODEL)
def test_a_model_that_is_as_it_should_be_is_built_in_silence(task, caplog):
    make(task, topk(**WEIGHTS))
    assert not [r for r in caplog.records if "no effect" in r.getMessage()]


def test_a_model_is_given_its_hooks_once():
    model = make("asr", topk(**WEIGHTS))
    before = [len(m._forward_pre_hooks) for m in model.modules()]
    assert route_stock_model(model) is model
    assert [len(m._forward_pre_hooks) for m in model.modules()] == before


def test_our_own_models_add_their_losses_themselves():
    model = make(
        "asr",
        topk(**WEIGHTS),
        model="smoe",
        model_conf={"ctc_weight": 0.0},
        token_list=[
            *TOKENS[:-1],
            "<ko>",
            "<en>",
            "<beginning_of_sentence>",
            TOKENS[-1],
        ],
    )
    assert not model._forward_hooks and not model._forward_pre_hooks


def test_ctc_in_layers_that_there_are_not_is_said_of_espnets_model(caplog):
    conf = {**QUIET_MODEL["asr"], "interctc_weight": 0.3}
    make("asr", topk(), model_conf=conf)
    assert "interctc_weight: 0.3 has no effect, no layer" in caplog.text
