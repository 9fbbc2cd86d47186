"""Processes that decode a share begin with torch loaded, not each by itself."""

from types import SimpleNamespace

import pytest

from espnet_smoe.inference.decode import parallel
from tests.scripts import SERVER


@pytest.fixture(autouse=True)
def loaded_processes(monkeypatch):
    loaded = SimpleNamespace(get_context=lambda _: SERVER)
    monkeypatch.setattr(parallel, "multiprocessing", loaded)
