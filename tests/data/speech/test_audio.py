"""Audio by reference: files, members of archives, and parts of either."""

import gc
import re
import resource
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from espnet_smoe.data import checked_audio, prepare
from espnet_smoe.data.data_dir import read_table, write_table
from espnet_smoe.data.speech import archive, audio
from espnet_smoe.data.speech.audio import read_audio

RATE = 16000


def noise(seconds=2.0, rate=RATE, seed=0):
    """A wave in which every part differs; exact in 16 bit."""
    rng = np.random.default_rng(seed)
    return rng.integers(-9000, 9000, int(seconds * rate)) / np.float32(32768)


def stored(tmp_path, suffix, wave, rate=RATE):
    path = tmp_path / f"talk{suffix}"
    if suffix == ".pcm":
        path.write_bytes((wave * 32768).astype("<i2").tobytes())
    else:
        soundfile.write(path, wave, rate, subtype="PCM_16")
    return path


def zipped(path, packing=zipfile.ZIP_DEFLATED, name="S1/talk"):
    """Put a file into an archive; the reference to it."""
    file = path.parent / "TS_01.zip"
    with zipfile.ZipFile(file, "w", packing) as out:
        out.write(path, name + path.suffix)
    return f"{file}!{name}{path.suffix}"


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".pcm"])
@pytest.mark.parametrize("packing", [None, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_part_of_a_recording_is_its_samples_wherever_it_lies(tmp_path, suffix, packing):
    wave = noise()
    reference = stored(tmp_path, suffix, wave)
    if packing is not None:
        reference = zipped(reference, packing)
    whole, rate = read_audio(reference)
    assert rate == RATE
    np.testing.assert_array_equal(whole, wave)
    part, _ = read_audio(audio.segment(str(reference), 0.25, 1.5))
    np.testing.assert_array_equal(part, wave[4000:24000])


def test_end_beyond_the_recording_is_its_end(tmp_path):
    wave = noise()
    path = stored(tmp_path, ".wav", wave)
    np.testing.assert_array_equal(read_audio(f"{path}#1.9-9")[0], wave[30400:])


@pytest.mark.parametrize("times", ["2.0-3", "1.5-1.5", "1.5-0.5"])
def test_part_that_is_none_names_the_reference_and_the_length(tmp_path, times):
    reference = f"{stored(tmp_path, '.wav', noise())}#{times}"
    with pytest.raises(ValueError, match="lasts 2.000 s") as caught:
        read_audio(reference)
    assert reference in str(caught.value)


@given(
    st.text(st.characters(exclude_categories=("Cs",)), min_size=1),
    st.integers(0, 10**7),
    st.integers(0, 10**7),
)
def test_reference_to_a_part_comes_apart_as_it_was_put_together(file, start, end):
    reference = audio.segment(file, start / 1000, end / 1000)
    assert audio.split_segment(reference) == (file, start / 1000, end / 1000)


def test_parts_of_a_long_recording_are_sought_not_read_from_the_start(
    tmp_path, monkeypatch
):
    asked = []
    real = soundfile.SoundFile.read

    def read(file, frames=-1, **kwargs):
        asked.append((file.tell(), frames))
        return real(file, frames, **kwargs)

    monkeypatch.setattr(soundfile.SoundFile, "read", read)
    path = stored(tmp_path, ".flac", noise(20))
    read_audio(f"{path}#18.0-18.5")
    assert asked[0][0] == 18 * RATE
    assert sum(frames for _, frames in asked) == RATE // 2


def test_parts_of_a_zipped_recording_unpack_it_once(tmp_path, monkeypatch):
    unpacked = []
    real = audio.open_member
    monkeypatch.setattr(
        audio, "open_member", lambda *names: (unpacked.append(names), real(*names))[1]
    )
    wave = noise(3)
    reference = zipped(stored(tmp_path, ".wav", wave))
    for start in (2, 0, 1):
        part, _ = read_audio(f"{reference}#{start}-{start + 1}")
        np.testing.assert_array_equal(part, wave[start * RATE :][:RATE])
    assert len(unpacked) == 1


def test_member_too_large_for_memory_is_read_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "LARGEST_IN_MEMORY", 1000)
    wave = noise()
    reference = zipped(stored(tmp_path, ".wav", wave))
    np.testing.assert_array_equal(read_audio(f"{reference}#1-2")[0], wave[RATE:])


def test_archive_that_changed_is_read_anew(tmp_path):
    reference = zipped(stored(tmp_path, ".wav", noise()))
    read_audio(reference)
    other = noise(1.5, seed=1)
    assert zipped(stored(tmp_path, ".wav", other)) == reference
    np.testing.assert_array_equal(read_audio(reference)[0], other)


def test_member_names_of_korean_windows_are_read_as_hangul(tmp_path):
    wave = noise()
    reference = zipped(stored(tmp_path, ".wav", wave), name="NAME")
    file = Path(reference.partition("!")[0])
    file.write_bytes(file.read_bytes().replace(b"NAME", "회의".encode("cp949")))
    assert [*archive.members(file, tmp_path)] == ["회의.wav"]
    np.testing.assert_array_equal(read_audio(f"{file}!회의.wav")[0], wave)


def test_process_opens_archives_of_its_own(tmp_path, monkeypatch):
    """A file that a fork inherits shares its position with the parent."""
    reference = zipped(stored(tmp_path, ".wav", noise()))
    opened = []
    real = archive._Archive
    monkeypatch.setattr(
        archive, "_Archive", lambda *given: (opened.append(given), real(*given))[1]
    )
    for process in (1, 1, 2):
        monkeypatch.setattr(archive.os, "getpid", lambda process=process: process)
        archive.read_bytes(reference)
    assert len(opened) == 2


def half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def spoilt(path):
    raw = bytearray(path.read_bytes())
    raw[1000:1100] = bytes(100)
    path.write_bytes(raw)


def headless(path):
    path.write_bytes(path.read_bytes()[500:])


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (headless, "TS_01.zip!S1/talk.wav is damaged .*Download .*TS_01.zip again"),
        (half, "TS_01.zip is not a whole zip file .*Download it again"),
        (spoilt, "TS_01.zip!S1/talk.wav is damaged .*Download .*TS_01.zip again"),
        (Path.unlink, "TS_01.zip does not exist"),
    ],
)
def test_bad_archive_is_named_with_its_cure(tmp_path, spoil, said):
    reference = zipped(stored(tmp_path, ".wav", noise()), zipfile.ZIP_STORED)
    spoil(tmp_path / "TS_01.zip")
    with pytest.raises(ValueError, match=said):
        read_audio(reference)


def test_member_that_is_absent_or_no_audio_is_named(tmp_path):
    reference = zipped(stored(tmp_path, ".wav", noise()))
    with pytest.raises(ValueError, match="TS_01.zip holds no S2/a.wav"):
        read_audio(reference.replace("S1/talk", "S2/a"))
    (tmp_path / "text.wav").write_text("this is no audio")
    reference = zipped(tmp_path / "text.wav")
    with pytest.raises(ValueError, match=re.escape(reference)):
        read_audio(reference)


def test_only_a_whole_plain_file_fits_as_it_is(tmp_path):
    path = stored(tmp_path, ".wav", noise())
    assert audio.fits(path)
    assert not audio.fits(f"{path}#0-1")
    assert not audio.fits(zipped(path))


def test_preparing_reads_archives_and_parts_and_knows_them_again(tmp_path, monkeypatch):
    wave = noise()
    path = stored(tmp_path, ".flac", wave)
    wavs = {"a": zipped(path), "b": f"{path}#0.500-1.000"}
    source = tmp_path / "data"
    rows = {"wav.scp": wavs, "text": dict.fromkeys(wavs, "네")}
    rows |= {"utt2bandwidth": dict.fromkeys(wavs, "wb")}
    for name, table in rows.items():
        write_table(source / name, table)
    out = tmp_path / "dump"
    options = ["--in", str(source), "--out", str(out), "--nj", "1"]
    prepare.main(options)
    assert read_table(out / "utt2num_samples", []) == {"a": "32000", "b": "8000"}
    made, _ = soundfile.read(read_table(out / "wav.scp", [])["b"], dtype="float32")
    np.testing.assert_array_equal(made, wave[8000:16000])

    read = []
    real = checked_audio.read_audio
    monkeypatch.setattr(
        checked_audio, "read_audio", lambda name: (read.append(name), real(name))[1]
    )
    prepare.main(options)
    assert read == []
    zipped(stored(tmp_path, ".wav", noise(1)))
    zipped(path)
    prepare.main(options)
    assert read == [wavs["a"]]


def test_a_wav_that_the_disk_does_not_take_is_an_error_of_the_disk(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            audio.write_wav(tmp_path / "a.wav", np.zeros(16000, np.float32))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not (tmp_path / "a.wav").exists()


def test_names_of_files_do_not_stay_in_memory(tmp_path):
    """Python 3.12 keeps the parts of a `pathlib.Path` for ever."""
    audio.write_wav(tmp_path / "a.wav", np.full(160, 0.1, np.float32))

    def read_and_write(first):
        for number in range(first, first + 200):
            path = f"{tmp_path}/{'name' * 50}-{number}.wav"
            audio.write_wav(path, read_audio(tmp_path / "a.wav")[0])
            assert audio.fits(path) and len(read_audio(path)[0]) == 160

    read_and_write(0)
    gc.collect()
    tracemalloc.start()
    read_and_write(200)
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size < 20_000  # the names are 60 kB


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_of_members_of_one_name_the_last_is_read_and_listed_once(tmp_path):
    path = tmp_path / "TS_1.zip"
    with zipfile.ZipFile(path, "w") as file:
        for name, content in (("b", "1"), ("a", "2"), ("d/", ""), ("b", "3")):
            file.writestr(name, content)
    assert [*archive.members(path, tmp_path)] == ["b", "a"]
    assert archive.read_bytes(f"{path}!b") == b"3"
