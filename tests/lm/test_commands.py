"""The commands as a recipe runs them."""

import unicodedata

import pytest

from espnet_smoe.lm import perplexity, train
from espnet_smoe.lm.arpa import read_arpa

TEXT = "a b c\na b\n\nb b c d\nc a\n" * 3


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text"
    path.write_text(TEXT)
    return path


def test_text_becomes_a_model_that_scores_it(tmp_path, text, capsys):
    arpa = tmp_path / "lang" / "lm.arpa.gz"
    train.main(["--text", str(text), "--order", "3", "--out", str(arpa)])
    assert f"{arpa}: 7 1-grams, " in capsys.readouterr().out
    expected = read_arpa(arpa).perplexity(TEXT.splitlines())
    perplexity.main(["--arpa", str(arpa), "--text", str(text)])
    line = f"{text}: ppl {expected.ppl:.2f}, ppl1 {expected.ppl1:.2f}, oov 0, tokens 45"
    assert capsys.readouterr().out.strip() == line


def test_words_of_a_text_and_of_a_list_have_one_unicode_form(tmp_path, text):
    vocab, arpa = tmp_path / "words.txt", tmp_path / "lm.arpa"
    text.write_text(unicodedata.normalize("NFD", "가 나\u200b\u00a0가\n" * 3))
    vocab.write_text("가\nＡ\n\u200b나\n")
    options = ["--order", "2", "--vocab", str(vocab), "--out", str(arpa)]
    train.main(["--text", str(text), *options])
    model = read_arpa(arpa)
    assert model.words == ["<unk>", "<s>", "</s>", "가", "A", "나"]
    assert model.log_prob("나", "가") > -1


def test_pruned_model_of_some_words_is_smaller(tmp_path, text, capsys):
    vocab, arpa = tmp_path / "words.txt", tmp_path / "lm.arpa"
    vocab.write_text("b\na\nz\n")
    options = ["--order", "2", "--prune", "0.05", "--vocab", str(vocab)]
    train.main(["--text", str(text), "--out", str(arpa), *options])
    model = read_arpa(arpa)
    assert model.words == ["<unk>", "<s>", "</s>", "b", "a", "z"]
    whole, pruned = capsys.readouterr().out.splitlines()
    assert f"{text}: 6 1-grams, " in whole
    count = int(whole.split()[-2])
    assert 0 < model.counts[1] < count
    assert f"6 1-grams, {model.counts[1]} 2-grams" in pruned


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        (["--text", "{tmp}/none"], "none does not exist"),
        (["--text", "{tmp}/text", "--order", "0"], "1 to 10, got 0"),
        (["--text", "{tmp}/text", "--prune", "-1"], "0 or more, got -1"),
        (["--text", "{tmp}/text", "--vocab", "{tmp}/none"], "none does not exist"),
    ],
)
def test_fault_of_training_ends_it_without_a_model(tmp_path, text, options, cause):
    out = tmp_path / "lm.arpa"
    argv = [option.format(tmp=tmp_path) for option in options]
    with pytest.raises(ValueError, match=f".*{cause}"):
        train.main([*argv, "--out", str(out)])
    assert not out.exists()


def test_fault_of_a_model_ends_the_scoring(tmp_path, text):
    arpa = tmp_path / "lm.arpa"
    arpa.write_text("")
    with pytest.raises(ValueError, match=r".*lm\.arpa:0: the file is empty"):
        perplexity.main(["--arpa", str(arpa), "--text", str(text)])
