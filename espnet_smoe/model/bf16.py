"""Whether a CPU is faster in bfloat16: that it has the instructions does not say so."""

import logging
import time
from functools import cache

import torch

ROWS, D, F = 256, 512, 1024  # of the product that is timed


def _seconds(dtype: torch.dtype) -> float:
    """Of one product, the best of five."""
    x = torch.ones(ROWS, D, dtype=dtype)
    weight = torch.ones(F, D, dtype=dtype)
    torch.nn.functional.linear(x, weight)  # the first one prepares its kernel
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        torch.nn.functional.linear(x, weight)
        best = min(best, time.perf_counter() - start)
    return best


@cache
def faster_in_bf16() -> bool:
    """Whether this CPU has bfloat16 and gains by it, found once in 50 ms.

    AMX and AMD's AVX-512 multiply twice as fast in it or more; Intel's AVX-512 without
    AMX, as some virtual machines have it, half as fast.
    """
    if not torch.cpu._is_avx512_bf16_supported():
        return False
    with torch.inference_mode():
        gain = _seconds(torch.float32) / _seconds(torch.bfloat16)
    if gain <= 1:
        logging.info(
            f"bf16_on_cpu: training in float32, since a product in bfloat16 takes "
            f"{1 / gain:.1f} times as long on this CPU"
        )
    return gain > 1
