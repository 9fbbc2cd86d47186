"""Long recordings are cut in their pauses, without loss or doubling."""

import numpy as np
import pytest

from espnet_smoe.inference.long_form.segmentation import (
    OVERLAP_SECONDS,
    cut_at_pauses,
    cut_in_parts,
)
from espnet_smoe.inference.long_form.speech_activity import SpeechActivity, speech_spans
from tests.inference.sounds import RATE, talks_with_pauses
from tests.tiny import talk


def heard(wave):
    activity = SpeechActivity()
    activity.accept(wave)
    return activity


@pytest.mark.parametrize("pause", [0.3, 0.4, 0.8, 3.0])
def test_each_sentence_is_a_piece(pause):
    lengths = [1.5, 0.9, 2.6, 1.2, 2.0] * 3
    wave = talks_with_pauses(lengths, pause)
    cuts = cut_at_pauses(heard(wave), 3.0)
    begins = np.cumsum([0, *[seconds + pause for seconds in lengths]])[:-1]
    assert len(cuts) == len(lengths)
    for cut, begin, seconds in zip(cuts, begins, lengths):
        assert cut.start <= (begin + 0.1) * RATE
        assert cut.end >= (begin + seconds - 0.1) * RATE
        assert not cut.in_speech


@pytest.mark.parametrize("longest", [1.0, 2.5, 7.0])
def test_pieces_hold_all_speech_once_and_are_not_too_long(longest):
    wave = talks_with_pauses([2.0, 0.6, 9.0, 5.0, 1.0], 0.5)
    cuts = cut_at_pauses(heard(wave), longest)
    covered = np.zeros(len(wave), int)
    for cut in cuts:
        covered[cut.start : cut.end] += 1
        assert 0.1 * RATE <= cut.end - cut.start <= longest * RATE
        assert cut.start <= cut.speech.start < cut.speech.end <= cut.end
    for one, other in zip(cuts, cuts[1:]):
        assert one.speech.end <= other.speech.start
        assert one.goes_on == other.in_speech == (one.end > other.start)
    assert covered.max() <= 2
    for span in speech_spans(wave):
        assert covered[span.start : span.end].min() == 1


def test_speech_without_a_pause_is_cut_where_it_is_quietest_and_says_so():
    wave = talk(10)
    first, second = cut_at_pauses(heard(wave), 7.0)
    seam = first.speech.end
    assert 3 * RATE <= seam == second.speech.start <= 7 * RATE
    assert (first.in_speech, second.in_speech) == (False, True)
    assert first.end - seam == seam - second.start == OVERLAP_SECONDS / 2 * RATE
    tenths = np.square(wave).reshape(-1, RATE // 10).mean(axis=1)
    assert tenths[seam // (RATE // 10)] < np.percentile(tenths[30:70], 20)


def test_the_longest_pause_comes_first():
    parts = [talk(2), np.zeros(1600), talk(2, 1), np.zeros(4800), talk(2, 2)]
    wave = np.concatenate(parts).astype(np.float32)
    first, second = cut_at_pauses(heard(wave), 5.0)
    assert 4.1 * RATE <= first.end <= second.start <= 4.45 * RATE


def test_short_parts_stay_with_their_neighbors():
    lengths = [0.9, 0.3, 0.3, 2.0, 0.3, 0.3, 0.3, 2.2, 0.3, 1.1] * 3
    spans = speech_spans(talks_with_pauses(lengths, 0.15))
    cuts = cut_at_pauses(heard(talks_with_pauses(lengths, 0.15)), 3.0)
    assert len(spans) >= len(lengths)
    for one, other in zip(cuts, cuts[1:]):
        assert other.speech.end - one.speech.start > 3.0 * RATE


@pytest.mark.parametrize(
    "seconds, pause, longest, pieces",
    [
        (2.0, 0.4, 30.0, 1),  # a sentence with a comma
        (2.0, 0.8, 30.0, 2),  # two sentences
        (0.5, 0.8, 30.0, 1),  # too short to be read alone
        (0.5, 3.0, 30.0, 2),
        (2.0, 0.4, 5.0, 2),  # a model of short utterances knows no such pauses
        (6.0, 0.4, 30.0, 2),  # long enough to be read alone
    ],
)
def test_a_pause_is_kept_the_rather_the_shorter_it_and_the_piece_are(
    seconds, pause, longest, pieces
):
    wave = talks_with_pauses([seconds, seconds], pause)
    assert len(cut_at_pauses(heard(wave), longest)) == pieces


def test_sentences_close_to_each_other_do_not_fill_the_longest_piece():
    wave = talks_with_pauses(
        [3.0] * 8, 0.2
    )  # of which silero leaves as little of 0.3 s
    for cut in cut_at_pauses(heard(wave), 30.0):
        assert cut.end - cut.start < 16 * RATE


def test_a_piece_is_parted_at_its_longest_pause():
    wave = talks_with_pauses([1.5, 1.0], 0.3)
    wave = np.concatenate([wave, talks_with_pauses([1.0], 0.3)])
    wave = np.concatenate([np.zeros(RATE // 2, np.float32), wave])
    (piece,) = cut_at_pauses(heard(wave), 30.0)
    assert len(piece.sentences) == 3
    first, second = piece.at_longest_pause()
    assert (first.start, second.end) == (piece.start, piece.end)
    assert first.speech.end < first.end <= second.start < second.speech.start
    assert first.sentences + second.sentences == piece.sentences


def test_a_click_is_no_part_of_a_piece():
    wave = talks_with_pauses([1.5, 0.2], 0.3)
    (piece,) = cut_at_pauses(heard(wave), 30.0)
    assert len(piece.sentences) == 2
    assert piece.at_longest_pause() == ()


def test_margins_are_those_of_training():
    wave = talks_with_pauses([1.0, 1.0], 1.0)
    _, cut = cut_at_pauses(heard(wave), 5.0)
    assert cut.start < 2 * RATE - 1600
    own = cut.of(wave[cut.start : cut.end], lead_seconds=0.0, tail_seconds=0.0)
    assert 0 <= own.start - 2 * RATE <= 16
    assert 0 <= own.end - 3 * RATE <= 0.1 * RATE
    assert cut.of(wave[cut.start : cut.end], None, None) == cut


def test_margins_of_training_leave_an_overlap_as_it_is():
    wave = talk(10)
    for cut in cut_at_pauses(heard(wave), 7.0):
        own = cut.of(wave[cut.start : cut.end], lead_seconds=0.0, tail_seconds=0.0)
        assert own.start == cut.start or not cut.in_speech
        assert own.end == cut.end or not cut.goes_on


def test_silence_has_no_piece_and_parts_cover_it():
    activity = heard(np.zeros(65 * RATE, np.float32))
    assert cut_at_pauses(activity) == []
    parts = cut_in_parts(activity, 0, activity.samples, 30.0)
    assert [p.start for p in parts] == [0, *(p.end for p in parts[:-1])]
    assert parts[-1].end == 65 * RATE
    assert all(p.end - p.start <= 30 * RATE for p in parts)


@pytest.mark.parametrize("seconds", [0.0, -1.0, 0.5, float("nan")])
def test_a_longest_piece_that_holds_no_word_is_refused(seconds):
    with pytest.raises(ValueError, match="longest piece must be at least 1 s"):
        cut_at_pauses(heard(talk(2)), seconds)
