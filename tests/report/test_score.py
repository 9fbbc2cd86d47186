import json

import jiwer
import numpy as np
import pytest
import sacrebleu

from espnet_smoe.report import score
from tests.report.conftest import write_table


def run(recipe, tag="base", **options):
    more = [w for k, v in options.items() for w in (f"--{k}", str(v))]
    decode = recipe.decode(tag)
    score.main(["--data", str(recipe.data), "--hyp", str(decode), *more])
    return json.loads((decode / "scores.json").read_text())


def hypotheses(recipe, task, tag="base"):
    lines = (recipe.decode(tag) / f"hyp.{task}").read_text().splitlines()
    return dict(line.partition(" ")[::2] for line in lines)


def test_scores_equal_the_libraries_overall_and_by_condition(recipe):
    recipe.experiment("base", error=0.2)
    scores = run(recipe)
    hyps = hypotheses(recipe, "asr")
    for group in ("all", "nb", "g711_nb", "wb", "amr_wb"):
        utts = [u for u, c in recipe.condition.items() if group in ("all", c)]
        refs = [" ".join(recipe.text[u]) for u in utts]
        wer = scores["asr"][group]["wer"]
        assert wer["value"] == pytest.approx(
            100 * jiwer.wer(refs, [hyps[u] for u in utts]), abs=1e-4
        )
        assert wer["n"] == len(utts)
        assert wer["low"] < wer["value"] < wer["high"]
    hyps = hypotheses(recipe, "st")
    refs = [" ".join(w) for w in recipe.text_st.values()]
    bleu = sacrebleu.corpus_bleu([hyps[u] for u in recipe.text_st], [refs]).score
    assert scores["st"]["all"]["bleu"]["value"] == pytest.approx(bleu, abs=1e-4)


def test_bandwidth_groups_are_means_over_their_conditions(recipe):
    recipe.experiment("base", error=0.2)
    wer = {g: m["wer"]["value"] for g, m in run(recipe)["asr"].items()}
    assert wer["mean_nb"] == pytest.approx((wer["nb"] + wer["g711_nb"]) / 2, abs=1e-3)
    assert wer["mean_wb"] == pytest.approx((wer["wb"] + wer["amr_wb"]) / 2, abs=1e-3)


def test_utterances_without_translation_count_in_asr_only(recipe):
    recipe.experiment("base", error=0.2)
    text_st = (recipe.data / "text_st").read_text().splitlines()
    text_st[0] = "utt000 <na>"
    (recipe.data / "text_st").write_text("\n".join(text_st))
    scores = run(recipe)
    assert scores["asr"]["all"]["wer"]["n"] == 60
    assert scores["st"]["all"]["bleu"]["n"] == 59


def test_plain_data_directory_gives_one_group(recipe):
    recipe.experiment("base", error=0.2)
    (recipe.data / "utt2condition").unlink()
    (recipe.data / "utt2bandwidth").unlink()
    assert list(run(recipe)["asr"]) == ["all"]


def test_data_without_translations_scores_asr_alone(recipe):
    recipe.experiment("base", error=0.2)
    (recipe.data / "text_st").unlink()
    assert list(run(recipe)) == ["asr"]


def test_out_chooses_the_file_and_the_table_is_printed(recipe, tmp_path, capsys):
    recipe.experiment("base", error=0.2)
    out = tmp_path / "elsewhere" / "s.json"
    decode = recipe.decode("base")
    score.main(["--data", str(recipe.data), "--hyp", str(decode), "--out", str(out)])
    assert out.exists() and not (decode / "scores.json").exists()
    printed = capsys.readouterr().out
    assert "BLEU" in printed and "g711_nb" in printed and "RTF 0.125" in printed


@pytest.mark.parametrize("lost", ["hyp.asr", "hyp.st", "."])
def test_lost_hypotheses_end_with_one_line_and_the_stage(recipe, lost):
    recipe.experiment("base", error=0.2)
    path = recipe.decode("base") / lost
    path.rename(recipe.root / "lost")
    with pytest.raises(SystemExit) as stop:
        run(recipe)
    assert str(path) in stop.value.code and "stage 12" in stop.value.code
    assert "\n" not in stop.value.code


def test_hypothesis_lost_for_one_utterance_is_named(recipe):
    recipe.experiment("base", error=0.2)
    path = recipe.decode("base") / "hyp.st"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(SystemExit, match="hyp.st: no hypothesis for .* utt059"):
        run(recipe)


def test_versions_of_an_utterance_are_known_by_their_ids(tmp_path):
    utts = [f"{name}-{c}" for name in ("b-1", "a") for c in ("nb", "amr_nb")]
    lines = "".join(f"{utt} {utt.split('-')[-1]}\n" for utt in utts)
    (tmp_path / "utt2condition").write_text(lines)
    assert score.sources_of(tmp_path, utts).tolist() == [1, 1, 0, 0]
    (tmp_path / "utt2condition").write_text(lines.replace("a-nb nb", "a-nb wb"))
    assert score.sources_of(tmp_path, utts) is None


def test_sources_follow_the_rows_of_a_group():
    rows = [np.array([1, 3]), np.array([0, 2])]
    counts = score.TaskCounts({}, {"mean_nb": rows}, np.array([7, 7, 9, 9, 8]))
    assert [of.tolist() for of in counts.sources("mean_nb")] == [[0, 1], [0, 1]]


def test_mandarin_words_and_units_have_character_and_syllable_error_rates(tmp_path):
    data, hyp = tmp_path / "data", tmp_path / "decode"
    write_table(data / "text", {"a": "我有2个ＡＰＰ。", "b": "你好"})
    write_table(data / "text_syllable", {"a": "wo3 you3 er4 ge4", "b": "ni3 hao3"})
    write_table(hyp / "hyp.words", {"a": "我 有 二 个 app", "b": "你 号"})
    write_table(hyp / "hyp.units", {"a": "wo3 you3 er4", "b": "ni3 hao3"})
    scores = score.score_decode(data, hyp)
    assert list(scores) == ["words", "units"]
    # numbers, width and case do not count: one of nine characters is wrong
    assert scores["words"]["all"]["cer_no_space"]["value"] == pytest.approx(
        100 / 9, abs=1e-3
    )
    assert scores["units"]["all"]["ser"]["value"] == pytest.approx(100 / 6, abs=1e-3)


def test_several_decodings_are_scored_in_one_run(recipe):
    for tag in ("a", "b"):
        recipe.experiment(tag, error=0.1)
    folders = [str(recipe.decode(tag)) for tag in ("a", "b")]
    score.main(["--data", str(recipe.data), "--hyp", *folders])
    for tag in ("a", "b"):
        assert "asr" in json.loads((recipe.decode(tag) / "scores.json").read_text())
    with pytest.raises(SystemExit, match="--out is of one --hyp"):
        score.main(["--data", str(recipe.data), "--hyp", *folders, "--out", "x.json"])
