"""Missing translations are filled by a model or a command, none of them twice."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import sentencepiece
import torch
import transformers
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import Metaspace
from tokenizers.trainers import BpeTrainer

LOCAL = Path(__file__).parents[2] / "egs2/aihub_koen/smoe1/local"
sys.path.insert(0, str(LOCAL))
import translate  # noqa: E402
import translators  # noqa: E402

KOREAN = ["비가 온다", "어디 가니", "나는 학교에 간다"]
ENGLISH = ["it rains", "where are you going", "i go to school"]
SHAPE = {
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16,
    "max_position_embeddings": 32,
    # So that every sentence has its own translation.
    "init_std": 0.5,
    "tie_word_embeddings": False,
}


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    """Path of a sentencepiece model, and its pieces."""
    work = tmp_path_factory.mktemp("pieces")
    (work / "corpus").write_text("\n".join((KOREAN + ENGLISH) * 20))
    sentencepiece.SentencePieceTrainer.train(
        input=str(work / "corpus"),
        model_prefix=str(work / "spm"),
        vocab_size=60,
        model_type="bpe",
        character_coverage=1.0,
        minloglevel=2,
    )
    path = str(work / "spm.model")
    model = sentencepiece.SentencePieceProcessor(model_file=path)
    return path, [model.id_to_piece(i) for i in range(len(model))]


def vocabulary(first, pieces):
    return {piece: i for i, piece in enumerate(dict.fromkeys([*first, *pieces]))}


@pytest.fixture(scope="module")
def marian(pieces, tmp_path_factory):
    """A directory with a tiny random Marian model."""
    directory = tmp_path_factory.mktemp("marian")
    vocab = vocabulary(["</s>", "<unk>", "<pad>"], pieces[1])
    (directory / "vocab.json").write_text(json.dumps(vocab))
    config = transformers.MarianConfig(
        vocab_size=len(vocab),
        pad_token_id=2,
        eos_token_id=0,
        decoder_start_token_id=2,
        forced_eos_token_id=0,
        **SHAPE,
    )
    torch.manual_seed(0)
    with pytest.warns(UserWarning, match="sacremoses"):
        tokenizer = transformers.MarianTokenizer(
            pieces[0], pieces[0], str(directory / "vocab.json")
        )
    tokenizer.save_pretrained(directory)
    transformers.MarianMTModel(config).save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def m2m100(pieces, tmp_path_factory):
    """A directory with a tiny random M2M100 model: its languages are ko, en, ..."""
    directory = tmp_path_factory.mktemp("m2m100")
    vocab = vocabulary(["<s>", "<pad>", "</s>", "<unk>"], pieces[1])
    (directory / "vocab.json").write_text(json.dumps(vocab))
    tokenizer = transformers.M2M100Tokenizer(str(directory / "vocab.json"), pieces[0])
    config = transformers.M2M100Config(vocab_size=len(vocab) + 120, **SHAPE)
    torch.manual_seed(0)
    tokenizer.save_pretrained(directory)
    transformers.M2M100ForConditionalGeneration(config).save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def nllb(tmp_path_factory):
    """A directory with a tiny random model of many languages, as NLLB is one."""
    bpe = Tokenizer(BPE(unk_token="<unk>"))
    bpe.pre_tokenizer = Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = BpeTrainer(vocab_size=90, special_tokens=special, show_progress=False)
    bpe.train_from_iterator(KOREAN + ENGLISH, trainer)
    trained = json.loads(bpe.to_str())["model"]
    tokenizer = transformers.NllbTokenizer(
        vocab=trained["vocab"],
        merges=[tuple(pair) for pair in trained["merges"]],
        extra_special_tokens=["eng_Latn", "kor_Hang", "fra_Latn"],
    )
    config = transformers.M2M100Config(vocab_size=len(tokenizer), **SHAPE)
    directory = tmp_path_factory.mktemp("nllb")
    torch.manual_seed(1)
    tokenizer.save_pretrained(directory)
    transformers.M2M100ForConditionalGeneration(config).save_pretrained(directory)
    return directory


@pytest.fixture
def data(tmp_path):
    """Four utterances: one has its translation, two say the same."""
    directory = tmp_path / "data"
    directory.mkdir()
    sentences = [KOREAN[0], KOREAN[1], KOREAN[2], KOREAN[1]]
    write(directory / "text", sentences)
    write(directory / "text_st", ["it rains", "<na>", "<na>", "<na>"])
    return directory


def write(path, values):
    lines = [f"u{i} {value}".rstrip() + "\n" for i, value in enumerate(values, 1)]
    path.write_text("".join(lines), encoding="utf-8")


def table(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    return {line.split()[0]: " ".join(line.split()[1:]) for line in lines}


def notes(data):
    return [json.loads(line) for line in (data / "translations.jsonl").open("rb")]


def fill(data, *options):
    translate.main(["--data", str(data), *map(str, options)])


def script(tmp_path, body):
    """A command that runs a Python program on the lines of stdin."""
    path = tmp_path / "mt.py"
    path.write_text(f"import sys\nlines = sys.stdin.read().splitlines()\n{body}\n")
    return f"PYTHONUTF8=1 {sys.executable} {path}"


@pytest.fixture
def upper(tmp_path):
    """A command that translates 'x' as 'EN x' and counts the sentences it got."""
    count = tmp_path / "count"
    return (
        script(
            tmp_path,
            f"open({str(count)!r}, 'a').write('x' * len(lines))\n"
            "[print('EN', line) for line in lines]",
        ),
        lambda: len(count.read_text()) if count.exists() else 0,
    )


@pytest.mark.parametrize(
    "family, codes",
    [("marian", "- -"), ("nllb", "kor_Hang eng_Latn"), ("m2m100", "ko en")],
)
def test_a_saved_model_fills_what_is_missing(family, codes, data, request, capsys):
    model = request.getfixturevalue(family)
    source, target = codes.split()
    languages = [f"--source-lang={source}", f"--target-lang={target}"]
    fill(data, "--model", model, "--device", "cpu", "--max-length", 12, *languages)
    made = table(data / "text_st")
    assert made["u1"] == "it rains"
    assert made["u2"] == made["u4"]
    assert "<na>" not in made.values()
    assert not any("__en__" in translation for translation in made.values())
    origins = table(data / "utt2translation")
    assert origins == {"u1": "corpus"} | dict.fromkeys(["u2", "u3", "u4"], str(model))
    assert "translated by" in capsys.readouterr().out
    provenance = notes(data)[0]["provenance"]
    assert provenance["revision"].startswith("sha256:")
    assert provenance["options"]["num_beams"] == 4


def test_translation_is_what_the_model_says_for_the_sentence_alone(nllb, data):
    """Batching, padding and sorting change nothing; the languages are set."""
    fill(data, "--model", nllb, "--device", "cpu", "--max-length", 12)
    tokenizer = transformers.NllbTokenizer.from_pretrained(nllb, src_lang="kor_Hang")
    model = transformers.M2M100ForConditionalGeneration.from_pretrained(nllb).eval()
    expected = []
    for source in (KOREAN[1], KOREAN[2]):
        batch = tokenizer(source, return_tensors="pt")
        assert batch.input_ids[0, 0] == tokenizer.convert_tokens_to_ids("kor_Hang")
        english = tokenizer.convert_tokens_to_ids("eng_Latn")
        tokens = model.generate(
            **batch, forced_bos_token_id=english, num_beams=4, max_length=12
        )
        expected.append(tokenizer.decode(tokens[0], skip_special_tokens=True))
    made = table(data / "text_st")
    assert [made["u2"], made["u3"]] == expected
    assert expected[0] != expected[1]  # else the test shows little


def test_a_model_of_the_hub_is_loaded_by_name_with_its_commit(marian, data, tmp_path):
    """From the hub's cache, as it is after a download; the program runs on its own."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "hub/models--lab--ko-en"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text(commit)
    shutil.copytree(marian, repository / "snapshots" / commit)
    subprocess.run(
        [sys.executable, LOCAL / "translate.py", "--data", data]
        + ["--model", "lab/ko-en", "--device", "cpu", "--max-length", "12"],
        env=os.environ | {"HF_HUB_CACHE": tmp_path / "hub", "HF_HUB_OFFLINE": "1"},
        check=True,
    )
    assert table(data / "utt2translation")["u2"] == "lab/ko-en"
    assert notes(data)[0]["provenance"]["revision"] == commit


def test_an_unknown_language_is_named_with_known_ones(nllb, data):
    with pytest.raises(ValueError, match="--target-lang en: .*eng_Latn"):
        fill(data, "--model", nllb, "--target-lang", "en", "--device", "cpu")


def test_a_directory_without_a_model_is_named(data, tmp_path):
    with pytest.raises(ValueError, match=f"--model {tmp_path}: .*save_pretrained"):
        fill(data, "--model", tmp_path)


def test_transformers_missing_names_the_extra(data, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r"espnet-smoe\[translate\]"):
        fill(data, "--model", "some/model")


def test_a_source_too_long_is_not_translated_by_half(marian, data, capsys):
    before = table(data / "text")
    write(data / "text", [*before.values(), "비가 온다 " * 20])
    fill(data, "--model", marian, "--device", "cpu", "--max-length", 12)
    made = table(data / "text_st")
    assert made["u5"] == "<na>" and made["u3"] != "<na>"
    assert "utterance u5" in capsys.readouterr().err


def test_other_weights_at_the_same_place_are_another_model(marian, tmp_path):
    options = ("a", "b", 1, 9, "cpu", "float32")
    identity = translators.ModelTranslator(str(marian), 1, *options).identity()
    for path in marian.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    copy = translators.ModelTranslator(str(tmp_path), 1, *options)
    assert copy.identity()["revision"] == identity["revision"]
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    other = translators.ModelTranslator(str(tmp_path), 1, *options)
    assert other.identity()["revision"] != identity["revision"]


def test_a_command_fills_what_is_missing_each_sentence_once(data, upper, capsys):
    command, count = upper
    fill(data, "--command", command, "--batch-size", 1)
    assert table(data / "text_st") == {
        "u1": "it rains",
        "u2": f"EN {KOREAN[1]}",
        "u3": f"EN {KOREAN[2]}",
        "u4": f"EN {KOREAN[1]}",
    }
    assert count() == 2
    out = capsys.readouterr().out
    assert "had a translation: 1" in out and "without a translation: 0" in out


def test_a_directory_without_translations_gets_all(data, upper):
    (data / "text_st").unlink()
    fill(data, "--command", upper[0])
    assert table(data / "text_st")["u1"] == f"EN {KOREAN[0]}"


def test_a_second_run_changes_nothing_and_remembers_the_origin(data, upper):
    command, count = upper
    fill(data, "--command", command)
    once = [(data / n).read_bytes() for n in ("text_st", "utt2translation")]
    fill(data, "--command", "false")
    assert [(data / n).read_bytes() for n in ("text_st", "utt2translation")] == once
    assert count() == 2


def test_a_killed_run_goes_on_after_its_last_batch(data, tmp_path, upper):
    command, count = upper
    fail_second = f"test $(ls {tmp_path} | grep -c done) = 0 || exit 3; "
    half = f"{fail_second}touch {tmp_path}/done; {command}"
    with pytest.raises(ValueError, match="exit status 3"):
        fill(data, "--command", half, "--batch-size", 1)
    assert table(data / "text_st")["u2"] == "<na>"  # replaced only when complete
    assert len(notes(data)) == 1 and count() == 1
    with open(data / "translations.jsonl", "ab") as cache:
        cache.write('{"utterance": "u2", "sour어'.encode()[:-1])  # a half-written line
    (tmp_path / "done").unlink()
    fill(data, "--command", half, "--batch-size", 1)
    assert count() == 2
    assert table(data / "text_st")["u3"] == f"EN {KOREAN[2]}"
    (data / "text_st").unlink()
    (tmp_path / "done").unlink()
    fill(data, "--command", half)
    assert count() == 3  # only the sentence of u1 was new


def test_a_changed_source_is_translated_anew(data, upper):
    command, count = upper
    fill(data, "--command", command)
    write(data / "text", [KOREAN[0], "다른 말", KOREAN[2], KOREAN[1]])
    write(data / "text_st", ["it rains", "<na>", "<na>", "<na>"])
    fill(data, "--command", command)
    assert table(data / "text_st")["u2"] == "EN 다른 말"
    assert count() == 3


def test_another_translator_does_not_read_the_first_ones_cache(data, upper):
    command, count = upper
    fill(data, "--command", command)
    write(data / "text_st", ["<na>"] * 4)
    fill(data, "--command", f"{command} | tr E F")
    assert table(data / "text_st")["u2"] == f"FN {KOREAN[1]}"
    assert count() == 2 + 3


def test_empty_output_stays_na_and_is_named_and_tried_again(data, tmp_path, capsys):
    command = script(tmp_path, "[print('' if '어디' in s else 'EN') for s in lines]")
    fill(data, "--command", command)
    assert table(data / "text_st") == {
        "u1": "it rains",
        "u2": "<na>",
        "u3": "EN",
        "u4": "<na>",
    }
    assert table(data / "utt2translation")["u2"] == "<na>"
    seen = capsys.readouterr()
    assert "utterance u2" in seen.err and "utterance u4" in seen.err
    assert "without a translation: 2" in seen.out
    assert [note["utterance"] for note in notes(data)] == ["u3"]


def test_an_utterance_without_text_stays_na(data, upper, capsys):
    write(data / "text", [KOREAN[0], "", KOREAN[2], KOREAN[1]])
    fill(data, "--command", upper[0])
    assert table(data / "text_st")["u2"] == "<na>"
    assert "utterance u2: no text" in capsys.readouterr().err


@pytest.mark.parametrize(
    "body, message",
    [
        ("sys.exit('no dictionary')", "exit status 1.*\nno dictionary"),
        ("print('one line')", "1 lines for 2 sentences"),
        ("[print(s, s, sep='\\n') for s in lines]", "4 lines for 2 sentences"),
    ],
)
def test_a_bad_command_is_explained_and_changes_nothing(body, message, data, tmp_path):
    before = (data / "text_st").read_bytes()
    with pytest.raises(ValueError, match=f"(?s)--command.*{message}"):
        fill(data, "--command", script(tmp_path, body))
    assert (data / "text_st").read_bytes() == before
    assert not (data / "translations.jsonl").exists()


def test_a_bad_data_directory_is_explained(data, upper):
    write(data / "text_st", ["it rains"] * 5)
    with pytest.raises(ValueError, match="utterance u5: not in text"):
        fill(data, "--command", upper[0])
    (data / "text").unlink()
    with pytest.raises(ValueError, match="text does not exist"):
        fill(data, "--command", upper[0])
