"""How well confidences tell speech that a model knows from what is none.

    python3 -m espnet_smoe.benchmark.confidence --model exp/train_bbpe500 \\
        --data dump/raw/test --other FOLDER

Decodes, without the test for speech, the utterances of a data directory, noise, tones,
zeros, and the files of other folders, such as another language; prints medians of the
confidence, and the area under the curve (AUC): how often a known utterance is surer
than one of the others, 0.5 is chance; and in how many of each no speech is found.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from espnet_smoe.command import MODEL_HELP, new_parser, run_command
from espnet_smoe.data.speech.audio import SAMPLE_RATE
from espnet_smoe.inference.audio import read_audio
from espnet_smoe.inference.decode.parallel import read_utterance, utterances_of
from espnet_smoe.inference.long_form.detectors import DETECTORS, Detector, new_activity
from espnet_smoe.inference.speech_to_text import SpeechToText

AUDIO = (".wav", ".flac", ".mp3", ".ogg", ".opus")
SECONDS = 2.0


def sounds() -> dict[str, list[np.ndarray]]:
    """Kind -> waves ``(samples,)`` float32 that are no speech, at several levels."""
    rng = np.random.default_rng(0)
    t = np.arange(int(SECONDS * SAMPLE_RATE)) / SAMPLE_RATE
    levels = [10 ** (db / 20) for db in np.linspace(-60, -3, 20)]
    spectrum = np.fft.rfft(rng.standard_normal(len(t)))
    pink = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 1)))
    pink /= np.abs(pink).max()
    kinds = {
        "white noise": [level * rng.uniform(-1, 1, len(t)) for level in levels],
        "pink noise": [level * pink for level in levels],
        "tones": [
            level * np.sin(2 * np.pi * hertz * t)
            for level in levels[::5]
            for hertz in (60, 120, 300, 440, 1000, 3000)
        ],
        "zeros, dither": [np.zeros(len(t)), rng.integers(-1, 2, len(t)) / 32768],
    }
    return {k: [w.astype(np.float32) for w in waves] for k, waves in kinds.items()}


def area(known: Sequence[float], other: Sequence[float]) -> float:
    """Probability that one of `known` is larger than one of `other`.

    Example:
        >>> area([0.9, 0.5], [0.1, 0.5])
        0.875
    """
    a, b = np.asarray(known)[:, None], np.asarray(other)
    return float((a > b).mean() + 0.5 * (a == b).mean())


def has_speech(wave: np.ndarray, vad: Detector) -> bool:
    """Whether a way to find speech finds any in ``(samples,)`` at 16 kHz."""
    activity = new_activity(vad)
    activity.accept(wave)
    return bool(activity.spans())


def measure(
    speech_to_text: SpeechToText, waves: Sequence[np.ndarray]
) -> dict[str, list[float]]:
    """Task -> confidence of each wave, at most as long as a training utterance."""
    longest = int(speech_to_text.longest_seconds * SAMPLE_RATE)
    found = speech_to_text.recognize(
        [wave[:longest] for wave in waves],
        [speech_to_text.bandwidths[0]] * len(waves),
        speech_to_text.tasks,
        [f"wave {i}" for i in range(len(waves))],
    )
    return {
        task: [of_wave[task].confidence or 0.0 for of_wave in found]
        for task in speech_to_text.tasks
    }


def get_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = new_parser("python3 -m espnet_smoe.benchmark.confidence", __doc__)
    add = parser.add_argument
    add("--model", required=True, help=MODEL_HELP)
    add("--data", type=Path, required=True, help="data directory that the model knows")
    add("--other", type=Path, nargs="*", default=[], help="folders of other audio")
    add("--most", type=int, default=200, help="files of each (default: %(default)s)")
    add("--vad", choices=DETECTORS, default="energy", help="default: %(default)s")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    args = get_parser().parse_args(argv)
    model = SpeechToText.load(args.model)
    listed = _some(utterances_of(args.data), args.most)
    known = [read_utterance(name, path)[0] for name, path, _ in listed]
    others = sounds()
    for folder in args.other:
        paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in AUDIO)
        others[folder.name] = [read_audio(p)[0] for p in _some(paths, args.most)]
    sure = measure(model, known)
    columns = "".join(f" {task} | AUC |" for task in model.tasks)
    print(f"| sound | n | no speech |{columns}")
    print("|---|---:|---:|" + "---:|---:|" * len(model.tasks))
    for name, waves in {args.data.name: known, **others}.items():
        silent = sum(not has_speech(wave, args.vad) for wave in waves)
        cells = "".join(
            f" {np.median(of_task):.2f} | {area(sure[task], of_task):.3f} |"
            for task, of_task in measure(model, waves).items()
        )
        print(f"| {name} | {len(waves)} | {silent} |{cells}", flush=True)
    return 0


def _some(things: Sequence, most: int) -> list:
    """Evenly spread over all."""
    step = max(1, -(-len(things) // most))
    return list(things[::step])


if __name__ == "__main__":
    sys.exit(run_command(main))
