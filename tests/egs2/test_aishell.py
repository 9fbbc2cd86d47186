"""Stage 1 of egs2/aishell on small trees in the corpora's real layout."""

import shutil
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet_smoe.data.corpora.aishell import main
from espnet_smoe.data.data_dir import read_table
from tests.warm_python import environment

ROOT = Path(__file__).parents[2]
SPEECH = {
    "train": {"S0002": {"BAC009S0002W0122": "而 对 楼市 成交 抑制 作用 最 大"}},
    "dev": {"S0724": {"BAC009S0724W0121": "广州市 房地产"}},
    "test": {"S0764": {"BAC009S0764W0121": "甚至 出现 交易 Ａ 股"}},
}


def write_wave(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.full(160, 0.1), 16000, subtype="PCM_16")


@pytest.fixture
def corpus(tmp_path):
    """AISHELL-1 with one utterance a set."""
    root = tmp_path / "corpus/data_aishell"
    labels = []
    for name, speakers in SPEECH.items():
        for speaker, texts in speakers.items():
            for utt, text in texts.items():
                write_wave(root / "wav" / name / speaker / f"{utt}.wav")
                labels.append(f"{utt} {text}\n")
    (root / "transcript").mkdir()
    transcript = root / "transcript/aishell_transcript_v0.8.txt"
    transcript.write_text("".join(labels), encoding="utf-8")
    return root


@pytest.fixture
def second(tmp_path):
    """The dev set of AISHELL-2."""
    root = tmp_path / "AISHELL-DEV-TEST-SET/iOS/dev"
    wave = "wav/D0012/ID0012W0030.wav"
    write_wave(root / wave)
    (root / "wav.scp").write_text(f"ID0012W0030\t{wave}\nID0012W0031\twav/x.wav\n")
    trans = "ID0012W0030\t你好 B站\nID0012W0031\t不见了\n"
    (root / "trans.txt").write_text(trans, encoding="utf-8")
    return tmp_path / "AISHELL-DEV-TEST-SET"


@pytest.fixture
def stage1(tmp_path, capsys):
    """Run the module; returns the folder of the sets and what was said."""

    def run(*options):
        main([*map(str, options), "--out", str(tmp_path / "data")])
        return tmp_path / "data", capsys.readouterr()

    return run


def test_the_recipe_writes_its_sets(corpus, second, tmp_path):
    recipe = tmp_path / "egs2/aishell/ctc1"
    recipe.mkdir(parents=True)
    for name in ("path.sh", "db.sh"):
        shutil.copy(ROOT / "egs2/aishell/ctc1" / name, recipe)
    shutil.copytree(ROOT / "egs2/aishell/ctc1/local", recipe / "local")
    env = environment()
    options = ["--aishell", str(corpus.parent), "--aishell2", str(second)]
    command = ["local/data.sh", *options]
    done = subprocess.run(command, cwd=recipe, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    sets = {path.parent.name for path in recipe.glob("data/*/wav.scp")}
    assert sets == {"train", "dev", "test", "test_aishell2_dev"}


def test_each_utterance_has_audio_text_and_speaker(stage1, corpus):
    data, said = stage1("--aishell", corpus)  # data_aishell itself will do too
    utt = "BAC009S0764W0121"
    wave = corpus / f"wav/test/S0764/{utt}.wav"
    assert read_table(data / "test/wav.scp", []) == {utt: str(wave)}
    assert read_table(data / "test/text", []) == {utt: "甚至出现交易 A 股"}
    assert read_table(data / "test/utt2spk", []) == {utt: "S0764"}
    assert f"{data / 'train'}: 1 utterances of 1 speakers" in said.out
    assert said.err == ""


def test_the_second_corpus_reads_paths_from_its_own_folder(stage1, corpus, second):
    data, said = stage1("--aishell", corpus, "--aishell2", second)
    wave = second / "iOS/dev/wav/D0012/ID0012W0030.wav"
    table = data / "test_aishell2_dev"
    assert read_table(table / "wav.scp", []) == {"ID0012W0030": str(wave)}
    assert read_table(table / "text", []) == {"ID0012W0030": "你好 B站"}
    assert read_table(table / "utt2spk", []) == {"ID0012W0030": "D0012"}
    assert "trans.txt: ID0012W0031: no recording of that name" in said.err


def test_labels_without_audio_and_audio_without_label_are_counted_and_named(
    stage1, corpus
):
    write_wave(corpus / "wav/train/S0002/BAC009S0002W0999.wav")
    with open(corpus / "transcript/aishell_transcript_v0.8.txt", "a") as labels:
        labels.write("BAC009S0003W0001 没有 录音\nBAC009S0003W0002 也 没有\n")
    data, said = stage1("--aishell", corpus)
    assert len(read_table(data / "train/text", [])) == 1
    assert "AISHELL-1: 1 left out: audio without label" in said.out
    assert "AISHELL-1: 2 left out: label without audio" in said.out
    problems = (data / "problems.tsv").read_text(encoding="utf-8")
    named = [line.split("\t")[1] for line in problems.splitlines()]
    assert named == ["BAC009S0003W0001", "BAC009S0003W0002", "BAC009S0002W0999"]


def test_speakers_that_are_still_packed_are_an_error_with_the_command(stage1, corpus):
    with tarfile.open(corpus / "wav/S0002.tar.gz", "w:gz"):
        pass
    stage1("--aishell", corpus)  # unpacked already
    shutil.rmtree(corpus / "wav/train/S0002")
    with pytest.raises(ValueError, match=r"1 speakers .*S0002.tar.gz.*tar -xzf"):
        stage1("--aishell", corpus)


def test_a_set_without_audio_is_an_error(stage1, corpus):
    shutil.rmtree(corpus / "wav/dev")
    with pytest.raises(ValueError, match="dev: no audio with a transcript"):
        stage1("--aishell", corpus)


@pytest.mark.parametrize(
    "option, said",
    [
        ("--aishell", "holds no data_aishell"),
        ("--aishell2", "no wav.scp and trans.txt"),
    ],
)
def test_a_wrong_folder_is_an_error(stage1, corpus, tmp_path, option, said):
    with pytest.raises(ValueError, match=said):
        stage1("--aishell", corpus, option, tmp_path / "nowhere")
