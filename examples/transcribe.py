"""What a trained model makes of recordings.

python3 examples/transcribe.py exp/train_bbpe500 talk.wav call.flac
"""

import sys

import soundfile

from espnet_smoe.inference import load


def main(model: str, *recordings: str) -> None:
    """Print the text of each task, its confidence, and when it begins and ends.

    Args:
        model: Zip file of stage 14, or the folder of an experiment.
        *recordings: Of any length and sampling rate.
    """
    speech_to_text = load(model)
    for recording in recordings:
        wave, rate = soundfile.read(recording, dtype="float32", always_2d=True)
        (found,) = speech_to_text([wave.mean(axis=1)], sample_rate=rate)
        for task, result in found.items():
            print(f"{recording}, {task}: {result.text}")
            if result.confidence is not None:  # there is a text
                print(f"  confidence {result.confidence:.2f}")
            if result.timed:  # the model tells when its tokens are said
                start, end = result.timed[0].start, result.timed[-1].end
                print(f"  from {start:.2f} s to {end:.2f} s")


if __name__ == "__main__":
    main(*sys.argv[1:])
