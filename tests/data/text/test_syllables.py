"""Stage 5: units of data directories, lexicon, text of the language model."""

import tracemalloc

import pytest

from espnet_smoe.data.data_dir import read_table, write_table
from espnet_smoe.data.speech.speed_perturb import perturb
from espnet_smoe.data.text.syllables import main

TRAIN = {
    "t1": "我们 去 银行",
    "t2": "打开ＷｉＦｉ，好吗？",
    "t3": "银行 很 好",
}


@pytest.fixture
def stage5(tmp_path, monkeypatch, capsys):
    """Run the command on a train and a dev set; returns what it said."""
    monkeypatch.chdir(tmp_path)

    def run(*options, train=TRAIN, dev=None):
        for name, texts in (("train", train), ("dev", dev or {"d1": "我们很好"})):
            write_table(tmp_path / name / "text", texts)
            write_table(tmp_path / name / "wav.scp", {u: f"{u}.wav" for u in texts})
        main(["--train", "train", "--sets", "dev", "--lang", "lang", *options])
        return capsys.readouterr()

    return run


def lines(path):
    return path.read_text(encoding="utf-8").splitlines()


def test_every_file_of_the_stage_is_written(stage5, tmp_path):
    said = stage5()
    lang = tmp_path / "lang"
    assert read_table(tmp_path / "train/text_syllable", []) == {
        "t1": "wo3 men5 qu4 yin2 hang2",
        "t2": "da3 kai1 W AY F AY hao3 ma5",
        "t3": "yin2 hang2 hen3 hao3",
    }
    assert lines(lang / "lm_train.txt")[1] == "打开 wifi 好 吗"
    assert lines(lang / "lm_dev.txt") == ["我们 很 好"]
    assert lines(lang / "words.txt")[:2] == ["好", "银行"]
    assert "wifi W AY F AY" in lines(lang / "lexicon.txt")
    tokens = lines(lang / "tokens.txt")
    assert tokens[:2] == ["<blank>", "<unk>"] and tokens[-1] == "<sos/eos>"
    assert f"{len(tokens) - 42} tone syllables + 39 phones" in said.out
    assert "1,394 + 39 + blank = 1,434" in said.out
    assert lines(lang / "problems.tsv") == []
    assert said.err == ""


def test_text_and_lexicon_agree(stage5, tmp_path):
    """Each transcript can be made of readings of the lexicon, unit by unit."""
    stage5()
    usual = {}
    for line in lines(tmp_path / "lang/lexicon.txt"):
        word, *units = line.split()
        usual.setdefault(word, units)
    tokens = set(lines(tmp_path / "lang/tokens.txt"))
    made = read_table(tmp_path / "train/text_syllable", []).values()
    for sentence, units in zip(lines(tmp_path / "lang/lm_train.txt"), made):
        assert [u for word in sentence.split() for u in usual[word]] == units.split()
        assert tokens.issuperset(units.split())


@pytest.mark.parametrize(
    "text, cause, units",
    [
        ("我们𠮷好", "pypinyin knows no reading of '𠮷'", "wo3 men5 <unk> hao3"),
        ("很好😀", "the character '😀' has no reading", "hen3 hao3 <unk>"),
        ("zyxq好", "cmudict knows no pronunciation of 'zyxq'", "<unk> hao3"),
        ("。。。", "nothing is said in the text", "<unk>"),
    ],
)
def test_a_word_without_a_reading_is_unk_and_named_with_its_cure(
    stage5, tmp_path, text, cause, units
):
    said = stage5(train=TRAIN | {"t4": text})
    made = read_table(tmp_path / "train/text_syllable", [])
    assert made["t4"] == units
    assert len(made) == 4
    (problem,) = lines(tmp_path / "lang/problems.tsv")
    file, utterance, found, fix, reason = problem.split("\t")
    assert (utterance, found) == ("t4", cause)
    assert fix
    assert f"{file}: t4: {cause}" in said.err
    assert "1 odd: no reading (train)" in said.out
    assert "train: 4 utterances, 1 with <unk>" in said.out
    words = lines(tmp_path / "lang/words.txt")
    assert not {"𠮷", "😀", "zyxq"} & set(words)


def test_the_cure_works(stage5, tmp_path):
    (tmp_path / "words").write_text("𠮷 ji2\nzyxq Z AY K\n", encoding="utf-8")
    stage5("--words", "words", train=TRAIN | {"t4": "𠮷好zyxq"})
    made = read_table(tmp_path / "train/text_syllable", [])
    assert made["t4"] == "ji2 hao3 Z AY K"
    assert lines(tmp_path / "lang/problems.tsv") == []
    assert "ji2" in lines(tmp_path / "lang/tokens.txt")


def test_skip_bad_takes_the_utterance_out_of_every_table_of_train(stage5, tmp_path):
    said = stage5("--skip-bad", train=TRAIN | {"t0": "𠮷"}, dev={"d1": "𠮷好"})
    for table in ("text", "wav.scp", "text_syllable"):
        assert list(read_table(tmp_path / "train" / table, [])) == ["t1", "t2", "t3"]
    assert "1 left out of train, named in train/skipped.tsv" in said.out
    assert "t0: pypinyin knows no reading of '𠮷'" in said.err
    assert "𠮷" not in "".join(lines(tmp_path / "lang/lm_train.txt"))
    # A test set is never made easier.
    assert read_table(tmp_path / "dev/text_syllable", []) == {"d1": "<unk> hao3"}


def test_what_was_skipped_stays_named_when_the_stage_runs_again(stage5, tmp_path):
    stage5("--skip-bad", train=TRAIN | {"t0": "𠮷", "t9": "😀"})
    stage5("--skip-bad", train=TRAIN | {"t0": "好"})  # mended and read again
    assert list(read_table(tmp_path / "train/skipped.tsv", [])) == ["t0", "t9"]
    said = stage5("--skip-bad", train=TRAIN | {"t0": "好", "t8": "😀"})
    assert list(read_table(tmp_path / "train/skipped.tsv", [])) == ["t9", "t8"]
    assert "2 left out of train" in said.out


def test_a_set_where_nothing_can_be_read_is_an_error(stage5):
    with pytest.raises(ValueError, match="every utterance has a word without"):
        stage5("--skip-bad", train={"t1": "😀"})


def test_a_syllable_that_training_lacks_is_unk_in_dev_and_full_cures_it(
    stage5, tmp_path
):
    dev = {"d1": "我们虐", "d2": "很好"}
    said = stage5(dev=dev)
    made = read_table(tmp_path / "dev/text_syllable", [])
    assert made == {"d1": "wo3 men5 <unk>", "d2": "hen3 hao3"}
    cause = "dev/text: d1: the syllable 'nve4' is not in the inventory"
    assert f"{cause}. Use --inventory full." in said.err
    assert "1 odd: not in the inventory (dev)" in said.out
    said = stage5("--inventory", "full", dev=dev)
    made = read_table(tmp_path / "dev/text_syllable", [])
    assert made["d1"] == "wo3 men5 nve4"
    assert said.err == ""


def test_text_for_the_language_model_adds_words_and_loses_nothing_silently(
    stage5, tmp_path
):
    text = "他们去银行。\n\n银行\n".encode() + b"\xff\xfe\n" + "𠮷\n".encode()
    (tmp_path / "news").write_bytes(text)
    said = stage5("--lm-text", "news", "--inventory", "full")
    lang = tmp_path / "lang"
    assert lines(lang / "lm_train.txt")[3:] == ["他们 去 银行", "银行", "𠮷"]
    assert lines(lang / "words.txt")[0] == "银行"
    assert "他们 ta1 men5" in lines(lang / "lexicon.txt")
    assert "news:4: not UTF-8" in said.err
    assert "news:5: pypinyin knows no reading of '𠮷'" in said.err


def test_a_transcript_at_three_speeds_is_one_sentence_to_the_language_model(
    stage5, tmp_path
):
    write_table(tmp_path / "org/text", TRAIN)
    write_table(tmp_path / "org/wav.scp", {utt: "x.wav" for utt in TRAIN})
    perturb(tmp_path / "org", tmp_path / "sp", [0.9, 1.0, 1.1])
    stage5(train=read_table(tmp_path / "sp/text", []))
    assert len(read_table(tmp_path / "train/text_syllable", [])) == 3 * len(TRAIN)
    assert len(lines(tmp_path / "lang/lm_train.txt")) == len(TRAIN)


def test_utterances_need_no_memory(stage5):
    """Their words alone would be 2.5 MB as lists."""
    texts = {f"t{number:06}": "我们去银行 很好 wifi" * 10 for number in range(700)}
    stage5(train=texts)  # what is imported and looked up
    tracemalloc.start()
    main(["--train", "train", "--sets", "dev", "--lang", "lang", "--skip-bad"])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


def test_words_that_the_lexicon_lacks_are_counted_by_set(stage5, tmp_path):
    said = stage5(dev={"d1": "我们去北京", "d2": "北京很好"})
    assert "dev: 2 of 6 words are not in words.txt" in said.out
    assert lines(tmp_path / "lang/unknown_words.tsv") == ["dev\t北京\t2"]


def test_characters_let_other_words_be_spelled(stage5, tmp_path):
    stage5("--characters")
    words = lines(tmp_path / "lang/words.txt")
    assert words[:2] == ["好", "银行"]
    assert {"银", "行"} <= set(words)


def test_doubled_ids_and_broken_lines_are_named(stage5, tmp_path):
    stage5()
    with open(tmp_path / "dev/text", "ab") as text:
        text.write("d1 银行\n".encode() + b"d2 \xff\n")
    main(["--train", "train", "--sets", "dev", "--lang", "lang"])
    problems = [line.split("\t")[:3] for line in lines(tmp_path / "lang/problems.tsv")]
    assert problems == [
        ["dev/text:2", "d1", "the id is used twice"],
        ["dev/text:3", "d2", "not UTF-8"],
    ]


@pytest.mark.parametrize(
    "options, said",
    [
        (["--lm-text", "none"], "--lm-text: none does not exist"),
        (["--words", "none"], "--words: none does not exist"),
        (["--sets", "none"], "none/text does not exist; stages 3 and 4"),
        (["--sets", "dev", "x/dev"], "the name 'dev' is taken"),
        (["--sets", "x/train"], "the name 'train' is taken"),
        (["--max-words", "-1"], "--max-words -1: use 0"),
    ],
)
def test_wrong_options_are_named(stage5, options, said):
    with pytest.raises(ValueError, match=said):
        stage5(*options)


def test_a_new_set_gets_the_units_of_the_model_that_is_there(stage5, tmp_path, capsys):
    stage5()
    before = {path.name: path.read_bytes() for path in (tmp_path / "lang").iterdir()}
    write_table(tmp_path / "new/text", {"n1": "我们去", "n2": "我们爬"})
    main(["--sets", "new", "--lang", "lang"])
    units = read_table(tmp_path / "new/text_syllable", [])
    assert units == {"n1": "wo3 men5 qu4", "n2": "wo3 men5 <unk>"}
    assert "new: 2 utterances, 1 with <unk>" in capsys.readouterr().out
    kept = {name: (tmp_path / "lang" / name).read_bytes() for name in before}
    assert kept == before


def test_a_new_set_needs_tokens(stage5, tmp_path):
    write_table(tmp_path / "new/text", {"n1": "我们"})
    with pytest.raises(ValueError, match="tokens.txt does not exist; give --train"):
        main(["--sets", "new", "--lang", "lang"])
