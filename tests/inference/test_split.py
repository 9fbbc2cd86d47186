"""Long recordings are cut in silence, without loss."""

import numpy as np

from espnet_smoe.inference.split import split_audio
from tests.tiny import noise


def test_short_recording_stays_whole():
    assert split_audio(noise(30)) == [(0, 480000)]


def test_pieces_join_without_gaps_and_fit():
    wave = noise(95)
    pieces = split_audio(wave)
    assert [a for a, _ in pieces] == [0, *(b for _, b in pieces[:-1])]
    assert pieces[-1][1] == len(wave)
    assert all(0.4 * 16000 <= b - a <= 30 * 16000 for a, b in pieces)


def test_the_cut_is_in_the_pause():
    wave = noise(40)
    wave[25 * 16000 : int(25.2 * 16000)] = 0
    ((_, cut), _) = split_audio(wave)
    assert 25 * 16000 <= cut <= 25.2 * 16000


def test_rest_is_never_too_short_to_recognise():
    wave = np.concatenate([noise(30), np.zeros(800, np.float32)])
    pieces = split_audio(wave)
    assert len(pieces) == 2
    assert pieces[1][1] - pieces[1][0] >= 8000
