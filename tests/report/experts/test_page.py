"""The report on experts in words: every sentence and table from findings by hand."""

from dataclasses import replace

import numpy as np
import pytest

from espnet_smoe.report.experts.page import (
    output_difference_sentence,
    page_lines,
    print_page,
    sections,
    summary,
    swap_meaning,
    two_digits,
)
from espnet_smoe.report.scoring import bootstrap
from tests.report.experts.test_figure import report, system

LABELLED = {
    "encoder": {
        n: {"wb": np.array([3000, 0]), "nb": np.array([0, 1000])} for n in "012"
    },
    "decoder": {"0": {"asr": np.array([0, 7]), "st": np.array([5, 0])}},
}
OWN = {"encoder": {"wb": 0, "nb": 1}, "decoder": {"asr": 1, "st": 0}}


@pytest.fixture(autouse=True)
def fewer_resamples(monkeypatch):
    monkeypatch.setattr(bootstrap, "RESAMPLES", 500)


def diff(*values):
    """Layers whose two experts' outputs differ so."""
    found = {}
    for number, value in enumerate(values):
        matrix = np.array([[0, value], [value, 0]])
        found[str(number)] = {"output diff": matrix, "output cosine": matrix}
    return found


def labelled(**changes):
    similar = {"encoder": diff(0.0, 0.5, 0.25), "decoder": diff(0.0)}
    return replace(report(), loads=LABELLED, own=OWN, similarity=similar, **changes)


def test_what_the_figures_say():
    right, swapped = system("right experts", 1), system("encoder swapped", 3)
    same = system("decoder swapped", 1)
    lines = summary(labelled(systems=[right, swapped, same]))
    assert lines[:4] == [
        "Encoder: every label goes to its own expert in all 3 layers (wb to E0, nb to "
        "E1).",
        "Encoder: on the same input the outputs of two experts differ by 0 to 50 % of "
        "their size.",
        "Decoder: every label goes to its own expert in all 1 layers (asr to E1, st to "
        "E0).",
        "Decoder: the experts compute the same: they are copies of each other.",
    ]
    old, new = (s.scores["st"]["all"]["bleu"].value for s in (right, swapped))
    start = "Encoder swapped: asr WER goes from 8.33 to 25.00 ("
    assert lines[4].startswith(start) and lines[4].endswith(", 1 seed).")
    assert f"Encoder swapped: st BLEU goes from {old:.2f} to {new:.2f} (" in lines[5]
    assert lines[6:] == [
        "Decoder swapped: asr WER stays 8.33 in every utterance.",
        f"Decoder swapped: st BLEU stays {old:.2f} in every utterance.",
    ]


def test_frames_that_went_astray_are_counted():
    astray = {"encoder": {"0": {"wb": np.array([2, 5])}, "1": {"wb": np.array([4, 3])}}}
    found = replace(labelled(), loads=astray, systems=report().systems[:1])
    assert summary(found)[0] == (
        "Encoder: 8 frames did not go to the expert of their label."
    )


def test_a_learned_gate_is_told_of_by_how_labels_differ():
    loads = {
        "decoder": {
            "0": {"asr": np.array([4, 0]), "st": np.array([1, 3])},
            "1": {"asr": np.array([1, 1]), "st": np.array([2, 2])},
        }
    }
    found = replace(labelled(), loads=loads, own={}, systems=report().systems[:1])
    assert summary(found)[0] == (
        "Decoder: a learned gate; the use of experts differs between labels by 0 to "
        "75 % (100 %: none in common)."
    )
    alone = replace(found, loads={"encoder": {"0": {"wb": np.array([4, 2])}}})
    assert summary(alone)[0] == (
        "Encoder: a learned gate, and only one label to compare."
    )
    assert "In the decoder, whose gate is learned:" in swap_meaning(found)
    assert "learned" not in swap_meaning(labelled())


def test_experts_are_copies_up_to_rounding():
    assert "copies" in output_difference_sentence(diff(0.0, 1e-4))
    assert "differ by 0 to 0 %" in output_difference_sentence(diff(0.0, 1.01e-4))


def test_layers_of_equal_loads_share_their_lines():
    loads = dict(LABELLED["encoder"])
    loads["3"] = {"wb": np.array([2, 2]), "nb": np.array([1, 3])}
    found = replace(labelled(), loads={"encoder": loads})
    table = sections(found)[0]
    assert table.title == "Load of the experts in the encoder"
    assert table.head == ["layer", "label", "frames", "E0", "E1", "divergence"]
    assert table.rows == [
        ["0 to 2", "wb", "3,000", "100.0 % (3,000)", "0.0 % (0)", "1.00"],
        ["", "nb", "1,000", "0.0 % (0)", "100.0 % (1,000)", ""],
        ["3", "wb", "4", "50.0 % (2)", "50.0 % (2)", "0.25"],
        ["", "nb", "4", "25.0 % (1)", "75.0 % (3)", ""],
    ]
    assert "by bandwidth" in table.meaning
    tokens = sections(labelled())[1]
    assert "share of tokens" in tokens.meaning and "by task" in tokens.meaning


def test_similarity_is_the_mean_over_pairs_and_a_matrix_of_more_than_two():
    found = report(layers=2, experts=3)
    tables = sections(found)[2:]
    assert [table.title for table in tables] == [
        "Similarity of the experts",
        "Output cosine of each two experts in the encoder",
        "Output cosine of each two experts in the decoder",
    ]
    names = [row[0] for row in tables[0].rows]
    assert names == ["encoder 0", "encoder 1", "decoder 0", "decoder 1"]
    measures = list(found.similarity["encoder"]["0"])
    assert tables[0].head == ["layer", *measures]
    matrix = found.similarity["encoder"]["1"]["w_1 cosine"]
    mean = (matrix[0, 1] + matrix[0, 2] + matrix[1, 2]) / 3
    assert tables[0].rows[1][1] == f"{mean:.2f}"
    mean = sum(m["output cosine"] for m in found.similarity["encoder"].values()) / 2
    assert tables[1].head == ["", "E0", "E1", "E2"]
    assert tables[1].rows == [
        [f"E{e}", *(f"{value:.2f}" for value in row)] for e, row in enumerate(mean)
    ]
    assert len(sections(report(layers=2, experts=2))) == 3


def test_numbers_have_two_digits_and_a_real_minus():
    written = [two_digits(v) for v in (0.125, -0.5, -0.001, float("nan"), 1)]
    assert written == ["0.12", "−0.50", "0.00", "-", "1.00"]


def test_a_table_is_as_wide_as_its_head():
    table = sections(labelled())[0]
    lines = page_lines("exp", "source", [], "figure.png", [table])
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 2 + len(table.rows)
    assert {line.count("|") for line in rows} == {len(table.head) + 1}


def test_the_terminal_shows_every_table_and_every_finding(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    printed = labelled(systems=[system("right experts", 1), system("swapped", 3)])
    print_page(printed)
    shown = capsys.readouterr().out
    places = [shown.index(section.title) for section in sections(printed)]
    places.append(shown.index("Swapped experts"))
    places.append(shown.index("In brackets the 95 % bootstrap interval"))
    places += [shown.index(f"- {sentence[:60]}") for sentence in summary(printed)]
    assert places == sorted(places)
