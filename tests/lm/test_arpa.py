"""ARPA files: what is written comes back, and a bad file is told by its line."""

import gzip
import re
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from espnet_smoe.lm.arpa import read_arpa, write_arpa
from espnet_smoe.lm.ngram import NGram
from espnet_smoe.lm.trie import NEVER

TEXT = ["你 好 吗", "你 好", "OK 好 的 好", "i'm <not> here", "的 的 OK"]
SRILM = """\
some lines before

\\data\\
ngram 1=5
ngram 2=2

\\1-grams:
-99\t<s>\t-0.5
-0.4 </s>
-0.7\tb  -0.25
-inf\tdrop
-0.6\ta\t-inf

\\2-grams:
-0.1\tb a
-0.2\t<s> b

\\end\\
"""


def written(path: Path, text: str = SRILM) -> Path:
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("name", ["lm.arpa", "lm.arpa.gz"])
@pytest.mark.parametrize("order", [1, 2, 4])
@pytest.mark.parametrize("threshold", [0, 0.01])
def test_model_read_back_is_the_model_written(tmp_path, name, order, threshold):
    model = NGram.estimate(TEXT, order).prune(threshold)
    path = tmp_path / "new" / name
    write_arpa(model, path)
    back = read_arpa(path)
    assert back.words == model.words
    assert back.counts == model.counts
    for old, new in zip(model.trie.levels, back.trie.levels):
        np.testing.assert_array_equal(old.key, new.key)
        np.testing.assert_allclose(old.log_prob, new.log_prob, rtol=1e-7)
        np.testing.assert_allclose(old.backoff, new.backoff, rtol=1e-7)
    text = [*TEXT, "好 unheard 的"]
    assert back.perplexity(text).ppl == pytest.approx(model.perplexity(text).ppl)
    assert back.perplexity(text).oov == 1
    assert [file.name for file in path.parent.iterdir()] == [name]


def test_gz_is_the_plain_file_compressed(tmp_path):
    model = NGram.estimate(TEXT, 3)
    for name in ("a", "a.gz"):
        write_arpa(model, tmp_path / name)
    assert gzip.decompress((tmp_path / "a.gz").read_bytes()) == (
        (tmp_path / "a").read_bytes()
    )


def test_layout_of_the_file(tmp_path):
    write_arpa(NGram.estimate(["a"], order=2), tmp_path / "lm")
    text = re.sub(r"-0\.\d+", "-0.x", (tmp_path / "lm").read_text())
    # 1-grams that never were a context have no weight
    assert text.splitlines() == [
        "\\data\\",
        "ngram 1=4",
        "ngram 2=2",
        "",
        "\\1-grams:",
        "-0.x\t<unk>",
        "-99\t<s>\t-0.x",
        "-0.x\t</s>",
        "-0.x\ta\t-0.x",
        "",
        "\\2-grams:",
        "-0.x\t<s> a",
        "-0.x\ta </s>",
        "",
        "\\end\\",
    ]


def test_files_of_other_toolkits_are_read(tmp_path):
    model = read_arpa(written(tmp_path / "lm", SRILM.replace("\n", "\r\n")))
    assert model.words == ["<unk>", "<s>", "</s>", "b", "drop", "a"]
    assert model.counts == [6, 2]
    assert model.log_prob("a", ["b"]) == -0.1
    assert model.log_prob("b", ["<s>"]) == -0.2
    assert model.log_prob("a", ["<s>"]) == pytest.approx(-0.5 - 0.6)
    assert model.log_prob("b", ["a"]) == pytest.approx(NEVER - 0.7)
    assert model.log_prob("drop") == model.log_prob("unheard") == NEVER


@pytest.mark.parametrize("unknown", ["<unk>", "<UNK>", "<Unk>"])
@pytest.mark.parametrize("start", ["<s>", "<S>"])
def test_marks_may_be_in_capitals(tmp_path, unknown, start):
    text = SRILM.replace("-inf\tdrop", f"-1.2\t{unknown}").replace("<s>", start)
    model = read_arpa(written(tmp_path / "lm.arpa", text))
    assert model.words == ["<unk>", "<s>", "</s>", "b", "a"]
    assert model.log_prob("heard by nobody") == pytest.approx(-1.2)
    assert model.log_prob("b", ["<s>"]) == pytest.approx(-0.2)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "\ufeff" + text,
        lambda text: "\ufeff" + text.partition("\n\n")[2],  # the mark before \data\
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\n \t\n"),
        lambda text: text.replace("\t", "   ").replace("=", " = "),
        lambda text: text.replace("-inf", "-99"),
        lambda text: text.replace("-inf", "-Infinity"),
        lambda text: text.replace("-grams", "-GRAMS").replace("data", "DATA"),
    ],
)
def test_every_way_to_lay_the_file_out_gives_the_same_model(tmp_path, change):
    plain = read_arpa(written(tmp_path / "plain.arpa"))
    model = read_arpa(written(tmp_path / "lm.arpa", change(SRILM)))
    assert model.words == plain.words
    for word in plain.words:
        assert model.log_prob(word, ["b"]) == plain.log_prob(word, ["b"])


def test_words_are_in_the_one_unicode_form(tmp_path):
    decomposed = unicodedata.normalize("NFD", "가")
    text = SRILM.replace("\ta\t", f"\t{decomposed}\t").replace("b a", f"b {decomposed}")
    model = read_arpa(written(tmp_path / "lm.arpa", text))
    assert model.words[-1] == "가"
    assert model.log_prob("가", ["b"]) == pytest.approx(-0.1)


def test_two_unknown_words_and_utf16_are_told(tmp_path):
    text = SRILM.replace("drop", "<unk>").replace("b  -0.25", "<UNK>")
    with pytest.raises(ValueError, match=r":11: '<unk>' \(in any case\) stands twice"):
        read_arpa(written(tmp_path / "lm.arpa", text))
    (tmp_path / "lm.arpa").write_bytes(SRILM.encode("utf-16"))
    with pytest.raises(ValueError, match=":1: UTF-16. Convert the file to UTF-8"):
        read_arpa(tmp_path / "lm.arpa")


def test_a_packed_file_is_read_whatever_its_name(tmp_path):
    path = tmp_path / "lm.arpa"
    path.write_bytes(gzip.compress(SRILM.encode()))
    assert read_arpa(path).counts == [6, 2]


def test_order_without_ngrams_is_none(tmp_path):
    text = SRILM.replace("2=2", "2=2\nngram 3=0").replace("\\end", "\\3-grams:\n\\end")
    assert read_arpa(written(tmp_path / "lm", text)).order == 2


@pytest.mark.parametrize(
    ("old", "new", "line", "cause"),
    [
        (SRILM, "", 0, "the file is empty"),
        (SRILM, "a b\n", 1, "the file ends before \\data\\"),
        ("\\data\\\n", "", 6, "before \\data\\"),
        ("ngram 1=5", "ngram 1=six", 4, "expected 'ngram 1=...' or '\\1-grams:'"),
        ("ngram 1=5\n", "", 4, "expected 'ngram 1=...'"),
        ("ngram 1=5\nngram 2=2", "", 6, "promises no words"),
        ("1=5", "1=6", 14, "\\data\\ promises 6 1-grams, but 5 are there"),
        ("2=2", "2=1", 18, "\\data\\ promises 1 2-grams, but 2 are there"),
        ("ngram 2=2\n", "", 13, "expected \\end\\, got '\\\\2-grams:'"),
        ("ngram 2=2\n", "ngram 2=2\nngram 3=0\n", 19, "expected \\3-grams:"),
        ("\\end\\", "", 18, "the file ends before \\end\\"),
        ("-0.2\t<s> b\n\n\\end\\\n", "", 15, "the file ends before \\end\\"),
        ("-0.2\t<s> b", "-0.2\t<s>", 16, "a 2-gram has a log probability, 2 words"),
        ("-0.2\t<s> b", "x\t<s> b", 16, "'x' is not a log10 probability"),
        ("-0.2\t<s> b", "nan\t<s> b", 16, "'nan' is not a log10 probability"),
        ("-0.2\t<s> b", "0.2\t<s> b", 16, "'0.2' is not a log10 probability"),
        ("b  -0.25", "b nan", 10, "'nan' is not a back-off weight"),
        ("-0.2\t<s> b", "-0.2\t<s> c", 16, "'c' is not among the 1-grams"),
        ("-0.2\t<s> b", "-0.2\tb a", 16, "this 2-gram stands twice"),
        ("\ta\t", "\tb\t", 12, "'b' stands twice"),
        ("</s>", "end", 14, "no </s> among the 1-grams"),
    ],
)
def test_bad_file_is_told_with_line_and_cure(tmp_path, old, new, line, cause):
    assert old in SRILM
    path = written(tmp_path / "lm.arpa", SRILM.replace(old, new, 1))
    with pytest.raises(ValueError) as error:
        read_arpa(path)
    message = str(error.value)
    assert message.startswith(f"{path}:{line}: ")
    assert cause in message
    assert re.search(r"\. [A-Z].*\.$", message)  # the cure


def test_ngram_without_its_context_is_told(tmp_path):
    text = SRILM.replace("2=2", "2=2\nngram 3=1")
    text = text.replace("\\end\\", "\\3-grams:\n-1\ta b a\n\n\\end\\")
    with pytest.raises(ValueError, match=r"lm:20: the context .* is no 2-gram\. Add"):
        read_arpa(written(tmp_path / "lm", text))


def test_word_that_is_not_utf8_is_told(tmp_path):
    path = tmp_path / "lm"
    path.write_bytes(SRILM.encode().replace(b"drop", b"\xc4\xe3"))
    with pytest.raises(ValueError, match="lm:11: not UTF-8"):
        read_arpa(path)


def test_missing_file_and_half_a_gzip_file_are_told(tmp_path):
    with pytest.raises(ValueError, match="lm.arpa does not exist"):
        read_arpa(tmp_path / "lm.arpa")
    path = tmp_path / "lm.gz"
    path.write_bytes(gzip.compress(SRILM.encode())[:-20])
    with pytest.raises(ValueError, match="lm.gz: not a whole gzip file"):
        read_arpa(path)
    spoilt = bytearray(gzip.compress(SRILM.encode()))
    spoilt[30:60] = bytes(30)
    path.write_bytes(spoilt)
    with pytest.raises(ValueError, match="lm.gz: not a whole gzip file"):
        read_arpa(path)
    path.write_text(SRILM)
    with pytest.raises(ValueError, match="lm.gz: not a whole gzip file"):
        read_arpa(path)
