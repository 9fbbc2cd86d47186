"""What is lost where recordings are cut is counted, beside the utterances alone."""

import numpy as np
import pytest
import soundfile

from espnet_smoe.benchmark.__main__ import main
from espnet_smoe.benchmark.long_form import (
    LEVEL,
    found_speech,
    in_condition,
    join_waves,
    trimmed,
)
from espnet_smoe.benchmark.seam_errors import Aligned, at_seams, change
from espnet_smoe.inference.long_form.speech_activity import Span
from tests.inference.sounds import RATE
from tests.tiny import save_experiment, talk, tiny_config

ALONE = [["a", "b", "c"], ["d", "e", "f"], ["g", "h", "i"]]


@pytest.mark.parametrize(
    "together, counted",
    [
        ("a b c d e f g h i", (0, 0)),
        ("a b d e f g h i", (1, 0)),
        ("a b c d e f h i", (1, 0)),
        ("a b c c d e f g h i", (0, 1)),
        ("a b x d e f g h i", (0, 0)),  # another word, not one more or less
        ("b c d e f g h", (0, 0)),  # the ends are no seams
        ("a b c d f g h i", (0, 0)),  # nor is the middle of an utterance
        ("a b c", (3, 0)),  # d, f and g; the others are not next to a seam
    ],
)
def test_units_next_to_a_seam_are_counted(together, counted):
    alone = Aligned.alone(ALONE, ALONE)
    assert at_seams(ALONE, alone, Aligned.of(ALONE, together.split()), 1) == counted


def test_what_an_utterance_alone_has_wrong_is_neither_lost_nor_doubled():
    alone = Aligned.alone(ALONE, [["a", "b"], ["x", "d", "e", "f"], ["g", "h", "i"]])
    together = Aligned.of(ALONE, "a b x d e f g h i".split())
    assert at_seams(ALONE, alone, together, 1) == (0, 0)


def test_errors_of_a_recording_are_those_of_its_utterances():
    together = Aligned.of(ALONE, "a c d y f g h i z".split())
    assert together.errors(ALONE).tolist() == [1, 1, 1]
    texts = [["a", "c"], ["d", "y", "f"], ["g", "h", "i", "z"]]
    assert Aligned.alone(ALONE, texts).errors(ALONE).tolist() == [1, 1, 1]


def test_a_change_is_told_with_its_interval():
    alone = np.array([2, 0, 4, 1, 3])
    assert change(alone, alone) == (0.0, 0.0, 0.0)
    more, low, high = change(alone, alone + np.array([1, 0, 0, 0, 0]))
    assert more == pytest.approx(10.0)
    assert low == 0.0 and high > 10.0


def test_an_utterance_is_trimmed_to_its_speech_and_brought_to_one_level():
    wave = np.zeros(3 * RATE, np.float32)
    wave[RATE : 2 * RATE] = 0.02 * talk(1.0)
    own = trimmed(wave)
    assert len(own) == RATE
    assert np.sqrt(np.square(own).mean()) == pytest.approx(LEVEL, rel=0.05)


def test_utterances_alone_are_those_of_the_joined_wave():
    waves = [talk(1.0), talk(0.5, 1)]
    joined = join_waves(waves, 0.3)
    for (first, last), wave in zip(joined.ends, waves):
        np.testing.assert_array_equal(joined.wave[first:last], wave)
    assert joined.ends[1][0] - joined.ends[0][1] == 0.3 * RATE
    for alone, wave in zip(joined.alone(None, None), waves):
        assert len(alone) == len(wave) + 2 * int(0.15 * RATE)
    for alone, wave in zip(joined.alone(0.0, 0.1), waves):
        assert 0 <= len(wave) + int(0.1 * RATE) - len(alone) <= 16


def test_conditions_are_as_loud_as_they_say():
    quiet = np.zeros(4 * RATE, np.float32)
    assert in_condition(quiet, "quiet") is quiet
    bed = in_condition(quiet, "10")
    assert 20 * np.log10(bed.std() / LEVEL) == pytest.approx(-10, abs=0.2)
    click = quiet.copy()
    click[RATE] = 1.0
    room = in_condition(click, "room")
    assert room[RATE] == pytest.approx(1.0, abs=0.01)
    echo = np.square(room[RATE + 1 :]).sum()
    assert 10 * np.log10(echo) == pytest.approx(-6, abs=0.1)
    early, late = np.square(room[RATE + 1 :][: 2 * RATE // 2].reshape(2, -1)).sum(1)
    assert late < 1e-4 * early


def test_speech_that_is_missed_and_pauses_that_are_found_are_shares():
    joined = join_waves([talk(1.0), talk(1.0, 1), talk(2.0, 2)], 0.5)
    spans = [Span(first, last) for first, last in joined.ends]
    assert found_speech(joined, spans) == (0.0, 100.0)
    missed, found = found_speech(joined, [Span(spans[0].start, spans[1].end)])
    assert missed == pytest.approx(50.0, abs=5) and found == 50.0
    assert found_speech(joined, []) == (100.0, 100.0)


def test_a_line_tells_of_each_pause(tmp_path, capsys):
    save_experiment(tmp_path / "exp", tiny_config(tmp_path / "exp"))
    (tmp_path / "data").mkdir()
    for name, seed in (("a", 0), ("b", 1)):
        soundfile.write(tmp_path / f"{name}.wav", talk(1.0, seed), RATE)
    lines = [f"{name} {tmp_path}/{name}.wav\n" for name in "ab"]
    (tmp_path / "data/wav.scp").write_text("".join(lines))
    (tmp_path / "data/text").write_text("a one two\nb three\n")
    given = ("--model", str(tmp_path / "exp"), "--data", str(tmp_path / "data"))
    options = ("--pauses", "1.5", "3", "--conditions", "quiet")
    for words in (given, given[2:]):  # without a model, how speech is found alone
        assert main(["long_form", *words, *options]) == 0
        head, _, *lines = capsys.readouterr().out.splitlines()
        rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
        assert [row[:3] + row[4:6] for row in rows] == [
            ["quiet", f"{pause} s", "energy", "100 %", *["2"] * ("pieces" in head)]
            for pause in ("1.5", "3")
        ]
        assert {len(row) for row in rows} == {head.count("|") - 1}
    with pytest.raises(ValueError, match="--conditions loud: quiet, room"):
        main(["long_form", *given, "--conditions", "loud"])
