"""sherpa-onnx's steps over our encoder and decoder give the tokens of our search."""

import numpy as np
import pytest
import torch

from espnet_smoe.export.prompts import read_prompts
from espnet_smoe.export.whisper import whisper_graphs
from espnet_smoe.inference import SpeechToText
from espnet_smoe.inference.checkpoint import load_model, read_config
from tests.export.tiny_smoe import KINDS, OfSherpa, save_smoe
from tests.tiny import SIZE, talk

TASKS = {"transcribe": "asr", "translate": "st"}


def load(folder):
    return load_model(read_config(folder / "config.yaml"), folder / "model.pth")


def of_sherpa(model, bandwidth="wb") -> OfSherpa:
    """The graphs as they are recorded, run eagerly."""

    def run(module):
        def call(*given):
            with torch.no_grad():
                outs = module(*(torch.as_tensor(x) for x in given))
            return [out.numpy() for out in outs]

        return call

    encoder, decoder = whisper_graphs(model, bandwidth)
    return OfSherpa(run(encoder.module), run(decoder.module), encoder.metadata)


def features_of(model, wave) -> np.ndarray:
    given = torch.from_numpy(wave)[None], torch.tensor([len(wave)])
    return model.frontend(*given)[0][0].numpy()


def ours(folder, wave, task, **given) -> list[str]:
    """By our greedy search, as long as sherpa-onnx's may be."""
    options = {"beam_size": 1, "ctc_weight": 0.0, "detect_speech": False} | given
    frames = (len(wave) + 80) // 160
    limit = {"maxlenratio": -max(1, int(frames / 100 * 6))}
    config, weights = folder / "config.yaml", folder / "model.pth"
    recognizer = SpeechToText(config, weights, **options, **limit)
    return list(recognizer([wave], task, bandwidth="wb")[0][task].tokens)


@pytest.mark.parametrize("kind", KINDS)
def test_the_tokens_are_those_of_the_search(tmp_path, kind):
    folder = save_smoe(tmp_path / "exp", kind)
    model = load(folder)
    sherpa, seen = of_sherpa(model), []
    for seconds, seed in ((1.0, 1), (2.2, 2), (1.5, 3)):
        wave = talk(seconds, seed)
        for task, name in TASKS.items():
            found = sherpa(features_of(model, wave), "ko", task)
            named = [model.token_list[t] for t in found if t not in model.special_ids]
            assert named == ours(folder, wave, name)
            seen.append(tuple(named))
    assert len({*seen}) >= 4 and all(seen)  # tasks and waves change them


def test_padding_plays_no_part(tmp_path):
    model = load(save_smoe(tmp_path / "exp", "ours"))
    sherpa, features = of_sherpa(model), features_of(model, talk(1.3))
    found = [sherpa(features, "ko", "transcribe", padding) for padding in (0, 7, 1000)]
    assert found[0] == found[1] == found[2]


def test_frames_that_fill_up_30_seconds_are_those_of_silence(tmp_path):
    seconds = {"n_mels": 16, "framing": "kaldi", "pad_seconds": 2.5}
    folder = save_smoe(tmp_path / "exp", "like Whisper", frontend_conf=seconds)
    model, wave = load(folder), talk(1.3)
    whole = features_of(model, wave)
    assert len(whole) == 250
    (module,) = [g.module for g in whisper_graphs(model) if g.name == "encoder"]
    frames = (len(wave) + 80) // 160
    mel = np.pad(whole[:frames], ((0, 100), (0, 0))).T[None]
    with torch.no_grad():
        keys, values = module(torch.from_numpy(np.ascontiguousarray(mel)))
        encoded, _ = model.encode(
            torch.from_numpy(wave)[None], torch.tensor([len(wave)]), torch.tensor([6])
        )
    expected = model.decoder.decoders[0].src_attn.keys_values(encoded)
    for found, like in zip((keys[0], values[0]), expected):
        like = like.transpose(1, 2).flatten(2)
        torch.testing.assert_close(found, like, atol=1e-4, rtol=1e-4)


def test_the_encoders_experts_are_those_of_the_bandwidth(tmp_path):
    model = load(save_smoe(tmp_path / "exp", "ours"))
    mel = torch.from_numpy(features_of(model, talk(1.0)).T[None].copy())
    wide, narrow = (
        whisper_graphs(model, bandwidth)[0].module(mel)[0] for bandwidth in ("wb", "nb")
    )
    assert not torch.allclose(wide, narrow, atol=1e-2)


def test_a_language_may_be_left_out_or_another(tmp_path):
    """Of a model whose prompts name the spoken one; elsewhere it changes nothing."""
    wave = talk(2.0, 5)
    folder = save_smoe(tmp_path / "exp", "like Whisper", seed=1)
    model = load(folder)
    sherpa = of_sherpa(model)
    assert sherpa.languages == {"ko": 4, "en": 5}
    found = sherpa(features_of(model, wave), "en", "transcribe")
    named = [model.token_list[t] for t in found if t not in model.special_ids]
    assert named == ours(folder, wave, "asr", language="en")
    assert sherpa(features_of(model, wave), "", "translate")


def test_a_task_that_the_model_lacks_has_no_text(tmp_path):
    tasks = {"asr": {"target": "text", "prompt": ["<transcribe>", "<ko>"]}}
    conf = {"model_conf": {"tasks": tasks, "ctc_weight": 0.3}}
    model = load(save_smoe(tmp_path / "exp", "ours", **conf))
    sherpa, features = of_sherpa(model), features_of(model, talk(1.0))
    assert sherpa.number("translate") == -1
    assert sherpa(features, "ko", "transcribe")
    assert not sherpa(features, "ko", "translate")


def test_a_second_translation_is_told_by_its_language(tmp_path):
    tasks = {
        "asr": {"target": "text", "prompt": ["<transcribe>", "<ko>"]},
        "st": {"target": "text_st", "prompt": ["<translate>", "<en>"]},
        "back": {"target": "text_ko", "prompt": ["<translate>", "<ko>"]},
    }
    conf = {"model_conf": {"tasks": tasks, "ctc_weight": 0.3}}
    folder = save_smoe(tmp_path / "exp", "ours", **conf)
    model, wave = load(folder), talk(2.2, 7)
    sherpa, features = of_sherpa(model), features_of(model, wave)
    for language, name in (("en", "st"), ("ko", "back")):
        found = sherpa(features, language, "translate")
        named = [model.token_list[t] for t in found if t not in model.special_ids]
        assert named == ours(folder, wave, name)


def test_what_sherpa_asks_with_are_the_prompts_own_tokens(tmp_path):
    model = load(save_smoe(tmp_path / "exp", "like Whisper"))
    tokens, prompts = model.token_list, read_prompts(model)
    assert tokens[prompts.transcribe] == "<transcribe>"
    assert tokens[prompts.translate] == "<translate>"
    read = whisper_graphs(model)[0].metadata
    sequence = map(int, read["sot_sequence"].split(","))
    assert [tokens[i] for i in sequence] == ["<unk>", "<ko>", "<transcribe>"]
    assert tokens[read["no_timestamps"]] == "<beginning_of_sentence>"


def test_a_router_in_the_decoder_sees_all_tokens_of_the_prompt(tmp_path):
    layers = {"attention_heads": 2, "linear_units": 32, "num_blocks": 2}
    conf = layers | {"moe": {"gate": "topk", "num_experts": 3, "top_k": 1}}
    folder = save_smoe(tmp_path / "exp", "ours", decoder_conf=conf)
    model, wave = load(folder), talk(1.7, 3)
    found = of_sherpa(model)(features_of(model, wave), "ko", "transcribe")
    named = [model.token_list[t] for t in found if t not in model.special_ids]
    assert named == ours(folder, wave, "asr")


def test_a_prompt_that_is_too_long_is_refused(tmp_path):
    prompt = ["<transcribe>", *3 * ["<ko>"]]
    conf = {"tasks": {"asr": {"target": "text", "prompt": prompt}}}
    model = load(save_smoe(tmp_path / "exp", "ours", model_conf=conf))
    with pytest.raises(ValueError, match="asr: a prompt of 5 tokens"):
        whisper_graphs(model)


def test_parts_of_other_classes_are_refused(tmp_path):
    parts = {"encoder": "transformer", "encoder_conf": SIZE}
    model = load(save_smoe(tmp_path / "exp", "ours", **parts))
    with pytest.raises(ValueError, match="encoder 'TransformerEncoder' cannot"):
        whisper_graphs(model)


def test_an_unknown_bandwidth_is_refused(tmp_path):
    model = load(save_smoe(tmp_path / "exp", "ours"))
    with pytest.raises(ValueError, match="--bandwidth xb: <xb> is not a label .*<wb>"):
        whisper_graphs(model, "xb")
