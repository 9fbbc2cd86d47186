"""Decoding modes against chunk sizes: every decoding has its cell."""

import json
import shutil

import pytest

from espnet_smoe.report.tables import results
from espnet_smoe.report.tables.decoding_table import main

SCORES = {("greedy", 0): 9.0, ("greedy", 16): 9.5, ("rescoring", 0): 7.0}


def experiment(root, tag, scores, more=0.0, task="words"):
    """What stages 11 to 13 leave."""
    folder = root / tag
    folder.mkdir()
    (folder / "params.json").write_text('{"total": 3200000, "active": 2400000}')
    for (mode, size), value in scores.items():
        name = f"decode_{mode}_{f'chunk{size}' if size else 'full'}"
        decode = folder / name / "test"
        decode.mkdir(parents=True)
        metrics = {"cer_no_space": value + more}
        if task == "asr":
            metrics = {"wer": 2 * value, "cer": value, "cer_no_space": value}
        found = {
            m: {"value": v, "low": 0, "high": 99, "n": 5} for m, v in metrics.items()
        }
        (decode / "scores.json").write_text(json.dumps({task: {"all": found}}))
        info = {"rtf": 0.02 + more / 100, "chunk_seconds": size * 0.04}
        if mode == "greedy":  # the latency of others is not known
            info["latency_seconds"] = {"p50": 0.004 + more / 1000, "p95": 0.25 + more}
        (decode / "decode.json").write_text(json.dumps(info))
    return folder


def tables(out, *experiments):
    main([*map(str, experiments), "--out", str(out / "modes.md")])
    return (out / "modes.md").read_text(encoding="utf-8")


def test_a_row_a_mode_and_a_column_a_chunk_size(tmp_path):
    text = tables(tmp_path, experiment(tmp_path, "dense", SCORES))
    assert text.splitlines()[-4:] == [
        "| | full | chunk 16 (0.64 s) |",
        "|---|---:|---:|",
        "| greedy | 9.00<br>RTF 0.020<br>4 / 250 ms | "
        "9.50<br>RTF 0.020<br>4 / 250 ms |",
        "| rescoring | 7.00<br>RTF 0.020 | - |",
    ]
    assert "### dense" in text and "3.2M in all, 2.4M active" in text
    assert "CER % without spaces; the real-time factor (RTF); milliseconds" in text


def test_modes_and_chunks_stand_in_the_order_of_what_they_cost(tmp_path):
    sizes = (4, 0, 16)
    modes = ("mine", "rescoring", "attention", "prefix_beam", "greedy")
    scores = {(mode, size): 5.0 for mode in modes for size in sizes}
    text = tables(tmp_path, experiment(tmp_path, "dense", scores))
    table = [line for line in text.splitlines() if line.startswith("| ")]
    assert table[0] == "| | full | chunk 16 (0.64 s) | chunk 4 (0.16 s) |"
    assert [row.split(" | ")[0] for row in table[1:]] == [
        *("| greedy", "| prefix beam", "| attention", "| rescoring", "| mine")
    ]


def test_words_and_characters_share_a_cell_where_both_count(tmp_path):
    text = tables(tmp_path, experiment(tmp_path, "dense", SCORES, task="asr"))
    assert "| greedy | 18.00 / 9.00<br>" in text
    assert "WER %, CER %; the real" in text


def test_seeds_of_a_system_are_averaged(tmp_path):
    seeds = [experiment(tmp_path, f"moe_seed{i}", SCORES, more=i) for i in range(1, 4)]
    text = tables(tmp_path, experiment(tmp_path, "dense", SCORES), *seeds)
    assert text.count("### ") == 2 and "Means of 3 trainings" in text
    assert "| greedy | 11.00<br>RTF 0.040<br>6 / 2250 ms |" in text


def test_kinds_of_errors_stand_below_their_rate(tmp_path):
    folders = [experiment(tmp_path, f"dense_seed{n}", SCORES) for n in (1, 2)]
    for shift, folder in enumerate(folders):
        for path in folder.glob("*/test/scores.json"):
            found = json.loads(path.read_text())
            parts = {"substitute": 4.0 + 2 * shift, "delete": 2.0, "insert": 1.0}
            found["words"]["all"]["cer_no_space"] |= parts
            path.write_text(json.dumps(found))
    text = tables(tmp_path, *folders)
    assert "| rescoring | 7.00<br>S 5.0 D 2.0 I 1.0<br>RTF 0.020 | - |" in text
    assert "substitutions (S), deletions (D), insertions (I) of the first" in text


def test_a_set_without_words_has_no_scores(tmp_path):
    folder = experiment(tmp_path, "dense", SCORES)
    for path in folder.glob("*/test/scores.json"):
        found = json.loads(path.read_text())
        found["words"]["all"]["cer_no_space"] |= dict.fromkeys(("value", "low", "high"))
        path.write_text(json.dumps(found))
    text = tables(tmp_path, folder)
    assert "| rescoring | -<br>RTF 0.020 | - |" in text


def test_a_latency_that_one_seed_lacks_is_not_shown(tmp_path):
    seeds = [experiment(tmp_path, f"moe_seed{i}", SCORES) for i in (1, 2)]
    path = seeds[1] / "decode_greedy_full/test/decode.json"
    path.write_text('{"rtf": 0.02, "latency_seconds": null}')
    text = tables(tmp_path, *seeds)
    assert "| greedy | 9.00<br>RTF 0.020 | 9.50<br>RTF 0.020<br>4 / 250 ms |" in text


def test_without_any_latency_none_is_explained(tmp_path):
    text = tables(tmp_path, experiment(tmp_path, "dense", {("rescoring", 0): 7.0}))
    assert "real-time factor (RTF).\n" in text and "millisec" not in text


def test_what_is_missing_is_named(tmp_path):
    whole = experiment(tmp_path, "a_seed1", SCORES)
    part = experiment(tmp_path, "a_seed2", {("greedy", 0): 9.0})
    with pytest.raises(ValueError, match="one has decode_greedy_chunk16, decode_r"):
        tables(tmp_path, whole, part)
    (tmp_path / "b").mkdir()
    with pytest.raises(ValueError, match="run stages 12 and 13"):
        tables(tmp_path, tmp_path / "b")
    with pytest.raises(ValueError, match="gone does not exist: run stage 11"):
        tables(tmp_path, tmp_path / "gone")


def test_the_tables_go_into_the_results_a_heading_lower(tmp_path):
    tables(tmp_path, experiment(tmp_path, "dense", SCORES))
    out = tmp_path / "RESULTS.md"
    results.main(
        [
            "--comparison",
            str(tmp_path / "modes.md"),
            "--out",
            str(out),
            "--command",
            "x",
        ]
    )
    text = out.read_text(encoding="utf-8")
    assert "\n## Decoding modes and chunk sizes on test\n" in text
    assert "\n### dense\n" in text


def test_the_whole_page_of_two_systems(tmp_path):
    dense = experiment(tmp_path, "dense", SCORES)
    (dense / "train_time.json").write_text('{"seconds": 90}')
    seeds = [experiment(tmp_path, f"moe_seed{n}", SCORES, more=n) for n in (1, 2)]
    for seconds, folder in ((10, seeds[0]), (30, seeds[1])):
        (folder / "train_time.json").write_text(f'{{"seconds": {seconds}}}')
    text = tables(tmp_path, dense, *seeds)
    parts = text.split("\n\n")
    assert parts[0] == "# Decoding modes and chunk sizes on test"
    assert parts[2:4] == [
        "### dense",
        "Parameters: 3.2M in all, 2.4M active. Training time: 1 min 30 s.",
    ]
    assert parts[5:7] == [
        "### moe",
        "Means of 2 trainings. Parameters: 3.2M in all, 2.4M active. "
        "Training time: 20.0 s.",
    ]
    assert parts[7].splitlines()[2:] == [
        "| greedy | 10.50<br>RTF 0.035<br>6 / 1750 ms | "
        "11.00<br>RTF 0.035<br>6 / 1750 ms |",
        "| rescoring | 8.50<br>RTF 0.035 | - |",
    ]


def test_what_one_training_lacks_has_no_mean(tmp_path):
    seeds = [experiment(tmp_path, f"moe_seed{n}", SCORES) for n in (1, 2)]
    place = "decode_rescoring_full/test"
    (seeds[0] / place / "decode.json").write_text("{}")
    path = seeds[1] / place / "scores.json"
    none = dict.fromkeys(("value", "low", "high")) | {"n": 5}
    path.write_text(json.dumps({"words": {"all": {"cer_no_space": none}}}))
    (seeds[0] / "train_time.json").write_text('{"seconds": 10}')
    text = tables(tmp_path, *seeds)
    assert "| rescoring | -<br>RTF - | - |" in text
    assert "Training time: -." in text


def test_a_chunk_of_unknown_length_and_other_folders(tmp_path):
    folder = experiment(tmp_path, "dense", {("greedy", 16): 9.5, ("greedy", 1): 9.0})
    (folder / "decode_greedy_chunk16/test/decode.json").write_text("{}")
    other = folder / "decode_beam5/test"  # not of a mode and a chunk size
    other.mkdir(parents=True)
    (other / "scores.json").write_text("{}")
    text = tables(tmp_path, folder)
    assert "| | chunk 16 | chunk 1 (0.04 s) |" in text
    assert "| greedy | 9.50<br>RTF - | 9.00<br>RTF 0.020<br>4 / 250 ms |" in text
    for name in ("16", "1"):
        shutil.rmtree(folder / f"decode_greedy_chunk{name}")
    with pytest.raises(ValueError, match="does not exist: run stages 12 and 13"):
        tables(tmp_path, folder)


def test_at_most_two_rates_are_shown_in_their_order(tmp_path):
    folder = experiment(tmp_path, "dense", {("greedy", 0): 4.0}, task="asr")
    text = tables(tmp_path, folder)
    assert "In a cell: WER %, CER %; the real-time factor (RTF); milliseconds" in text
    assert "| greedy | 8.00 / 4.00<br>RTF 0.020<br>4 / 250 ms |" in text


def test_seeds_of_other_test_sets_have_no_mean(tmp_path):
    seeds = [experiment(tmp_path, f"dense_seed{n}", SCORES) for n in (1, 2)]
    path = seeds[1] / "decode_greedy_full/test/scores.json"
    path.write_text(path.read_text().replace('"n": 5', '"n": 4'))
    with pytest.raises(ValueError, match="seed2/.*scores.json has not the error rates"):
        tables(tmp_path, *seeds)
    for folder in seeds:
        path = folder / "decode_greedy_full/test/scores.json"
        path.write_text(path.read_text().replace("cer_no_space", "bleu"))
    with pytest.raises(ValueError, match="seed1/.*scores.json has not the error rates"):
        tables(tmp_path, *seeds)
