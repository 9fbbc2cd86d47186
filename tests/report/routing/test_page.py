"""The report on learned routing in words: every sentence from findings by hand."""

from dataclasses import replace

import numpy as np
import pytest

from espnet_smoe.report.experts.page import page_lines
from espnet_smoe.report.routing.analysis import MutualInformation
from espnet_smoe.report.routing.page import (
    most_frequent,
    most_informative_layer,
    sections,
    source,
    summary,
)
from tests.report.routing.test_figure import CLASSES, report


def by_hand(**changes):
    """Two layers of four experts."""
    found = report(layers=2, experts=4)
    loads = np.array([70, 20, 10, 0]), np.array([25, 25, 25, 25])
    counts = {
        "unit": np.array([[6, 2, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 2000]]),
        "silence": np.array([[1, 0, 0, 0], [0, 3, 0, 1]]),
    }
    told = {
        "0": {
            "unit": MutualInformation(0.4, 0.1, 1.0),
            "silence": MutualInformation(0.9, 0.0, 1.0),
        },
        "1": {
            "unit": MutualInformation(0.8, 0.2, 2.0),
            "silence": MutualInformation(0.2, 0.1, 2.0),
        },
    }
    layers = {
        name: replace(
            *(layer,),
            loads=of,
            entropy=0.5 + 0.25 * number,
            top=0.75 - 0.25 * number,
            counts=counts,
            information=told[name],
        )
        for number, ((name, layer), of) in enumerate(zip(found.layers.items(), loads))
    }
    diff = [np.full((4, 4), value) for value in (0.2, 0.4)]
    alike = {
        name: of | {"output diff": matrix}
        for (name, of), matrix in zip(found.similarity["encoder"].items(), diff)
    }
    return replace(found, layers=layers, similarity={"encoder": alike}, **changes)


def test_what_the_figures_say():
    assert summary(by_hand()) == [
        "The fullest of 4 experts takes 25 to 70 % of the frames of its layer (a fair "
        "share is 25 %); 1 of the 8 experts of 2 layers is dead.",
        "The router gives its choice a probability of 0.50 to 0.75 in the mean; its "
        "entropy is 0.50 to 0.75 nats, 1.39 where it knows nothing.",
        "What is known of the expert from the class of a frame, at most: unit 40.0 % "
        "(layer 0; by chance 10.0 %), silence 90.0 % (layer 0; by chance 0.0 %).",
        "Experts: on the same input the outputs of two experts differ by 20 to 40 % of "
        "their size.",
    ]
    one = by_hand()
    one = replace(one, layers={"1": one.layers["1"]})
    assert summary(one)[0].startswith(
        "The fullest of 4 experts takes 25 % of the frames of its layer (a fair share "
        "is 25 %); none of the 4 experts of one layer are dead."
    )


def test_doubts_about_the_units_are_said():
    assert len(summary(by_hand(spike_probability=0.5))) == 4
    unsure = summary(by_hand(spike_probability=0.49))
    assert unsure[4].startswith("The model is unsure of the texts (mean probability ")
    assert "(mean probability of a unit at its spike 0.49)" in unsure[4]
    few = summary(by_hand(unaligned=list("abcde")))
    assert few[4] == (
        "5 utterances have fewer frames than their text needs and tell nothing about "
        "units: a, b, c, d, e."
    )
    assert summary(by_hand(unaligned=list("abcdefg")))[4].endswith(
        "units: a, b, c, d, e and 2 more."
    )
    none = summary(by_hand(has_ctc=False, unaligned=["a"], spike_probability=0.1))
    assert len(none) == 5 and none[4].startswith("The model has no CTC head")


def test_the_most_telling_layer_is_by_units_beyond_chance():
    # 0.6 to 0.3 bits; silence does not count
    assert most_informative_layer(by_hand()) == "1"


def test_loads_and_what_classes_tell_are_tables():
    loads, told, unit, silence, *rest = sections(by_hand())
    assert loads.head == "layer E0 E1 E2 E3 entropy top-1 dead".split()
    assert loads.rows == [
        "0|70.0 %|20.0 %|10.0 %|0.0 %|0.50|0.75|1".split("|"),
        "1|25.0 %|25.0 %|25.0 %|25.0 %|0.75|0.50|0".split("|"),
    ]
    assert "nats, mean over the frames; 1.39 where it knows nothing" in loads.meaning
    assert told.head == ["layer", "entropy", "unit %", "silence %"]
    assert told.rows == [
        ["0", "1.00", "40.00 (10.00)", "90.00 (0.00)"],
        ["1", "2.00", "40.00 (10.00)", "10.00 (5.00)"],
    ]
    assert unit.title == "Experts by unit" and len(unit.rows) == 6
    assert unit.rows[:3] == [
        "0|a|8|75.0 %|25.0 %|0.0 %|0.0 %".split("|"),
        "0|c|4|25.0 %|25.0 %|25.0 %|25.0 %".split("|"),
        "0|d|2,000|0.0 %|0.0 %|0.0 %|100.0 %".split("|"),
    ]
    assert unit.head == "layer unit frames E0 E1 E2 E3".split()
    assert "The 12 units with the most frames." in unit.meaning
    assert silence.title == "Experts by silence and speech"
    assert silence.rows[1] == "0|silence|4|0.0 %|75.0 %|0.0 %|25.0 %".split("|")
    assert "units with the most" not in silence.meaning
    assert rest[0].title == "Similarity of the experts"


def test_the_terminal_shows_classes_of_one_layer():
    tables = sections(by_hand(), brief=True)
    assert tables[2].title == "Experts by unit in layer 1"
    assert {row[0] for row in tables[2].rows} == {"1"}


def test_endings_are_explained_and_bars_in_units_escaped():
    found = by_hand()
    names = {"final": ("a|b", *CLASSES["unit"][1:])}
    layers = {
        name: replace(of, counts={"final": of.counts["unit"]})
        for name, of in found.layers.items()
    }
    found = replace(found, classes=names, layers=layers)
    table = sections(found)[2]
    assert table.rows[0][1] == "a|b" and "`-n` is any final" in table.meaning
    assert "| 0 | a\\|b | 8 | 75.0 % |" in "\n".join(
        page_lines("exp", "source", [], "experts.png", [table])
    )


def test_the_rarest_of_many_classes_are_left_out():
    counts = np.array([[n, 0] for n in (3, 0, 5, 5, 1, *range(10, 20))])
    assert most_frequent(counts) == [2, 3, *range(5, 15)]
    assert most_frequent(counts[:3]) == [0, 2]


@pytest.mark.parametrize(("value", "said"), [(0.876, "0.88"), (float("nan"), "-")])
def test_the_source_says_how_well_texts_fit(value, said):
    text = source(by_hand(spike_probability=value))
    assert text == f"source Mean probability of a unit at its spike: {said}."
