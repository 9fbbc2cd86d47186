"""Inputs of Kaldi: commands, archives, segments, names of files."""

import re

import numpy as np
import pytest
import soundfile

from espnet_smoe.data.data_dir import read_table, write_table
from tests.data.prepared import GOOD, change, problems_of, run, tone, wav


@pytest.mark.parametrize("command", ["cat {}", "cat < '{}' | cat", "tail -c +1 {} "])
def test_a_command_in_wav_scp_is_run_as_kaldi_does(source, command):
    path = source.parent / "wavs" / "a.wav"
    change(source, "wav.scp", a=command.format(path) + " |")
    made = read_table(run(source) / "wav.scp", [])["a"]
    np.testing.assert_array_equal(soundfile.read(made)[0], soundfile.read(path)[0])


def test_a_command_is_run_again_when_its_file_has_changed(source):
    path = source.parent / "wavs" / "a.wav"
    change(source, "wav.scp", a=f"cat {path} |")
    run(source)
    soundfile.write(path, tone(0.5), 16000)
    assert read_table(run(source) / "utt2num_samples", [])["a"] == "8000"


def test_an_entry_of_a_kaldi_archive_is_read(source):
    first, second = (source.parent / "wavs" / f"{u}.wav" for u in "ab")
    soundfile.write(second, tone(0.5), 16000)
    archive = source.parent / "wavs.ark"
    archive.write_bytes(b"a " + first.read_bytes() + b"b " + second.read_bytes())
    offset = 2 + first.stat().st_size + 2
    change(source, "wav.scp", a=f"{archive}:3", b=f"{archive}:{offset}")
    ((_, utterance, cause, _),) = problems_of(source)
    assert utterance == "a" and "wavs.ark:3 is no WAV" in cause
    change(source, "wav.scp", a=f"{archive}:2")
    samples = read_table(run(source) / "utt2num_samples", [])
    assert (samples["a"], samples["b"]) == ("16000", "8000")


def segmented(source, *lines):
    """One recording of three seconds, each a tone of its own, cut by segments."""
    times = np.arange(48000) / 16000
    wave = 0.3 * np.sin(2 * np.pi * 300 * (1 + np.floor(times)) * times)
    path = wav(source, "talk.wav", wave)
    (source / "wav.scp").write_text(f"talk {path}\n")
    (source / "segments").write_text("".join(f"{line}\n" for line in lines))
    return soundfile.read(path, dtype="float32")[0]


def test_segments_cut_recordings_into_utterances(source):
    wave = segmented(source, "a talk 0 1.0", "b talk 1.0000625 1.5", "c talk 1.75 -1")
    out = run(source)
    spans = {"a": (0, 16000), "b": (16001, 24000), "c": (28000, 48000)}
    for utt, (start, stop) in spans.items():
        made = soundfile.read(read_table(out / "wav.scp", [])[utt], dtype="float32")[0]
        np.testing.assert_array_equal(made, wave[start:stop])
    assert list(read_table(out / "text", [])) == list(GOOD)


def test_a_segment_may_end_a_little_beyond_its_recording(source):
    segmented(source, "a talk 0 1", "b talk 1 2", "c talk 2 3.4")
    assert read_table(run(source) / "utt2num_samples", [])["c"] == "16000"


@pytest.mark.parametrize(
    "line, cause",
    [
        ("a talk 0", "3 fields *Write: utterance recording start end"),
        ("a talk 0 1 1", "5 fields"),
        ("a other 0 1", "recording 'other' is not in wav.scp"),
        ("a talk 2 1", "it ends at 1 s, not behind its start at 2 s"),
        ("a talk 1 1", "not behind its start"),
        ("a talk -1 1", "Give seconds from 0 on"),
        ("a talk x 1", "times x 1"),
        ("a talk 0 nan", "times 0 nan"),
        ("a talk 3.5 4", "is no part of the recording, which lasts 3.000 s"),
        ("a talk 2 4", "ends beyond the recording, which lasts 3.000 s"),
    ],
)
def test_a_segment_that_is_none_is_reported_once_and_can_be_skipped(
    source, line, cause
):
    segmented(source, line, "b talk 1 2", "c talk 2 3")
    (row,) = problems_of(source)
    assert row[1] == "a"
    assert re.search(cause, " ".join(row[2:]))
    out = run(source, "--skip-bad")
    assert list(read_table(out / "wav.scp", [])) == ["b", "c"]


def test_segments_of_what_a_command_prints(source):
    wave = segmented(source, "a talk 0 1", "b talk 1 2", "c talk 2 3")
    path = source.parent / "wavs" / "talk.wav"
    (source / "wav.scp").write_text(f"talk cat {path} |\n")
    made = read_table(run(source) / "wav.scp", [])["b"]
    np.testing.assert_array_equal(
        soundfile.read(made, dtype="float32")[0], wave[16000:32000]
    )


ODD_NAMES = [
    "two  spaces.wav",
    "a#1-2",
    "b#1-2.wav",
    "c.zip!d.wav",
    "nbsp\u00a0here.wav",
    "e.wav |",
    "tab\there.wav",
    "f.wav:12",
    "-g.wav",
    "한국어 (1).wav",
    "quote'\".wav",
    "ends in a space ",
    b"\xbe\xc8.wav".decode("utf-8", "surrogateescape"),
]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_file_of_any_name_is_prepared(source, name):
    path = source.parent / "wavs" / name
    with open(path, "wb") as file:
        soundfile.write(file, tone(0.5, 8000), 8000, format="WAV")
    change(source, "wav.scp", a=str(path))
    out = run(source)
    assert read_table(out / "utt2num_samples", [])["a"] == "8000"
    assert run(source) == out  # the second time, from what it noted


def test_a_name_with_a_newline_is_refused_in_a_table(source):
    with pytest.raises(ValueError, match="wav.scp: the value of a holds a newline"):
        write_table(source / "wav.scp", {"a": "x\ny.wav"})
