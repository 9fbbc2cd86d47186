"""Errors one by one: a page that was checked by hand, word for word."""

import numpy as np
import pytest

from espnet_smoe.report.scoring.alignment import (
    edits_table,
    worst,
    worst_lines,
    write_alignments,
)
from espnet_smoe.report.scoring.counts import TaskCounts
from espnet_smoe.report.scoring.metrics import METRICS

REFERENCES = ["a b c d", "", "오늘 날씨가 좋네요", "e f", "g"]
HYPOTHESES = ["a x c", "oh", "오늘 날씨 가 좋네요", "e f", "g h h"]
SPEAKERS = ["s2", "s1", "s2", "s1", "s1"]
PAGE = """\
WER %; utterances follow, from the most errors to the fewest

| SPKR    | # Snt # Wrd |  Corr   Sub   Del    Ins    Err  S.Err |
| s1      |     3     3 | 100.0   0.0   0.0  100.0  100.0   66.7 |
| s2      |     2     7 |  57.1  28.6  14.3   14.3   57.1  100.0 |
| Sum/Avg |     5    10 |  70.0  20.0  10.0   40.0   70.0   80.0 |

id: (u4)  speaker: s1
Scores: (#C #S #D #I) 1 0 0 2
REF:  g * *
HYP:  g h h
Eval:   I I

id: (u2)  speaker: s2
Scores: (#C #S #D #I) 2 1 0 1
REF:  오늘 **** 날씨가 좋네요
HYP:  오늘 날씨 가     좋네요
Eval:      I    S

id: (u0)  speaker: s2
Scores: (#C #S #D #I) 2 1 1 0
REF:  a b c d
HYP:  a x c *
Eval:   S   D

id: (u1)  speaker: s1
Scores: (#C #S #D #I) 0 0 0 1
REF:  **
HYP:  oh
Eval: I

id: (u3)  speaker: s1
Scores: (#C #S #D #I) 2 0 0 0
REF:  e f
HYP:  e f
Eval:
"""


def of_task(references, hypotheses, *metrics, speakers=()):
    """Counts of one decoding."""
    return TaskCounts(
        {name: METRICS[name].counts(references, hypotheses) for name in metrics},
        {"all": [np.arange(len(references))]},
        utts=[f"u{i}" for i in range(len(references))],
        texts=(references, hypotheses),
        speakers=speakers,
    )


def test_the_page_has_sums_by_speaker_and_each_utterance_aligned(tmp_path):
    counts = of_task(REFERENCES, HYPOTHESES, "wer", "cer", speakers=SPEAKERS)
    words, characters = write_alignments(tmp_path, counts)
    assert words == tmp_path / "score_wer/result.txt"
    assert words.read_text(encoding="utf-8") == PAGE
    spelled = characters.read_text(encoding="utf-8").split("\n\n")
    # a space too many: every character of the word is as wide as it is shown
    assert spelled[5].splitlines()[2:] == [
        "REF:  오 늘 <space> 날 씨 ******* 가 <space> 좋 네 요",
        "HYP:  오 늘 <space> 날 씨 <space> 가 <space> 좋 네 요",
        "Eval:                     I",
    ]


def test_without_speakers_there_is_one_sum(tmp_path):
    (path,) = write_alignments(tmp_path, of_task(REFERENCES, HYPOTHESES, "wer"))
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [line.split()[1] for line in lines[2:4]] == ["SPKR", "Sum/Avg"]
    assert lines[4:6] == ["", "id: (u4)"]


def test_translations_have_no_alignment_and_are_told_by_their_own_bleu(tmp_path):
    references = ["a b c d e", "a b c d e f", "one two three four", "x y z v w", "g"]
    hypotheses = ["a b c d e", "a b c d e g", "no", "x y z v u", "g"]
    counts = of_task(references, hypotheses, "bleu")
    assert write_alignments(tmp_path, counts) == []
    alone = [METRICS["bleu"].score([r], [h]) for r, h in zip(references, hypotheses)]
    assert worst(counts).tolist() == [2, 3, 1]  # the others have no fault
    assert worst_lines(counts, 2) == [
        *("  u2  BLEU 0.0", "    REF one two three four", "    HYP no"),
        *(f"  u3  BLEU {alone[3]:.1f}", "    REF x y z v w", "    HYP x y z v u"),
    ]


def test_a_translation_that_is_only_spaced_otherwise_has_no_fault():
    counts = of_task(["so it is, fine.", "a b c d"], ["so it is , fine .", "x"], "bleu")
    assert worst(counts).tolist() == [1]


def test_of_as_many_errors_those_in_the_shorter_reference_are_worse():
    counts = of_task(REFERENCES, HYPOTHESES, "wer")
    assert worst(counts).tolist() == [4, 2, 0, 1]
    assert worst_lines(counts, 1) == [
        *("  u4  2 errors in 1 (S 0 D 0 I 2)", "    REF g", "    HYP g h h")
    ]
    assert worst_lines(counts, 0) == []


def test_rates_of_no_words_are_not_known():
    counts = METRICS["wer"].counts(["", ""], ["a b", ""])
    assert edits_table(counts) == ["2", "0", "-", "-", "-", "-", "-", "50.0"]


@pytest.mark.parametrize("theirs", ["ref.trn", "hyp.trn"])
def test_a_result_of_sclite_is_not_overwritten(tmp_path, theirs):
    folder = tmp_path / "score_wer"
    folder.mkdir()
    (folder / theirs).touch()
    (path,) = write_alignments(tmp_path, of_task(["a"], ["a"], "wer"))
    name = "alignment.txt" if theirs == "ref.trn" else "result.txt"
    assert path == folder / name
