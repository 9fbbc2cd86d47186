"""Shards: what stage 3 writes, what is read of it, and what is wrong with a bad one."""

import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet_smoe.data import checked_audio
from espnet_smoe.data.data_dir import read_table
from espnet_smoe.data.speech.audio import read_listed
from espnet_smoe.data.speech.shard import (
    check_shards,
    member_name,
    new_shard,
    read_ahead,
    read_member,
)
from tests.data.prepared import change, run, tone, wav

SHARDS = ("--shards", "2")


@pytest.fixture
def waves(tmp_path) -> dict[str, str]:
    """References of recordings in a shard."""
    draw = np.random.default_rng(0)
    with new_shard(tmp_path / "a.tar") as shard:
        return {
            name: shard.add(name, draw.uniform(-0.5, 0.5, 700 + 300 * at))
            for at, name in enumerate(["a", "sp0.9-b/c", "가" * 50, "d"])
        }


def test_a_recording_comes_back_by_its_reference(waves, tmp_path):
    draw = np.random.default_rng(0)
    for at, (name, reference) in enumerate(waves.items()):
        wave = draw.uniform(-0.5, 0.5, 700 + 300 * at)
        np.testing.assert_allclose(read_member(reference, name), wave, atol=2**-16)
        again, rate = read_listed(reference)  # by all that reads a wav.scp
        np.testing.assert_array_equal(again, read_member(reference))
        assert rate == 16000
    read_ahead(list(waves.values()))


def test_it_is_an_archive_with_a_file_an_utterance(waves, tmp_path):
    with tarfile.open(tmp_path / "a.tar") as archive:
        assert archive.getnames() == [member_name(name) for name in waves]
        stems = [Path(name).name.split(".", 1) for name in archive.getnames()]
        assert {ending for _, ending in stems} == {"wav"}  # WebDataset's rule
        file = archive.extractfile("a.wav")
        assert len(soundfile.read(file)[0]) == 700


def test_prepared_shards_hold_what_the_files_hold(source):
    files = read_table(run(source, "--copy") / "wav.scp", [])
    shards = read_table(run(source, *SHARDS) / "wav.scp", [])
    folder = source.parent / "dump" / "shards"
    assert sorted(path.name for path in folder.iterdir()) == [
        "000000.tar",
        "000001.tar",
    ]
    assert [Path(p).name.split(":")[0] for p in shards.values()] == [
        *["000000.tar"] * 2,
        "000001.tar",
    ]
    for utt, path in files.items():
        wave = soundfile.read(path, dtype="float32")[0]
        np.testing.assert_array_equal(read_member(shards[utt], utt), wave)


@pytest.fixture
def read(monkeypatch) -> list[str]:
    """The audio that is read."""
    paths = []
    real = checked_audio.read_audio
    monkeypatch.setattr(
        checked_audio, "read_audio", lambda path: (paths.append(path), real(path))[1]
    )
    return paths


def test_a_second_run_makes_only_the_shards_again_that_changed(source, read):
    out = run(source, *SHARDS)
    read.clear()
    run(source, *SHARDS)
    assert read == []
    changed = wav(source, "c.wav", tone(0.5))
    run(source, *SHARDS)
    assert read == [changed]
    (out / "shards" / "000000.tar").unlink()
    run(source, *SHARDS)
    assert len(read) == 3


def test_parts_make_the_shards_of_the_whole(source, read):
    whole = read_table(run(source, *SHARDS) / "wav.scp", [])
    for path in [*(source.parent / "dump" / "shards").iterdir()]:
        path.unlink()
    read.clear()
    for part in ("2/2", "1/2"):
        run(source, *SHARDS, "--part", part)
    assert len(read) == 3
    assert read_table(run(source, *SHARDS) / "wav.scp", []) == whole
    assert len(read) == 3


def test_a_bad_recording_is_tried_again_and_its_shard_made_when_it_is_mended(
    source, read
):
    change(source, "wav.scp", a="/no/such.wav")
    out = run(source, *SHARDS, "--skip-bad")
    assert [*read_table(out / "wav.scp", [])] == ["b", "c"]
    read.clear()
    run(source, *SHARDS, "--skip-bad")
    assert read == ["/no/such.wav"]
    change(source, "wav.scp", a=wav(source, "a.wav", tone(0.5)))
    assert [*read_table(run(source, *SHARDS) / "wav.scp", [])] == ["a", "b", "c"]


def gone(path):
    path.unlink()
    return "does not exist"


def cut(path):
    path.write_bytes(path.read_bytes()[:2000])
    return "is cut off"


def cut_at_the_end(path):
    path.write_bytes(path.read_bytes().rstrip(b"\0"))
    return "is cut off"


def cut_in_the_last_header(path):
    with tarfile.open(path) as archive:
        last = archive.getmembers()[-1]
    path.write_bytes(path.read_bytes()[: last.offset_data - 300])
    return "is cut off"


@pytest.mark.parametrize("spoil", [gone, cut, cut_at_the_end, cut_in_the_last_header])
def test_a_bad_shard_is_named_with_the_cure(source, spoil):
    out = run(source, *SHARDS)
    assert check_shards(out / "wav.scp") == 2
    said = spoil(out / "shards" / "000001.tar")
    with pytest.raises(ValueError, match=f"000001.tar {said}.*stage 3"):
        check_shards(out / "wav.scp")


def test_a_shard_of_other_utterances_is_not_taken_for_it(waves):
    with pytest.raises(ValueError, match="at .* it has a.wav, not b; .*stage 3"):
        read_member(waves["a"], "b")
    path, _, offset = waves["a"].rpartition(":")
    with pytest.raises(ValueError, match="another one: no recording at"):
        read_member(f"{path}:{int(offset) + 7}")
    with pytest.raises(ValueError, match="cut off: no recording at"):
        read_member(f"{path}:999999")


def test_a_damaged_recording_is_named_with_the_cure(waves):
    path, _, offset = waves["a"].rpartition(":")
    with open(path, "r+b") as shard:
        shard.seek(int(offset))
        shard.write(bytes(12))
    with pytest.raises(ValueError, match=r"tar is damaged: a.wav is no WAV.*stage 3"):
        read_member(waves["a"], "a")


@pytest.mark.parametrize("line", ["", "c", "c c.wav"])
def test_a_line_without_a_shard_is_named(source, line):
    table = run(source, *SHARDS) / "wav.scp"
    table.write_text(f"{table.read_text()}{line}\n")
    with pytest.raises(ValueError, match=r"wav.scp:4: '.*' is no SHARD.tar:OFFSET"):
        check_shards(table)


def test_two_preparations_of_one_folder_do_not_mix(source):
    out = run(source)
    with open(out / ".checked.jsonl", "a") as notes:
        checked_audio.lock(notes, "unused")
        with pytest.raises(ValueError, match="dump: .* is being prepared already"):
            run(source)
