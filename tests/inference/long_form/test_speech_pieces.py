"""A recording is read in blocks that fit into the memory, whatever its header says."""

import tracemalloc

import numpy as np
import soundfile

from espnet_smoe.inference.long_form.speech_pieces import audio_blocks


def test_a_rate_that_nobody_records_at_takes_little_memory(tmp_path):
    path, rate = tmp_path / "a.wav", 16_000_000
    soundfile.write(path, np.zeros(rate, np.int16), rate, "PCM_U8")
    tracemalloc.start()
    try:
        blocks, _ = audio_blocks(str(path))
        assert sum(map(len, blocks)) == 16000
        assert tracemalloc.get_traced_memory()[1] < 2 * rate  # bytes: half a sample
    finally:
        tracemalloc.stop()
