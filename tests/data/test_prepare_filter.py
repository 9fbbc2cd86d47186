"""Limits of length, and speeds: what is left out is counted."""

from pathlib import Path

import numpy as np
import pytest

from espnet_smoe.data import filter as length_filter
from espnet_smoe.data.data_dir import read_table, write_table
from espnet_smoe.data.speech import speed_perturb
from tests.data.prepared import GOOD, change, run, tone, wav


def test_long_and_short_audio_is_filtered_with_counts(source, capsys):
    change(source, "wav.scp", a=wav(source, "long.wav", tone(2.0)))
    change(source, "wav.scp", b=wav(source, "short.wav", tone(0.05)))
    out = run(source, "--max-seconds", "1.5")
    assert list(read_table(out / "wav.scp", [])) == ["c"]
    said = capsys.readouterr().out
    assert "1 longer than 1.5 s, 1 shorter than 0.1 s" in said
    dropped = (out / "filtered.tsv").read_text().splitlines()
    assert dropped == ["a\tlonger than 1.5 s", "b\tshorter than 0.1 s"]


def test_long_texts_are_filtered_by_tokens(source, tmp_path):
    from espnet_smoe.data.text.tokens import train_tokens

    out = run(source)
    train_tokens(["hello"], 300, tmp_path / "tokens")
    long = {utt: "hello" for utt in GOOD} | {"b": "hello x" * 3}
    write_table(out / "text_st", long)
    limits = length_filter.Limits(max_tokens=10)
    write_table(out / "text", {utt: "hello" for utt in GOOD})
    bpemodel = tmp_path / "tokens" / "bpe.json"
    kept = tmp_path / "kept"
    dropped = length_filter.filter_directory(out, kept, limits, bpemodel)
    assert dropped == {"text_st longer than 10 tokens": 1}
    assert (kept / "filtered.tsv").read_text().startswith("b\ttext_st longer")
    assert list(read_table(kept / "text", [])) == ["a", "c"]


def test_filter_that_leaves_nothing_is_an_error(source):
    with pytest.raises(ValueError, match="no utterance is left"):
        run(source, "--max-seconds", "0.5")


def test_filter_names_the_stage_that_makes_its_input(tmp_path):
    with pytest.raises(ValueError, match="Stage 3"):
        length_filter.main(["--in", str(tmp_path), "--out", str(tmp_path / "out")])


def test_speed_perturbation_changes_length_and_keeps_text(source):
    fast = source.parent / "data_sp"
    options = ["--in", str(source), "--out", str(fast), "--factors", "0.8", "1.0"]
    speed_perturb.main(options)
    out = run(fast)
    samples = read_table(out / "utt2num_samples", [])
    assert samples["a"] == "16000"
    assert samples["sp0.8-a"] == "20000"
    for name in ("text", "text_st", "utt2bandwidth"):
        table = read_table(out / name, [])
        assert table["sp0.8-a"] == table["a"]
    assert read_table(out / "utt2spk", [])["sp0.8-a"] == "sp0.8-s1"
    assert Path(read_table(out / "wav.scp", [])["sp0.8-a"]).is_file()


def test_speed_factor_out_of_range_is_an_error(source):
    options = ["--in", str(source), "--out", "unused", "--factors", "90"]
    with pytest.raises(ValueError, match="0.25 to 4"):
        speed_perturb.main(options)


def test_limits_keep_what_is_exactly_as_long(source):
    change(source, "wav.scp", a=wav(source, "long.wav", tone(30)))
    change(source, "wav.scp", b=wav(source, "over.wav", np.append(tone(30), 0.1)))
    change(source, "wav.scp", c=wav(source, "short.wav", tone(0.1)))
    assert list(read_table(run(source) / "wav.scp", [])) == ["a", "c"]
    change(source, "wav.scp", c=wav(source, "shorter.wav", tone(0.1)[1:]))
    assert list(read_table(run(source) / "wav.scp", [])) == ["a"]


@pytest.mark.parametrize(
    "options, said",
    [
        (["--max-seconds", "nan"], "no number"),
        (["--min-seconds", "inf"], "no number"),
        (["--min-seconds", "2", "--max-seconds", "1"], "longer than --max-seconds"),
        (["--max-tokens", "-1"], "negative"),
    ],
)
def test_limits_that_keep_nothing_are_refused(source, options, said):
    with pytest.raises(ValueError, match=said):
        run(source, *options)


def test_more_text_than_can_be_said_is_doubtful_and_listed(source, capsys):
    change(source, "text", a="가나다라마바사아자차 카타파하가나다라마바사")
    out = run(source)
    assert list(read_table(out / "wav.scp", [])) == list(GOOD)
    assert "doubtful: 1 utterances kept with more text" in capsys.readouterr().out
    (line,) = (out / "doubtful.tsv").read_text(encoding="utf-8").splitlines()
    assert line.startswith("a\t") and "21.0 syllables a second" in line
