"""Model u2pp: its loss, its statistics, what it refuses."""

import argparse
import math

import pytest
import torch

from espnet_smoe import register
from espnet_smoe.model.u2pp import ESPnetU2PPModel, check_parts, reverse_text

TOKENS = ["<blank>", "<unk>", *"abcdefghijkl", "<sos/eos>"]


def make(**changes) -> ESPnetU2PPModel:
    register()
    from espnet2.tasks.asr import ASRTask

    sizes = {"attention_heads": 2, "linear_units": 24, "num_blocks": 1}
    moe = {"moe": {"num_experts": 3, "balance_weight": 0.1}}
    none = {"dropout_rate": 0.0, "positional_dropout_rate": 0.0}
    config = ASRTask.get_default_config() | {
        "token_list": TOKENS,
        "model": "u2pp",
        "model_conf": {},
        "frontend_conf": {"n_fft": 512, "hop_length": 160, "n_mels": 20},
        "normalize": None,
        "encoder": "u2pp_conformer",
        "encoder_conf": {**sizes, **moe, **none, "output_size": 16},
        "decoder": "u2pp_transformer",
        "decoder_conf": {**sizes, **moe, **none, "r_num_blocks": 1},
    }
    for key, value in changes.items():
        config[key] = config[key] | value if isinstance(value, dict) else value
    torch.manual_seed(0)
    return ASRTask.build_model(argparse.Namespace(**config))


def batch() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {
        "speech": torch.randn(2, 16000),
        "speech_lengths": torch.tensor([16000, 12000]),
        "text": torch.tensor([[2, 3, 4, 5], [6, 7, -1, -1]]),
        "text_lengths": torch.tensor([4, 2]),
    }


def test_the_loss_is_that_of_u2pp():
    model = make(model_conf={"ctc_weight": 0.2, "reverse_weight": 0.4}).eval()
    loss, stats, weight = model(**batch())
    attention = 0.6 * stats["loss_l2r"] + 0.4 * stats["loss_r2l"]
    torch.testing.assert_close(stats["loss_att"], attention)
    torch.testing.assert_close(loss, 0.2 * stats["loss_ctc"] + 0.8 * attention)
    assert float(weight) == 2


def test_the_second_decoder_learns_the_text_from_its_end():
    model = make(model_conf={"lsm_weight": 0.0}).eval()
    given = batch()
    _, stats, _ = model(**given)
    encoded, lengths = model.encode(given["speech"], given["speech_lengths"])
    total = 0.0
    for row, text in enumerate([[5, 4, 3, 2], [7, 6]]):
        ys_in = torch.tensor([[model.sos, *text]])
        rows = slice(row, row + 1)
        memory = encoded[rows, : lengths[row]], lengths[rows]
        out, _ = model.decoder.right(*memory, ys_in, torch.tensor([len(text) + 1]))
        log_p = out[0].log_softmax(dim=1)
        total -= sum(log_p[i, t] for i, t in enumerate([*text, model.eos]))
    torch.testing.assert_close(stats["loss_r2l"][0], total / 2, atol=1e-4, rtol=1e-4)


def test_training_adds_the_losses_of_all_mixtures():
    model = make(encoder_conf={"use_dynamic_chunk": False}).train()
    loss, stats, _ = model(**batch())
    parts = ("encoder", "decoder_l2r", "decoder_r2l")
    extra = 0.1 * sum(stats[f"{part}_balance"] for part in parts)
    plain = 0.3 * stats["loss_ctc"] + 0.7 * stats["loss_att"]
    torch.testing.assert_close(loss[0], plain[0] + extra[0])
    loss.backward()
    gates = [p for n, p in model.named_parameters() if "router" in n]
    assert len(gates) == 4 and all(p.grad.abs().sum() > 0 for p in gates)


def test_the_statistics_tell_what_the_experts_do():
    _, stats, _ = make().eval()(**batch())
    for part in ("encoder", "decoder_l2r", "decoder_r2l"):
        loads = [float(stats[f"{part}_load_{e}"]) for e in range(3)]
        assert math.isclose(sum(loads), 1.0, rel_tol=1e-5)
        assert 0 <= float(stats[f"{part}_entropy"]) <= math.log(3)
    assert "encoder_layer0.macaron_load_0" in stats
    assert {"acc", "acc_l2r", "acc_r2l", "cer_ctc", "wer_ctc"} <= set(stats)


def test_every_token_of_a_text_and_its_end_visits_its_experts_once():
    model, given = make().train(), batch()
    with torch.no_grad():
        _, stats, _ = model(**given)
    loads = []
    hook = model.decoder.register_forward_hook(
        lambda module, args, kwargs, out: loads.append(kwargs["routing"].loads),
        with_kwargs=True,
    )
    with torch.no_grad():
        model(**given)
    hook.remove()
    assert [int(load.sum()) for load in loads[0].values()] == [(5 + 3) * 2]  # k = 2
    assert not [key for key in stats if "_layer" in key]  # of validation alone


def test_no_weight_may_lie_on_the_second_decoder():
    model = make(model_conf={"reverse_weight": 0.0}).eval()
    _, stats, _ = model(**batch())
    torch.testing.assert_close(stats["loss_att"], stats["loss_l2r"])


def test_marks_in_what_ctc_says_are_no_characters():
    model = make().eval()
    encoded, lengths = torch.zeros(1, 4, 16), torch.tensor([4])
    text = torch.tensor([[2, 3]])
    model.ctc.argmax = lambda _: torch.tensor([[2, 1, 3, 3]])
    rates = model._error_rates(encoded, lengths, text)
    assert rates == {"cer_ctc": 0.0, "wer_ctc": 0.0}


def test_without_a_second_decoder_only_the_first_counts():
    model = make(decoder_conf={"r_num_blocks": 0}).eval()
    _, stats, _ = model(**batch())
    assert "loss_r2l" not in stats and model.reverse_weight == 0
    torch.testing.assert_close(stats["loss_att"], stats["loss_l2r"])


def test_an_utterance_costs_the_same_in_any_batch():
    model = make(model_conf={"length_normalized_loss": False}).eval()
    given = batch()
    model.frontend, model.encoder.input_size = None, 20
    frames = torch.randn(2, 60, 20)
    given |= {"speech": frames, "speech_lengths": torch.tensor([60, 44])}
    both = model(**given)[0]
    alone = []
    for row, (t, n) in enumerate(((60, 4), (44, 2))):
        one = {
            "speech": frames[row : row + 1, :t],
            "speech_lengths": torch.tensor([t]),
            "text": given["text"][row : row + 1, :n],
            "text_lengths": torch.tensor([n]),
        }
        alone.append(model(**one)[0])
    torch.testing.assert_close(both, sum(alone) / 2, atol=1e-4, rtol=1e-5)


def test_an_utterance_too_short_for_ctc_is_named_once_and_teaches_the_decoders(caplog):
    model, given = make().eval(), batch()
    of_one = model(**{key: value[:1] for key, value in given.items()})[1]
    given["text"] = torch.tensor([[2, 3, 4, 5], [6, 6, 7, -1]])
    given["text_lengths"] = torch.tensor([4, 3])
    given["speech_lengths"] = torch.tensor([16000, 1920])  # 13 frames, 3 after stride 4
    caplog.clear()
    for _ in range(2):
        _, stats, _ = model(**given, utt_id=["a", "b"])
    (record,) = caplog.records
    assert record.getMessage().startswith("b: 3 frames for 3 tokens, CTC needs 4")
    assert stats["too_short"] == 1 and stats["loss_att"].isfinite()
    torch.testing.assert_close(stats["loss_ctc"], of_one["loss_ctc"] / 2)


@pytest.mark.parametrize("normalized", [False, True])
def test_an_utterance_without_a_frame_is_named_and_costs_nothing(normalized, caplog):
    options = {"length_normalized_loss": normalized}
    model, given = make(model_conf=options), batch()
    model.encoder.use_dynamic_chunk = False
    given["speech_lengths"] = torch.tensor([16000, 300])  # 3 feature frames
    caplog.clear()
    loss, stats, _ = model(**given, utt_id=["a", "b"])
    (record,) = caplog.records
    assert record.getMessage().startswith("b: too short for a single frame of the enc")
    assert all(value.isfinite().all() for value in stats.values())
    loss.backward()
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(g.isfinite().all() for g in grads)
    of_one = model(**{key: value[:1] for key, value in given.items()})[1]
    share = 1.0 if normalized else 0.5
    torch.testing.assert_close(stats["loss_att"], of_one["loss_att"] * share)
    torch.testing.assert_close(stats["acc_l2r"], of_one["acc_l2r"])


@pytest.mark.parametrize("normalized", [False, True])
def test_a_batch_without_a_frame_costs_nothing(normalized, caplog):
    model = make(model_conf={"length_normalized_loss": normalized})
    given = batch() | {"speech_lengths": torch.tensor([300, 200])}
    caplog.clear()
    loss, stats, _ = model(**given, utt_id=["a", "b"])
    assert [r.getMessage()[0] for r in caplog.records] == ["a", "b"]
    assert loss.item() == stats["loss_att"].item() == stats["loss_ctc"].item() == 0
    loss.backward()
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    assert grads and all((g == 0).all() for g in grads)


def test_decoding_may_choose_the_chunks():
    model = make().eval()
    given = batch()
    speech = given["speech"], given["speech_lengths"]
    whole, chunks = model.encode(*speech)[0], model.encode(*speech, 4, 1)[0]
    assert whole.shape == chunks.shape and not torch.allclose(whole, chunks)
    assert torch.equal(model.encode(*speech, chunk_size=0)[0], whole)


def test_espnets_plots_of_attention_find_nothing_and_do_not_fail():
    from espnet2.main_funcs.calculate_all_attentions import calculate_all_attentions

    assert calculate_all_attentions(make().eval(), batch()) == {}


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"decoder": None}, "needs .decoder: u2pp_transformer., got none"),
        (
            {"model_conf": {"ctc_weight": 0.0}},
            "ctc_weight: 0.0 is not a number above 0",
        ),
        (
            {"model_conf": {"reverse_weight": 1.0}},
            "reverse_weight: 1.0 is not a number from 0 to less",
        ),
        ({"model_conf": {"ctc_weigth": 0.1}}, "did you mean 'ctc_weight'"),
        ({"preencoder": "stacked_deltas"}, "no preencoder"),
    ],
)
def test_what_does_not_go_together_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)


def test_an_encoder_that_cannot_work_in_chunks_is_refused():
    with pytest.raises(ValueError, match="'encoder: u2pp_conformer', got Identity"):
        check_parts({"encoder": torch.nn.Identity(), "decoder": make().decoder})


def test_reversing_leaves_padding_where_it_is():
    text = torch.tensor([[1, 2, 3], [4, -1, -1]])
    assert reverse_text(text, torch.tensor([3, 1])).tolist() == [[3, 2, 1], [4, -1, -1]]


@pytest.mark.parametrize("faster", [True, False])
def test_bfloat16_is_for_training_where_the_cpu_is_faster_in_it(faster, monkeypatch):
    monkeypatch.setattr("espnet_smoe.model.routed.faster_in_bf16", lambda: faster)
    for wanted in (True, False):
        model, seen = make(model_conf={"bf16_on_cpu": wanted}), []
        model.encoder.encoders[0].self_attn.linear_q.register_forward_hook(
            lambda m, args, out: seen.append(out.dtype)
        )
        model.train()(**batch())
        model.eval()(**batch())
        low = wanted and faster
        assert seen == [torch.bfloat16 if low else torch.float32, torch.float32]


@pytest.mark.parametrize("cer, wer", [(True, False), (False, True), (False, False)])
def test_only_the_error_rates_asked_for_are_told(cer, wer):
    model = make(model_conf={"report_cer": cer, "report_wer": wer}).eval()
    assert model.error_calculator is None  # ESPnet's own, for another package
    stats = model(**batch())[1]
    assert ("cer_ctc" in stats, "wer_ctc" in stats) == (cer, wer)


@pytest.mark.parametrize(
    "right, weight, said", [(1, 0.3, False), (1, 0.0, True), (0, 0.0, False)]
)
def test_a_second_decoder_that_nothing_trains_is_named(right, weight, said, caplog):
    make(model_conf={"reverse_weight": weight}, decoder_conf={"r_num_blocks": right})
    assert ("with 0 nothing trains the decoder from right" in caplog.text) == said


@pytest.mark.parametrize("size, left", [(4, 1), (4, 0), (0, -1), (None, None)])
def test_decoding_in_chunks_is_the_encoders(size, left):
    model, given = make().eval(), batch()
    speech = given["speech"], given["speech_lengths"]
    chosen = {"chunk_size": size, "left_chunks": left}
    feats = model._extract_feats(*speech)
    expected, lengths, _ = model.encoder(*feats, **chosen)
    encoded, n = model.encode(*speech, size, left)
    torch.testing.assert_close(encoded, expected)
    assert n.tolist() == lengths.tolist()
