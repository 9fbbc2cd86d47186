"""A stream without end takes no more memory than a short one.

    python3 -m tests.integration.test_stream_memory 30

measures so many minutes of noise.
"""

import gc
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from espnet_smoe.inference.streaming.recognizer import (
    StreamingRecognizer,
    StreamOptions,
)
from tests.inference.tiny_u2pp import babble, tiny_u2pp

PAGE_KIB = 4


def resident_mib() -> float:
    """Memory of this process, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * PAGE_KIB / 1024


def memory_by_minute(minutes: int, **options: object) -> list[tuple[float, float, int]]:
    """MiB in use, seconds of computing and events told, minute by minute."""
    recognizer = StreamingRecognizer(tiny_u2pp(), StreamOptions(**options), "".join)
    stream, measured = recognizer.create_stream(), []
    for minute in range(minutes):
        wave, events, computing = babble(60, seed=minute), 0, 0.0
        for start in range(0, len(wave), 1600):
            stream.accept_waveform(wave[start : start + 1600])
            begun = time.perf_counter()
            while stream.ready:
                events += len(recognizer.decode_streams([stream])[0])
            computing += time.perf_counter() - begun
        gc.collect()
        measured.append((resident_mib(), computing, events))
    return measured


def test_memory_stays_flat():
    # all left chunks: even the cache that grows is bounded by the utterance
    # in a process of its own: what other tests have left is touched and let go, too
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        options = {"left_chunks": -1, "silence_seconds": 0.4, "detect_speech": False}
        measured = pool.submit(memory_by_minute, 4, **options).result()
    memory = [mib for mib, _, _ in measured]
    assert memory[-1] - memory[1] < 4  # a minute of samples alone would be 3.7 MiB
    assert all(events > 30 for _, _, events in measured)


if __name__ == "__main__":
    for minute, (mib, computing, events) in enumerate(
        memory_by_minute(int(sys.argv[1])), start=1
    ):
        print(f"{minute:3} min  {mib:7.1f} MiB  {computing:5.2f} s  {events} events")
