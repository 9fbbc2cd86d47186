"""Scores as they are printed, against a set that was counted by hand."""

import re

import pytest

from espnet_smoe.report.scoring import command as score
from tests.report.conftest import write_table


@pytest.fixture
def small(tmp_path):
    """Four versions of utterances, scored by hand: folders of data and decoding."""
    names = ("u-nb", "v-nb", "u-wb", "v-wb")
    of = {utt: utt[2:] for utt in names}
    data, decoded = tmp_path / "data", tmp_path / "dec"
    tables = {
        data / "text": ("a b c d", "", "e f", "g"),
        data / "text_st": ("a b c d", "<na>", "e f g h", "one two three four"),
        decoded / "hyp.asr": ("a x c", "oh", "e f", "g h"),
        decoded / "hyp.st": ("a b c d", "", "e f g h", "none"),
    }
    for path, texts in tables.items():
        write_table(path, dict(zip(names, texts)))
    for name in ("utt2condition", "utt2bandwidth"):
        write_table(data / name, of)
    (decoded / "decode.json").write_text('{"rtf": 0.5}')
    return data, decoded


def test_what_is_printed_says_what_was_counted(small, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(small[0].parent)
    decoded = "dec"
    score.main(["--data", "data", "--hyp", decoded, "--worst", "1"])
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    asr, st = (lines.index(f"{decoded} · {task}") for task in ("asr", "st"))
    heads = " ".join(" ".join(lines[asr + 1 : asr + 3]).split())
    assert heads == "CER % condition n WER % CER % without spaces"
    assert set(lines[asr + 3]) == {"─"}
    values = [re.sub(r" \[[^]]*\]", "", line).split("  ") for line in lines[asr + 4 :]]
    values = [[cell.strip() for cell in row if cell.strip()] for row in values]
    assert values[:5] == [
        ["all", "4", "57.14", "63.64", "71.43"],
        ["nb", "2", "75.00", "71.43", "100.00"],
        ["wb", "2", "33.33", "50.00", "33.33"],
        ["mean of NB", "2", "75.00", "71.43", "100.00"],
        ["mean of WB", "2", "33.33", "50.00", "33.33"],
    ]
    assert [row.split() for row in lines[asr + 10 : asr + 15] if "─" not in row] == [
        "%, all # Snt # Wrd Corr Sub Del Ins Err S.Err".split(),
        "WER % 4 7 71.4 14.3 14.3 28.6 57.1 75.0".split(),
        "CER % 4 11 72.7 9.1 18.2 36.4 63.6 75.0".split(),
        "CER % without spaces 4 7 71.4 14.3 14.3 42.9 71.4 75.0".split(),
    ]
    units = "2 utterances (speakers are not known: no utt2spk; another voice may differ"
    about = f"In brackets the 95 % interval. Resampled: {units} by more; fewer than"
    assert lines[asr + 16] == f"{about} 10: rough)."
    assert lines[asr + 17].startswith("Note: empty reference of utterance(s) v-nb: ")
    assert lines[asr + 18] == ""
    # translations have no kinds of errors; two of three are right
    assert lines[st + 8].startswith("In brackets") and lines[st + 3].split()[1] == "3"
    after = lines.index("asr: the worst utterances")
    assert lines[after + 1 : after + 5] == [
        *("  u-nb  2 errors in 4 (S 1 D 1 I 0)", "    REF a b c d", "    HYP a x c", "")
    ]
    assert lines[after + 5 : after + 7] == [
        *("st: the worst utterances", "  v-wb  BLEU 0.0")
    ]
    assert lines[-2] == "RTF 0.500"
    files = [f"score_{m}/result.txt" for m in ("wer", "cer", "cer_no_space")]
    paths = ", ".join(f"{decoded}/{name}" for name in ("scores.json", *files))
    assert lines[-1] == f"Written to {paths}"


def test_kinds_of_errors_of_a_mean_are_means_too(small):
    data, decoded = small
    write_table(data / "utt2bandwidth", dict.fromkeys(("u-nb", "v-nb"), "wb"))
    with (data / "utt2bandwidth").open("a") as file:
        file.write("u-wb wb\nv-wb wb\n")
    scores = score.score_decode(data, decoded)["asr"]
    # (nb: S 1 D 1 I 1 of 4; wb: I 1 of 3)
    mean = scores["mean_wb"]["wer"]
    parts = [mean[kind] for kind in ("substitute", "delete", "insert")]
    assert parts == pytest.approx([12.5, 12.5, (25 + 100 / 3) / 2], abs=1e-4)
    assert mean["value"] == pytest.approx(sum(parts), abs=1e-3)
    assert "substitute" not in score.score_decode(data, decoded)["st"]["all"]["bleu"]


def test_groups_that_are_the_whole_set_are_not_printed_again(small, capsys):
    data, decoded = small
    for name in ("utt2condition", "utt2bandwidth"):
        path = data / name
        path.write_text(path.read_text().replace("-nb nb", "-nb wb"))
    score.main(["--data", str(data), "--hyp", str(decoded)])
    rows = [line.split()[:1] for line in capsys.readouterr().out.splitlines()]
    assert rows.count(["all"]) == 2 and ["wb"] not in rows and ["mean"] not in rows


def test_names_of_conditions_are_no_markup(small, capsys):
    names = ["[b]loud", "[/b]", ":smile:", "wb"]
    utts = ("u-nb", "v-nb", "u-wb", "v-wb")
    write_table(small[0] / "utt2condition", dict(zip(utts, names)))
    score.main(["--data", str(small[0]), "--hyp", str(small[1])])
    out = capsys.readouterr().out
    assert all(f"\n{name} " in out for name in names)
