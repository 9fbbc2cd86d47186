"""The corpus of mini_koen: its sentences, its splits, its sound."""

import re
import sys
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from espnet_smoe.data.speech.spoken_corpus import VOICES

LOCAL = Path(__file__).parents[2] / "egs2/mini_koen/smoe1/local"
sys.path.insert(0, str(LOCAL))
import make_corpus  # noqa: E402
import sentences as grammar  # noqa: E402

HANGUL = re.compile(r"^[가-힣]+( [가-힣]+)*$")
ENGLISH = re.compile(r"^[a-z]+( [a-z]+)*$")


def test_the_grammar_makes_many_different_sentences():
    made = grammar.all_sentences()
    assert len({s.ko for s in made}) == len(made) >= 2000


def test_korean_and_english_are_in_one_to_one():
    made = grammar.all_sentences()
    assert len({s.en for s in made}) == len(made)


def test_sentences_are_short_and_plain():
    for sentence in grammar.all_sentences():
        assert HANGUL.match(sentence.ko), sentence
        assert ENGLISH.match(sentence.en), sentence
        assert 3 <= len(sentence.ko.split()) <= 5, sentence


def test_the_vocabulary_is_small_enough_for_a_small_model():
    made = grammar.all_sentences()
    assert len({word for s in made for word in s.en.split()}) < 300
    assert len({word for s in made for word in s.ko.split()}) < 500


@pytest.mark.parametrize(
    "word, fitting",
    [("책", "책을"), ("사과", "사과를"), ("물", "물을"), ("커피", "커피를")],
)
def test_object_particles_fit_the_last_syllable(word, fitting):
    assert grammar.particle(word, "을", "를") == fitting


@pytest.mark.parametrize(
    "word, fitting",
    [("버스", "버스로"), ("지하철", "지하철로"), ("손", "손으로")],
)
def test_instrument_particles_know_rieul(word, fitting):
    assert grammar.by_vehicle(word) == fitting


def test_every_noun_of_the_corpus_carries_the_right_particle():
    """Checked on the finished text, apart from the grammar's own rule."""
    stems = {
        item.ko
        for value in vars(grammar.lx).values()
        if isinstance(value, list)
        for item in value
        if hasattr(item, "ko")
    }
    pairs = [("은", "는"), ("을", "를"), ("이", "가"), ("과", "와")]
    fits = {}
    for closed, open_ in pairs:
        fits[closed], fits[open_] = True, False
    checked = Counter()
    for sentence in grammar.all_sentences():
        for word in sentence.ko.split():
            stem, suffix = word[:-1], word[-1]
            if stem in stems and suffix in fits:
                # NFD writes a final consonant as a third letter of the syllable.
                letters = len(unicodedata.normalize("NFD", stem[-1]))
                assert (letters == 3) == fits[suffix], sentence
                checked[suffix] += 1
    assert set(checked) == set(fits)


@pytest.mark.parametrize(
    "ko, en",
    [
        (
            "어제 동생은 사과를 먹었어요",
            "my younger brother ate an apple yesterday",
        ),
        ("학생은 책을 읽어야 해요", "the student has to read a book"),
        ("저는 물을 마시고 싶어요", "i want to drink water"),
        ("지금 부엌에 우유가 없어요", "there is no milk in the kitchen now"),
        ("이 신발이 아주 비싸요", "these shoes are very expensive"),
        ("딸은 버스로 학교에 갔어요", "my daughter went to school by bus"),
        ("우리는 열쇠를 안 찾았어요", "we did not look for a key"),
        ("저는 지금 정말 바빠요", "i am really busy now"),
    ],
)
def test_translations_are_right(ko, en):
    assert {s.ko: s.en for s in grammar.all_sentences()}[ko] == en


def test_a_sample_is_seeded_different_and_of_every_construction():
    drawn = grammar.sample_sentences(1000, seed=1)
    assert len({s.ko for s in drawn}) == 1000
    assert drawn == grammar.sample_sentences(1000, seed=1)
    assert drawn != grammar.sample_sentences(1000, seed=2)
    assert {s.construction for s in drawn} == set(grammar.CONSTRUCTIONS)


def test_more_than_the_grammar_has_is_refused():
    with pytest.raises(ValueError, match="lower --num-train"):
        grammar.sample_sentences(10**7, seed=0)


@pytest.fixture(scope="module")
def sets() -> dict[str, list[make_corpus.Utterance]]:
    return make_corpus.plan(2000, 100, 200, seed=0)


def test_no_sentence_and_no_voice_is_in_two_sets(sets):
    for field in ("ko", "en", "voice"):
        seen = [{getattr(utt, field) for utt in utts} for utts in sets.values()]
        assert sum(map(len, seen)) == len(set.union(*seen)), field


def test_test_voices_speak_equally_often(sets):
    counts = Counter(utt.voice for utt in sets["test"])
    assert counts == dict.fromkeys(VOICES["test"], 25)


def test_a_longer_training_set_keeps_dev_and_test(sets):
    longer = make_corpus.plan(2500, 100, 200, seed=0)
    assert longer["test"] == sets["test"]
    assert longer["dev"] == sets["dev"]


def test_ids_are_sorted_and_begin_with_the_speaker(sets):
    for utts in sets.values():
        ids = [utt.utt_id for utt in utts]
        assert ids == sorted(set(ids))
        assert all(utt.utt_id.startswith(utt.voice + "-") for utt in utts)


def test_an_impossible_wish_names_its_option():
    with pytest.raises(ValueError, match="--num-train 0"):
        make_corpus.plan(0, 1, 1, seed=0)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """A corpus of 12 utterances, really spoken."""
    pytest.importorskip("espeakng_loader")
    root = tmp_path_factory.mktemp("mini_koen")
    make(root)
    return root


def make(root: Path) -> None:
    counts = ["--num-train", "5", "--num-dev", "2", "--num-test", "5"]
    places = ["--out", str(root / "data"), "--wav-dir", str(root / "wav")]
    make_corpus.main([*counts, *places, "--nj", "1", "--seed", "1"])


def read(path: Path) -> dict[str, str]:
    return dict(line.split(" ", 1) for line in path.read_text().splitlines())


def test_data_directories_list_every_utterance_once(corpus):
    for name, count in {"train": 5, "dev": 2, "test": 5}.items():
        directory = corpus / "data" / name
        files = {path.name: read(path) for path in directory.iterdir()}
        assert set(files) == {
            *("wav.scp", "text", "text_st"),
            *("utt2spk", "utt2bandwidth", "utt2condition"),
        }
        assert {tuple(lines) for lines in files.values()} == {tuple(files["text"])}
        assert len(files["text"]) == count
        for name in ("utt2bandwidth", "utt2condition"):
            assert set(files[name].values()) == {"wb"}


def test_speech_is_16_khz_16_bit_short_and_trimmed(corpus):
    for name in ("train", "dev", "test"):
        for path in read(corpus / "data" / name / "wav.scp").values():
            assert sf.info(path).subtype == "PCM_16"
            wave, rate = sf.read(path)
            assert rate == 16000
            assert 0.7 < len(wave) / rate < 3.0
            assert 0.2 < np.abs(wave).max() < 1
            loud = np.flatnonzero(np.abs(wave) > 0.02 * np.abs(wave).max())
            assert loud[0] < 0.1 * rate
            assert len(wave) - loud[-1] < 0.12 * rate


def test_a_broken_run_goes_on_to_the_same_corpus(corpus):
    before = {path: path.read_bytes() for path in (corpus / "wav").iterdir()}
    kept, lost = sorted(before)[0], sorted(before)[-1]
    stamp = kept.stat().st_mtime_ns
    lost.unlink()
    make(corpus)
    assert {path: path.read_bytes() for path in (corpus / "wav").iterdir()} == before
    assert kept.stat().st_mtime_ns == stamp


def test_changed_content_never_meets_an_old_wav(sets):
    utterance = sets["train"][0]
    changed = make_corpus.Utterance(**{**vars(utterance), "ko": "다른 말"})
    assert changed.file_name != utterance.file_name
