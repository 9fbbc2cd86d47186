"""The real words of mini_cmn: their sets, and words of other speakers."""

import io
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from tests.egs2.mini_cmn import import_local, read

audio_cmn, lexicon, voices = import_local("audio_cmn", "lexicon", "voices")
WORDS = ["你好", "学校", "银行", "长", "重要", "音乐", "快乐", "觉得"]


def mp3(pitch: float, seconds: float = 0.8, rate: int = 22050) -> bytes:
    """A tone as in the real set: mono mp3 at 22,050 Hz."""
    time = np.arange(int(seconds * rate)) / rate
    buffer = io.BytesIO()
    sf.write(buffer, 0.3 * np.sin(2 * np.pi * pitch * time), rate, format="MP3")
    return buffer.getvalue()


def write_tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(f"some folder/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def word_files() -> dict[str, bytes]:
    return {f"cmn-{word}.mp3": mp3(200 + 10 * i) for i, word in enumerate(WORDS)}


def prepare(tar: Path, out: Path, *more: str) -> None:
    counts = ["--num-dev", "2", "--num-test", "3"]
    audio_cmn.main(["--tar", str(tar), "--out", str(out), *counts, *more])


def read_words(out: Path) -> dict[str, dict[str, str]]:
    names = ("words_train", "words_dev", "words_test")
    return {name: read(out / name / "text") for name in names}


def test_every_real_word_is_in_one_set_under_an_ascii_id(tmp_path, word_files):
    prepare(write_tar(tmp_path / "a.tar", word_files), tmp_path / "out")
    sets = read_words(tmp_path / "out")
    assert [len(words) for words in sets.values()] == [3, 2, 3]
    texts = {utt: word for words in sets.values() for utt, word in words.items()}
    assert sorted(texts.values()) == sorted(WORDS)
    assert all(utt.isascii() for utt in texts) and len(texts) == len(WORDS)
    for name, words in sets.items():
        wavs = read(tmp_path / "out" / name / "wav.scp")
        speakers = read(tmp_path / "out" / name / "utt2spk")
        assert list(wavs) == list(words) == list(speakers) == sorted(words)


def test_real_words_are_decoded_to_16_khz_and_not_trimmed(tmp_path, word_files):
    prepare(write_tar(tmp_path / "a.tar", word_files), tmp_path / "out")
    path = read(tmp_path / "out/words_train/wav.scp").popitem()[1]
    wave, rate = sf.read(path)
    assert rate == 16000 and wave.ndim == 1
    assert 0.8 <= len(wave) / rate < 0.9  # mp3 adds up to two frames
    assert 0.25 < np.abs(wave).max() < 0.4


def test_the_split_follows_from_seed_and_words_alone(tmp_path, word_files):
    tar = write_tar(tmp_path / "a.tar", word_files)
    backwards = dict(reversed(word_files.items()))
    prepare(tar, tmp_path / "one")
    prepare(write_tar(tmp_path / "b.tar", backwards), tmp_path / "two")
    assert read_words(tmp_path / "one") == read_words(tmp_path / "two")
    splits = []
    for seed in range(5):
        prepare(tar, tmp_path / "seeds", "--seed", str(seed))
        splits.append(sorted(read_words(tmp_path / "seeds")["words_test"]))
    assert len({tuple(split) for split in splits}) > 1


def test_two_recordings_of_a_word_stay_in_one_set(tmp_path, word_files):
    twice = word_files | {
        f"more/cmn-{word}.mp3": mp3(500 + i) for i, word in enumerate(WORDS)
    }
    prepare(write_tar(tmp_path / "a.tar", twice), tmp_path / "out")
    for words in read_words(tmp_path / "out").values():
        assert set(Counter(words.values()).values()) == {2}


def test_bad_files_are_named_counted_and_left_out(tmp_path, word_files, capsys):
    bad = {
        "cmn-坏.mp3": b"this is no sound",
        "cmn-静.mp3": b"",
        "cmn-好 (1).mp3": mp3(300),
        "cmn-T恤.mp3": mp3(300),
        "LICENSE": b"CC BY-SA",
    }
    prepare(write_tar(tmp_path / "a.tar", word_files | bad), tmp_path / "out")
    said = capsys.readouterr()
    assert "5 files left out" in said.out
    for name in bad:
        assert f"some folder/{name}: " in said.err
    assert "坏.mp3: it is no audio" in said.err
    assert "T恤.mp3: its name is not" in said.err
    texts = [w for words in read_words(tmp_path / "out").values() for w in words]
    assert len(texts) == len(WORDS)


def test_a_silent_recording_is_left_out(tmp_path, word_files, capsys):
    buffer = io.BytesIO()
    sf.write(buffer, np.zeros(8000), 16000, format="WAV")  # named mp3, read as it is
    files = word_files | {"cmn-静.mp3": buffer.getvalue()}
    prepare(write_tar(tmp_path / "a.tar", files), tmp_path / "out")
    assert "静.mp3: it is silent; left out" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content, cause",
    [
        (None, "does not exist. Correct --tar"),
        (b"no tar" * 200, "is not a whole tar file"),
    ],
)
def test_a_bad_tar_is_refused_by_name(tmp_path, content, cause):
    tar = tmp_path / "words.tar"
    if content:
        tar.write_bytes(content)
    with pytest.raises(ValueError, match=f"words.tar {cause}"):
        prepare(tar, tmp_path / "out")


def test_a_tar_of_something_else_is_refused(tmp_path):
    tar = write_tar(tmp_path / "words.tar", {"eng-hello.mp3": mp3(200)})
    with pytest.raises(ValueError, match="holds no cmn-WORD.mp3"):
        prepare(tar, tmp_path / "out")


def test_a_cut_tar_is_refused(tmp_path, word_files):
    tar = write_tar(tmp_path / "words.tar", word_files)
    tar.write_bytes(tar.read_bytes()[:9000])
    with pytest.raises(ValueError, match="not a whole tar file"):
        prepare(tar, tmp_path / "out")


def test_too_few_words_for_the_split_name_the_options(tmp_path, word_files):
    tar = write_tar(tmp_path / "words.tar", word_files)
    with pytest.raises(ValueError, match="8 different words.* lower them"):
        prepare(tar, tmp_path / "out", "--num-test", "6")


@pytest.fixture
def voices_table(tmp_path, word_files):
    """Six speakers say two words; beside it the data of the one of `WORDS`."""
    prepare(write_tar(tmp_path / "words.tar", word_files), tmp_path / "data")
    held_back, trained = (
        next(iter(read_words(tmp_path / "data")[name].values()))
        for name in ("words_test", "words_train")
    )
    lines = ["id\tspeaker\tset\tfile\ttranscript"]
    for speaker in range(6):
        for number, word in enumerate((held_back, trained, "")):
            file = f"s{speaker}/{number}.flac"
            lines.append(f"u{speaker}{number}\ts{speaker}\tx\t{file}\t{word}")
    table = tmp_path / "utterances.tsv"
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return table


def add_voices(table: Path, *more: str) -> Path:
    data = table.parent / "data"
    counts = ["--num-dev", "1", "--num-test", "2"]
    voices.main(["--table", str(table), "--data", str(data), *counts, *more])
    return data


def test_no_speaker_is_in_two_sets(voices_table):
    data = add_voices(voices_table)
    speakers = [
        set(read(data / f"voices_{name}" / "utt2spk").values())
        for name in ("train", "dev", "test")
    ]
    assert [len(s) for s in speakers] == [3, 1, 2]
    assert len(set.union(*speakers)) == 6
    assert len(read(data / "voices_test/text")) == 4  # those without a word are none


def test_other_speakers_say_no_word_that_is_tested(voices_table):
    data = add_voices(voices_table)
    words = read_words(data)
    joined = read(data / "real_train/text")
    assert set(joined.values()) == set(words["words_train"].values())
    assert len(joined) == len(words["words_train"]) + 3
    for name in ("wav.scp", "utt2spk"):
        assert list(read(data / "real_train" / name)) == list(joined) == sorted(joined)
    assert len(read(data / "real_dev/text")) == len(words["words_dev"]) + 1


@pytest.mark.parametrize(
    "spoil, cause",
    [
        (lambda text: text.replace("speaker", "who", 1), "has no column speaker"),
        (lambda text: text.partition("\n")[0], "no line has a transcript"),
    ],
)
def test_a_table_that_is_none_of_utterances_is_refused(voices_table, spoil, cause):
    voices_table.write_text(spoil(voices_table.read_text()))
    with pytest.raises(ValueError, match=f"utterances.tsv.* {cause}"):
        add_voices(voices_table)


def test_other_speakers_come_after_the_words_of_the_one(voices_table):
    (voices_table.parent / "data/words_dev/utt2spk").unlink()
    with pytest.raises(ValueError, match="utt2spk does not exist; run local/audio_cmn"):
        add_voices(voices_table)
    with pytest.raises(ValueError, match="--num-test 6: .* fewer than the 6 speakers"):
        add_voices(voices_table, "--num-test", "6")
    voices_table.unlink()
    with pytest.raises(ValueError, match="utterances.tsv does not exist"):
        add_voices(voices_table)
