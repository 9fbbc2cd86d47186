import hashlib
import re
import shutil
from pathlib import Path

import pytest

from espnet_smoe.report.scoring import bootstrap
from espnet_smoe.report.scoring.bootstrap import holm, paired_p_value
from espnet_smoe.report.scoring.metrics import METRICS
from espnet_smoe.report.tables import compare
from espnet_smoe.report.tables.number_format import duration, p_value, relative_change
from espnet_smoe.report.tables.system import find_data
from tests.report.conftest import write_table


@pytest.fixture(autouse=True)
def fewer_resamples(monkeypatch):
    monkeypatch.setattr(bootstrap, "RESAMPLES", 2000)


def run(recipe, *tags, **options):
    more = [w for k, v in options.items() for w in (f"--{k}", str(v)) if w]
    experiments = [str(recipe.root / "exp" / tag) for tag in tags]
    out = ["--out", str(recipe.root / "c.md"), "--png", str(recipe.root / "c.png")]
    compare.main([*experiments, "--data", str(recipe.data), *out, *more])
    lines = (recipe.root / "c.md").read_text().splitlines()
    rows = [[c.strip() for c in r.strip("|").split("|")] for r in lines if r[:1] == "|"]
    return {row[0]: row[1:] for row in rows}


def p_of(cell):
    return float(re.search(r"p[=<](\S+)", cell)[1])


def test_two_experiments_give_a_table_and_a_picture(recipe, capsys):
    recipe.experiment("base", error=0.4, seed=1)
    recipe.experiment("moe", error=0.1, seed=2)
    table = run(recipe, "base", "moe")
    assert (recipe.root / "c.png").read_bytes().startswith(b"\x89PNG")
    assert table[""] == ["base", "moe"]
    first, second = table["asr WER %, all"]
    assert "<br>" not in first
    assert second.startswith("**") and second.endswith(" (1 seed)")
    assert p_of(second) < 0.01
    assert table["parameters"] == ["3.2M", "3.2M"]
    assert table["active parameters"] == ["2.4M", "2.4M"]
    assert table["RTF"] == ["0.125", "0.125"]
    assert table["training time"] == ["2 min 04 s", "2 min 04 s"]
    for metric in ("asr CER % without spaces", "st BLEU", "st chrF"):
        for group in ("all", "mean of NB", "mean of WB"):
            assert f"{metric}, {group}" in table
    assert "asr WER %, all" in capsys.readouterr().out


def test_letters_alone_are_a_further_line_of_transcripts(recipe):
    recipe.experiment("base", error=0.4, seed=1)
    written = recipe.decode("base") / "hyp.asr"
    write_table(
        recipe.decode("whisper") / "hyp.asr",
        {u: " ".join(words) + "." for u, words in recipe.text.items()},
    )
    shutil.copy(written.with_name("hyp.st"), recipe.decode("whisper"))
    plain = run(recipe, "base", "whisper")
    table = run(recipe, "base", "whisper", letters="")
    first, second = table["asr CER % of letters, all"]
    assert second.startswith("**0.00") and not first.startswith("0.00")
    assert set(table) - set(plain) == {
        f"asr CER % of letters, {group}"
        for group in ("all", "mean of NB", "mean of WB")
    }


def test_change_is_relative_to_the_old_value(recipe):
    recipe.experiment("base", error=0.4, seed=1)
    recipe.experiment("moe", error=0.1, seed=2)
    first, second = run(recipe, "base", "moe")["asr WER %, mean of NB"]
    old, new = float(first.split()[0]), float(second.strip("*").split()[0])
    change = second.partition("<br>")[2].split(" %")[0].replace("−", "-")
    assert float(change) == pytest.approx(100 * (new - old) / old, abs=0.1)


def test_identical_systems_have_no_best_and_p_of_one(recipe):
    recipe.experiment("a", error=0.2)
    recipe.experiment("b", error=0.2)
    _, second = run(recipe, "a", "b")["st BLEU, all"]
    assert "**" not in second and second.endswith("+0.0 %, p=1.000 (1 seed)")


def test_experiment_without_translation_has_empty_cells(recipe):
    recipe.experiment("base", error=0.2)
    recipe.experiment("asr_only", error=0.1)
    decode = recipe.decode("asr_only")
    (decode / "hyp.st").unlink()
    (decode / "decode.json").unlink()
    (recipe.root / "exp" / "asr_only" / "params.json").unlink()
    table = run(recipe, "base", "asr_only")
    assert table["st BLEU, all"][1] == "-"
    assert table["RTF"][1] == table["parameters"][1] == "-"
    reversed_table = run(recipe, "asr_only", "base")
    assert "p=" not in reversed_table["st BLEU, all"][1]


def test_missing_experiment_or_decoding_ends_with_one_line(recipe):
    recipe.experiment("base", error=0.2)
    with pytest.raises(ValueError, match="exp/gone does not exist: run stage 11"):
        run(recipe, "base", "gone")
    (recipe.root / "exp" / "undecoded").mkdir()
    with pytest.raises(ValueError, match=r"undecoded/decode_\*/test .*stage 12"):
        run(recipe, "base", "undecoded")
    with pytest.raises(ValueError, match="decode_greedy/test does not exist"):
        run(recipe, "base", decode="greedy")


def test_several_decodings_ask_for_a_choice(recipe):
    recipe.experiment("base", error=0.2)
    other = recipe.root / "exp/base/decode_greedy/test"
    other.mkdir(parents=True)
    with pytest.raises(ValueError, match="decode_beam5, decode_greedy: choose one"):
        run(recipe, "base")
    assert "asr WER %, all" in run(recipe, "base", decode="beam5")


def test_numbers_are_written_for_readers():
    assert relative_change(7.09, 6.67) == "−5.9 %"
    assert relative_change(0, 1) == "-"
    assert [p_value(p) for p in (1 / 1001, 0.0314)] == ["p<0.001", "p=0.031"]
    assert [duration(s) for s in (None, 9.96, 61, 7500)] == [
        *("-", "10.0 s", "1 min 01 s", "2 h 05 min")
    ]


def test_seeds_of_one_system_share_a_column(recipe):
    for system, error in (("base", 0.4), ("moe", 0.1)):
        for seed in (1, 2, 3):
            recipe.experiment(f"{system}_seed{seed}", error, seed=seed)
    tags = [f"{s}_seed{n}" for s in ("base", "moe") for n in (1, 2, 3)]
    table = run(recipe, *tags)
    assert table[""] == ["base", "moe"] and table["seeds"] == ["3", "3"]
    each = [float(v) for v in table["asr WER %, each seed"][1].split(", ")]
    mean = float(table["asr WER %, all"][1].strip("*").split()[0])
    assert len(set(each)) == 3 and mean == pytest.approx(sum(each) / 3, abs=0.01)
    page = (recipe.root / "c.md").read_text()
    assert "means over the seeds" in page and "Resampled: seeds and 60 utt" in page
    assert "1 seed" not in page
    # three against one: the one could have been another
    half = run(recipe, "base_seed1", *tags[3:])
    assert half["seeds"] == ["1", "3"]
    assert half["asr WER %, all"][1].endswith("(1 seed)")


def test_experiments_of_one_name_in_two_folders_are_two_systems(tmp_path):
    paths = [tmp_path / "a" / "base", tmp_path / "b" / "base"]
    assert list(compare.by_system(paths)) == [str(p) for p in paths]


def test_seeds_with_different_tasks_are_named(recipe):
    recipe.experiment("base_seed1", error=0.2)
    recipe.experiment("base_seed2", error=0.2)
    decode = recipe.decode("base_seed2")
    (decode / "hyp.st").unlink()
    (decode / "decode.json").unlink()
    with pytest.raises(ValueError, match="base_seed2.* holds asr, .*base_seed1"):
        run(recipe, "base_seed1", "base_seed2")


def test_every_condition_can_have_its_line(recipe):
    recipe.experiment("base", error=0.2)
    assert "asr WER %, nb" not in run(recipe, "base")
    rows = run(recipe, "base", **{"title": "T", "every-condition": ""})
    assert {f"asr WER %, {c}" for c in ("nb", "g711_nb", "wb", "amr_wb")} <= set(rows)


def test_a_set_of_one_condition_does_not_repeat_itself(recipe):
    recipe.experiment("base", error=0.2)
    for name, label in (("utt2condition", "wb"), ("utt2bandwidth", "wb")):
        lines = (recipe.data / name).read_text().splitlines()
        text = "".join(f"{line.split()[0]} {label}\n" for line in lines)
        (recipe.data / name).write_text(text)
    rows = run(recipe, "base", **{"title": "T", "every-condition": ""})
    assert [r for r in rows if r.startswith("asr WER")] == ["asr WER %, all"]


def test_the_best_is_bold_and_for_bleu_that_is_the_highest(recipe):
    recipe.experiment("good", error=0.1)
    recipe.experiment("bad", error=0.5)
    table = run(recipe, "bad", "good")
    for line in ("asr WER %, all", "asr CER %, all", "st BLEU, all", "st chrF, all"):
        worse, better = table[line]
        assert better.startswith("**") and not worse.startswith("**")
        change = better.partition("<br>")[2]
        assert change.startswith("+" if line.startswith("st") else "−")


def test_p_values_of_a_table_are_adjusted_for_their_number(recipe):
    for tag, error in (("base", 0.3), ("a", 0.24), ("b", 0.22)):
        recipe.experiment(tag, error, seed=ord(tag[0]))
    one, many = run(recipe, "base", "a"), run(recipe, "base", "a", "b")

    def p_values(table):
        cells = [cell for row in table.values() for cell in row if ", p" in cell]
        return [p_of(cell) for cell in cells]

    assert len(p_values(one)) == 15 and len(p_values(many)) == 30
    page = (recipe.root / "c.md").read_text()
    assert "all tests of the same score in this table (6 of each)" in page
    base, a, b = (
        compare.load_system(
            tag, recipe.data, [recipe.root / "exp" / tag], [recipe.decode(tag)]
        )
        for tag in ("base", "a", "b")
    )
    adjusted = compare.adjusted_p_values([base, a, b])
    for task, metric in (("asr", "wer"), ("st", "bleu")):
        tests = [test for test in adjusted if test[1:3] == (task, metric)]
        alone = [
            paired_p_value(
                METRICS[metric],
                base.tasks[task].strata(metric, group),
                {"a": a, "b": b}[name].tasks[task].strata(metric, group),
            )
            for name, _, _, group in tests
        ]
        assert len(tests) == 6 and [adjusted[t] for t in tests] == holm(alone)
    assert sorted(p_values(many)) == pytest.approx(
        sorted(adjusted.values()), abs=0.0005
    )


def test_voices_that_disagree_make_a_difference_less_certain(recipe):
    recipe.experiment("base", error=0.3, seed=1)
    recipe.experiment("moe", error=0.2, seed=2)
    _, by_utterance = run(recipe, "base", "moe")["asr WER %, all"]
    voices = {u: f"voice{i % 4}" for i, u in enumerate(recipe.text)}
    write_table(recipe.data / "utt2spk", voices)
    _, by_voice = run(recipe, "base", "moe")["asr WER %, all"]
    assert p_of(by_utterance) < p_of(by_voice)
    page = (recipe.root / "c.md").read_text()
    assert "Resampled: 4 speakers, each with all its utterances" in page
    assert "(fewer than 10: rough)" in page


def test_a_single_utterance_has_scores_and_nothing_more(recipe, capsys):
    for tag in ("a", "b"):
        recipe.experiment(tag, error=0.5, seed=ord(tag))
        for task in ("asr", "st"):
            path = recipe.decode(tag) / f"hyp.{task}"
            path.write_text(path.read_text().splitlines()[0] + "\n")
    for name in ("text", "text_st", "utt2condition", "utt2bandwidth"):
        path = recipe.data / name
        path.write_text(path.read_text().splitlines()[0] + "\n")
    cells = run(recipe, "a", "b")["asr WER %, all"]
    assert "[" not in "".join(cells) and cells[1].endswith("p=- (1 seed)")
    assert "nan" not in capsys.readouterr().out


def test_a_set_of_silence_is_compared_without_nan(recipe, capsys):
    for tag in ("a", "b"):
        recipe.experiment(tag, error=0.5, seed=ord(tag))
    (recipe.data / "text").write_text("".join(f"{u}\n" for u in recipe.text))
    assert run(recipe, "a", "b")["asr WER %, all"] == ["-", "-"]
    out = capsys.readouterr().out
    assert "nan" not in out and "every reference is empty" in out


def test_experiments_of_espnets_own_script_are_compared(recipe):
    """exp/asr_x/<inference_tag>/<set>/text, and sizes and times from its logs."""
    for tag, error in (("asr_dense", 0.4), ("asr_moe", 0.2)):
        recipe.experiment(tag, error)
        ours = recipe.decode(tag)
        theirs = recipe.root / "exp" / tag / "inference_asr_model_valid.acc.ave/test"
        theirs.parent.mkdir()
        ours.rename(theirs)
        ours.parent.rmdir()
        for name in ("hyp.st", "decode.json"):
            (theirs / name).unlink()
        (theirs / "hyp.asr").rename(theirs / "text")
        (theirs / "logdir").mkdir()
        (theirs / "logdir/calculate_rtf.log").write_text(
            "# calculate_rtf.py\nTotal audio duration: 9.0 [sec]\nRTF: 0.456\n"
        )
        experiment = recipe.root / "exp" / tag
        (experiment / "params.json").unlink()
        log = experiment / "train.log"
        log.write_text(
            "    Total Number of model parameters: 27.05 M\n" + log.read_text()
        )
    table = run(recipe, "asr_dense", "asr_moe")
    first, second = table["asr WER %, all"]
    assert float(first.split()[0]) > float(second.strip("*").split()[0])
    assert table["parameters"] == ["27.1M", "27.1M"]
    assert table["active parameters"] == ["-", "-"]
    assert table["RTF"] == ["0.456", "0.456"]
    assert table["training time"] == ["2 min 04 s", "2 min 04 s"]


def test_the_data_directory_is_found_where_recipes_keep_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_data(None, "test") is None
    (tmp_path / "dump/raw/test").mkdir(parents=True)
    assert find_data(None, "test") == Path("dump/raw/test")
    (tmp_path / "data/test").mkdir(parents=True)
    assert find_data(None, "test") == Path("data/test")
    assert find_data(Path("x"), "test") == Path("x")


def test_a_table_names_the_decodings_that_it_was_made_of(recipe):
    for tag, error in (("base_seed1", 0.4), ("base_seed2", 0.3), ("moe_seed1", 0.1)):
        recipe.experiment(tag, error)
    run(recipe, "base_seed1", "base_seed2", "moe_seed1")
    *_, line = (recipe.root / "c.md").read_text().splitlines()
    texts = [
        b"".join(path.read_bytes() for path in sorted(recipe.decode(tag).glob("hyp.*")))
        for tag in ("base_seed1", "base_seed2", "moe_seed1")
    ]
    one, two, other = (hashlib.sha256(text).hexdigest()[:16] for text in texts)
    assert line.startswith("The decodings, by the first 16 digits of `cat hyp.* | sha")
    assert line.endswith(f": base `{one}`, `{two}`; moe `{other}`.")


def test_a_speaker_who_has_most_of_the_errors_is_named(recipe):
    """As a voice unlike all others does: the mean over utterances tells of it alone."""
    utts = list(recipe.text)
    speakers = {utt: f"spk{i % 6}" for i, utt in enumerate(utts)}
    write_table(recipe.data / "utt2spk", speakers)
    for tag, error in (("base_seed1", 0.1), ("base_seed2", 0.1), ("moe_seed1", 0.0)):
        recipe.experiment(tag, error, seed=len(tag))
        lines = (recipe.decode(tag) / "hyp.asr").read_text().splitlines()
        texts = dict(line.split(" ", 1) for line in lines)
        spoilt = {u: t if speakers[u] != "spk4" else "x" for u, t in texts.items()}
        write_table(recipe.decode(tag) / "hyp.asr", spoilt)
    table = run(recipe, "base_seed1", "base_seed2", "moe_seed1")
    base, moe = table["asr WER %, median speaker; worst"]
    assert moe == "0.00; spk4 100.00"
    median, worst = base.split("; ")
    assert 4 < float(median) < 16 and worst == "spk4 100.00"
    assert table["st BLEU, median speaker; worst"][1].startswith("100.00; spk")


def test_without_speakers_there_is_no_line_of_them(recipe):
    recipe.experiment("base", error=0.2)
    recipe.experiment("moe", error=0.1)
    assert not any("speaker" in label for label in run(recipe, "base", "moe"))


def test_signs_in_names_are_no_markup(recipe, capsys):
    for tag in ("[b]x", "a|b"):
        recipe.experiment(tag, error=0.2)
    run(recipe, "[b]x", "a|b")
    head, *_ = [
        line
        for line in (recipe.root / "c.md").read_text().splitlines()
        if line.startswith("| |")
    ]
    assert head == "| | [b]x | a\\|b |"
    assert "[b]x" in capsys.readouterr().out.partition("Second line")[0]
