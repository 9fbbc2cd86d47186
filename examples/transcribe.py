"""What a trained model makes of recordings.

python3 examples/transcribe.py exp/train_bbpe500 talk.wav call.flac
"""

import sys

import soundfile

from espnet_smoe.inference import load


def main(model: str, *recordings: str) -> None:
    """Print the text of each task, its confidence, and when each token is said.

    Args:
        model: Zip file of stage 14, or the folder of an experiment.
        *recordings: Of any length and sampling rate.
    """
    speech_to_text = load(model)
    for recording in recordings:
        wave, rate = soundfile.read(recording, dtype="float32", always_2d=True)
        (found,) = speech_to_text([wave.mean(axis=1)], sample_rate=rate)
        for task, result in found.items():
            print(f"{recording}, {task}: {result.text} ({result.confidence})")
            for token in result.timed:
                print(f"  {token.start:.2f} s {token.token}")


if __name__ == "__main__":
    main(*sys.argv[1:])
