"""`espnet-smoe slice --format transformers`: Whisper again, of one task."""

import json
import re
import shutil

import numpy as np
import pytest
import soundfile
import torch
import yaml

from espnet_smoe.data.text.tokenizer import join_bytes
from espnet_smoe.importers.command import main as import_model
from espnet_smoe.inference.speech_to_text import SpeechToText
from espnet_smoe.slice.command import main
from espnet_smoe.slice.tokenizer import hugging_face_tokenizer
from espnet_smoe.upcycle import main as upcycle
from tests.importers.tiny_whisper import LENGTH, SECONDS, make_hugging_face
from tests.slice.stock import texts_by_readme

LABELS = {"asr": "<|transcribe|>", "st": "<|translate|>"}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A tiny Whisper of `transformers`, and the experiment made of it."""
    folder = tmp_path_factory.mktemp("whisper")
    make_hugging_face(folder / "tiny")
    words = ["whisper", str(folder / "tiny"), "--out", str(folder / "exp")]
    import_model([*words, "--pad", str(SECONDS)])
    return folder / "tiny", folder / "exp"


@pytest.fixture(scope="module")
def mixture(source, tmp_path_factory):
    """The experiment as a mixture by task, whose experts differ."""
    exp = tmp_path_factory.mktemp("mixture") / "smoe"
    shutil.copytree(source[1], exp)
    config = yaml.safe_load((exp / "config.yaml").read_text())
    tokens = (exp / "tokens.txt").read_text(encoding="utf-8").splitlines()
    config["decoder_conf"]["suppress_tokens"] = [
        i
        for i, token in enumerate(tokens)
        if token != "<|endoftext|>" and not is_text(token)
    ]
    config["decoder_conf"]["moe"] = {"gate": "label", "labels": [*LABELS.values()]}
    (exp / "config.yaml").write_text(yaml.safe_dump(config))
    place = ["--config", str(exp / "config.yaml"), "--out", str(exp / "model.pth")]
    upcycle([str(source[1]), *place, "--noise", "0.5"])
    return exp


def is_text(token: str) -> bool:
    """Whether a token alone is something to read."""
    text = join_bytes([token])
    return text.isprintable() and bool(text.strip()) and not token.startswith("<|")


def sliced(exp, label, out):
    main(
        [
            *("--model", str(exp), "--label", label),
            *("--format", "transformers", "--out", str(out)),
        ]
    )
    return out


@pytest.fixture(scope="module")
def slices(mixture, tmp_path_factory):
    """A folder of Hugging Face a task."""
    folder = tmp_path_factory.mktemp("slices")
    return {t: sliced(mixture, label, folder / t) for t, label in LABELS.items()}


def test_without_this_package_transformers_writes_the_same_text(
    mixture, slices, tmp_path
):
    random, paths, waves = np.random.default_rng(2), [], []
    for number in range(3):
        waves.append(np.float32(random.normal(0, 0.1 + 0.1 * number, 9000)))
        paths.append(tmp_path / f"{number}.wav")
        soundfile.write(paths[-1], waves[-1], 16000, subtype="FLOAT")
    options = {"beam_size": 1, "maxlenratio": -LENGTH, "detect_speech": False}
    mixed = SpeechToText.load(mixture, **options)
    mixed.model.decoder.longest_text = None  # transformers stops at the last position
    ours = mixed(waves, ["asr", "st"])
    texts = set()
    for task, folder in slices.items():
        found = [text.strip() for text in texts_by_readme(folder, paths)]
        assert found == [result[task].text.strip() for result in ours]
        texts |= set(found)
    assert len(texts) > 3


def test_a_slice_can_be_imported_again(mixture, slices, tmp_path):
    for number, (task, folder) in enumerate(slices.items()):
        out = tmp_path / task
        words = ["whisper", str(folder), "--out", str(out), "--pad", str(SECONDS)]
        import_model(words)
        for name in ("tokens.txt", "lengths.json"):
            assert (out / name).read_bytes() == (mixture / name).read_bytes()
        again, whole = (torch.load(e / "model.pth") for e in (out, mixture))
        for name, tensor in again.items():
            expert = name.replace("feed_forward", f"feed_forward.experts.{number}")
            wanted = whole[name] if name in whole else whole[expert]
            torch.testing.assert_close(tensor, wanted, atol=0, rtol=0)


def test_the_whole_tokenizer_comes_along(source, slices):
    from transformers import AutoProcessor

    theirs = AutoProcessor.from_pretrained(slices["st"]).tokenizer
    given = json.loads((source[0] / "tokenizer.json").read_text())
    for token in given["added_tokens"]:
        assert theirs.convert_tokens_to_ids(token["content"]) == token["id"]
    text = " 안녕하세요, the weather"
    ids = theirs.encode(text, add_special_tokens=False)
    assert theirs.decode(ids) == text
    assert ids == [given["model"]["vocab"][t] for t in theirs.tokenize(text)]


def test_an_added_token_that_is_text_is_read_as_such(source, tmp_path):
    from transformers import PreTrainedTokenizerFast

    tokens = (source[1] / "tokens.txt").read_text(encoding="utf-8").splitlines()
    tokens[-1] = "ĠcafÃ©"  # as an import names " café"
    content = hugging_face_tokenizer(tokens, source[1] / "bpe.json")
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    theirs = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    ids = [tokens.index("a"), len(tokens) - 1, tokens.index("<|endoftext|>")]
    assert theirs.decode(ids, skip_special_tokens=True) == "a café"


def change(config, path, value):
    *parents, last = path.split(".")
    for parent in parents:
        config = config[parent]
    config[last] = value


FAULTS = {
    "frontend_conf.pad_seconds is 0: Whisper": {"frontend_conf.pad_seconds": 0.0},
    "normalize: Whisper has no 'utterance_mvn'": {
        "normalize": "utterance_mvn",
        "normalize_conf": {},
    },
    "model_conf.sym_begin is not <|notimestamps|>": {
        "model_conf.sym_begin": "<|startoflm|>"
    },
    "tasks.st.prompt: Whisper begins with": {
        "model_conf.tasks.st.prompt": ["<|ko|>", "<|translate|>"]
    },
}


@pytest.mark.parametrize("message", FAULTS)
def test_what_whisper_lacks_is_named(mixture, tmp_path, message):
    exp = tmp_path / "exp"
    shutil.copytree(mixture, exp)
    config = yaml.safe_load((exp / "config.yaml").read_text())
    for path, value in FAULTS[message].items():
        change(config, path, value)
    (exp / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        sliced(exp, "<|translate|>", tmp_path / "out")
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()
