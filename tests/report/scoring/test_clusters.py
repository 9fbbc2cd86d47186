"""What is resampled: voices, versions of utterances, utterances."""

import numpy as np
import pytest

from espnet_smoe.report.scoring.clusters import (
    find_clusters,
    resampled,
    sources_of,
    speakers_of,
)
from tests.report.conftest import write_table

UTTS = ["a1", "a2", "b1", "b2", "b3"]


def test_utterances_of_a_speaker_are_one_cluster():
    clusters = find_clusters(UTTS, list("aabbb"))
    assert clusters.of.tolist() == [0, 0, 1, 1, 1]
    assert (clusters.by, clusters.why) == ("speakers", "")


def test_without_speakers_each_utterance_is_its_own():
    clusters = find_clusters(UTTS, None)
    assert clusters.of is None
    assert clusters.by == "utterances" and "no utt2spk" in clusters.why


def test_one_speaker_or_a_speaker_for_each_utterance_leaves_utterances():
    for speakers, why in (("aaaaa", "one speaker"), ("abcde", "of its own")):
        clusters = find_clusters(UTTS, list(speakers))
        assert clusters.of is None
        assert clusters.by == "utterances" and why in clusters.why


def test_versions_of_an_utterance_stay_together_where_speakers_are_not_known():
    sources = np.array([0, 0, 1, 1, 1])
    for speakers in (None, list("aabbb"), list("aaaaa")):
        clusters = find_clusters(UTTS, speakers, sources)
        assert clusters.of.tolist() == sources.tolist()
    # two speakers of two sources each: more than a source falls together
    clusters = find_clusters(UTTS, list("aabba"), np.array([0, 1, 2, 3, 0]))
    assert clusters.of.tolist() == [0, 0, 1, 1, 0] and clusters.by == "speakers"


def test_a_source_that_two_speakers_share_joins_them():
    clusters = find_clusters(UTTS, list("aabbc"), np.array([0, 1, 1, 2, 3]))
    assert clusters.of.tolist() == [0, 0, 0, 0, 1]


def test_versions_of_an_utterance_are_known_by_their_ids(tmp_path):
    utts = [f"{name}-{c}" for name in ("b-1", "a") for c in ("nb", "amr_nb")]
    table = {utt: utt.split("-")[-1] for utt in utts}
    write_table(tmp_path / "utt2condition", table)
    assert sources_of(tmp_path, utts).tolist() == [1, 1, 0, 0]
    write_table(tmp_path / "utt2condition", table | {"a-nb": "wb"})
    assert sources_of(tmp_path, utts) is None
    assert sources_of(tmp_path / "none", utts) is None


def test_an_utterance_without_a_speaker_is_named(tmp_path):
    assert speakers_of(tmp_path, ["u1", "u2"]) is None
    write_table(tmp_path / "utt2spk", {"u1": "a"})
    with pytest.raises(ValueError, match="utt2spk: no value for .* u2"):
        speakers_of(tmp_path, ["u1", "u2"])


def test_few_clusters_are_called_rough():
    assert resampled("speakers", 9) == (
        "9 speakers, each with all its utterances (fewer than 10: rough)"
    )
    assert "rough" not in resampled("speakers", 10)
    assert resampled("utterances", 60, "all are of one speaker") == (
        "60 utterances (all are of one speaker; another voice may differ by more)"
    )
