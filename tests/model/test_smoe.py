"""Model smoe: tasks, prompts, schedules and statistics."""

import math
import re

import pytest
import torch
from espnet2.asr.ctc import CTC

from espnet_smoe.decoder.transformer import SMoETransformerDecoder
from espnet_smoe.encoder.speech_moe import SpeechMoEEncoder
from espnet_smoe.encoder.transformer import SMoETransformerEncoder
from espnet_smoe.model.metrics import error_rates
from espnet_smoe.model.smoe import ESPnetSMoEModel

SPECIALS = ["<transcribe>", "<translate>", "<ko>", "<en>", "<ja>", "<wb>", "<nb>"]
TOKENS = [
    *("<blank>", "<unk>", *SPECIALS, "<beginning_of_sentence>"),
    *("▁a", "▁b", "c", "d", "<sos/eos>"),
]
ID = {token: i for i, token in enumerate(TOKENS)}
A, B, C, D, EOS = (ID[t] for t in ("▁a", "▁b", "c", "d", "<sos/eos>"))
SIZES = {
    "attention_heads": 2,
    "linear_units": 16,
    "num_blocks": 2,
    "dropout_rate": 0.0,
    "positional_dropout_rate": 0.0,
}


def make(
    moe: bool | dict = True,
    encoder: dict | None = None,
    decoder_moe: dict | None = None,
    **options,
) -> ESPnetSMoEModel:
    torch.manual_seed(0)
    extra = {"moe": {} if moe is True else moe} if moe else {}
    of_decoder = {"moe": decoder_moe} if decoder_moe else extra
    return ESPnetSMoEModel(
        vocab_size=len(TOKENS),
        token_list=TOKENS,
        frontend=None,
        specaug=None,
        normalize=None,
        preencoder=None,
        encoder=SMoETransformerEncoder(
            6, output_size=8, input_layer="linear", **SIZES, **extra, **(encoder or {})
        ),
        postencoder=None,
        decoder=SMoETransformerDecoder(len(TOKENS), 8, **SIZES, **of_decoder),
        ctc=CTC(len(TOKENS), 8),
        joint_network=None,
        **{"length_normalized_loss": True, **options},
    )


def batch(**changes) -> dict:
    """Two utterances with both targets; -1 is padding."""
    torch.manual_seed(1)
    fields = {
        "speech": torch.randn(2, 12, 6),
        "speech_lengths": torch.tensor([12, 9]),
        "text": torch.tensor([[A, C, D], [B, C, -1]]),
        "text_st": torch.tensor([[B, B], [A, D]]),
        "bandwidth": torch.tensor([[ID["<nb>"]], [ID["<wb>"]]]),
        "utt_id": ["first", "second"],
    }
    for name in ("text", "text_st"):
        fields[f"{name}_lengths"] = (fields[name] >= 0).sum(1)
    return {k: v for k, v in {**fields, **changes}.items() if v is not None}


def decoder_inputs(model: ESPnetSMoEModel, fields: dict) -> list[torch.Tensor]:
    """What the decoder was given, task by task."""
    seen = []
    hook = model.decoder.register_forward_hook(lambda m, args, out: seen.append(args))
    model(**fields)
    hook.remove()
    return [args[2] for args in seen]


def test_the_decoder_reads_prompt_then_text():
    asr, st = decoder_inputs(make(), batch())
    begin = ID["<beginning_of_sentence>"]
    assert asr[0].tolist() == [ID["<transcribe>"], ID["<ko>"], begin, A, C, D]
    assert st[0].tolist() == [ID["<translate>"], ID["<en>"], begin, B, B]


def test_an_utterance_may_bring_its_own_prompt():
    own = torch.tensor([[ID["<translate>"], ID["<ja>"]]] * 2)
    _, st = decoder_inputs(make(), batch(text_st_prompt=own))
    assert st[0, :3].tolist() == [
        *own[0].tolist(),
        ID["<beginning_of_sentence>"],
    ]


def test_the_language_of_an_utterance_takes_its_place_in_the_prompt():
    tasks = {
        "asr": {"target": "text", "prompt": ["<transcribe>", "<ko>"], "spoken": "ko"},
        "st": {"target": "text_st", "prompt": ["<translate>", "<en>"]},
    }
    spoken = torch.tensor([[ID["<ja>"]], [ID["<ko>"]]])
    asr, st = decoder_inputs(make(tasks=tasks), batch(lang=spoken))
    assert asr[:, 1].tolist() == [ID["<ja>"], ID["<ko>"]]
    assert st[:, 1].tolist() == [ID["<en>"]] * 2
    untold, _ = decoder_inputs(make(tasks=tasks), batch())
    assert untold[:, 1].tolist() == [ID["<ko>"]] * 2


def test_experts_may_follow_the_spoken_language():
    row = {"prompt": ["<transcribe>", "<ko>"], "spoken": "ko"}
    tasks = {"asr": {"target": "text", **row}}
    moe = {"gate": "label", "labels": ["<ko>", "<ja>"]}
    model = make(False, tasks=tasks, ctc_weight=0.0, decoder_moe=moe)
    spoken = torch.tensor([[ID["<ja>"]], [ID["<ko>"]]])
    one = batch(lang=spoken, text_st=None, text_st_lengths=None)
    loss = model(**one)[0]
    loss.backward()
    experts = model.decoder.decoders[0].feed_forward.experts
    assert all(p.grad.abs().sum() > 0 for e in experts for p in e.parameters())


def test_the_loss_is_on_the_text_and_its_end_alone():
    model = make(moe=False, ctc_weight=0.0)
    fields = batch(text_st=None, text_st_lengths=None)
    (ys,) = decoder_inputs(model, fields)
    encoded, lengths = model.encode(fields["speech"], fields["speech_lengths"])
    scores = model.decoder(encoded, lengths, ys, torch.tensor([6, 5]))[0]
    log_p = scores.log_softmax(-1)
    expected = -torch.stack(
        [log_p[0, 2 + i, t] for i, t in enumerate([A, C, D, EOS])]
        + [log_p[1, 2 + i, t] for i, t in enumerate([B, C, EOS])]
    ).mean()
    torch.testing.assert_close(model(**fields)[0].squeeze(), expected)


def test_joint_is_the_mean_of_both_tasks():
    model = make()
    loss, stats, weight = model(**batch())
    mean = (stats["loss_asr"] + stats["loss_st"]) / 2
    torch.testing.assert_close(loss.detach(), mean)
    assert int(weight) == 2


def test_alternate_takes_turns_and_goes_on_after_a_resume():
    model = make(schedule="alternate").train()
    turns = [model(**batch())[1] for _ in range(3)]
    done = [math.isnan(stats["loss_st"]) for stats in turns]
    assert done == [True, False, True]
    resumed = make(schedule="alternate").train()
    resumed.load_state_dict(model.state_dict())
    assert math.isnan(resumed(**batch())[1]["loss_asr"])


def test_validation_scores_every_task_whatever_the_schedule():
    stats = make(schedule="alternate").eval()(**batch())[1]
    for key in ("loss_asr", "loss_st", "acc_asr", "cer_st", "wer_asr", "cer_ctc_asr"):
        assert not math.isnan(stats[key]), key


def test_an_utterance_without_a_translation_trains_transcription_alone():
    model = make()
    missing = torch.tensor([[-1, -1], [A, D]])
    _, st = decoder_inputs(model, batch(text_st=missing))
    assert st.shape[0] == 1 and st[0, -2:].tolist() == [A, D]
    loss, stats, _ = model(**batch(text_st=missing))
    assert not math.isnan(stats["loss_st"]) and loss.isfinite()


@pytest.mark.parametrize("training", [True, False])
def test_statistics_have_the_same_keys_whatever_the_batch_holds(training):
    model = make().train(training)
    none = torch.full((2, 1), -1)
    with_all = set(model(**batch())[1])
    assert with_all == set(model(**batch(text_st=none))[1])
    assert with_all == set(model(**batch(text=none))[1])


def test_a_turn_without_its_target_passes_to_the_next_task():
    model = make(schedule="alternate").train()
    stats = model(**batch(text=torch.full((2, 1), -1)))[1]
    assert math.isnan(stats["loss_asr"]) and not math.isnan(stats["loss_st"])


def test_without_any_target_the_error_names_the_utterances():
    none = torch.full((2, 1), -1)
    with pytest.raises(ValueError, match="first, second.*text text_st"):
        make()(**batch(text=none, text_st=none))


def test_padding_of_targets_changes_no_loss():
    wide = torch.tensor([[A, C, D, -1, -1], [B, C, -1, -1, -1]])
    a, b = make()(**batch())[0], make()(**batch(text=wide))[0]
    torch.testing.assert_close(a, b)


def test_the_loads_of_the_encoders_experts_are_reported():
    stats = make()(**batch())[1]
    torch.testing.assert_close(
        torch.tensor([stats["encoder_load_0"], stats["encoder_load_1"]]),
        torch.tensor([9 / 21, 12 / 21]),
    )


def test_a_learned_gate_needs_no_label_and_adds_its_losses():
    options = {"gate": "topk", "num_experts": 4}
    plain, weighted = make(options), make({**options, "balance_weight": 0.5})
    fields = batch(bandwidth=None)
    loss, stats, _ = weighted(**fields)
    loss.backward()
    added = loss - plain(**fields)[0]
    both_tasks = (stats["decoder_balance_asr"] + stats["decoder_balance_st"]) / 2
    expected = 0.5 * (stats["encoder_balance"] + both_tasks)
    torch.testing.assert_close(added, expected)
    assert weighted.encoder.encoders[0].feed_forward.gate.router.weight.grad is not None
    assert weighted.eval()(**fields)[0] == plain.eval()(**fields)[0]


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_a_label_before_a_learned_choice_is_the_utterances_own(part):
    model = make({"gate": "label_topk", "num_experts": 4})
    shares = []
    gate = getattr(model, part).__getattr__(f"{part}s")[0].feed_forward.gate
    gate.register_forward_hook(lambda m, args, out: shares.append(out.counts))
    model(**batch(bandwidth=torch.tensor([[ID["<nb>"]], [ID["<nb>"]]])))
    first, last = (sum(s[:2]) for s in shares), [sum(s[2:]) for s in shares]
    if part == "encoder":  # narrowband: the second half of the experts
        assert (list(first), last) == ([0], [21])
    else:  # transcription is the second label, translation the first
        first = list(first)
        assert first[0] == 0 < last[0] and last[1] == 0 < first[1]


def test_without_a_label_the_error_names_the_file_to_add():
    with pytest.raises(ValueError, match="utt2bandwidth"):
        make()(**batch(bandwidth=None))


def test_a_label_of_another_kind_names_the_utterance():
    wrong = torch.tensor([[ID["<wb>"]], [ID["<ko>"]]])
    with pytest.raises(ValueError, match="utterance second: <ko> is not a label"):
        make()(**batch(bandwidth=wrong))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"schedule": "altrnate"}, "did you mean 'alternate'"),
        ({"ctc_task": "mt"}, "ctc_task: 'mt' is not one of the tasks asr, st"),
        ({"lsm_wieght": 0.1}, "model_conf: .* did you mean 'lsm_weight'"),
        (
            {"tasks": {"asr": {"target": "text", "prompt": ["<sing>"]}}},
            "model_conf.tasks.asr.prompt: <sing> is not in the token list",
        ),
        ({"tasks": {"asr": {"target": "text"}}}, "needs a target and a prompt"),
        ({"tasks": {"asr": {"promt": []}}}, "did you mean 'prompt'"),
    ],
)
def test_a_wrong_option_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_bfloat16_trains_but_neither_validates_nor_decides_the_loss(monkeypatch):
    monkeypatch.setattr("espnet_smoe.model.routed.faster_in_bf16", lambda: True)
    model = make(bf16_on_cpu=True)
    seen = []
    model.decoder.register_forward_hook(lambda m, args, out: seen.append(out[0].dtype))
    loss, _, _ = model.train()(**batch())
    model.eval()(**batch())
    assert seen[0] == torch.bfloat16
    assert seen[-1] == torch.float32
    plain = make().train()(**batch())[0]
    torch.testing.assert_close(loss, plain, rtol=0.03, atol=0.0)


def test_three_tasks_are_as_good_as_two():
    tasks = {
        "asr": {"target": "text", "prompt": ["<transcribe>", "<ko>"]},
        "st": {"target": "text_st", "prompt": ["<translate>", "<en>"]},
        "st_ja": {"target": "text_ja", "prompt": ["<translate>", "<ja>"]},
    }
    stats = make(tasks=tasks)(**batch(text_ja=torch.tensor([[A], [B]])))[1]
    assert {"loss_asr", "loss_st", "loss_st_ja"} <= set(stats)


def test_error_rates_stop_at_the_end_of_the_sentence():
    best = torch.tensor([[A, C, EOS, D], [B, EOS, EOS, EOS]])
    rates = error_rates(best, torch.tensor([[A, C], [B, D]]), TOKENS, {ID["<ko>"]}, EOS)
    assert rates == {"cer": 0.25, "wer": 0.5}


def test_an_encoder_of_another_model_adds_its_losses():
    moe = {"num_experts": 3, "balance_weight": 0.5}
    models = []
    for weight in (0.0, 0.5):
        model = make()
        torch.manual_seed(0)
        model.encoder = SpeechMoEEncoder(
            6,
            output_size=8,
            linear_units=12,
            num_blocks=1,
            attention_every=0,
            dropout_rate=0.0,
            moe={**moe, "balance_weight": weight},
        )
        models.append(model)
    plain, (loss, stats, _) = models[0](**batch())[0], models[1](**batch())
    torch.testing.assert_close(loss - plain, 0.5 * stats["encoder_balance"])


def test_a_prompt_without_a_label_is_refused_when_built():
    tasks = {"asr": {"target": "text", "prompt": ["<ko>", "<en>"]}}
    with pytest.raises(ValueError, match="asr.prompt: <ko> <en> has no label, but th"):
        make(tasks=tasks)
    make(moe=False, tasks=tasks)


@pytest.mark.parametrize(
    "layers, options, message",
    [
        ([], {"interctc_weight": 0.3}, "no layer of the encoder has a CTC loss"),
        ([1], {"interctc_weight": 0.3, "ctc_weight": 0.0}, "where ctc_weight is 0"),
        ([1], {}, r"interctc_layer_idx: \[1\] has no effect"),
        ([1], {"interctc_weight": 0.3}, ""),
    ],
)
def test_options_of_interctc_without_effect_are_said(layers, options, message, caplog):
    make(encoder={"interctc_layer_idx": layers}, **options)
    assert re.search(message, caplog.text) if message else not caplog.text


def test_an_utterance_without_a_frame_is_named_and_has_no_targets(caplog):
    given = batch(speech_lengths=torch.tensor([12, 0]))
    loss, stats, weight = make()(**given)
    assert "second: too short for a single frame" in caplog.text
    loss.backward()
    assert loss.isfinite() and float(weight) == 1
    for name in ("text", "text_st"):
        given[name][1] = -1
    torch.testing.assert_close(make()(**given)[0], loss)
    with pytest.raises(ValueError, match="no target in the batch of first, second; an"):
        make()(**batch(speech_lengths=torch.tensor([0, 0])))


def test_a_turn_is_for_whoever_has_the_target():
    missing = torch.tensor([[-1, -1, -1], [B, C, D]])
    stats = make(schedule="alternate").train()(**batch(text=missing))[1]
    assert not math.isnan(stats["loss_asr"]) and math.isnan(stats["loss_st"])
