"""Lines of a comparison: what is in them, and what is said about them."""

import numpy as np
import pytest
import sacrebleu

from espnet_smoe.report.scoring import bootstrap
from espnet_smoe.report.scoring.clusters import UTTERANCES, Clusters
from espnet_smoe.report.scoring.counts import TaskCounts
from espnet_smoe.report.scoring.metrics import METRICS
from espnet_smoe.report.tables.compare import (
    Cell,
    Row,
    compare,
    explanation,
    print_rows,
    to_markdown,
)
from espnet_smoe.report.tables.system import System

REFERENCES = ["a b c d"] * 8
GROUPS = {
    "all": [np.arange(8)],
    "nb": [np.arange(4)],
    "wb": [np.arange(4, 8)],
    "mean_nb": [np.arange(4)],
    "mean_wb": [np.arange(4, 8)],
}
ROWS = [
    Row("asr", "WER %, all", [Cell("5.00"), Cell("4.00", "−20.0 %, p=0.010", True)]),
    Row("asr", "WER %, nb", [Cell("6.00"), Cell("-")]),
    Row("st", "BLEU, all", [Cell("6.00", best=True), Cell("-")]),
    Row("cost", "seeds", [Cell("1"), Cell("1")]),
]


@pytest.fixture(autouse=True)
def fewer_resamples(monkeypatch):
    monkeypatch.setattr(bootstrap, "RESAMPLES", 1000)


def of_task(*wrong, metric="wer", groups=GROUPS, references=REFERENCES):
    """Counts of trainings that have so many words wrong in each utterance."""
    runs = []
    for numbers in wrong:
        hyps = [
            " ".join(["x"] * n + text.split()[n:])
            for n, text in zip(numbers, REFERENCES)
        ]
        runs.append(METRICS[metric].counts(references, hyps))
    counts = runs[0] if len(runs) == 1 else np.stack(runs)
    return TaskCounts({metric: counts}, groups, Clusters(None, UTTERANCES, "why"))


def system(name, *wrong, **more):
    """A system with one task."""
    tasks = {"asr": of_task(*wrong)} if wrong else more.pop("tasks")
    scores = {task: counts.scores() for task, counts in tasks.items()}
    return System(name, max(1, len(wrong)), tasks, scores, **more)


def cells_of(systems, every_condition=False):
    rows = compare(systems, every_condition)
    return {f"{row.section} {row.label}": row.cells for row in rows}


HALF = [2, 2, 2, 2, 1, 1, 1, 1]
FEWER = [1, 2, 2, 2, 1, 1, 1, 1]


def test_the_lines_are_scores_by_group_and_then_costs():
    told = dict(
        parameters=(3_200_000, 2_400_000),
        multiply_accumulates=15_000_000,
        rtf=0.125,
        training=75.0,
    )
    cells = cells_of([system("base", HALF), system("moe", FEWER, **told)])
    assert list(cells) == [
        *("asr WER %, all", "asr WER %, mean of NB", "asr WER %, mean of WB"),
        *("cost seeds", "cost parameters", "cost active parameters"),
        *("cost encoder MACs a second", "cost RTF", "cost training time"),
    ]
    cost = [[cell.text for cell in cells[line]] for line in list(cells)[3:]]
    assert cost == [
        *(["1", "1"], ["-", "3.2M"], ["-", "2.4M"], ["-", "15.0M"]),
        *(["-", "0.125"], ["-", "1 min 15 s"]),
    ]
    assert not any(c.best or c.note for line in list(cells)[3:] for c in cells[line])
    first, second = cells["asr WER %, mean of NB"]
    assert first.text.startswith("50.00") and second.text.startswith("43.75")
    assert second.note.startswith("−12.5 %, p=") and first.note == ""
    lines = list(cells_of([system("base", HALF)], every_condition=True))
    assert lines[:5] == [
        *("asr WER %, all", "asr WER %, nb", "asr WER %, wb"),
        *("asr WER %, mean of NB", "asr WER %, mean of WB"),
    ]


def test_each_seed_has_its_score_in_the_order_given():
    systems = [system("base", HALF), system("moe", FEWER, HALF)]
    cells = cells_of(systems)
    assert list(cells).index("asr WER %, each seed") == 3
    each = [cell.text for cell in cells["asr WER %, each seed"]]
    assert each == ["37.50", "34.38, 37.50"]
    other = {"st": of_task(HALF, metric="bleu")}
    assert cells_of([*systems, system("st", tasks=other)])["asr WER %, each seed"] == [
        Cell("37.50"),
        Cell("34.38, 37.50"),
        Cell("-"),
    ]


def test_a_bleu_of_each_seed_is_that_of_sacrebleu():
    """Of sums: of means, what no n-gram matches would weigh otherwise."""
    wrong = [1] * 8, [2] * 8
    tasks = {"st": of_task(*wrong, metric="bleu")}
    system_of_two = System("moe", 2, tasks, {"st": tasks["st"].scores()})
    expected = [
        sacrebleu.corpus_bleu(
            [" ".join(["x"] * n + list("abcd")[n:])] * 8, [REFERENCES]
        )
        for (n, *_) in wrong
    ]
    (cell,) = cells_of([system_of_two])["st BLEU, each seed"]
    assert cell.text == ", ".join(f"{found.score:.2f}" for found in expected)


def test_equal_values_are_bold_only_beside_a_worse_one():
    good, bad = system("good", FEWER), system("bad", HALF)

    def bold(*systems):
        return [cell.best for cell in cells_of(systems)["asr WER %, all"]]

    assert bold(good, bad, good) == [True, False, True]
    assert bold(good, good) == [False, False] and bold(good) == [False]


def test_what_looks_equal_in_the_table_is_a_tie():
    long = [" ".join(["w"] * 9999)] * 4
    groups = {"all": [np.arange(4)]}

    def at(errors):
        counts = np.array([[errors, 9999, errors, 0, 0]] + [[0, 9999, 0, 0, 0]] * 3)
        return {"asr": TaskCounts({"wer": counts.astype(float)}, groups)}

    assert len(long) == 4
    cells = cells_of([system("a", tasks=at(8)), system("b", tasks=at(9))])
    assert [c.text[:4] for c in cells["asr WER %, all"]] == ["0.02", "0.02"]
    assert not any(cell.best for cell in cells["asr WER %, all"])


def test_a_bleu_is_best_where_it_is_highest():
    tasks = [{"st": of_task(wrong, metric="bleu")} for wrong in (HALF, [0] * 8)]
    cells = cells_of([system(n, tasks=t) for n, t in zip("ab", tasks)])
    assert [cell.best for cell in cells["st BLEU, all"]] == [False, True]


UNITS = "8 utterances (why; another voice may differ by more; fewer than 10: rough)"


def explained(*systems):
    return explanation(systems, compare(systems))


def test_what_the_numbers_mean_is_said_for_one_training_each():
    assert explained(system("base", HALF), system("moe", FEWER)) == (
        f"In brackets the 95 % bootstrap interval. Resampled: {UNITS}. Second line: "
        "relative change against base, and the two-sided p-value of a paired bootstrap "
        f"({bootstrap.RESAMPLES:,} resamples), adjusted by Holm's method for all tests "
        "of the same score in this table (3 of each). '1 seed': of this training; "
        "another may turn the result. Bold: the best of the line."
    ).replace("1,000 r", "10,000 r")


def test_what_the_numbers_mean_is_said_for_one_system_and_for_several_seeds():
    assert explained(system("base", HALF)) == (
        f"In brackets the 95 % bootstrap interval. Resampled: {UNITS}. "
        "Bold: the best of the line."
    )
    assert "Second line" not in explanation([system("base", HALF)], [])
    several = explained(system("base", HALF, FEWER), system("moe", FEWER, FEWER))
    assert several.startswith("Scores are means over the seeds. In brackets ")
    assert f"Resampled: seeds and {UNITS}." in several and "1 seed" not in several
    mixed = explained(system("base", HALF), system("moe", FEWER, FEWER))
    assert "seeds and 8" in mixed and "'1 seed': of this training" in mixed


def test_the_mark_of_one_seed_is_where_either_side_has_one():
    one, two = system("one", HALF), system("two", FEWER, HALF)
    for pair, marked in (((one, two), True), ((two, one), True), ((two, two), False)):
        (_, second) = cells_of(list(pair))["asr WER %, all"]
        assert second.note.endswith(" (1 seed)") is marked


def test_the_page_is_a_table_with_the_explanation_below():
    named = [system("base", HALF), system("moe", HALF)]
    assert to_markdown(ROWS, named, "Title", "Explained.").splitlines() == [
        "# Title",
        "",
        "| | base | moe |",
        "|---|---:|---:|",
        "| asr WER %, all | 5.00 | **4.00**<br>−20.0 %, p=0.010 |",
        "| asr WER %, nb | 6.00 | - |",
        "| st BLEU, all | **6.00** | - |",
        "| seeds | 1 | 1 |",
        "",
        "Explained.",
    ]


def test_the_terminal_shows_the_same_lines_with_room_between_sections(
    capsys, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "80")
    print_rows(ROWS, ["base", "moe"], "Title")
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "Title" and set(lines[3].strip()) == {"─"}
    assert [lines[2], *lines[4:]] == [
        "                  base                moe",
        " asr WER %, all   5.00               4.00",
        "                         −20.0 %, p=0.010",
        " asr WER %, nb    6.00                  -",
        "",
        " st BLEU, all     6.00                  -",
        "",
        " seeds               1                  1",
        "",
    ]
