"""What a model says of parts that it does not serve, and what it hands to them."""

from types import SimpleNamespace

import pytest
import torch
from espnet2.asr.ctc import CTC
from espnet2.asr.encoder.abs_encoder import AbsEncoder
from espnet2.asr.encoder.transformer_encoder import TransformerEncoder

from espnet_smoe.decoder.transformer import SMoETransformerDecoder
from espnet_smoe.encoder.transformer import SMoETransformerEncoder
from espnet_smoe.model.parts import check_interctc, check_part
from espnet_smoe.model.smoe import ESPnetSMoEModel
from espnet_smoe.model.speech_moe import ESPnetSpeechMoEModel

PROMPTS = ["<transcribe>", "<translate>", "<ko>", "<en>", "<beginning_of_sentence>"]
TOKENS = ["<blank>", "<unk>", "<wb>", "<nb>", *PROMPTS, "a", "b", "<sos/eos>"]
SIZES = {"attention_heads": 2, "linear_units": 16, "num_blocks": 2}
NETWORK, WITHOUT = SimpleNamespace(detach_embedding=True, embedding_size=4), None


@pytest.mark.parametrize(
    "part, serves, said",
    [
        (WITHOUT, (), ""),
        (SimpleNamespace(labels=None), (), ""),
        (SimpleNamespace(right=None), (), ""),
        (SimpleNamespace(right=torch.nn.Identity()), (), "r_num_blocks"),
        (SimpleNamespace(right=torch.nn.Identity()), ("right",), ""),
        (NETWORK, (), "detach_embedding"),
        (NETWORK, ("embedding",), ""),
        (SimpleNamespace(detach_embedding=False, embedding_size=4), (), ""),
        (SimpleNamespace(detach_embedding=True, embedding_size=0), (), ""),
    ],
)
def test_what_a_model_does_not_train_is_said(part, serves, said, caplog):
    check_part("encoder", part, torch.nn.Identity(), serves)
    assert f"encoder_conf.{said}" in caplog.text if said else not caplog.text


def test_a_part_that_reads_labels_needs_a_model_that_brings_them():
    part = SimpleNamespace(labels=SimpleNamespace(tokens=("<wb>", "<nb>")))
    check_part("encoder", part, torch.nn.Identity(), ("labels",))
    with pytest.raises(
        ValueError, match=r"encoder_conf.moe: .*\(<wb>, <nb>\), which Id"
    ):
        check_part("encoder", part, torch.nn.Identity(), ("right",))


@pytest.mark.parametrize(
    "layers, conditioned, inner, ctc, said",
    [
        ([], False, 0.0, 0.3, ""),
        ([], False, 0.0, 0.0, ""),
        ([1], False, 0.3, 0.3, ""),
        ([1], True, 0.0, 0.3, ""),
        ([1], True, 0.0, 0.0, ""),
        ([1], True, 0.3, 0.3, ""),
        ([], False, 0.3, 0.3, "interctc_weight: 0.3 has no effect, no layer"),
        ([1], False, 0.3, 0.0, "interctc_weight: 0.3 has no effect where ctc_weight"),
        ([1], False, 0.0, 0.3, "interctc_layer_idx: [1] has no effect where"),
        ([], True, 0.0, 0.3, "interctc_use_conditioning: no effect without"),
    ],
)
def test_ctc_inside_an_encoder_that_has_no_effect_is_said(
    layers, conditioned, inner, ctc, said, caplog
):
    encoder = SimpleNamespace(
        interctc_layer_idx=layers, interctc_use_conditioning=conditioned
    )
    check_interctc(encoder, inner, ctc)
    assert said in caplog.text and len(caplog.records) == bool(said)


def test_an_encoder_that_knows_no_ctc_inside_needs_no_warning(caplog):
    check_interctc(SimpleNamespace(), 0.0, 0.3)
    assert not caplog.records


class Plain(AbsEncoder):
    """One of ESPnet's that takes features and lengths and nothing more."""

    def output_size(self) -> int:
        return 6

    def forward(self, xs_pad, ilens, prev_states=None):
        return xs_pad, ilens, None


def ctc_model(encoder: AbsEncoder | None = None, **parts) -> ESPnetSpeechMoEModel:
    torch.manual_seed(0)
    names = "frontend specaug normalize preencoder postencoder decoder joint_network"
    return ESPnetSpeechMoEModel(
        vocab_size=len(TOKENS),
        token_list=TOKENS,
        encoder=encoder or Plain(),
        ctc=CTC(len(TOKENS), 6),
        **dict.fromkeys(names.split()) | parts,
    )


def speech() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {
        "speech": torch.randn(2, 9, 6),
        "speech_lengths": torch.tensor([9, 7]),
        "text": torch.tensor([[9, 10], [9, -1]]),
        "text_lengths": torch.tensor([2, 1]),
    }


def test_an_encoder_that_knows_no_routing_is_called_as_espnet_does():
    loss, stats, _ = ctc_model()(**speech())
    assert loss.isfinite() and not [key for key in stats if "load" in key]


@pytest.mark.parametrize("training", [True, False])
def test_features_pass_through_all_parts_in_order_specaug_in_training_alone(training):
    seen = []

    class Part(torch.nn.Module):
        def __init__(self, name: str):
            super().__init__()
            self.name = name

        def forward(self, x, lengths):
            seen.append(self.name)
            return x, lengths

    names = ["specaug", "normalize", "preencoder", "postencoder"]
    model = ctc_model()
    for name in names:
        setattr(model, name, Part(name))
    model.train(training)(**speech())
    assert seen == names[not training :]


@pytest.mark.parametrize("faster", [True, False])
@pytest.mark.parametrize("kind", ["smoe", "speech_moe"])
def test_bfloat16_is_for_training_where_the_cpu_is_faster_in_it(
    kind, faster, monkeypatch
):
    monkeypatch.setattr("espnet_smoe.model.routed.faster_in_bf16", lambda: faster)
    for wanted in (True, False):
        if kind == "smoe":
            model, given = smoe(bf16_on_cpu=wanted), smoe_batch()
        else:
            encoder = TransformerEncoder(6, 6, input_layer="linear", **SIZES)
            model, given = ctc_model(encoder, bf16_on_cpu=wanted), speech()
        seen, layer = [], model.encoder.encoders[0].feed_forward.w_1
        layer.register_forward_hook(lambda m, args, out: seen.append(out.dtype))
        model.train()(**given)
        model.eval()(**given)
        low = wanted and faster
        assert seen == [torch.bfloat16 if low else torch.float32, torch.float32]


def test_a_model_that_only_reads_times_no_product(monkeypatch):
    def timed():
        raise AssertionError("timed")

    monkeypatch.setattr("espnet_smoe.model.routed.faster_in_bf16", timed)
    model, given = smoe(bf16_on_cpu=True), smoe_batch()
    model.eval()(**given)
    with pytest.raises(AssertionError, match="timed"):
        model.train()(**given)


@pytest.mark.parametrize(
    "frames, fits", [(2, [0, 0, 1]), (3, [0, 1, 1]), (4, [0, 1, 1]), (5, [1, 1, 1])]
)
def test_ctc_needs_a_frame_a_token_and_one_between_equal_ones(frames, fits, caplog):
    text = torch.tensor([[9, 9, 9, -1, -1], [9, 10, 9, -1, -1], [9, 10, -1, -1, -1]])
    lengths = torch.full((3,), frames)
    found = ctc_model().fits_ctc(lengths, text, torch.tensor([3, 3, 2]), None)
    assert found.int().tolist() == fits
    assert caplog.text.count("CTC needs") == fits.count(0)
    if frames == 2:
        assert "row 0: 2 frames for 3 tokens, CTC needs 5" in caplog.text
        assert "row 1: 2 frames for 3 tokens, CTC needs 3" in caplog.text


def smoe(tokens: list[str] = TOKENS, **options) -> ESPnetSMoEModel:
    torch.manual_seed(0)
    parts = "frontend specaug normalize preencoder postencoder joint_network"
    encoder = SMoETransformerEncoder(6, 8, input_layer="linear", **SIZES)
    return ESPnetSMoEModel(
        vocab_size=len(tokens),
        token_list=tokens,
        encoder=options.pop("encoder", encoder),
        decoder=SMoETransformerDecoder(len(tokens), 8, **SIZES),
        ctc=CTC(len(tokens), 8),
        **dict.fromkeys(parts.split()),
        **options,
    )


def smoe_batch() -> dict[str, torch.Tensor]:
    fields = speech()
    return fields | {"text_st": fields["text"], "text_st_lengths": torch.tensor([2, 1])}


def test_our_models_leave_error_rates_to_their_own_code():
    for model in (smoe(), ctc_model()):
        assert model.error_calculator is None
    assert ctc_model().ctc_weight == 1.0  # ESPnet's tools ask for it


def test_what_stands_in_angle_brackets_is_no_text():
    odd = ["<3", "3>", "<", ">", "<<", "c"]
    model = smoe([*TOKENS[:-1], *odd, TOKENS[-1]])
    special = {t for t in TOKENS if len(t) > 1}
    assert {model.token_list[i] for i in model.special_ids} == special


def test_espnets_search_writes_the_first_task():
    model = smoe()
    ids = [TOKENS.index(t) for t in ("<transcribe>", "<ko>", PROMPTS[-1])]
    assert model.decoder.search_prompt == (model.sos, tuple(ids))


def test_ctc_of_a_task_that_there_is_not_is_refused_where_it_counts():
    smoe(ctc_task="mt", ctc_weight=0.0)
    with pytest.raises(ValueError, match="ctc_task: 'mt'"):
        smoe(ctc_task="mt", ctc_weight=0.1)


@pytest.mark.parametrize("cer, wer", [(True, False), (False, True), (False, False)])
def test_only_the_error_rates_asked_for_are_told(cer, wer):
    stats = smoe(report_cer=cer, report_wer=wer).eval()(**smoe_batch())[1]
    told = {key for key in stats if key.startswith(("cer", "wer"))}
    expected = {"cer_asr", "cer_st", "cer_ctc_asr"} if cer else set()
    assert told == expected | ({"wer_asr", "wer_st"} if wer else set())


def test_a_weight_of_ctc_in_layers_that_there_are_not_changes_nothing():
    losses = [smoe(interctc_weight=w).eval()(**smoe_batch())[0] for w in (0.0, 0.3)]
    torch.testing.assert_close(*losses)


def test_layers_that_are_only_fed_back_have_no_loss():
    torch.manual_seed(0)
    options = {"interctc_layer_idx": [1], "interctc_use_conditioning": True}
    encoder = SMoETransformerEncoder(6, 8, input_layer="linear", **SIZES, **options)
    encoder.conditioning_layer = torch.nn.Linear(len(TOKENS), 8)
    model = smoe(encoder=encoder, ctc_weight=0.4).eval()
    fields = smoe_batch()
    _, stats, _ = model(**fields)
    encoded, lengths = model.encode(fields["speech"], fields["speech_lengths"])
    ctc = model.ctc(encoded, lengths, fields["text"], fields["text_lengths"])
    torch.testing.assert_close(stats["loss_ctc_asr"][0], ctc.detach())


def test_any_token_of_a_text_is_one_of_its_tokens():
    model, fields, seen = smoe().eval(), smoe_batch(), []
    fields["text"] = torch.tensor([[0, 9], [9, 0]])
    fields["text_lengths"] = torch.tensor([2, 2])
    model.criterion_att.register_forward_pre_hook(lambda m, args: seen.append(args[1]))
    model(**fields)
    assert seen[0].tolist() == [[0, 9, model.eos], [9, 0, model.eos]]
    assert seen[1].tolist() == [[9, 10, model.eos], [9, model.eos, -1]]


def test_what_pads_the_targets_of_the_loss_may_be_another_number():
    losses = [smoe(ignore_id=i, ctc_weight=0.0)(**smoe_batch())[0] for i in (-1, -100)]
    torch.testing.assert_close(*losses)


@pytest.mark.parametrize("frames", [9, 1])
def test_batches_averaged_by_their_weights_have_the_loss_of_all_in_one(frames):
    """What ESPnet does over processes; the second utterance has no translation."""
    model, fields = smoe(ctc_weight=0.0).eval(), smoe_batch()
    fields["speech"] = fields["speech"][:, :frames]
    fields["speech_lengths"] = torch.tensor([frames, min(frames, 7)])
    fields["text_st"] = torch.tensor([[9, 10], [-1, -1]])
    loss, _, weight = model(**fields)
    apart = [model(**{k: v[i : i + 1] for k, v in fields.items()}) for i in range(2)]
    assert [float(w) for _, _, w in apart] == [1.0, 0.5] and float(weight) == 1.5
    mean = sum(part * w for part, _, w in apart) / sum(w for _, _, w in apart)
    torch.testing.assert_close(loss, mean)
