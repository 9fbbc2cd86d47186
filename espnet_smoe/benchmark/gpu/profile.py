"""Where the time of one mixture goes: its kernels, and what the host does meanwhile."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from espnet_smoe.benchmark import moe
from espnet_smoe.benchmark.gpu.tables import BF16, F32, Sizes, cast_sides
from espnet_smoe.benchmark.gpu.timing import synchronize

RUNS = 10
KERNELS, CALLS = 14, 8  # rows at most
LONGEST_NAME = 90
WAIT = "Synchronize"


CASES: dict[str, tuple[str, bool, torch.dtype, torch.dtype | None]] = {
    "profile: learned mixture, bf16, forward": (moe.LEARNED, False, BF16, None),
    "profile: dense block, bf16, forward": (moe.DENSE, False, BF16, None),
    "profile: learned mixture, bf16 autocast, forward and backward": (
        *(moe.LEARNED, True, F32, BF16),
    ),
}


def profiled(
    device: torch.device,
    sizes: Sizes,
    side: str,
    backward: bool,
    dtype: torch.dtype,
    autocast: torch.dtype | None,
) -> list[str]:
    """Profile one expert a frame, or the dense block, on a large batch.

    Args:
        device: Where.
        sizes: Of the mixture.
        side: Of `moe.learned`.
        backward: The backward pass too.
        dtype: Of the weights.
        autocast: Of the products; None for that of the weights.

    Returns:
        Lines of Markdown.
    """
    block = sizes.moe
    shape = block.more_utterances, block.frames
    build = partial(moe.learned, block, block.few_experts, shape, backward, (side,))
    return _lines(device, cast_sides(device, autocast, build, dtype)[side])


def _lines(device: torch.device, run: Callable[[], Any]) -> list[str]:
    cuda = device.type == "cuda"
    for _ in range(3):
        run()
    synchronize(device)
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * cuda
    with profile(activities=activities) as recorded:
        for _ in range(RUNS):
            run()
        synchronize(device)
    events = recorded.key_averages()
    kernels = [e for e in events if e.device_type == DeviceType.CUDA]
    host = [e for e in events if e.device_type == DeviceType.CPU]
    waits = sum(e.count for e in host if WAIT in e.key) / RUNS
    device_us = sum(e.self_device_time_total for e in kernels) / RUNS
    host_us = sum(e.self_cpu_time_total for e in host) / RUNS
    kernels.sort(key=lambda e: -e.self_device_time_total)
    host.sort(key=lambda e: -e.self_cpu_time_total)
    lines = [
        f"A run: kernels {device_us:,.0f} us in "
        f"{sum(e.count for e in kernels) / RUNS:.0f} of them, the host {host_us:,.0f} "
        f"us (slower while it is recorded), {waits:.1f} waits for the device.",
        "",
        "| | a run | us a run |",
        "|---|---:|---:|",
    ]
    rows = [(e, e.self_device_time_total) for e in kernels[:KERNELS]]
    rows += [(e, e.self_cpu_time_total) for e in host[:CALLS]]
    for event, us in rows:
        where = "" if event.device_type == DeviceType.CUDA else "host: "
        name = event.key[:LONGEST_NAME].replace("|", " ")
        lines.append(f"| {where}`{name}` | {event.count / RUNS:g} | {us / RUNS:,.1f} |")
    return lines
