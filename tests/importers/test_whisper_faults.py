"""`espnet-smoe import whisper`: what cannot be carried is named, nothing runs."""

import json
import pickle
import shutil

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from espnet_smoe.importers.command import main
from tests.importers.tiny_whisper import (
    SECONDS,
    save_ctranslate2,
    save_openai,
)

PAD = ["--pad", str(SECONDS)]


class Harm:
    """Runs when it is unpickled."""

    def __reduce__(self):
        return (open, ("harmed", "w"))


def edit(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def cut(path, share=0.6):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def with_activation(data, number):
    """A ``model.bin`` whose decoder computes another activation."""
    at = data.index(b"decoder/activation\0") + len("decoder/activation") + 1
    return data[: at + 6] + bytes([number]) + data[at + 7 :]  # no shape, type, size


def other_vocabulary(folder):
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["added_tokens"][-1]["id"] += 1000
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


def no_numbers(folder):
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["a"] = "1"
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


def other_ids(folder):
    """The tokenizer of a Whisper with a language less, as large-v2 is to large-v3."""
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    ids = {t["content"]: t["id"] for t in tokenizer["added_tokens"]}
    left = [t for t in tokenizer["added_tokens"] if t["content"] != "<|en|>"]
    for token in left:
        token["id"] -= token["id"] > ids["<|en|>"]
    tokenizer["added_tokens"] = left
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


def index(names):
    """A fault: a list of files of weights."""

    def change(folder):
        path = folder / "model.safetensors.index.json"
        path.write_text(json.dumps({"weight_map": names}))
        (folder / "model.safetensors").unlink()

    return change


def weight(name, tensor):
    """A fault: another tensor of that name."""

    def change(folder):
        weights = load_file(folder / "model.safetensors")
        weights[f"model.encoder.{name}.weight"] = tensor
        save_file(weights, folder / "model.safetensors")

    return change


def generation(**changes):
    """A fault: what the configuration of `generate` says."""

    def change(folder):
        path = folder / "generation_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


FAULTS = {
    "00002.safetensors does not exist; fetch": index({"a": "model-00002.safetensors"}),
    "index.json: weight_map names no files; fetch": index(["model.safetensors"]),
    "weight_map names no files; fetch it": index({"a": 1}),
    "is not token 2.., as the configuration .* of another model; take": other_ids,
    "conv1.weight is of type int8, .* take the model in float32": weight(
        "conv1", torch.ones(16, 80, 3, dtype=torch.int8)
    ),
    "conv1.weight has 0 dimensions, not 3": weight("conv1", torch.tensor(1.0)),
    "fc1.weight has 1 dimensions, not 2": weight("layers.0.fc1", torch.ones(64)),
    "embed_positions.weight has 1 dim": weight("embed_positions", torch.ones(50)),
    "embed_positions.weight is no sinu": weight("embed_positions", torch.ones(50, 15)),
    "whisper does not fit .*convs.0.weight .*, not .* Take weights and": weight(
        "conv1", torch.ones(16, 80, 5)
    ),
    "suppress_tokens is 5, no list of ids; fetch": generation(suppress_tokens=5),
    "whisper: decoder_conf.suppress_tokens: 9000": generation(suppress_tokens=[9000]),
    "task_to_id holds no names with ids; fet": generation(task_to_id="transcribe"),
    "model for English alone, .* take the mul": generation(is_multilingual=False),
    "generation_config.json holds no names with": (
        lambda f: (f / "generation_config.json").write_text("[1]")
    ),
    "model_type is 'wav2vec2', which": (
        lambda f: (f / "config.json").write_text('{"model_type": "wav2vec2"}')
    ),
    "the model has no tokenizer; take": lambda f: (f / "tokenizer.json").unlink(),
    "rope_theta is no part of Whisper": lambda f: edit(f, rope_theta=10000),
    "activation_function is 'relu', wh": lambda f: edit(f, activation_function="relu"),
    "model_type is 'bart', which": lambda f: edit(f, model_type="bart"),
    "have d_model 16, but the config": lambda f: edit(f, d_model=32),
    "config.json lacks d_model, num": lambda f: (f / "config.json").write_text("{}"),
    "it is of another model; take tok": other_vocabulary,
    "model.safetensors: not a checkpoint": lambda f: cut(f / "model.safetensors"),
    "config.json is damaged": lambda f: cut(f / "config.json"),
    "tokenizer.json is no byte-level BPE": no_numbers,
    "tokenizer.json is damaged": lambda f: cut(f / "tokenizer.json"),
    "has no weights": lambda f: (f / "model.safetensors").unlink(),
}


@pytest.mark.parametrize("message", FAULTS)
def test_what_cannot_be_carried_is_named_in_one_line(source, tmp_path, message):
    folder = tmp_path / "whisper"
    shutil.copytree(source[0], folder)
    FAULTS[message](folder)
    with pytest.raises(ValueError, match=message) as caught:
        main(["whisper", str(folder), "--out", str(tmp_path / "exp")])
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "exp").exists()


def test_code_in_a_pt_file_is_never_run(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.pt").write_bytes(pickle.dumps({"dims": Harm()}))
    torch.save({"dims": {}, "model_state_dict": Harm()}, tmp_path / "b.pt")
    for name in ("a.pt", "b.pt"):
        with pytest.raises(ValueError, match=f"{name}: not a checkpoint of weights"):
            main(["whisper", name, "--out", "exp", "--tokenizer", str(source[0])])
    assert not (tmp_path / "harmed").exists()


def test_what_an_openai_file_has_of_another_architecture_is_named(source, tmp_path):
    save_openai(source[1], tmp_path / "tiny.pt")
    command = ["whisper", str(tmp_path / "tiny.pt"), "--out", str(tmp_path / "exp")]
    command += ["--tokenizer", str(source[0])]
    whole = torch.load(tmp_path / "tiny.pt")
    dims, weights = whole["dims"], whole["model_state_dict"]
    for changed, message in [
        (
            {"dims": {**dims, "n_experts": 4}},
            "dims: n_experts is not as Whisper has it",
        ),
        ({"dims": {**dims, "n_mels": 128}}, "have num_mel_bins 80, but the configur"),
        (
            {"model_state_dict": {**weights, "gate": torch.ones(2)}},
            "gate cannot be car",
        ),
        ({"dims": None}, "has no 'dims' and 'model_state_dict'"),
        ({"dims": {**dims, "n_text_head": torch.tensor(4)}}, "dims are no whole numb"),
        ({"model_state_dict": {**weights, 5: torch.ones(2)}}, "5 cannot be carried"),
        (
            {"model_state_dict": {**weights, "decoder.ln.bias": 1}},
            "decoder.layer_norm.bias is no tensor",
        ),
    ]:
        torch.save(whole | changed, tmp_path / "tiny.pt")
        with pytest.raises(ValueError, match=message) as caught:
            main(command)
        assert "\n" not in str(caught.value)
    torch.save(whole, tmp_path / "tiny.pt")
    with pytest.raises(ValueError, match="has no tokenizer.*multilingual.tiktoken of"):
        main(command[:-2])
    assert not (tmp_path / "exp").exists()


def test_a_cut_or_foreign_model_of_ctranslate2_is_refused(source, imported, tmp_path):
    folder, model = source
    tokens = (imported / "tokens.txt").read_text(encoding="utf-8").splitlines()
    save_ctranslate2(model, tmp_path / "ct2", tokens)
    command = ["whisper", str(tmp_path / "ct2"), "--out", str(tmp_path / "exp")]
    command += ["--tokenizer", str(folder)]
    whole = (tmp_path / "ct2" / "model.bin").read_bytes()
    for data, message in [
        (whole[:-2000], "model.bin is cut short; fetch it again"),
        (whole.replace(b"\x0c\0WhisperSpec", b"\x0c\0Transformer"), "model 'Transform"),
        (b"\x07" + whole[1:], "version 7, model ''"),
        (with_activation(whole, 1), "decoder/activation is 1, which cannot be carried"),
        (b"", "is cut short"),
    ]:
        (tmp_path / "ct2" / "model.bin").write_bytes(data)
        with pytest.raises(ValueError, match=message):
            main(command)
    (tmp_path / "ct2" / "model.bin").write_bytes(whole)
    tokens[7], tokens[8] = tokens[8], tokens[7]
    (tmp_path / "ct2" / "vocabulary.json").write_text(json.dumps(tokens))
    with pytest.raises(ValueError, match="token 7 is .* in the vocabulary of the"):
        main(command)
    (tmp_path / "ct2" / "vocabulary.json").write_text("5")
    with pytest.raises(ValueError, match="vocabulary.json is no list; fetch it again"):
        main(command)


def test_the_language_chooses_the_prompts(source, tmp_path):
    command = ["whisper", str(source[0]), "--out"]
    main([*command, str(tmp_path / "en"), "--language", "en"])
    config = yaml.safe_load((tmp_path / "en" / "config.yaml").read_text())
    assert list(config["model_conf"]["tasks"]) == ["asr"]
    for name in ("kr", "transcribe", "notimestamps", "nospeech", "0.02"):
        with pytest.raises(
            ValueError, match=rf"{name}: <\|{name}\|> is no language of"
        ):
            main([*command, str(tmp_path / "kr"), "--language", name])
    with pytest.raises(ValueError, match="is there already; name a new folder"):
        main([*command, str(tmp_path / "en")])
