"""Fingerprints tell content apart, not places."""

import pytest

from espnet_smoe.fingerprints import (
    fingerprint_audio,
    fingerprint_shards,
    fingerprint_tokens,
)


@pytest.fixture
def corpus(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.wav").write_bytes(name.encode() * 100)
    table = tmp_path / "wav.scp"
    table.write_text(f"a {tmp_path}/a.wav\nb {tmp_path}/b.wav\n")
    return table


def test_a_moved_corpus_is_the_same_corpus(corpus, tmp_path):
    known = fingerprint_audio(corpus)
    (tmp_path / "new").mkdir()
    for name in "ab":
        (tmp_path / f"{name}.wav").rename(tmp_path / "new" / f"{name}.wav")
    corpus.write_text(corpus.read_text().replace(f"{tmp_path}/", f"{tmp_path}/new/"))
    assert fingerprint_audio(corpus) == known


def test_other_recordings_of_the_same_names_are_other_data(corpus, tmp_path):
    known = fingerprint_audio(corpus)
    (tmp_path / "b.wav").write_bytes(b"c" * 100)
    assert fingerprint_audio(corpus) != known


def test_other_lengths_are_other_data(corpus, tmp_path):
    (tmp_path / "utt2num_samples").write_text("a 100\nb 100\n")
    known = fingerprint_audio(corpus)
    (tmp_path / "utt2num_samples").write_text("a 100\nb 200\n")
    assert fingerprint_audio(corpus) != known


def test_a_recording_that_is_a_pipe_is_compared_by_its_command(corpus):
    corpus.write_text("a sox a.mp3 -t wav - |\n")
    known = fingerprint_audio(corpus)
    corpus.write_text("a sox b.mp3 -t wav - |\n")
    assert fingerprint_audio(corpus) != known


def test_shards_are_the_same_where_they_lie_and_others_in_another_list(tmp_path):
    table = tmp_path / "wav.scp"

    def fingerprint(*places: str) -> str:
        table.write_text("".join(f"u{at} {p}\n" for at, p in enumerate(places)))
        return fingerprint_shards(table)

    known = fingerprint("here/0.tar:512", "here/0.tar:9728", "here/1.tar:512")
    assert known.startswith("3 lines in 2 shards, ")
    assert known == fingerprint("x/0.tar:512", "x/0.tar:9728", "x/1.tar:512")
    assert known != fingerprint("here/0.tar:512", "here/0.tar:9728", "here/2.tar:512")


def test_tokens_in_a_file_equal_the_list_that_config_yaml_holds(tmp_path):
    (tmp_path / "tokens.txt").write_text("<blank>\n가\n\u3000\n<sos/eos>\n")
    tokens = ["<blank>", "가", "\u3000", "<sos/eos>"]
    assert fingerprint_tokens(tmp_path / "tokens.txt") == fingerprint_tokens(tokens)
