"""`espnet-smoe import whisper`: the same model, whatever file it comes from."""

import json
import shutil

import numpy as np
import pytest
import tokenizers
import torch
import yaml
from safetensors.torch import load_file, save_file

from espnet_smoe.data.text.tokenizer import join_bytes
from espnet_smoe.data.text.tokens import read_token_list
from espnet_smoe.importers.command import main
from espnet_smoe.importers.tiktoken_file import LANGUAGES
from espnet_smoe.importers.whisper_vocabulary import Vocabulary
from espnet_smoe.inference.checkpoint import load_model, read_config
from espnet_smoe.inference.speech_to_text import SpeechToText
from tests.importers.tiny_whisper import (
    LENGTH,
    SECONDS,
    SPECIAL,
    make_hugging_face,
    save_ctranslate2,
    save_openai,
    save_tiktoken,
    train_pieces,
)

PAD = ["--pad", str(SECONDS)]


def waves(count: int = 2) -> list[np.ndarray]:
    """Noise of different lengths."""
    random = np.random.default_rng(1)
    return [
        random.normal(0, 0.1 * (i + 1), 9000 + 3000 * i).astype(np.float32)
        for i in range(count)
    ]


def features(wave: np.ndarray, mels: int = 80) -> torch.Tensor:
    """``(1, F, T)`` by `transformers`."""
    from transformers import WhisperFeatureExtractor

    extract = WhisperFeatureExtractor(mels, chunk_length=int(SECONDS))
    return extract(wave, sampling_rate=16000, return_tensors="pt").input_features


@torch.inference_mode()
def test_encoder_output_and_logits_are_those_of_transformers(source, imported):
    model = source[1]
    ours = SpeechToText.load(imported)
    encoded, lengths = ours.encoder(waves())
    tokens = torch.tensor([[257, 11, 12, 13, 260], [40, 41, 42, 43, 44]])
    logits, _ = ours.model.decoder(encoded, lengths, tokens, torch.tensor([5, 5]))
    for row, wave in enumerate(waves()):
        theirs = model.model.encoder(features(wave))[0]
        torch.testing.assert_close(encoded[row], theirs[0], atol=1e-4, rtol=1e-4)
        wanted = model(features(wave), decoder_input_ids=tokens[row : row + 1]).logits
        assert wanted.std() > 0.1
        torch.testing.assert_close(logits[row], wanted[0], atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_greedy_search_writes_what_generate_writes(source, imported):
    model = source[1]
    options = {"beam_size": 1, "detect_speech": False}
    ours = SpeechToText.load(imported, **options)
    found = ours.recognize(waves(3), ["wb"] * 3, ["asr", "st"], ["a", "b", "c"])
    texts = set()
    for wave, result in zip(waves(3), found):
        for task, verb in (("asr", "transcribe"), ("st", "translate")):
            asked = {"language": "ko", "task": verb, "max_new_tokens": LENGTH // 2}
            ids = model.generate(features(wave), **asked)[0].tolist()
            tokens = [ours.model.token_list[i] for i in ids]
            spoken = tuple(t for t in tokens if not t.startswith("<|"))
            assert result[task].tokens == spoken
            texts.add(spoken)
    assert len(texts) > 1 and any(texts)


@torch.inference_mode()
def test_a_model_of_128_channels_computes_what_transformers_does(tmp_path):
    model = make_hugging_face(tmp_path / "v3", mels=128)
    main(["whisper", str(tmp_path / "v3"), "--out", str(tmp_path / "exp"), *PAD])
    encoded, _ = SpeechToText.load(tmp_path / "exp").encoder(waves(1))
    theirs = model.model.encoder(features(waves(1)[0], 128))[0]
    torch.testing.assert_close(encoded, theirs, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_a_text_has_half_of_the_positions_at_most(source, imported):
    """As that of Whisper's own program: the other half is for the text before."""
    ours = SpeechToText.load(imported, beam_size=1, detect_speech=False)
    found = ours.recognize(waves(3), ["wb"] * 3, ["asr", "st"], ["a", "b", "c"])
    lengths = {len(result[task].tokens) for result in found for task in result}
    assert max(lengths) == LENGTH // 2


@pytest.mark.parametrize("languages", [99, 100])
def test_openais_vocabulary_is_that_of_hugging_face(tmp_path, languages):
    """51,865 tokens, or the 51,866 of large-v3, which knows Cantonese."""
    save_tiktoken(tmp_path / "multilingual.tiktoken")
    size = train_pieces().get_vocab_size() + 1 + 2 + languages + 6 + 1501
    openais = Vocabulary(tmp_path, size)
    shutil.copytree(tmp_path, tmp_path / "hf")
    (tmp_path / "hf" / "multilingual.tiktoken").unlink()
    pieces = {**train_pieces().get_vocab(), "": train_pieces().get_vocab_size()}
    codes = LANGUAGES[:languages]
    special = [t for t in SPECIAL if t not in ("<|en|>", "<|ko|>")]
    special[2:2] = [f"<|{code}|>" for code in codes]
    added = {token: len(pieces) + i for i, token in enumerate(special)}
    (tmp_path / "hf" / "vocab.json").write_text(json.dumps(pieces))
    (tmp_path / "hf" / "added_tokens.json").write_text(json.dumps(added))
    theirs = Vocabulary(tmp_path / "hf", size)
    assert openais.tokens == theirs.tokens and openais.tokens[-1] == "<|30.00|>"
    assert ("<|yue|>" in openais.tokens) == (languages == 100)
    assert openais.not_speech() == theirs.not_speech()
    assert openais.tokenizer_json() == theirs.tokenizer_json()
    text = "안녕하세요 오늘 날씨가 좋아요 the weather, tea"
    tokenizer = tokenizers.Tokenizer.from_str(openais.tokenizer_json())
    wanted = train_pieces().encode(f" {text}").tokens
    assert tokenizer.encode(text).tokens == wanted
    assert any(len(token) > 2 for token in wanted)


def test_a_lost_merge_is_found_again(source, imported, tmp_path):
    """Some files of Hugging Face lack the first, of the space and the letter t."""
    folder = tmp_path / "whisper"
    shutil.copytree(source[0], folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    del tokenizer["model"]["merges"][0]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    main(["whisper", str(folder), "--out", str(tmp_path / "exp"), *PAD])
    made = (tmp_path / "exp" / "bpe.json").read_text()
    assert made == (imported / "bpe.json").read_text()
    assert json.loads(made)["model"]["merges"]


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda lines: lines[:-3], "pieces belong to 1896 or 1897 tokens, but the we"),
        (lambda lines: ["!", *lines], "tiktoken:1: is no piece in base64 with its id"),
        (lambda lines: ["x 1 2", *lines], "tiktoken:1: is no piece in base64 with its"),
        (lambda lines: lines[:5] + lines[6:], "pieces belong to"),
    ],
)
def test_a_damaged_vocabulary_of_openai_is_named(tmp_path, change, message):
    path = tmp_path / "multilingual.tiktoken"
    save_tiktoken(path)
    size = train_pieces().get_vocab_size() + 1 + 2 + 99 + 6 + 1501
    path.write_text("\n".join(change(path.read_text().splitlines())))
    with pytest.raises(ValueError, match=message) as caught:
        Vocabulary(path, size)
    assert "\n" not in str(caught.value)


def test_every_format_gives_the_same_experiment(source, imported, tmp_path):
    folder, model = source
    tokens = (imported / "tokens.txt").read_text(encoding="utf-8").splitlines()
    save_openai(model, tmp_path / "tiny.pt")
    save_ctranslate2(model, tmp_path / "ct2", tokens)
    for path in (tmp_path / "tiny.pt", tmp_path / "ct2"):
        out = tmp_path / f"exp_{path.name}"
        command = ["whisper", str(path), "--out", str(out), *PAD]
        main([*command, "--tokenizer", str(folder)])
        for name in ("tokens.txt", "bpe.json", "lengths.json"):
            assert (out / name).read_bytes() == (imported / name).read_bytes()
        config, wanted = (
            yaml.safe_load((e / "config.yaml").read_text()) for e in (out, imported)
        )
        if path.suffix == ".pt":  # it does not tell what is no speech
            for part in (config["decoder_conf"], wanted["decoder_conf"]):
                assert part.pop("suppress_tokens") and part.pop("begin_suppress_tokens")
        assert config == wanted
        state, expected = (torch.load(e / "model.pth") for e in (out, imported))
        assert state.keys() == expected.keys()
        for name, tensor in expected.items():
            torch.testing.assert_close(state[name], tensor, atol=0, rtol=0)


@pytest.mark.parametrize(
    ("name", "save"),
    [("model.safetensors", save_file), ("pytorch_model.bin", torch.save)],
)
def test_weights_in_several_files_are_read(source, imported, tmp_path, name, save):
    folder, exp = tmp_path / "whisper", tmp_path / "exp"
    shutil.copytree(source[0], folder)
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").rename(tmp_path / "whole")
    files = {key: f"{n % 3}-of-3-{name}" for n, key in enumerate(weights)}
    for file in {*files.values()}:
        part = {key: weights[key] for key in weights if files[key] == file}
        save(part, folder / file)
    index = folder / f"{name}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": files}))
    main(["whisper", str(folder), "--out", str(exp), "--pad", str(SECONDS)])
    assert (exp / "model.pth").read_bytes() == (imported / "model.pth").read_bytes()
    # one whole file counts before several, as for `transformers`
    (tmp_path / "whole").rename(folder / "model.safetensors")
    (folder / file).unlink()
    main(["whisper", str(folder), "--out", str(tmp_path / "again")])


@pytest.mark.parametrize("text", ["café", " 안녕", "a\nb"])
def test_an_added_token_is_written_as_its_text(source, tmp_path, text):
    folder = tmp_path / "whisper"
    shutil.copytree(source[0], folder)
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    number = source[1].config.vocab_size - 1  # has no name there
    added = tokenizer["added_tokens"][0] | {"special": False, "content": text}
    tokenizer["added_tokens"].append(added | {"id": number})
    path.write_text(json.dumps(tokenizer))
    main(["whisper", str(folder), "--out", str(tmp_path / "exp")])
    tokens = read_token_list(tmp_path / "exp" / "tokens.txt")
    assert len(tokens) == number + 1
    assert join_bytes(["a", tokens[-1]]).split() == f"a{text}".split()


@pytest.mark.parametrize("kind, error", [("float16", 2e-3), ("int8", 2e-2)])
def test_rounded_weights_of_ctranslate2_are_read(
    source, imported, tmp_path, kind, error
):
    folder, model = source
    tokens = (imported / "tokens.txt").read_text(encoding="utf-8").splitlines()
    save_ctranslate2(model, tmp_path / "ct2", tokens, kind)
    shutil.copy(folder / "tokenizer.json", tmp_path / "ct2")
    main(["whisper", str(tmp_path / "ct2"), "--out", str(tmp_path / "exp")])
    state, wanted = (torch.load(e / "model.pth") for e in (tmp_path / "exp", imported))
    for name, tensor in wanted.items():
        torch.testing.assert_close(state[name], tensor, atol=error, rtol=0)


def test_without_padding_a_recording_is_the_same_in_any_batch(source, tmp_path):
    command = ["whisper", str(source[0]), "--out", str(tmp_path / "exp")]
    main([*command, "--pad", "0"])
    ours = SpeechToText.load(tmp_path / "exp")
    together, lengths = ours.encoder(waves())
    assert lengths.tolist() == [28, 38]  # 20 ms each
    alone, _ = ours.encoder(waves()[:1])
    torch.testing.assert_close(together[:1, :28], alone, atol=1e-5, rtol=1e-5)


def test_the_mixture_writes_at_first_what_the_dense_model_writes(imported, tmp_path):
    from espnet_smoe.upcycle import main as upcycle

    config = yaml.safe_load((imported / "config.yaml").read_text())
    labels = ["<|translate|>", "<|transcribe|>"]
    config["decoder_conf"]["moe"] = {"gate": "label", "labels": labels}
    exp = tmp_path / "smoe"
    exp.mkdir()
    for name in ("tokens.txt", "bpe.json"):
        shutil.copy(imported / name, exp)
    place = str(exp / "config.yaml")
    (exp / "config.yaml").write_text(yaml.safe_dump(config))
    upcycle([str(imported), "--config", place, "--out", str(exp / "model.pth")])
    options = {"beam_size": 3, "detect_speech": False}
    dense, mixture = (SpeechToText.load(e, **options) for e in (imported, exp))
    given = waves(), ["wb"] * 2, ["asr", "st"], ["a", "b"]
    for results in zip(mixture.recognize(*given), dense.recognize(*given), strict=True):
        for task in ("asr", "st"):
            ours, its = (result[task] for result in results)
            assert ours.tokens == its.tokens and ours.text == its.text
            assert ours.score == pytest.approx(its.score, rel=1e-6)
    with torch.no_grad():  # and each task has its own expert
        for layer in mixture.model.decoder.decoders:
            layer.feed_forward.experts[0].w_2.weight.zero_()
    changed, plain = mixture.recognize(*given), dense.recognize(*given)
    assert [r["asr"] for r in changed] == [r["asr"] for r in plain]
    assert [r["st"] for r in changed] != [r["st"] for r in plain]


def test_experts_of_bandwidths_need_no_tokens_of_whisper(imported, tmp_path):
    from espnet_smoe.data.preprocessor import SMoEPreprocessor
    from espnet_smoe.upcycle import main as upcycle

    config = yaml.safe_load((imported / "config.yaml").read_text())
    config["encoder_conf"]["moe"] = {"gate": "label", "labels": ["<wb>", "<nb>"]}
    labels = ["<|translate|>", "<|transcribe|>"]
    config["decoder_conf"]["moe"] = {"gate": "label", "labels": labels}
    exp = tmp_path / "smoe"
    exp.mkdir()
    for name in ("tokens.txt", "bpe.json"):
        shutil.copy(imported / name, exp)
    (exp / "config.yaml").write_text(yaml.safe_dump(config))
    place = str(exp / "config.yaml")
    upcycle([str(imported), "--config", place, "--out", str(exp / "model.pth")])
    options = {"beam_size": 2, "detect_speech": False}
    dense, mixture = (SpeechToText.load(e, **options) for e in (imported, exp))
    heard = mixture.bandwidths_of(waves(), [16000] * 2, ["auto"] * 2, ["a", "b"])
    assert mixture.bandwidths == ("wb", "nb") and heard == ["wb", "wb"]
    for bands in (["wb", "nb"], heard):
        given = waves(), bands, ["asr", "st"], ["a", "b"]
        assert mixture.recognize(*given) == dense.recognize(*given)
    with torch.no_grad():
        for layer in mixture.model.encoder.encoders:
            layer.feed_forward.experts[1].w_2.weight.zero_()
    given = ["asr", "st"], ["a", "b"]
    changed = mixture.recognize(waves(), ["wb", "nb"], *given)
    plain = dense.recognize(waves(), ["wb", "nb"], *given)
    assert changed[0] == plain[0] and changed[1] != plain[1]
    # and the labels reach it in training
    prepare = SMoEPreprocessor(True, str(exp / "tokens.txt"), str(exp / "bpe.json"))
    made = [
        prepare(u, {"speech": w, "text": "날씨", "text_st": "the", "bandwidth": b})
        for u, w, b in zip("ab", waves(), ("wb", "nb"))
    ]
    batch = {
        name: torch.nn.utils.rnn.pad_sequence(
            [torch.as_tensor(m[name]) for m in made], True, -1
        )
        for name in ("text", "text_st", "bandwidth")
    }
    assert batch["bandwidth"].min() >= len(mixture.model.token_list)
    model = load_model(read_config(exp / "config.yaml"), exp / "model.pth").train()
    lengths = torch.tensor([len(w) for w in waves()])
    speech = torch.nn.utils.rnn.pad_sequence([torch.tensor(w) for w in waves()], True)
    loss, _, _ = model(speech, lengths, **batch)
    loss.backward()
    for expert in model.encoder.encoders[0].feed_forward.experts:
        assert expert.w_1.weight.grad.abs().sum() > 0


def test_it_is_trained_further_with_its_output_tied_to_its_embedding(imported):
    config = read_config(imported / "config.yaml")
    decoder = load_model(config, imported / "model.pth").train().decoder
    before = decoder.embed[0].weight.detach().clone()
    encoded, lengths = torch.randn(1, 20, 16), torch.tensor([20])
    tokens = torch.tensor([[5, 6, 7]])
    loss = decoder(encoded, lengths, tokens, torch.tensor([3]))[0].logsumexp(-1).sum()
    loss.backward()
    torch.optim.SGD(decoder.parameters(), 0.1).step()
    assert not torch.equal(decoder.embed[0].weight, before)
    with pytest.raises(ValueError, match="25 tokens, but the decoder has 24 positions"):
        decoder(encoded, lengths, torch.zeros(1, 25).long(), torch.tensor([25]))


def test_korean_text_survives_the_tokenizer(imported):
    from espnet_smoe.data.text.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(imported / "bpe.json")
    pieces = tokenizer.encode("날씨가 좋아요, <|ko|>")
    assert pieces[0].startswith("Ġ") and not set(SPECIAL) & set(pieces)
    assert tokenizer.decode(pieces) == "날씨가 좋아요, <|ko|>"
    listed = (imported / "tokens.txt").read_text(encoding="utf-8").splitlines()
    assert set(pieces) <= set(listed)
    assert listed[-5:] == [f"<|0.0{i}|>" for i in (0, 2, 4, 6, 8)]
