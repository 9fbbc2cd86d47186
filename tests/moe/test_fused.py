"""The kernels for a GPU: what they compute, not how fast."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from espnet_smoe.moe import FeedForward, fused

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


class Rows:
    """Looks like rows on a GPU, where there may be none."""

    is_cuda, dtype = True, torch.bfloat16

    def __init__(self, rows: int, size: int, address: int = 64):
        self.shape, self.address = (rows, size), address

    def __len__(self) -> int:
        return self.shape[0]

    def dim(self) -> int:
        return 2

    def numel(self) -> int:
        return self.shape[0] * self.shape[1]

    def size(self, axis: int) -> int:
        return self.shape[axis]

    def stride(self, axis: int) -> int:
        return (self.shape[1], 1)[axis]

    def data_ptr(self) -> int:
        return self.address


@pytest.fixture
def experts(monkeypatch):
    monkeypatch.setattr(fused, "_triton", lambda: True)
    return [FeedForward(32, 48).bfloat16().eval() for _ in range(2)]


@torch.no_grad()
def test_rows_and_weights_that_are_not_aligned_are_not_fused(experts):
    assert fused.can_fuse(Rows(5, 32), experts)
    assert not fused.can_fuse(Rows(5, 32, address=72), experts)
    assert not fused.can_fuse(Rows(0, 32), experts)
    weight = experts[1].w_2.weight
    place = torch.empty(weight.numel() + 1, dtype=weight.dtype)
    weight.data = place[1:].view_as(weight).copy_(weight)
    assert not fused.can_fuse(Rows(5, 32), experts)
    weight.data = torch.empty(48, 32, dtype=weight.dtype).t()
    assert not fused.can_fuse(Rows(5, 32), experts)


def test_gradients_and_graphs_take_other_ways(experts, monkeypatch):
    assert not fused.can_choose(Rows(5, 4)) and not fused.can_fuse(Rows(5, 32), experts)
    with torch.no_grad():
        assert fused.can_choose(Rows(5, 4))
        monkeypatch.setattr(fused, "traced", lambda: True)
        assert not fused.can_choose(Rows(5, 4))
