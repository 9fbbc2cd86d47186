"""The kernels for a GPU: what they compute, not how fast."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CASES = Path(__file__).with_name("fused_cases.py")


def test_the_kernels_compute_what_a_loop_over_rows_does():
    pytest.importorskip("triton", reason="PyTorch without CUDA comes without Triton")
    # Triton decides when it is imported whether it compiles or interprets
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", CASES],
        env=os.environ | {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
