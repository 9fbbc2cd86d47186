"""A tiny Whisper, and what an import makes of it."""

import pytest

from espnet_smoe.importers.command import main
from tests.importers.tiny_whisper import SECONDS, make_hugging_face


@pytest.fixture(scope="package")
def source(tmp_path_factory):
    """A folder of Hugging Face, and its model; copy it to change it."""
    folder = tmp_path_factory.mktemp("whisper") / "tiny"
    return folder, make_hugging_face(folder)


@pytest.fixture(scope="package")
def imported(source, tmp_path_factory):
    """The experiment made of it; copy it to change it."""
    out = tmp_path_factory.mktemp("imported") / "exp"
    main(["whisper", str(source[0]), "--out", str(out), "--pad", str(SECONDS)])
    return out
