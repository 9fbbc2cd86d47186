"""Where the time of one mixture goes: its kernels, and what the host does meanwhile."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from espnet_smoe.benchmark import moe
from espnet_smoe.benchmark.gpu.guard import Site
from espnet_smoe.benchmark.gpu.tables import BF16, F32, FULL, QUICK, cast_sides

RUNS = 10
KERNELS, CALLS = 14, 8  # rows told
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
    site: Site,
    side: str,
    backward: bool,
    dtype: torch.dtype,
    autocast: torch.dtype | None,
) -> list[str]:
    """Profile one expert a frame, or the dense block, on a large batch.

    Args:
        site: Where.
        side: Of `moe.learned`.
        backward: The backward pass too.
        dtype: Of the weights.
        autocast: Of the products; None for that of the weights.

    Returns:
        Lines of Markdown.
    """
    sizes = QUICK.moe if site.quick else FULL.moe
    shape = sizes.more_utterances, sizes.frames
    build = partial(moe.learned, sizes, sizes.few_experts, shape, backward, (side,))
    return _lines(site, cast_sides(site, autocast, build, dtype)[side])


def _lines(site: Site, run: Callable[[], Any]) -> list[str]:
    cuda = site.device.type == "cuda"
    for _ in range(3):
        run()
    site.synchronize()
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * cuda
    with profile(activities=activities) as recorded:
        for _ in range(RUNS):
            run()
        site.synchronize()
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
