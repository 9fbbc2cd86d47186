"""The aihub_koen recipe on a tree of every layout, from archives to scores."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from tests.data.corpora.trees import (
    Sound,
    Speech,
    dialogue,
    fleurs,
    ksponspeech,
    long_recording,
    utterance_json,
)
from tests.importers.tiny_whisper import make_hugging_face
from tests.warm_python import environment

ROOT = Path(__file__).parents[2]
SENTENCES = ("오늘 날씨가 (10개)/(열 개) 좋네요", "내일 아침에 만나요", "어디로 갈까요")
SPOKEN_FIRST = "오늘 날씨가 (열 개)/(10개) 좋네요"  # as that family writes it
ENGLISH = "the weather is nice"
SIZE = {"num_blocks": 1, "linear_units": 16, "attention_heads": 2}
LENGTH = 100  # positions of the decoder of the tiny Whisper
ENCODER = {"output_size": 16, "subsampling_channels": 16}


def speech(count: int, english: str = "", seed: int = 0) -> list[Speech]:
    """Noise in place of speech, 1 s each."""
    rng = np.random.default_rng(seed)
    return [
        Speech(
            rng.uniform(-0.3, 0.3, 16000).astype(np.float32),
            SENTENCES[i % len(SENTENCES)],
            english,
        )
        for i in range(count)
    ]


def tiny(config: Path) -> None:
    """Shrink the paper's model and its batch to these few utterances."""
    options = yaml.safe_load(config.read_text())
    options |= {"batch_size": 8, "accum_grad": 1, "max_epoch": 1, "use_amp": False}
    options |= {"num_workers": 0, "keep_nbest_models": 1, "use_tensorboard": False}
    options["encoder_conf"] |= SIZE | ENCODER
    options["decoder_conf"] |= SIZE
    config.with_name("tiny.yaml").write_text(yaml.safe_dump(options))


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> tuple[Path, str]:
    """The recipe after its one command, and what it said."""
    root = tmp_path_factory.mktemp("clone")
    aihub = root / "aihub"
    ksponspeech(aihub, speech(6), speech(2, seed=1), zipped=True)
    dialogue(aihub, speech(4, seed=2), speech(2, seed=3), sound=Sound(rate=44100))
    stereo = Sound(rate=48000, channels=2)
    meeting = [item._replace(korean=SPOKEN_FIRST) for item in speech(4, ENGLISH, 4)]
    long_recording(aihub, meeting, speech(2, seed=5), True, stereo)
    flac = Sound(".flac")
    utterance_json(aihub, speech(4, ENGLISH, 6), speech(2, seed=7), sound=flac)
    fleurs(root / "fleurs", speech(2, ENGLISH, 8))
    for folder in ("TEMPLATE", "aihub_koen/smoe1"):
        ignore = shutil.ignore_patterns("data", "dump", "exp", "RESULTS.md")
        source, copy = ROOT / "egs2" / folder, root / "egs2" / folder
        shutil.copytree(source, copy, symlinks=True, ignore=ignore)
    folder = root / "egs2/aihub_koen/smoe1"
    tiny(folder / "conf/train.yaml")
    (folder / "conf/decode.yaml").write_text("beam_size: 2\nmaxlenratio: -4\n")
    data = f"--aihub {aihub} --fleurs {root / 'fleurs'} --translate_command cat"
    command = ["./run.sh", "--nj", "1", "--local_data_opts", data, "--nbpe", "330"]
    command += ["--asr_config", "conf/tiny.yaml", "--test_sets", "test_fleurs"]
    return folder, run(folder, *command)


def run(folder: Path, *command: str) -> str:
    """What a command of the recipe says."""
    pipes = {"env": environment(), "capture_output": True, "text": True}
    done = subprocess.run(command, cwd=folder, **pipes)
    logs = "".join(p.read_text()[-3000:] for p in folder.glob("exp/**/*.log"))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:] + logs
    return done.stdout


def test_every_corpus_is_trained_on(recipe):
    folder, said = recipe
    spoken = (folder / "data/train/text").read_text()
    assert len(spoken.splitlines()) == 18
    assert "열 개" in spoken and "10" not in spoken
    for corpus in ("한국어음성", "한국어대화", "주요영역회의", "금융상담", "fleurs"):
        assert re.search(rf"\| (\d+\.)?{corpus} ", said), corpus


def test_what_had_no_english_is_translated_and_says_so(recipe):
    folder, _ = recipe
    english = (folder / "data/train/text_st").read_text()
    assert "<na>" not in english and english.count(ENGLISH) == 8
    sources = (folder / "data/train/utt2translation").read_text().split()
    assert sources.count("corpus") == 8 and sources.count("cat") == 10


def test_both_texts_are_scored_in_every_condition(recipe):
    folder, _ = recipe
    report = (folder / "exp/tiny_bbpe330/RESULTS.md").read_text()
    assert "test_fleurs_nbwb" in report
    for word in ("WER", "BLEU", "amr_nb", "g711_nb", "amr_wb"):
        assert word in report, word


@pytest.fixture(scope="module")
def whisper(tmp_path_factory) -> Path:
    """A tiny random one."""
    folder = tmp_path_factory.mktemp("models") / "whisper-tiny"
    make_hugging_face(folder, length=LENGTH)
    return folder


def test_a_whisper_has_a_column_in_both_tables(recipe, whisper):
    folder, _ = recipe
    shutil.copytree(folder / "exp/tiny_bbpe330", folder / "exp/base_seed1")
    command = ["./run_all.sh", "--systems", "base", "--test_sets", "test_fleurs"]
    run(folder, *command, "--nj", "1", "--stage", "11", "--whisper", str(whisper))
    for table in ("table1_test_fleurs", "table2_test_fleurs_nbwb"):
        lines = (folder / f"exp/{table}.md").read_text().splitlines()
        rows = {line.split("|")[1].strip(): line for line in lines if line[:1] == "|"}
        assert rows[""] == "| | base | whisper_tiny |"
        wanted = ["asr WER %, all", "asr CER % of letters, all", "st BLEU, all", "RTF"]
        for name in (*wanted, "parameters"):
            assert re.fullmatch(r"\|[^|]*(\|[^|]*\d[^|]*){2}\|", rows[name]), name
        assert "p=" in rows["asr WER %, all"]


def test_systems_begin_with_a_whisper(recipe, whisper):
    """Its tokens, its weights, an expert a task."""
    folder, _ = recipe
    config = folder / "conf/whisper/train_decsmoe.yaml"
    options = yaml.safe_load(config.read_text())
    options["encoder_conf"] |= {"output_size": 16, "num_blocks": 2}
    options["encoder_conf"] |= {"linear_units": 64, "attention_heads": 2}
    options["decoder_conf"] |= {"max_length": LENGTH, "num_blocks": 3}
    options["decoder_conf"] |= {"linear_units": 64, "attention_heads": 4}
    options |= {"batch_size": 8, "accum_grad": 1, "max_epoch": 1, "use_amp": False}
    options |= {"num_workers": 0, "use_tensorboard": False}
    config.write_text(yaml.safe_dump(options))
    command = ["./run_all.sh", "--expdir", "exp_whisper", "--start", str(whisper)]
    command += ["--systems", "decsmoe", "--test_sets", "test_fleurs", "--nj", "1"]
    run(folder, *command, "--stage", "4", "--max_tokens", str(LENGTH - 5))
    state = torch.load(folder / "exp_whisper/decsmoe_seed1/valid.acc.ave.pth")
    first = "decoder.decoders.0.feed_forward.experts"
    experts = [state[f"{first}.{i}.w_1.weight"] for i in (0, 1)]
    assert not torch.equal(*experts)  # both were trained
    assert "decsmoe" in (folder / "exp_whisper/table1_test_fleurs.md").read_text()
