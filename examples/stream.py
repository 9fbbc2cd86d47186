"""A recording as a stream, block by block.

python3 examples/stream.py exp/u2pp talk.wav
"""

import sys

import soundfile

from espnet_smoe.inference import StreamingRecognizer

RATE = 16000
BLOCK = 0.1  # seconds that a microphone would give at once


def main(model: str, recording: str) -> None:
    """Print the partial and final texts.

    Args:
        model: Zip file of stage 14, or the folder of an experiment, of a U2++ model.
        recording: Mono, 16 kHz.
    """
    recognizer = StreamingRecognizer.load(model)
    stream = recognizer.create_stream()

    def tell() -> None:
        """Compute the chunks that are whole; several streams may share a step."""
        while stream.ready:
            for event in recognizer.decode_streams([stream])[0]:
                print(f"{event.end:6.2f} s {event.kind}: {event.text}")

    with soundfile.SoundFile(recording) as file:
        if file.samplerate != RATE or file.channels != 1:
            raise SystemExit(f"{recording}: bring it to mono and {RATE} Hz")
        for block in file.blocks(int(BLOCK * RATE), dtype="float32"):
            stream.accept_waveform(block)
            tell()
    stream.finish()
    tell()


if __name__ == "__main__":
    main(*sys.argv[1:])
