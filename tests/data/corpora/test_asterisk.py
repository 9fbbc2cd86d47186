"""Asterisk's prompts out of Debian's packages: pairs, sets, what is left out."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet_smoe.data.corpora import asterisk_audio
from espnet_smoe.data.corpora.asterisk import misfits, prepare_asterisk, split_of
from espnet_smoe.data.corpora.debian_package import read_package
from espnet_smoe.data.data_dir import read_table
from tests.data.corpora import debs

NUMBERS = "zero one two three four five six seven eight nine".split()
NUMEROS = "cero uno dos tres cuatro cinco seis siete ocho nueve".split()
LONG = "this is a sentence of many words that tells how fast the voice is"
EN = {f"digits/{i}": word for i, word in enumerate(NUMBERS)}
EN |= {f"vm-{i}": f"Press {word}." for i, word in enumerate(NUMBERS)}
EN |= {"long-a": LONG, "long-b": LONG, "beep": "[a beep]", "only-en": "Hello."}
ES = {f"digits/{i}": word for i, word in enumerate(NUMEROS)}
ES |= {f"vm-{i}": f"Marque {word}." for i, word in enumerate(NUMEROS)}
ES |= {"long-a": LONG.replace("this", "esta"), "beep": "(tono simple)"}
ES |= {"letters/at": "arroba [@]", "vm-long": "Hola.", "Only-ES": "Adiós."}
TEXT_SECONDS = {"long-a": 5.0, "long-b": 5.0, "vm-long": 5.0}
SPLITS = ("train", "dev", "test")


@pytest.fixture(scope="module")
def packages(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("debs")
    debs.write_prompts(folder, "en", EN, TEXT_SECONDS, "\ufeff; a comment: of it\n\n")
    twice = "twice: uno\ntwice: dos\nunheard: nada\n"
    debs.write_prompts(folder, "es", ES, TEXT_SECONDS, twice)
    debs.write_sums(folder, folder / "sums")
    return folder


@pytest.fixture(scope="module")
def corpus(packages, tmp_path_factory) -> tuple[Path, str]:
    """Data directories, and what was reported."""
    out = tmp_path_factory.mktemp("data")
    return out, prepare(packages, out, digits=3)


def prepare(packages: Path, out: Path, **more) -> str:
    more = {"languages": ("en", "es"), "sums": packages / "sums", "nj": 1} | more
    return prepare_asterisk(packages, out, **more)


def table(out: Path, name: str) -> dict[str, str]:
    """A table of all sets."""
    return {u: v for s in SPLITS for u, v in read_table(out / s / name, []).items()}


def test_speech_has_the_english_of_its_prompt(corpus):
    out, _ = corpus
    text, english = table(out, "text"), table(out, "text_st")
    assert text["vm-3-es-gsm"] == text["vm-3-es-g722"] == "Marque tres."
    assert english["vm-3-es-gsm"] == "Press three."
    assert english["vm-3-en-gsm"] == english["only-es-es-gsm"] == "<na>"


def test_language_and_codec_are_told(corpus):
    out, _ = corpus
    assert table(out, "utt2lang")["vm-3-es-gsm"] == "es"
    assert table(out, "utt2condition")["vm-3-es-g722"] == "es-g722"
    bandwidth = table(out, "utt2bandwidth")
    assert {b for utt, b in bandwidth.items() if utt.endswith("gsm")} == {"nb"}
    assert {b for utt, b in bandwidth.items() if utt.endswith("g722")} == {"wb"}


def test_both_codecs_are_heard_at_their_rates(corpus):
    out, _ = corpus
    waves = table(out, "wav.scp")
    narrow, rate = soundfile.read(waves["vm-3-es-gsm"])
    assert (len(narrow), rate) == (8000, 8000)
    wide, rate = soundfile.read(waves["vm-3-es-g722"])
    assert (len(wide), rate) == (16000, 16000)
    said = debs.talk(debs.SECONDS, rate=16000) * 16000 / 32768
    assert np.corrcoef(wide[22:], said[:-22])[0, 1] > 0.9  # the delay of the codec


def test_no_prompt_and_no_text_is_in_two_sets(corpus):
    out, _ = corpus
    sets = [set(read_table(out / name / "text", [])) for name in SPLITS]
    assert all(sets)
    prompts = [{utt.rsplit("-", 2)[0] for utt in ids} for ids in sets]
    assert sum(map(len, prompts)) == len(set.union(*prompts))
    (together,) = (n for n, found in zip(SPLITS, prompts) if "long-a" in found)
    assert "long-b" in prompts[SPLITS.index(together)]


def test_what_is_left_out_is_counted_and_named(corpus):
    out, report = corpus
    rows = [x.split("\t") for x in (out / "problems.tsv").read_text().splitlines()]
    reasons = {(row[1], row[4]) for row in rows}
    assert reasons >= {
        ("beep", "no speech"),
        ("letters/at", "note in the text"),
        ("twice", "doubled text"),
        ("unheard", "text without recording"),
        ("vm-long", "text of another length"),
    }
    assert len({row[:2] for row in map(tuple, rows)}) == len(rows)  # each once
    assert not {"beep-es-gsm", "vm-long-es-gsm"} & set(table(out, "text"))
    assert "text of another length" in report and "no speech" in report


def test_strings_of_digits_come_from_digits_of_training(corpus):
    out, _ = corpus
    text, english = table(out, "text"), table(out, "text_st")
    strings = [utt for utt in text if utt.startswith("string")]
    assert len(strings) == 3 * 2 * 2
    assert set(strings) <= set(read_table(out / "train/text", []))
    trained = {v for u, v in text.items() if re.match(r"digits_\d-es-gsm", u)}
    trained &= set(read_table(out / "train/text", []).values())
    spanish = [utt for utt in strings if utt.endswith("es-gsm")]
    for utt in spanish:
        words = text[utt].split()
        assert 3 <= len(words) <= 8 and set(words) <= trained
        assert english[utt] == " ".join(NUMBERS[NUMEROS.index(w)] for w in words)
        seconds = soundfile.info(table(out, "wav.scp")[utt]).duration
        assert seconds == pytest.approx(1.1 * len(words) - 0.1, abs=0.01)


def test_without_them_there_are_none(packages, tmp_path):
    prepare(packages, tmp_path, codecs=("gsm",))
    assert not [utt for utt in table(tmp_path, "text") if utt.startswith("string")]


def test_one_codec_needs_neither_the_other_nor_ffmpeg(packages, tmp_path, monkeypatch):
    def no_ffmpeg():
        raise ImportError("no imageio-ffmpeg")

    monkeypatch.setattr(asterisk_audio, "ffmpeg_path", no_ffmpeg)
    some = tmp_path / "debs"
    shutil.copytree(packages, some, ignore=shutil.ignore_patterns("*g722*"))
    prepare(some, tmp_path / "data", codecs=("gsm",))
    assert set(table(tmp_path / "data", "utt2bandwidth").values()) == {"nb"}
    with pytest.raises(ValueError, match=r"g722.*FFmpeg: pip install .*--codecs gsm"):
        prepare(packages, tmp_path / "more")


def test_english_is_the_translation_where_it_is_not_spoken(packages, tmp_path):
    prepare(packages, tmp_path, languages=("es",), codecs=("gsm",))
    assert set(table(tmp_path, "utt2lang").values()) == {"es"}
    assert table(tmp_path, "text_st")["vm-3-es-gsm"] == "Press three."


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def newer(path: Path) -> None:
    path.rename(path.with_name(path.name.replace("1.6.1-1", "1.7.0-1")))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (cut, r"es-gsm_1.6.1-1_all.deb is cut off or not the file of .*Get it again: "),
        (newer, r"es-gsm_1.7.0-1_all.deb is another version than .*apt-get download "),
        (Path.unlink, r"there is no .*es-gsm_1.6.1-1_all.deb. Get it: .*=1.6.1-1\)"),
    ],
)
def test_a_bad_package_is_named_with_the_cure(packages, tmp_path, spoil, message):
    folder = tmp_path / "debs"
    shutil.copytree(packages, folder)
    spoil(debs.package(folder, "es", "gsm"))
    with pytest.raises(ValueError, match=message) as error:
        prepare(folder, tmp_path / "data")
    assert "\n" not in str(error.value)


def test_a_package_without_a_sum_is_refused(packages, tmp_path):
    (tmp_path / "sums").write_text("")
    with pytest.raises(ValueError, match=r"has no sum of asterisk-core-sounds-en_"):
        prepare(packages, tmp_path / "data", sums=tmp_path / "sums")


@pytest.mark.parametrize("kind", ["xz", "gz", "bz2", ""])
def test_a_package_is_read_without_dpkg(tmp_path, kind):
    files = {"usr/odd": b"odd", "usr/even": b"even"}
    path = debs.write_deb(tmp_path / "a.deb", files, kind)
    assert dict(read_package(path)) == files


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\3\4 and more", "is no Debian package. Download it again"),
        (b"!<arch>\n", "holds no whole data.tar: it is cut off"),
        (None, "holds no whole data.tar: it is cut off"),
    ],
)
def test_what_is_no_package_is_named(tmp_path, content, message):
    path = tmp_path / "a.deb"
    debs.write_deb(path, {"usr/odd": bytes(range(256)) * 99})
    path.write_bytes(path.read_bytes()[:-40] if content is None else content)
    with pytest.raises(ValueError, match=message):
        list(read_package(path))


@pytest.mark.parametrize("kind", ["xz", "gz", "bz2"])
def test_a_package_with_a_damaged_byte_is_named(tmp_path, kind):
    noise = np.random.default_rng(1).bytes(50_000)
    path = debs.write_deb(tmp_path / "a.deb", {"usr/odd": noise}, kind)
    data = bytearray(path.read_bytes())
    data[-20_000] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"a.deb: its data.tar cannot be read .*Down"):
        list(read_package(path))


def test_no_file_of_a_package_is_written_outside(tmp_path):
    files = {"usr/share/asterisk/sounds/en/../../../../../a.gsm": b"odd"}
    path = debs.write_deb(tmp_path / "a.deb", files)
    with pytest.raises(ValueError, match=r"a.gsm would be written outside"):
        list(read_package(path))


def test_a_stopped_run_goes_on_and_keeps_what_is_decoded(packages, tmp_path):
    first = prepare(packages, tmp_path, codecs=("gsm",))
    waves = sorted((tmp_path / "wav").rglob("*.wav"))
    made = [wave.stat().st_mtime_ns for wave in waves]
    broken = tmp_path / "wav" / debs.package(tmp_path, "es", "gsm").stem
    shutil.rmtree(broken)
    (tmp_path / "wav" / f"{broken.name}.part").mkdir()
    assert prepare(packages, tmp_path, codecs=("gsm",)) == first
    again = sorted((tmp_path / "wav").rglob("*.wav"))
    assert again == waves
    kept = [w.stat().st_mtime_ns == m for w, m in zip(waves, made)]
    assert kept == ["-en-gsm" in str(wave) for wave in waves]


def test_a_text_fits_its_recording_by_the_pace_of_its_voice():
    texts = {f"l{i}": "a" * 50 for i in range(5)} | {"short": "aa", "wrong": "aa"}
    seconds = {f"l{i}": 4.5 for i in range(5)} | {"short": 0.7, "wrong": 1.5}
    assert list(misfits(texts, seconds)) == ["wrong"]
    assert list(misfits(texts, seconds | {"l4": 1.0})) == ["l4", "wrong"]
    assert not misfits({"a": "a"}, {"a": 9.0})  # nobody knows the pace


def test_another_language_moves_no_prompt_to_another_set():
    texts = {"en": EN, "es": ES}
    both, one = split_of(texts), split_of({"en": EN})
    assert {name: both[name] for name in EN} == one
