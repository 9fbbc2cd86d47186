import json
import re
import unicodedata

import jiwer
import numpy as np
import pytest
import sacrebleu

from espnet_smoe.report.scoring import command as score
from espnet_smoe.report.scoring.clusters import Clusters
from espnet_smoe.report.scoring.counts import TaskCounts
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
    with pytest.raises(ValueError) as stop:
        run(recipe)
    said = str(stop.value)
    assert str(path) in said and "stage 12" in said and "\n" not in said


def test_hypothesis_lost_for_one_utterance_is_named(recipe):
    recipe.experiment("base", error=0.2)
    path = recipe.decode("base") / "hyp.st"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(ValueError, match="hyp.st: no hypothesis for .* utt059"):
        run(recipe)


def test_clusters_follow_the_rows_of_a_group():
    rows = [np.array([1, 3]), np.array([0, 2])]
    clusters = Clusters(np.array([7, 7, 9, 9, 8]), "speakers")
    counts = TaskCounts({}, {"mean_nb": rows}, clusters)
    assert [of.tolist() for of in counts.clusters_of("mean_nb")] == [[0, 1], [0, 1]]


def test_voices_are_resampled_where_utt2spk_tells_them_apart(recipe):
    recipe.experiment("base", error=0.2)
    by_utterance = run(recipe)["asr"]["all"]["wer"]
    assert by_utterance["units"] == 60 and "no utt2spk" in by_utterance["resampled"]
    voices = {u: f"voice{i % 6}" for i, u in enumerate(recipe.text)}
    write_table(recipe.data / "utt2spk", voices)
    by_voice = run(recipe)["asr"]["all"]["wer"]
    assert by_voice["units"] == 6 and by_voice["resampled"].startswith("6 speakers")
    assert by_voice["value"] == by_utterance["value"]
    assert (by_voice["low"], by_voice["high"]) != (
        by_utterance["low"],
        by_utterance["high"],
    )
    # its groups are smaller, and some voices are not in them
    assert run(recipe)["asr"]["nb"]["wer"]["units"] == 3


def test_versions_of_an_utterance_are_resampled_together(recipe):
    names = {
        u: f"{'abcde'[i // 12]}{i // 4}-{recipe.condition[u]}"
        for i, u in enumerate(recipe.text)
    }
    for table in ("text", "text_st", "utt2condition", "utt2bandwidth"):
        lines = (recipe.data / table).read_text().splitlines()
        pairs = (line.split(" ", 1) for line in lines)
        write_table(recipe.data / table, {names[u]: text for u, text in pairs})
    recipe.text = {names[u]: words for u, words in recipe.text.items()}
    recipe.text_st = {names[u]: words for u, words in recipe.text_st.items()}
    recipe.experiment("base", error=0.2)
    scores = run(recipe)["asr"]
    assert scores["all"]["wer"]["units"] == scores["nb"]["wer"]["units"] == 15


def test_texts_that_only_look_alike_are_no_errors(recipe, capsys):
    recipe.experiment("base", error=0.0)
    lines = (recipe.data / "text").read_text().splitlines()
    text = unicodedata.normalize("NFD", "\n".join(lines[1:]) + "\n")
    (recipe.data / "text").write_text(f"{lines[0]}\u200b\n{text}", encoding="utf-8")
    assert run(recipe)["asr"]["all"]["wer"]["value"] == 0
    assert "60 of 60 references and 0 of 60 hypotheses" in capsys.readouterr().out


def test_speech_heard_in_silence_counts_as_inserted(recipe, capsys):
    recipe.experiment("base", error=0.0)
    lines = (recipe.data / "text").read_text().splitlines()
    said = {line.split()[0]: line.split()[1:] for line in lines}
    said["utt000"], heard = [], len(said["utt000"])
    write_table(recipe.data / "text", {u: " ".join(w) for u, w in said.items()})
    wer = run(recipe)["asr"]["all"]["wer"]
    rate = 100 * heard / sum(map(len, said.values()))
    assert wer["value"] == wer["insert"] == pytest.approx(rate, abs=1e-3)
    assert wer["substitute"] == wer["delete"] == 0
    assert f"utt000: what was recognized there counts as inserted ({heard})" in (
        capsys.readouterr().out
    )


def test_a_set_of_silence_has_errors_but_no_rate(recipe, capsys):
    recipe.experiment("base", error=0.0)
    (recipe.data / "text_st").unlink()
    (recipe.data / "text").write_text("".join(f"{u}\n" for u in recipe.text))
    wer = run(recipe)["asr"]["all"]["wer"]
    assert wer["value"] is wer["low"] is wer["high"] is None
    out = capsys.readouterr().out
    words = sum(map(len, recipe.text.values()))
    assert f"every reference is empty: there is no score, and {words} words" in out
    assert "nan" not in out


def test_errors_are_told_one_by_one_from_the_most_to_the_fewest(recipe, capsys):
    recipe.experiment("base", error=0.2)
    write_table(recipe.data / "utt2spk", {u: f"s{u[-1]}" for u in recipe.text})
    wer = run(recipe)["asr"]["all"]["wer"]
    result = (recipe.decode("base") / "score_wer" / "result.txt").read_text()
    (total,) = [line for line in result.splitlines() if "Sum/Avg" in line]
    cells = total.replace("|", " ").split()
    assert cells[:3] == ["Sum/Avg", "60", str(sum(map(len, recipe.text.values())))]
    parts = [wer["substitute"], wer["delete"], wer["insert"], wer["value"]]
    assert [float(c) for c in cells[4:8]] == pytest.approx(parts, abs=0.05)
    assert float(cells[3]) == pytest.approx(100 - sum(parts[:2]), abs=0.05)
    scored = re.findall(r"Scores: \(#C #S #D #I\) (\d+) (\d+) (\d+) (\d+)", result)
    errors = [sum(map(int, row[1:])) for row in scored]
    assert len(errors) == 60 and errors == sorted(errors, reverse=True)
    assert sum(errors) == round(wer["value"] * int(cells[2]) / 100)
    first = re.search(r"id: \((utt\d+)\)", result)[1]
    out = capsys.readouterr().out
    assert f"asr: the worst utterances\n  {first}  {errors[0]} errors in" in out


def test_an_alignment_has_gaps_where_words_are_missing_or_too_many(tmp_path):
    write_table(tmp_path / "data/text", {"u": "오늘 날씨 좋네요 정말", "v": "a b"})
    write_table(tmp_path / "dec/hyp.asr", {"u": "오늘 날 씨 정말", "v": "a b c d"})
    data, hyp = tmp_path / "data", tmp_path / "dec"
    score.main(["--data", str(data), "--hyp", str(hyp)])
    result = (hyp / "score_wer/result.txt").read_text(encoding="utf-8")
    assert "Scores: (#C #S #D #I) 2 2 0 0\nREF:  오늘 날씨 좋네요 정말\n" in result
    assert "REF:  a b * *\nHYP:  a b c d\nEval:     I I\n" in result
    (total,) = [line for line in result.splitlines() if "Sum/Avg" in line]
    # two utterances, six words: correct, S, D, I, errors, wrong utterances
    rates = ["66.7", "33.3", "0.0", "33.3", "66.7", "100.0"]
    assert total.replace("|", " ").split() == ["Sum/Avg", "2", "6", *rates]
    characters = (hyp / "score_cer/result.txt").read_text(encoding="utf-8")
    assert "<space>" in characters


def test_worst_utterances_can_be_left_out(recipe, capsys):
    recipe.experiment("base", error=0.2)
    run(recipe, worst=0)
    assert "the worst utterances" not in capsys.readouterr().out


@pytest.fixture
def espnet(recipe):
    """A decoding as ESPnet's asr.sh leaves it after stage 13."""
    folder = recipe.decode("base").with_name("dev")
    recipe.experiment("base", error=0.2)
    hyps = hypotheses(recipe, "asr")
    speaker = {u: f"spk{i % 12}" for i, u in enumerate(hyps)}
    names = {u: f"{speaker[u]}-{u}" for u in hyps}
    write_table(folder / "text", {names[u]: text for u, text in hyps.items()})
    refs = {u: " ".join(words) for u, words in recipe.text.items()}
    for name, texts in (("ref", refs), ("hyp", hyps)):
        lines = [f"{texts[u]}\t({speaker[u]}-{names[u]})\n" for u in texts]
        path = folder / "score_wer" / f"{name}.trn"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(lines), encoding="utf-8")
    (folder / "score_wer/result.txt").write_text("of sclite\n")
    data = recipe.root / "dump/raw/dev"
    write_table(data / "text", {names[u]: text for u, text in refs.items()})
    write_table(data / "utt2spk", {names[u]: speaker[u] for u in refs})
    return folder, data


def test_decodings_of_espnets_own_script_are_scored(recipe, espnet):
    folder, data = espnet
    ours = run(recipe)["asr"]["all"]["wer"]
    for more in (["--data", str(data)], []):  # with the data, and by the .trn alone
        score.main(["--hyp", str(folder), *more])
        theirs = json.loads((folder / "scores.json").read_text())["asr"]["all"]["wer"]
        assert theirs["value"] == ours["value"] and theirs["units"] == 12
        assert theirs["resampled"].startswith("12 speakers")
    assert (folder / "score_wer/result.txt").read_text() == "of sclite\n"
    assert "Sum/Avg" in (folder / "score_wer/alignment.txt").read_text()


def test_a_decoding_that_lies_in_the_logs_of_its_jobs_is_scored(recipe, espnet):
    folder, data = espnet
    lines = (folder / "text").read_text().splitlines(keepends=True)
    (folder / "text").unlink()
    for job, some in ((1, lines[:20]), (2, lines[20:])):
        path = folder / f"logdir/output.{job}/1best_recog/text"
        path.parent.mkdir(parents=True)
        path.write_text("".join(some))
    score.main(["--hyp", str(folder), "--data", str(data)])
    wer = json.loads((folder / "scores.json").read_text())["asr"]["all"]["wer"]
    assert wer["value"] == run(recipe)["asr"]["all"]["wer"]["value"]
    path.write_text("".join(lines[21:]))  # an utterance that was not decoded
    with pytest.raises(ValueError, match="no hypothesis for .* spk8-utt020"):
        score.main(["--hyp", str(folder), "--data", str(data)])


def test_a_decoding_without_references_asks_for_the_data(recipe, espnet):
    folder, _ = espnet
    (folder / "score_wer/ref.trn").unlink()
    with pytest.raises(ValueError, match="give the data directory with --data"):
        score.main(["--hyp", str(folder)])


def test_a_broken_trn_file_is_named_with_its_line(espnet):
    folder, _ = espnet
    path = folder / "score_wer/ref.trn"
    path.write_text("one (a-a1)\nno id\n")
    with pytest.raises(ValueError, match=r"ref.trn:2: no \(id\) at the end"):
        score.main(["--hyp", str(folder)])


def test_mandarin_words_and_units_have_character_and_syllable_error_rates(tmp_path):
    data, hyp = tmp_path / "data", tmp_path / "decode"
    write_table(data / "text", {"a": "我有2个ＡＰＰ。", "b": "你好"})
    write_table(data / "text_syllable", {"a": "wo3 you3 er4 ge4", "b": "ni3 hao3"})
    write_table(hyp / "hyp.words", {"a": "我 有 两 个 app", "b": "你 号"})
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
    with pytest.raises(ValueError, match="--out is of one --hyp"):
        score.main(["--data", str(recipe.data), "--hyp", *folders, "--out", "x.json"])
