"""The limits on an utterance: what is exactly as long as they say stays."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from espnet_smoe.data.data_dir import NO_TRANSLATION
from espnet_smoe.data.filter import Kept, Limits, limits_of


@pytest.fixture
def dropped(monkeypatch, tmp_path):
    """By the paper's limits where no others are given; a token is a letter."""
    monkeypatch.setattr(
        "espnet_smoe.data.text.tokenizer.load_tokenizer",
        lambda _: SimpleNamespace(encode=list),
    )

    def filtered(tables: dict[str, dict], **limits: float) -> dict[str, str]:
        utterances = sorted({utt for table in tables.values() for utt in table})
        one = {"utt2num_samples": "16000", "text": "a", "text_st": NO_TRANSLATION}
        names = [*dict.fromkeys([*one, *tables])]
        with Kept(tmp_path, names, Limits(**limits), Path("bpe.json")) as kept:
            for utt in utterances:
                row = {name: table[utt] for name, table in tables.items()}
                kept.add(utt, one | row)
            kept.add("stays", one | dict.fromkeys(tables.keys() - one, "a"))
        lines = (tmp_path / "filtered.tsv").read_text().splitlines()
        return dict(line.split("\t") for line in lines)

    return filtered


@pytest.mark.parametrize("name", ["text", "text_st", "text_ja"])
def test_a_text_of_120_tokens_stays_and_one_of_121_goes(name, dropped):
    texts = {"a": "x" * 120, "b": "x" * 121}
    reason = f"{name} longer than 120 tokens"
    assert dropped({name: texts}) == {"b": reason}
    assert dropped({name: texts}, max_tokens=0) == {}
    assert set(dropped({name: texts}, max_tokens=119)) == {"a", "b"}


def test_audio_of_30_seconds_stays_and_one_sample_more_goes(dropped):
    samples = {"a": 480000, "b": 480001, "c": 1600, "d": 1599}
    assert dropped({"utt2num_samples": samples}) == {
        "b": "longer than 30 s",
        "d": "shorter than 0.1 s",
    }
    none = {"max_seconds": 0, "min_seconds": 0}
    assert dropped({"utt2num_samples": samples}, **none) == {}


def test_the_longest_may_not_be_shorter_than_the_shortest():
    def read(shortest: float, longest: float) -> Limits:
        given = {"min_seconds": shortest, "max_seconds": longest}
        return limits_of(SimpleNamespace(**given, max_tokens=120, bpemodel=None))

    assert read(0.5, 0) == Limits(0.5, 0)  # no longest
    assert read(0.5, 0.5) == Limits(0.5, 0.5)
    with pytest.raises(ValueError, match="--min-seconds 0.5 is longer than --max-sec"):
        read(0.5, 0.4)
