"""bfloat16 on CPUs."""

import logging

import pytest
import torch

from espnet_smoe.model import bf16


@pytest.mark.parametrize(
    "has_it, seconds_in_bf16, faster",
    [(True, 0.5, True), (True, 1.9, False), (False, 0.5, False)],
)
def test_a_cpu_that_has_bfloat16_must_also_be_faster_in_it(
    has_it, seconds_in_bf16, faster, monkeypatch, caplog
):
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: has_it)
    seconds = {torch.float32: 1.0, torch.bfloat16: seconds_in_bf16}
    monkeypatch.setattr(bf16, "_seconds", seconds.__getitem__)
    with caplog.at_level(logging.INFO):
        assert bf16.faster_in_bf16.__wrapped__() is faster
    assert ("takes 1.9 times as long" in caplog.text) == (has_it and not faster)


def test_the_product_is_timed():
    assert 0 < bf16._seconds(torch.float32) < 10
