"""What scores are made of: groups, clusters, and what is said of empty references."""

import json

import numpy as np
import pytest

from espnet_smoe.report.scoring.clusters import Clusters
from espnet_smoe.report.scoring.counts import (
    TaskCounts,
    clusters_in,
    count_tasks,
    group_utterances,
)
from espnet_smoe.report.scoring.metrics import METRICS
from tests.report.conftest import write_table

UTTS = ["a-amr_wb", "b-zoom", "c-wb", "d-nb", "e-cafe", "f-wb"]
CONDITION = {utt: utt[2:] for utt in UTTS}
BANDWIDTH = dict(zip(UTTS, ("wb", "wb", "wb", "nb", "nb", "wb")))


def rows_of(groups):
    return {name: [rows.tolist() for rows in strata] for name, strata in groups.items()}


def test_groups_are_the_set_its_conditions_and_the_means_over_them(tmp_path):
    assert rows_of(group_utterances(None, UTTS)) == {"all": [[0, 1, 2, 3, 4, 5]]}
    write_table(tmp_path / "utt2condition", CONDITION)
    write_table(tmp_path / "utt2bandwidth", BANDWIDTH)
    groups = group_utterances(tmp_path, UTTS)
    # the paper's conditions in its order, then others by name
    assert list(groups) == [
        *("all", "nb", "wb", "amr_wb", "cafe", "zoom", "mean_nb", "mean_wb")
    ]
    found = rows_of(groups)
    assert found["wb"] == [[2, 5]] and found["zoom"] == [[1]]
    assert found["mean_nb"] == [[3], [4]]
    assert found["mean_wb"] == [[0], [1], [2, 5]]


def test_without_conditions_a_bandwidth_is_one_stratum(tmp_path):
    write_table(tmp_path / "utt2bandwidth", BANDWIDTH)
    found = rows_of(group_utterances(tmp_path, UTTS))
    assert found == {
        "all": [[0, 1, 2, 3, 4, 5]],
        "mean_nb": [[3, 4]],
        "mean_wb": [[0, 1, 2, 5]],
    }


def test_clusters_of_a_directory_are_its_speakers_or_its_sources(tmp_path):
    utts = ["u-nb", "u-wb", "v-nb", "v-wb"]
    write_table(tmp_path / "utt2condition", {utt: utt[2:] for utt in utts})
    assert clusters_in(tmp_path, utts).of.tolist() == [0, 0, 1, 1]
    write_table(tmp_path / "utt2spk", dict(zip(utts, "aabb")))
    assert clusters_in(tmp_path, utts).by == "utterances"  # a speaker each
    more = [*utts, "w-nb"]
    write_table(tmp_path / "utt2condition", {utt: utt[2:] for utt in more})
    write_table(tmp_path / "utt2spk", dict(zip(more, "aabba")))
    clusters = clusters_in(tmp_path, more)
    assert clusters.by == "speakers" and clusters.of.tolist() == [0, 0, 1, 1, 0]


def test_rows_and_clusters_of_a_group_belong_together():
    counts = np.arange(12.0).reshape(6, 2)
    groups = {"mean_nb": [np.array([1, 4]), np.array([5])]}
    clusters = Clusters(np.array([3, 2, 2, 1, 0, 2]), "speakers")
    task = TaskCounts({"wer": counts}, groups, clusters)
    assert [of.tolist() for of in task.strata("wer", "mean_nb")] == [
        [[2, 3], [8, 9]],
        [[10, 11]],
    ]
    assert [of.tolist() for of in task.clusters_of("mean_nb")] == [[1, 0], [1]]
    assert TaskCounts({"wer": counts}, groups).clusters_of("mean_nb") is None


def test_trainings_of_a_system_are_stacked_and_told_once():
    groups = {"all": [np.arange(2)]}
    runs = [
        TaskCounts({"wer": np.full((2, 5), seed)}, groups, notes=notes)
        for seed, notes in enumerate((["a", "b"], ["b", "c"], ["a"]))
    ]
    assert TaskCounts.of_seeds(runs[:1]) is runs[0]
    system = TaskCounts.of_seeds(runs)
    assert system.counts["wer"].shape == (3, 2, 5)
    assert system.counts["wer"][:, 0, 0].tolist() == [0, 1, 2]
    assert system.notes == ["a", "b", "c"]


def written(tmp_path, references, hypotheses, target="text", task="asr"):
    """Counts of one decoded task."""
    write_table(tmp_path / "data" / target, references)
    write_table(tmp_path / f"dec/hyp.{task}", hypotheses)
    return count_tasks(tmp_path / "data", tmp_path / "dec")[task]


def test_what_is_heard_where_nothing_is_said_is_counted_and_named(tmp_path):
    references = {"a": "x y", "b": "", "c": "", "d": "z"}
    found = written(tmp_path, references, {"a": "x", "b": "o", "c": "p q", "d": "z w"})
    assert found.notes == [
        "empty reference of utterance(s) b, c: what was recognized there counts as "
        "inserted (3)"
    ]
    assert found.utts == list("abcd") and found.speakers == ()
    assert found.texts == (["x y", "", "", "z"], ["x", "o", "p q", "z w"])
    assert written(tmp_path, {"a": "x"}, {"a": ""}).notes == []
    empty = written(tmp_path, {"a": "", "b": ""}, {"a": "x y", "b": "z"})
    assert empty.notes == [
        "every reference is empty: there is no score, and 3 words or characters too "
        "many"
    ]


def test_of_translations_no_insertions_are_told(tmp_path):
    write_table(tmp_path / "data/text", {"a": "x"})
    for texts, note in (
        ({"a": "x", "b": ""}, "empty reference of utterance(s) b"),
        ({"a": "", "b": ""}, "every reference is empty: there is no score"),
    ):
        found = written(tmp_path, texts, {"a": "x", "b": "y"}, "text_st", "st")
        assert found.notes == [note]


def test_what_is_not_scored_is_said_with_the_first_task(tmp_path):
    write_table(tmp_path / "dec/hyp.st", {"a": "x"})
    write_table(tmp_path / "dec/hyp.fr", {"a": "x"})
    found = written(tmp_path, {"a": "x"}, {"a": "x"})
    assert found.notes == [
        f"{tmp_path}/data/text_st does not exist: st is not scored",
        f"{tmp_path}/data/text_fr does not exist: fr is not scored",
    ]
    write_table(tmp_path / "data/text", {"a": "<na>"})
    with pytest.raises(ValueError, match="nothing to score: .*text has no reference"):
        count_tasks(tmp_path / "data", tmp_path / "dec")


def test_a_third_task_is_scored_by_the_metrics_of_its_row(tmp_path):
    write_table(tmp_path / "data/text", {"a": "x"})
    write_table(tmp_path / "data/text_ja", {"a": "水を飲む"})
    write_table(tmp_path / "dec/hyp.ja", {"a": "水を飲んだ"})
    table = {"ja": {"target": "text_ja", "metrics": ["cer", "chrf"]}}
    (tmp_path / "dec/decode.json").write_text(json.dumps({"task_table": table}))
    found = count_tasks(tmp_path / "data", tmp_path / "dec")
    assert list(found) == ["ja"] and list(found["ja"].counts) == ["cer", "chrf"]
    assert found["ja"].scores()["all"]["cer"].value == 50


def test_each_group_has_a_score_of_each_metric(tmp_path):
    texts = dict.fromkeys(UTTS, "a b")
    write_table(tmp_path / "data/utt2condition", CONDITION)
    write_table(tmp_path / "data/utt2spk", dict(zip(UTTS, "ppqqrr")))
    found = written(tmp_path, texts, texts | {UTTS[2]: "a c", UTTS[5]: "a"})
    assert list(found.counts) == ["wer", "cer", "cer_no_space"]
    assert found.speakers == list("ppqqrr")
    scores = found.scores()
    assert list(scores) == ["all", "nb", "wb", "amr_wb", "cafe", "zoom"]
    of_wide = METRICS["wer"].score(["a b", "a b"], ["a c", "a"])
    assert scores["wb"]["wer"].value == of_wide == 50
    assert scores["all"]["wer"].units == 3 and scores["wb"]["wer"].units == 2


@pytest.mark.parametrize("name", ["all", "mean_nb"])
def test_a_condition_does_not_take_the_name_of_a_score_of_several(tmp_path, name):
    write_table(tmp_path / "utt2condition", CONDITION | {"b-zoom": name})
    write_table(tmp_path / "utt2bandwidth", BANDWIDTH)
    with pytest.raises(ValueError, match=f"utt2condition: '{name}' is what the scores"):
        group_utterances(tmp_path, UTTS)
