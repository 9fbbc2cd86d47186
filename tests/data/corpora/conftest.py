"""Fixtures of corpora."""

import pytest

from tests.data.corpora import trees
from tests.data.corpora.test_kinds import (
    TRAIN,
    VALIDATION,
)


@pytest.fixture
def corpus(tmp_path):
    """A corpus of three training utterances."""
    return trees.utterance_json(tmp_path / "aihub", TRAIN, VALIDATION)
