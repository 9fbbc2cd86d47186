"""A text that ends before the speech does is made of parts of the piece."""

import numpy as np
import pytest

from espnet_smoe.inference.long_form.early_ends import recognize_cuts
from espnet_smoe.inference.long_form.long_audio import decode_long
from espnet_smoe.inference.long_form.segmentation import Cut, cut_at_pauses
from espnet_smoe.inference.long_form.speech_activity import Span, SpeechActivity
from espnet_smoe.inference.output.words import Word
from espnet_smoe.inference.result import Result
from tests.inference.sounds import RATE, talks_with_pauses


class FirstSentence:
    """Reads four tokens a second, of several sentences the first alone.

    Args:
        tasks: That it does so for; it reads the whole for others.
    """

    longest_seconds = longest_utterance = 30.0
    lead_seconds = tail_seconds = None
    detect_speech, vad, join = True, "energy", staticmethod(" ".join)

    def __init__(self, *tasks):
        self.tasks, self.heard = tasks, []

    def tells_times(self, tasks):
        return False

    def recognize(self, waves, labels, tasks, names):
        assert len(waves) == len(labels) == len(names)
        self.heard += [len(wave) / RATE for wave in waves]
        return [{task: self._read(task, wave) for task in tasks} for wave in waves]

    def _read(self, task, wave):
        activity = SpeechActivity()
        activity.accept(wave)
        (cut,) = cut_at_pauses(activity, 30.0)
        read = cut.sentences[:1] if task in self.tasks else cut.sentences
        count = round(sum(s.end - s.start for s in read) / RATE * 4)
        words = tuple(Word(task, i / 4, i / 4, 1.0) for i in range(count))
        return Result(" ".join([task] * count), (task,) * count, 0.0, words=words)


def pieces_of(lengths, pause=0.3):
    wave = talks_with_pauses(lengths, pause)
    activity = SpeechActivity()
    activity.accept(wave)
    return wave, cut_at_pauses(activity, 30.0)


def test_sentences_that_are_left_out_are_read_alone():
    wave, (cut,) = pieces_of([1.5, 2.0, 1.8])
    model = FirstSentence("asr")
    ((piece,),) = decode_long(model, [wave], ["asr"], ["wb"], [""])
    assert abs(len(piece.results["asr"].tokens) - 4 * 5.3) <= 3
    assert len(model.heard) > 1
    assert (piece.start, piece.end) == (cut.start / RATE, cut.end / RATE)
    starts = [word.start for word in piece.results["asr"].words]
    assert starts == sorted(starts) and starts[-1] > 3.8


def test_texts_of_full_length_stay_as_they_are():
    wave, (cut,) = pieces_of([1.5, 2.0, 1.8])
    model = FirstSentence()
    recognize_cuts(model, [cut], [wave[cut.start : cut.end]], ["wb"], ["asr"], [""])
    assert len(model.heard) == 1


def test_each_task_is_judged_by_its_own_text():
    wave, (cut,) = pieces_of([1.5, 2.0, 1.8])
    given = [cut], [wave[cut.start : cut.end]], ["wb"], ["asr", "st"], [""]
    (found,) = recognize_cuts(FirstSentence("st"), *given)
    (whole,) = recognize_cuts(FirstSentence(), *given)
    assert found["asr"] == whole["asr"]
    assert abs(len(found["st"].tokens) - 4 * 5.3) <= 3


class Silent(FirstSentence):
    """Reads nothing."""

    def _read(self, task, wave):
        return Result("", (), 0.0)


def test_a_piece_without_a_text_is_decoded_once():
    wave, (cut,) = pieces_of([1.5, 2.0, 1.8])
    model, heard = Silent("asr"), [wave[cut.start : cut.end]]
    (found,) = recognize_cuts(model, [cut], heard, ["wb"], ["asr"], [""])
    assert found["asr"].text == "" and len(model.heard) == 1


@pytest.mark.parametrize("speech", [1.0, 20.0])
def test_a_piece_of_one_sentence_is_decoded_once(speech):
    class FewWords(FirstSentence):
        def _read(self, task, wave):
            return Result("ja", ("ja",), 0.0)

    model, wave = FewWords("asr"), np.zeros(int(speech * RATE), np.float32)
    cut = Cut(0, len(wave), Span(0, len(wave)))
    (found,) = recognize_cuts(model, [cut], [wave], ["wb"], ["asr"], [""])
    assert found["asr"].text == "ja" and len(model.heard) == 1
