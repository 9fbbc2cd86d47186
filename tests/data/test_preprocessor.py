"""Preprocessor smoe: a line of a data directory to what the model takes."""

import numpy as np
import pytest

from espnet_smoe.data.preprocessor import SMoEPreprocessor
from espnet_smoe.data.tokens import train_tokens

TEXTS = ["오늘 날씨가 좋아요", "the weather is good today"] * 3


@pytest.fixture(scope="module")
def preprocessor(tmp_path_factory) -> SMoEPreprocessor:
    out = tmp_path_factory.mktemp("tokens")
    train_tokens(TEXTS, 300, out)
    return SMoEPreprocessor(False, out / "tokens.txt", str(out / "bpe.json"))


def fields(**changes) -> dict:
    line = {
        "speech": np.ones(160, dtype=np.float32),
        "text": TEXTS[0],
        "text_st": TEXTS[1],
        "bandwidth": "nb",
    }
    return {**line, **changes}


def spell(preprocessor: SMoEPreprocessor, ids: np.ndarray) -> str:
    tokens = list(preprocessor.token_ids)
    return preprocessor.tokenizer.decode([tokens[i] for i in ids])


def test_both_targets_can_be_read_back(preprocessor):
    data = preprocessor("utt", fields())
    assert spell(preprocessor, data["text"]) == TEXTS[0]
    assert spell(preprocessor, data["text_st"]) == TEXTS[1]


def test_the_bandwidth_becomes_its_token(preprocessor):
    data = preprocessor("utt", fields())
    assert data["bandwidth"].tolist() == [preprocessor.token_ids["<nb>"]]


def test_a_missing_translation_is_minus_one(preprocessor):
    assert preprocessor("utt", fields(text_st="<na>"))["text_st"].tolist() == [-1]


def test_an_own_prompt_becomes_its_tokens(preprocessor):
    data = preprocessor("utt", fields(text_st_prompt="<translate> <ko>"))
    ids = preprocessor.token_ids
    assert data["text_st_prompt"].tolist() == [ids["<translate>"], ids["<ko>"]]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"text": "  "}, "utterance utt: empty text; write <na>"),
        ({"bandwidth": "fm"}, "utterance utt: bandwidth <fm> .* <wb> <nb>"),
        ({"text_prompt": "<sing>"}, "utterance utt: text_prompt <sing> is not in"),
        ({"speech": np.zeros(0, np.float32)}, "utterance utt: zero-length audio"),
        ({"speech": np.array([0, np.nan], np.float32)}, "utterance utt: .* NaN"),
    ],
)
def test_bad_input_names_utterance_and_cure(preprocessor, changes, message):
    with pytest.raises(ValueError, match=message):
        preprocessor("utt", fields(**changes))


def test_without_a_tokenizer_it_says_what_makes_one():
    with pytest.raises(ValueError, match="stage 5"):
        SMoEPreprocessor(False, ["<blank>"])
