"""A service user without a home."""

import os
import subprocess
import sys

import pytest

TELL = "import espnet_smoe, os; print(os.environ.get('NUMBA_CACHE_DIR', ''))"


def cache(home):
    env = {k: v for k, v in os.environ.items() if k not in ("NUMBA_CACHE_DIR", "HOME")}
    command = [sys.executable, "-c", TELL]
    return subprocess.check_output(
        command, env={**env, "HOME": home}, text=True
    ).strip()


@pytest.mark.parametrize("home", ["/nonexistent", "/proc/1/nothing"])
def test_numba_has_a_cache_where_there_is_no_home(home):
    assert cache(home).endswith(f"numba_cache_{os.getuid()}")


def test_a_home_is_used(tmp_path):
    assert cache(str(tmp_path)) == ""
