"""A recording is what its content is, whole, whatever its name and its header say."""

import io
import struct
import subprocess
import tracemalloc

import numpy as np
import pytest
import soundfile

from espnet_smoe.data.speech import container
from espnet_smoe.data.speech.audio import fits, read_audio
from espnet_smoe.data.speech.codec import ffmpeg_path
from espnet_smoe.data.speech.container import forget_converted, open_sound
from espnet_smoe.data.speech.ffmpeg import converting_at_most

RATE = 16000
SAMPLES = np.random.default_rng(0).integers(-9000, 9000, 40000).astype(np.int16)
WAVE = SAMPLES / np.float32(32768)


def stored(**options):
    file = io.BytesIO()
    soundfile.write(file, SAMPLES, RATE, **options)
    return bytearray(file.getvalue())


def wav(**fields):
    """A WAV, with other numbers at some offsets."""
    data = stored(format="WAV")
    for offset, value in fields.items():
        struct.pack_into("<I", data, int(offset[1:]), value)
    return data


def flac_of_unknown_length():
    data = stored(format="FLAC")
    data[21] &= 0xF0  # 36 bits: samples in all
    data[22:26] = bytes(4)
    return data


def rf64_of_unknown_length():
    data = stored(format="RF64")
    assert data[12:16] == b"ds64"
    data[20:44] = bytes(24)
    return data


def w64_of_unknown_length():
    data = stored(format="W64")
    at = data.find(b"data\xf3\xac\xd3\x11")
    data[16:24] = b"\xff" * 8
    data[at + 16 : at + 24] = b"\xff" * 7 + b"\x7f"
    return data


UNKNOWN = {
    "flac": flac_of_unknown_length,
    "rf64": rf64_of_unknown_length,
    "w64": w64_of_unknown_length,
    "data 0": lambda: wav(_40=0),
    "all 0": lambda: wav(_4=0, _40=0),
    "ffmpeg": lambda: wav(_4=0xFFFFFFFF, _40=0xFFFFFFFF),
    "sox": lambda: wav(_4=0x7FFFF024, _40=0x7FFFF000),
    "riff 0": lambda: wav(_4=0),
}


@pytest.mark.parametrize("writer", UNKNOWN)
def test_a_length_that_the_writer_did_not_know_loses_nothing(tmp_path, writer):
    path = tmp_path / "a.wav"
    path.write_bytes(UNKNOWN[writer]())
    np.testing.assert_array_equal(read_audio(path)[0], WAVE)
    np.testing.assert_array_equal(read_audio(f"{path}#1-2")[0], WAVE[RATE : 2 * RATE])
    with open_sound(io.BytesIO(path.read_bytes()), "pipe") as sound:
        np.testing.assert_array_equal(sound.read()[:, 0], WAVE)


def test_a_file_that_espnet_would_misread_is_converted(tmp_path):
    path = tmp_path / "a.wav"
    for writer in ("flac", "data 0"):
        path.write_bytes(UNKNOWN[writer]())
        assert not fits(path, len(WAVE))
    path.write_bytes(stored(format="FLAC"))
    assert fits(path, len(WAVE))


def test_an_empty_wav_with_tags_is_empty(tmp_path):
    data = wav(_40=0)[:44] + b"LIST" + struct.pack("<I", 4) + b"INFO"
    with open_sound(io.BytesIO(data), "a") as sound:
        assert len(sound.read()) == 0


@pytest.mark.parametrize("subtype", ["GSM610", "MS_ADPCM", "IMA_ADPCM", "ULAW"])
def test_packed_wav_is_read_as_soundfile_reads_it(tmp_path, subtype):
    path = tmp_path / "a.wav"
    path.write_bytes(stored(format="WAV", subtype=subtype))
    wanted = soundfile.read(path, dtype="float32")[0]
    np.testing.assert_array_equal(read_audio(path)[0], wanted)
    np.testing.assert_array_equal(read_audio(f"{path}#0.5-1")[0], wanted[8000:16000])


CUT = [{"format": f} for f in ("WAV", "RF64", "W64", "AIFF", "AU", "NIST", "FLAC")]
CUT += [{"format": "OGG"}, {"format": "WAV", "subtype": "GSM610"}]


@pytest.mark.parametrize("options", CUT, ids=lambda options: "-".join(options.values()))
def test_a_file_cut_in_half_is_named_and_what_is_left_is_heard(
    tmp_path, options, caplog
):
    data = stored(**options)
    path = tmp_path / "half.wav"
    path.write_bytes(data[: len(data) * 3 // 5])
    with pytest.raises(ValueError, match=r"half.wav is cut off or damaged: .*again"):
        read_audio(path)
    wave, _ = read_audio(path, strict=False)
    assert 0.2 < len(wave) / len(WAVE) < 0.7
    assert "half.wav is cut off" in caplog.text


def test_of_a_block_that_is_cut_off_the_beginning_is_heard(tmp_path):
    path = tmp_path / "half.flac"
    data = stored(format="FLAC")
    path.write_bytes(data[: len(data) // 2])
    with open_sound(str(path), strict=False) as sound:
        (block,) = sound.blocks(len(WAVE))
    assert 0.3 < len(block) / len(WAVE) < 0.5
    np.testing.assert_array_equal(block[:, 0], WAVE[: len(block)])


@pytest.mark.parametrize("known", [True, False])
def test_what_ffmpeg_cannot_decode_is_said_or_refused(tmp_path, monkeypatch, known):
    whole, ffmpeg, path = (tmp_path / name for name in ("a.wav", "ffmpeg", "a.webm"))
    soundfile.write(whole, SAMPLES, RATE)
    ffmpeg.write_text(f"#!/bin/sh\necho '[opus] Decoding error' >&2\ncat {whole}\n")
    ffmpeg.chmod(0o755)
    monkeypatch.setattr(
        "espnet_smoe.data.speech.codec.ffmpeg_path", lambda: str(ffmpeg)
    )
    # else as random bytes, which resemble some rare format
    path.write_bytes(b"\x1a\x45\xdf\xa3" + bytes(99) if known else b"\x9f\xe5" * 99)
    said = "is cut off or damaged" if known else "cannot be read as audio"
    with pytest.raises(ValueError, match=f"a.webm {said}.*Decoding error"):
        read_audio(path)


@pytest.mark.parametrize("kind", ["webm", "mp3"])
def test_a_packed_file_cut_in_half_is_named(tmp_path, kind):
    pytest.importorskip("imageio_ffmpeg")
    path, whole = tmp_path / "half", tmp_path / "whole.wav"
    soundfile.write(whole, SAMPLES, RATE)
    command = [ffmpeg_path(), "-loglevel", "error", "-i", whole, "-f", kind, path]
    subprocess.run(command, check=True)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match="half is cut off"):
        read_audio(path)


def test_a_video_is_its_sound_and_a_silent_one_is_named(tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    whole, video, silent = (tmp_path / n for n in ("a.wav", "a.mp4", "silent.mp4"))
    soundfile.write(whole, SAMPLES, RATE)
    picture = ["-f", "lavfi", "-i", "color=size=32x32:duration=1"]
    for path, sound in ((video, ["-i", whole]), (silent, [])):
        command = [ffmpeg_path(), "-loglevel", "error", *picture, *sound, path]
        subprocess.run(command, check=True)
    assert read_audio(video)[0].any()
    with pytest.raises(ValueError, match="silent.mp4 .*without sound"):
        read_audio(silent)


def test_parts_of_a_converted_file_convert_it_once(tmp_path, monkeypatch):
    pytest.importorskip("imageio_ffmpeg")
    whole, path = tmp_path / "a.wav", tmp_path / "a.m4a"
    soundfile.write(whole, SAMPLES, RATE)
    subprocess.run([ffmpeg_path(), "-loglevel", "error", "-i", whole, path], check=True)
    converted = []
    real = container.convert
    monkeypatch.setattr(
        container, "convert", lambda *given: (converted.append(1), real(*given))[1]
    )
    wave = read_audio(path)[0]
    for start in (1, 0):
        part = read_audio(f"{path}#{start}-{start + 1}")[0]
        np.testing.assert_array_equal(part, wave[start * RATE :][:RATE])
    assert converted == [1]


@pytest.mark.parametrize(
    "content, said",
    [
        (b"", "it is empty"),
        (b"<html><body>404 Not Found</body></html>", "it is an HTML page"),
        (b'{"a": 1}', "it is JSON"),
        ("안녕하세요".encode(), "it is text"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"\x1f\x8b\x08\0\0\0\0\0\0", "a gzip archive"),
        (b"PK\x03\x04" + bytes(40), "a zip archive"),
        (b"%PDF-1.7" + bytes(40), "a PDF document"),
        (bytes(257) + b"ustar" + bytes(300), "a tar archive"),
        (bytes(5000), "FFmpeg"),
    ],
)
@pytest.mark.parametrize("suffix", [".wav", ".mp3", ".pcm"])
def test_what_is_no_audio_is_refused_by_name(tmp_path, content, said, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    if suffix == ".pcm" and not content.strip(b"\0"):
        return  # raw silence
    with pytest.raises(ValueError, match=rf"a\{suffix} cannot be read .*{said}"):
        read_audio(path)


def test_a_playlist_cannot_name_other_files(tmp_path):
    secret = tmp_path / "secret.wav"
    soundfile.write(secret, SAMPLES, RATE)
    for text in (f"ffconcat version 1.0\nfile {secret}\n", f"#EXTM3U\n{secret}\n"):
        path = tmp_path / "list.m4a"
        path.write_text(text)
        with pytest.raises(ValueError, match="it is (text|a playlist)"):
            read_audio(path)


MANIFEST = """<?xml version="1.0" encoding="ISO-8859-1"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"
profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"
mediaPresentationDuration="PT3S"><Period><!-- \xff --><AdaptationSet
mimeType="audio/mp4"><Representation id="1" bandwidth="1" mimeType="audio/mp4">
<BaseURL>file://{}</BaseURL></Representation></AdaptationSet></Period></MPD>"""
LISTS = {"ffconcat": "ffconcat version 1.0\n# \xff\nfile secret.mp4", "DASH": MANIFEST}


@pytest.mark.parametrize("kind", LISTS)
def test_a_list_that_is_no_plain_text_cannot_name_other_files(tmp_path, kind):
    whole, secret = tmp_path / "whole.wav", tmp_path / "secret.mp4"
    soundfile.write(whole, SAMPLES, RATE)
    encode(whole, secret, "-movflags", "frag_keyframe+empty_moov+default_base_moof")
    path = tmp_path / "list"
    path.write_bytes(LISTS[kind].format(secret).encode("latin-1"))
    with pytest.raises(ValueError, match="list cannot be read as audio"):
        read_audio(path, strict=False)


def encode(source, target, *options):
    pytest.importorskip("imageio_ffmpeg")
    command = [ffmpeg_path(), "-loglevel", "error", "-i", source, *options, target]
    subprocess.run(command, check=True)


def test_little_more_is_converted_than_is_wanted(tmp_path):
    whole, path = tmp_path / "whole.wav", tmp_path / "hours.m4a"
    soundfile.write(whole, np.tile(SAMPLES, 4), RATE)
    encode(whole, path)
    with converting_at_most(2.0), open_sound(str(path)) as sound:
        assert len(sound.read()) / RATE == pytest.approx(3.0, abs=0.1)
    forget_converted()
    assert len(read_audio(path)[0]) / RATE == pytest.approx(10.0, abs=0.1)


def test_what_ffmpeg_says_of_each_packet_does_not_fill_the_memory(
    tmp_path, monkeypatch
):
    path = told_by_ffmpeg(tmp_path, monkeypatch, "00:00:01.25", noise=2 * 10**7)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="decodes 2.5 s, its header claims 1.25"):
            read_audio(path)
        assert tracemalloc.get_traced_memory()[1] < 10**7
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("lost", [1, 500, 3000])
def test_an_ogg_file_whose_last_page_is_cut_is_named(tmp_path, lost):
    path = tmp_path / "a.ogg"
    path.write_bytes(stored(format="OGG")[:-lost])
    with pytest.raises(ValueError, match="a.ogg is cut off or damaged"):
        read_audio(path)


SPEEX = [
    ("spx", 8000),
    ("spx", 16000),
    ("matroska", 16000),
    ("flv", 16000),
    ("spx", 32000),
]


@pytest.mark.parametrize("kind, rate", SPEEX)
def test_speex_of_any_rate_lasts_as_long_as_it_did(tmp_path, kind, rate):
    pytest.importorskip("imageio_ffmpeg")
    whole, path = tmp_path / "whole.wav", tmp_path / "packed"
    soundfile.write(whole, SAMPLES, RATE)
    command = [ffmpeg_path(), "-loglevel", "error", "-i", whole, "-c:a", "libspeex"]
    subprocess.run([*command, "-ar", str(rate), "-f", kind, path], check=True)
    wave, found = read_audio(path)
    assert found == rate
    assert len(wave) / rate == pytest.approx(2.5, abs=0.05)


def told_by_ffmpeg(tmp_path, monkeypatch, duration, streams=1, noise=0):
    """A file of 2.5 s of which FFmpeg says something else."""
    whole, ffmpeg, path = (tmp_path / name for name in ("a.wav", "ffmpeg", "a.webm"))
    soundfile.write(whole, SAMPLES, RATE)
    lines = [
        f"[info]   Duration: {duration}, start: 0.0",
        "[info] [x @ 1] partial file",
    ]
    lines += [f"[info]   Stream #0:{n}: Audio: opus" for n in range(streams)]
    lines += ["[info] Stream mapping:", "[info]   Stream #0:0 -> #0:0"]
    said = "\n".join(f"echo '{line}' >&2" for line in lines)
    said += f"\nhead -c {noise} /dev/zero | tr '\\0' x >&2"
    ffmpeg.write_text(f"#!/bin/sh\n{said}\ncat {whole}\n")
    ffmpeg.chmod(0o755)
    module = "espnet_smoe.data.speech.codec"
    monkeypatch.setattr(f"{module}.ffmpeg_path", lambda: str(ffmpeg))
    path.write_bytes(b"\x1a\x45\xdf\xa3" + bytes(99))
    return path


@pytest.mark.parametrize(
    "duration, rest", [("00:00:01.25", "all of it"), ("00:01:02.50", "only the rest")]
)
def test_a_length_that_is_not_the_container_s_is_said(
    tmp_path, monkeypatch, caplog, duration, rest
):
    path = told_by_ffmpeg(tmp_path, monkeypatch, duration)
    with pytest.raises(ValueError, match="a.webm is cut off or .*FFmpeg decodes 2.5 s"):
        read_audio(path)
    np.testing.assert_array_equal(read_audio(path, strict=False)[0], WAVE)
    assert f"{rest} is decoded" in caplog.text


@pytest.mark.parametrize(
    "duration, streams",
    [("00:00:02.45", 1), ("N/A", 1), ("00:00:00.00", 1), ("00:01:02.50", 2)],
)
def test_a_length_that_may_be_the_container_s_is_taken(
    tmp_path, monkeypatch, caplog, duration, streams
):
    path = told_by_ffmpeg(tmp_path, monkeypatch, duration, streams)
    np.testing.assert_array_equal(read_audio(path)[0], WAVE)
    assert not caplog.text
