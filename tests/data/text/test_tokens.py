"""Tokens: the list's layout and size, and texts that come back as they were."""

import pytest

from espnet_smoe.data.data_dir import write_table
from espnet_smoe.data.text import tokens as module
from espnet_smoe.data.text.tokenizer import load_tokenizer
from espnet_smoe.data.text.tokens import LABELS, read_token_list, train_tokens
from espnet_smoe.data.text.unicode_text import normalize_unicode

TEXTS = [
    "나는 오늘 학교에 간다",
    "내일 날씨가 좋으면 공원에 가자",
    "I go to school today.",
    "If the weather is fine, let's go to the park tomorrow.",
] * 5
HEAD = ["<blank>", "<unk>", *LABELS, "<beginning_of_sentence>"]
SUFFIX = {"bbpe": "bpe.json", "bpe": "bpe.model", "unigram": "bpe.model"}
KINDS = list(SUFFIX)


@pytest.mark.parametrize("kind", KINDS)
def test_layout_and_size_of_the_list(tmp_path, kind):
    tokens = train_tokens(TEXTS, 320, tmp_path, kind)
    assert (tmp_path / "tokens.txt").read_text("utf-8").splitlines() == tokens
    assert len(tokens) == len(set(tokens)) <= 320
    assert len(tokens) == 320 or kind == "unigram"  # so little text yields no more
    assert tokens[: len(HEAD)] == HEAD
    assert tokens[-1] == "<sos/eos>"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "text",
    [
        "나는 학교에 간다",
        "뷁 쀍 the Quick 123",
        "emoji 😀👩‍👩‍👧 and 漢字",
        "<ko> <unk> <blank>",
        "it's \u00e9t\u00e9",
    ],
)
def test_any_text_round_trips_without_unknown_pieces(tmp_path, kind, text):
    tokens = train_tokens(TEXTS, 320, tmp_path, kind)
    tokenizer = load_tokenizer(tmp_path / SUFFIX[kind])
    pieces = tokenizer.encode(text)
    assert set(pieces) <= set(tokens) - {*HEAD, "<sos/eos>"}
    assert tokenizer.decode(pieces) == normalize_unicode(text)  # a family is three


def test_first_word_is_the_piece_it_is_in_the_middle(tmp_path):
    train_tokens(TEXTS, 400, tmp_path)
    tokenizer = load_tokenizer(tmp_path / "bpe.json")
    assert tokenizer.encode("school")[0] == tokenizer.encode("to school")[-1]


@pytest.mark.parametrize("kind", KINDS)
def test_training_again_gives_the_same_list(tmp_path, kind):
    first = train_tokens(TEXTS, 330, tmp_path / "1", kind)
    assert train_tokens(TEXTS, 330, tmp_path / "2", kind) == first


def test_text_that_yields_no_more_gives_a_shorter_list(tmp_path, capsys):
    write_table(tmp_path / "text", {"a": "가나 가나 가나"})
    write_table(tmp_path / "text_st", {"a": "<na>"})
    options = ["--size", "9000", "--out", str(tmp_path / "out"), "--text"]
    module.main([*options, str(tmp_path / "text"), str(tmp_path / "text_st")])
    assert "fewer than the 9000 asked for" in capsys.readouterr().out
    assert "Ġna" not in (tmp_path / "out" / "tokens.txt").read_text("utf-8")


def test_labels_are_an_option(tmp_path):
    tokens = train_tokens(TEXTS, 300, tmp_path, labels=["<summarize>", "<ja>"])
    assert tokens[2:4] == ["<summarize>", "<ja>"]


def test_label_given_twice_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="<ko> occur twice"):
        train_tokens(TEXTS, 300, tmp_path, labels=["<ko>", "<ko>"])


def test_size_without_room_for_the_bytes_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="at least 266"):
        train_tokens(TEXTS, 265, tmp_path)
    assert len(train_tokens(TEXTS, 266, tmp_path)) == 266


def test_sentencepiece_without_room_for_the_characters_names_the_cure(tmp_path):
    with pytest.raises(ValueError, match="Raise --size"):
        train_tokens(TEXTS, 270, tmp_path, "sentencepiece")


def test_missing_text_names_the_stage(tmp_path):
    with pytest.raises(ValueError, match="stage 4"):
        module.main(
            ["--text", str(tmp_path / "no"), "--size", "300", "--out", str(tmp_path)]
        )


def test_characters_stand_by_frequency_between_the_special_tokens(tmp_path):
    tokens = train_tokens(["你好 你", "好你 a"], 0, tmp_path, "char", labels=[])
    assert tokens == ["<blank>", "<unk>", "你", "<space>", "好", "a", "<sos/eos>"]
    assert [path.name for path in tmp_path.iterdir()] == ["tokens.txt"]


def test_characters_beyond_the_size_are_left_out(tmp_path):
    tokens = train_tokens(["啊啊啊波波词"], 5, tmp_path, "char", labels=[])
    assert tokens == ["<blank>", "<unk>", "啊", "波", "<sos/eos>"]
    with pytest.raises(ValueError, match="a character need at least 4"):
        train_tokens(["啊"], 3, tmp_path, "char", labels=[])


def test_without_labels_there_is_no_mark_of_the_beginning(tmp_path):
    table = tmp_path / "text"
    write_table(table, {"a": "hello there"})
    options = ["--text", str(table), "--size", "270", "--out", str(tmp_path)]
    module.main([*options, "--type", "sentencepiece", "--special"])
    tokens = (tmp_path / "tokens.txt").read_text("utf-8").splitlines()
    assert tokens[:2] == ["<blank>", "<unk>"] and not {*HEAD[2:]} & {*tokens}


def test_tokens_of_the_prompts_of_all_tasks_are_in_the_list(tmp_path):
    write_table(tmp_path / "text", {"a": "good morning to you all"})
    options = ["--size", "300", "--out", str(tmp_path), "--tasks", "asr st ja"]
    module.main([*options, "--text", str(tmp_path / "text")])
    tokens = (tmp_path / "tokens.txt").read_text(encoding="utf-8").splitlines()
    assert tokens.count("<ja>") == tokens.count("<ko>") == 1


def test_a_token_may_be_a_line_separator_of_unicode(tmp_path):
    path = tmp_path / "tokens.txt"
    path.write_text("<blank>\n\u2028\n\u3000\n가\n", encoding="utf-8")
    assert read_token_list(path) == ["<blank>", "\u2028", "\u3000", "가"]


def test_the_former_name_of_sentencepieces_bpe_makes_the_same_tokens(tmp_path):
    made = train_tokens(TEXTS, 330, tmp_path / "1", "bpe")
    assert train_tokens(TEXTS, 330, tmp_path / "2", "sentencepiece") == made


def test_tokens_may_be_learned_from_a_sample_of_the_texts(tmp_path, capsys):
    texts = {f"u{i}": f"{chr(ord('a') + i)}{i}" for i in range(20)}
    write_table(tmp_path / "text", texts)
    words = ["--text", str(tmp_path / "text"), "--type", "char", "--size", "0"]
    words += ["--special", "--out", str(tmp_path / "out")]
    module.main([*words, "--sentences", "5"])
    assert "tokens from 5 texts" in capsys.readouterr().out
    first = read_token_list(tmp_path / "out/tokens.txt")
    module.main([*words, "--sentences", "5"])
    assert read_token_list(tmp_path / "out/tokens.txt") == first  # the same sample
    module.main([*words, "--sentences", "100"])
    assert "tokens from 20 texts" in capsys.readouterr().out
