"""How numbers and names are written: at every border, and where nothing is known."""

import pytest

from espnet_smoe.report.tables.number_format import (
    count,
    duration,
    factor,
    group_label,
    markdown_row,
    p_value,
    percent,
    relative_change,
    with_interval,
)


@pytest.mark.parametrize(
    "number, written",
    [
        (None, "-"),
        (0, "0"),
        (999, "999"),
        (1_000, "1.0k"),
        (35_249, "35.2k"),
        (1_000_000, "1.0M"),
        (107_149_000, "107.1M"),
    ],
)
def test_numbers_of_parameters_have_a_unit(number, written):
    assert count(number) == written


@pytest.mark.parametrize(
    "seconds, written",
    [
        (None, "-"),
        (12.54, "12.5 s"),
        (59.94, "59.9 s"),
        (60, "1 min 00 s"),
        (200.4, "3 min 20 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 00 min"),
        (7500, "2 h 05 min"),
    ],
)
def test_times_are_written_in_their_two_largest_units(seconds, written):
    assert duration(seconds) == written


def test_a_score_has_its_interval_where_there_is_one():
    score = {"value": 3.926, "low": 3.514, "high": 4.4}
    assert with_interval(score) == "3.93 [3.51–4.40]"
    assert with_interval(score, digits=1) == "3.9 [3.5–4.4]"
    assert with_interval({**score, "low": None, "high": None}) == "3.93"
    assert with_interval({**score, "value": None}) == with_interval(None) == "-"


def test_changes_have_a_sign_and_are_of_the_old_value():
    assert relative_change(8.0, 6.0) == "−25.0 %"
    assert relative_change(6.0, 8.0) == "+33.3 %"
    assert relative_change(8.0, 8.0) == "+0.0 %"
    assert relative_change(0, 8.0) == "-"
    assert relative_change(1, 0) == "−100.0 %"


def test_small_numbers_and_unknown_ones():
    written = [p_value(p) for p in (None, 0.0009, 0.001, 0.0314, 1.0)]
    assert written == ["p=-", "p<0.001", "p=0.001", "p=0.031", "p=1.000"]
    assert [percent(v) for v in (None, 0.0, 12.34)] == ["-", "0.0", "12.3"]
    assert [factor(v) for v in (None, 0.0, 0.1234)] == ["-", "0.000", "0.123"]


def test_groups_are_called_by_their_condition_or_bandwidth():
    labels = [group_label(group) for group in ("all", "g711_nb", "mean_nb", "mean_wb")]
    assert labels == ["all", "g711_nb", "mean of NB", "mean of WB"]


def test_a_bar_in_a_name_does_not_end_its_cell():
    assert markdown_row(["a|b", "", "-"]) == "| a\\|b |  | - |"
