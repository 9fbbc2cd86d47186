"""What every spoken corpus shares: voices, deliveries, sets and sound."""

import re
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from espnet_smoe.data.speech import spoken_corpus
from espnet_smoe.data.speech.spoken_corpus import SpeakingStyle, Speech

HOW = SpeakingStyle(voice="f2", speed=220, pitch=50, seed=7)


def test_related_voices_are_in_one_set():
    def family(voice: str) -> str:
        return voice if re.fullmatch(r"[fm]\d", voice) else voice.rstrip("0123456789")

    families = [{family(v) for v in voices} for voices in spoken_corpus.VOICES.values()]
    assert sum(map(len, families)) == len(set.union(*families))


@given(
    st.sampled_from(["train", "dev", "test"]),
    st.integers(0, 10**5),
    st.integers(0, 10**5),
)
def test_a_delivery_follows_from_set_index_and_seed(name, index, seed):
    how = spoken_corpus.draw_style(name, index, seed, (200, 250))
    assert how == spoken_corpus.draw_style(name, index, seed, (200, 250))
    assert how.voice in spoken_corpus.VOICES[name]
    assert 200 <= how.speed <= 250 and 35 <= how.pitch <= 65


def deal(**counts: int) -> dict[str, list[str]]:
    return spoken_corpus.plan_sets(
        counts,
        draw=range,
        make=lambda name, index, sentence: f"{9 - sentence % 10} {name}{sentence}",
        utt_id=lambda utterance: utterance,
    )


def test_sets_are_dealt_disjoint_sorted_and_training_last():
    sets = deal(train=30, dev=5, test=8)
    sentences = {name: {u.split()[1] for u in utts} for name, utts in sets.items()}
    assert sentences["test"] == {f"test{i}" for i in range(8)}
    assert sentences["dev"] == {f"dev{i}" for i in range(8, 13)}
    assert sentences["train"] == {f"train{i}" for i in range(13, 43)}
    assert all(utts == sorted(utts) for utts in sets.values())
    assert deal(train=50, dev=5, test=8)["test"] == sets["test"]


@pytest.mark.parametrize("name", ["train", "dev", "test"])
def test_an_empty_set_is_refused_by_its_option(name):
    with pytest.raises(ValueError, match=f"--num-{name} 0: at least 1"):
        deal(**{"train": 3, "dev": 3, "test": 3, name: 0})


def test_a_file_name_changes_with_anything_it_depends_on():
    speech = Speech("你好", "cmn", HOW)
    changed = [
        replace(speech, text="你们好"),
        replace(speech, language="yue"),
        *(replace(speech, delivery=replace(HOW, **{key: 8})) for key in asdict(HOW)),
    ]
    names = {spoken_corpus.content_name("a", asdict(s)) for s in [speech, *changed]}
    assert len(names) == len(changed) + 1


def test_silence_is_trimmed_to_a_margin_on_both_sides():
    wave = np.zeros(16000, np.float32)
    wave[4000:8000] = 0.5
    wave[2000] = 0.004  # below a hundredth of the peak
    trimmed = spoken_corpus.trim(wave, 16000)
    assert len(trimmed) == 4000 + 2 * 800
    assert trimmed[799] == 0 and trimmed[800] == 0.5


def test_speech_is_rendered_alike_each_time_and_never_digitally_silent():
    pytest.importorskip("espeakng_loader")
    speech = Speech("今天天气很好", "cmn", HOW)
    wave = spoken_corpus.render(speech)
    assert np.array_equal(wave, spoken_corpus.render(speech))
    assert wave.dtype == np.float32
    assert abs(np.abs(wave).max() - spoken_corpus.PEAK) < 0.01
    assert 0.0005 < wave[:400].std() < 0.002  # the room before the first sound


@pytest.mark.parametrize(
    "one, other, alike",
    [
        ("他来了", "她来了", True),
        ("我在家", "我再家", True),
        ("我买鱼", "我卖鱼", False),  # only the tone differs
        ("他长大了", "他常大了", False),  # 长 is not always chang2
    ],
)
def test_mandarin_is_spoken_by_its_reading(one, other, alike):
    """Not character by character, nor as "Chinese letter"."""
    pytest.importorskip("espeakng_loader")
    first, second = (spoken_corpus.render(Speech(t, "cmn", HOW)) for t in (one, other))
    assert np.array_equal(first, second) == alike
