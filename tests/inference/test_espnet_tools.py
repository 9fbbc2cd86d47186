"""ESPnet's own asr_inference with our models: what it decodes, refuses, rounds."""

import pytest
import torch
from espnet2.bin.asr_inference import Speech2Text
from torch import nn

from espnet_smoe.inference.speech_to_text import SpeechToText
from espnet_smoe.moe.router import Router
from tests.inference.tiny_u2pp import TOKENS, tiny_u2pp_config
from tests.tiny import noise, save_experiment, talk, tiny_config

SIZES = {"attention_heads": 2, "linear_units": 24, "num_blocks": 2}
MOE = {"gate": "topk", "num_experts": 4, "top_k": 2}
STOCK = {
    "model": "espnet",
    "model_conf": {"report_cer": False, "report_wer": False},
    "encoder": "smoe_transformer",
    "encoder_conf": {**SIZES, "output_size": 16, "input_layer": "conv2d", "moe": MOE},
    "decoder": "smoe_transformer",
    "decoder_conf": SIZES | {"moe": MOE},
}
ROPE = {**SIZES, "output_size": 16, "moe": {}, "pos_enc_layer_type": "rope"}


def configurations() -> dict[str, dict]:
    return {
        "stock": tiny_u2pp_config(**STOCK),
        "u2pp": tiny_u2pp_config(),
        "u2pp rotary": tiny_u2pp_config(encoder_conf=ROPE),
    }


def load(files: tuple, **options) -> Speech2Text:
    given = {"beam_size": 2, "maxlenratio": -6.0, **options}
    return Speech2Text(*map(str, files), **given)


@pytest.mark.parametrize("bandwidth", ["wb", "nb"])
def test_it_decodes_s_moe_by_its_own_prompt_label_and_tokenizer(tmp_path, bandwidth):
    files = save_experiment(tmp_path / "exp", tiny_config(tmp_path))
    wave = talk(1.5)
    if bandwidth == "nb":  # nothing above 4 kHz
        spectrum = torch.fft.rfft(torch.from_numpy(wave))
        spectrum[len(spectrum) * 3 // 8 :] = 0
        wave = torch.fft.irfft(spectrum).numpy()
    ours = SpeechToText(*files, beam_size=2, ctc_weight=0.0, maxlenratio=-6.0)
    expected = ours([wave], tasks="asr", bandwidth=bandwidth)[0]["asr"]
    other = ours([wave], tasks="asr", bandwidth={"wb": "nb", "nb": "wb"}[bandwidth])
    text, tokens, _, found = load(files, ctc_weight=0.0)(wave)[0]
    assert text == expected.text and float(found.score) == pytest.approx(
        expected.score, abs=1e-4
    )
    assert other[0]["asr"].score != pytest.approx(expected.score, abs=1e-4)
    assert tokens and load(files, ctc_weight=0.3, batch_size=2)([wave, wave[:9000]])


@pytest.mark.parametrize("decoder", ["transformer", "lightweight_conv"])
def test_it_gives_a_decoder_of_espnets_the_prompt_of_the_first_task(tmp_path, decoder):
    sizes = SIZES | ({} if decoder == "transformer" else {"conv_kernel_length": [3, 3]})
    config = tiny_config(tmp_path, decoder=decoder, decoder_conf=sizes)
    files, wave = save_experiment(tmp_path / "exp", config), talk(1.5)
    ours = SpeechToText(*files, beam_size=2, ctc_weight=0.0, maxlenratio=-6.0)
    expected = {t: r.score for t, r in ours([wave], bandwidth="wb")[0].items()}
    for options in ({}, {"batch_size": 1}):
        found = load(files, ctc_weight=0.0, **options)(wave)[0][3]
        assert float(found.score) == pytest.approx(expected["asr"], abs=1e-4)
    assert expected["st"] != pytest.approx(expected["asr"], abs=1e-3)


def test_a_decoder_that_can_take_no_prompt_is_refused(tmp_path):
    config = tiny_config(tmp_path, decoder="rnn", decoder_conf={"hidden_size": 8})
    files = save_experiment(tmp_path / "exp", config)
    with pytest.raises(ValueError, match="decoder RNNDecoder cannot be given the pro"):
        load(files, ctc_weight=0.0)(talk(1.5))


@pytest.mark.parametrize("kind", configurations())
def test_int8_leaves_the_routers_alone(tmp_path, kind):
    files = save_experiment(tmp_path / "exp", configurations()[kind])
    exact, rounded = load(files), load(files, quantize_asr_model=True)
    routers = [m for m in rounded.asr_model.modules() if isinstance(m, Router)]
    linears = [m for m in rounded.asr_model.modules() if type(m) is nn.Linear]
    assert routers and not linears
    assert all(r.weight.dtype == torch.float32 for r in routers)
    for speech_to_text in (exact, rounded):
        (_, tokens, *_), *_ = speech_to_text(noise(1.0))
        assert set(tokens) <= set(TOKENS)


def test_partially_autoregressive_decoding_is_refused_by_name(tmp_path):
    files = save_experiment(tmp_path / "exp", tiny_u2pp_config(**STOCK))
    decoder = load(files).asr_model.decoder
    with pytest.raises(ValueError, match="--partial_ar: SMoETransformerDecoder keeps"):
        decoder.batch_score_partially_AR(None, None, None, None)
    with pytest.raises(ValueError, match="--partial_ar"):
        decoder.forward_partially_AR(None, None, None, None)
