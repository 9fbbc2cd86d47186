"""Fixtures of data preparation."""

import pytest
import soundfile

from espnet_smoe.data.data_dir import write_table
from tests.data.prepared import GOOD, tone


@pytest.fixture
def source(tmp_path):
    """A data directory of three good utterances."""
    folder = tmp_path / "data"
    (tmp_path / "wavs").mkdir()
    for utt in GOOD:
        soundfile.write(tmp_path / "wavs" / f"{utt}.wav", tone(), 16000)
    rows = {
        "wav.scp": lambda utt: tmp_path / "wavs" / f"{utt}.wav",
        "text": lambda utt: "안녕 하세요",
        "text_st": lambda utt: "hello",
        "utt2bandwidth": lambda utt: "wb",
        "utt2spk": lambda utt: "s1",
    }
    for name, value in rows.items():
        write_table(folder / name, {utt: value(utt) for utt in GOOD})
    return folder
