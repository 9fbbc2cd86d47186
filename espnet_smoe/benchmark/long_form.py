"""What is lost or doubled where a long recording is cut.

    espnet-smoe benchmark long_form --model exp/train_bbpe500 --data dump/raw/test

Utterances of a data directory are trimmed to their speech and joined with pauses of
known length, in quiet, in a bed of pink noise, and in a room (an impulse response of
decaying noise). For each way to find speech are printed: how much of the speech it
misses, in percent of the frames that are loud; and in percent of the pauses, those in
which it would cut.

With a model, the whole is decoded as one recording, and each utterance alone, cut out
of that same wave at its true ends: pieces; units (words, or letters) next to a seam
that are missing though the utterance alone has them, and those that are too many
though it has no such; the error rates of both against the references; and by how much
that of the whole is larger, with its 95 % interval, a bootstrap over utterances.
"""

import argparse
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path

import numpy as np

from espnet_smoe.benchmark.seam_errors import Aligned, at_seams, change
from espnet_smoe.command import new_parser, positive, run_command
from espnet_smoe.data.data_dir import read_table
from espnet_smoe.data.speech.audio import SAMPLE_RATE
from espnet_smoe.inference.decode.parallel import read_utterance, utterances_of
from espnet_smoe.inference.long_form.detectors import DETECTORS, new_activity
from espnet_smoe.inference.long_form.long_audio import decode_long
from espnet_smoe.inference.long_form.segmentation import PAUSE_SECONDS, Cut
from espnet_smoe.inference.long_form.speech_activity import Span
from espnet_smoe.inference.result import join_results
from espnet_smoe.inference.speech_to_text import SpeechToText

QUIET_DB = 40.0  # below the loudest frame: outside of an utterance
FRAME = 160  # samples
FADE = 80  # samples at each end of an utterance, so that joining makes no click
MARGIN_SECONDS = 0.2  # of pause around an utterance alone, at most half of the pause
EDGE_SECONDS = 0.5  # before the first and behind the last
ROOM_SECONDS = 0.5  # until the echo is 60 dB down
DIRECT_DB = 6.0  # what comes straight, over the echo
LEVEL = 0.1  # of an utterance, root mean square
LOUD_DB = 20.0  # below it, at most
NEAR_SECONDS = 0.2  # around a pause it may be found, too


@dataclass(frozen=True)
class Units:
    """What is counted.

    Attributes:
        split: Text to units.
        near: Of them on either side belong to a seam.
    """

    split: Callable[[str], list[str]]
    near: int


PLACES = ("quiet", "room")
HEAD = " pieces | lost | doubled | alone | in one | | 95 % |"


def split_letters(text: str) -> list[str]:
    """Letters and digits in one case, without spaces and punctuation."""
    return [c for c in text.casefold() if unicodedata.category(c)[0] in "LMN"]


UNITS = {"words": Units(str.split, 1), "letters": Units(split_letters, 3)}


@dataclass(frozen=True)
class Joined:
    """Utterances as one recording.

    Attributes:
        wave: ``(samples,)``.
        ends: First sample of each utterance, and the one behind its last.
        pause: Samples between them.
    """

    wave: np.ndarray
    ends: Sequence[tuple[int, int]]
    pause: int

    def alone(self, lead: float | None, tail: float | None) -> list[np.ndarray]:
        """Each utterance, with some of the pauses around it.

        Args:
            lead: Seconds before it, as in the model's training, if they are known.
            tail: Behind it.
        """
        margin = min(int(MARGIN_SECONDS * SAMPLE_RATE), self.pause // 2)
        found = []
        for first, last in self.ends:
            whole = Cut(max(0, first - margin), last + margin, Span(first, last))
            own = whole.of(self.wave[whole.start : whole.end], lead, tail)
            found.append(self.wave[own.start : own.end])
        return found


def found_speech(joined: Joined, spans: Sequence[Span]) -> tuple[float, float]:
    """Percent of loud frames outside of spans; percent of pauses that part them.

    Args:
        joined: In quiet.
        spans: Found in it, or in what it became in a condition.
    """
    spoken = np.zeros(len(joined.wave), bool)
    for span in spans:
        spoken[span.start : span.end] = True
    count = len(spoken) // FRAME
    frames = joined.wave[: count * FRAME].reshape(-1, FRAME)
    loud = np.sqrt(np.square(frames).mean(axis=1)) > LEVEL * 10 ** (-LOUD_DB / 20)
    heard = spoken[: count * FRAME].reshape(-1, FRAME).mean(axis=1) > 0.5
    near, least = (int(s * SAMPLE_RATE) for s in (NEAR_SECONDS, PAUSE_SECONDS))
    found = 0
    for (_, end), (start, _) in zip(joined.ends, joined.ends[1:]):
        silent = ~spoken[end - near : start + near]
        borders = np.flatnonzero(np.diff(np.concatenate([[0], silent, [0]])))
        found += any(borders[1::2] - borders[::2] >= least)
    pauses = max(1, len(joined.ends) - 1)
    return 100 * float((loud & ~heard).sum() / loud.sum()), 100 * found / pauses


def trimmed(wave: np.ndarray) -> np.ndarray:
    """A wave ``(samples,)`` from its first loud frame to its last, at one level."""
    frames = wave[: len(wave) // FRAME * FRAME].reshape(-1, FRAME)
    power = np.square(frames, dtype=np.float64).mean(axis=1)
    loud = np.flatnonzero(power > power.max() * 10 ** (-QUIET_DB / 10))
    wave = wave[loud[0] * FRAME : (loud[-1] + 1) * FRAME].copy()
    wave *= LEVEL / max(np.sqrt(np.square(wave, dtype=np.float64).mean()), 1e-6)
    ramp = np.linspace(0, 1, FADE, dtype=np.float32)
    wave[:FADE] *= ramp
    wave[-FADE:] *= ramp[::-1]
    return wave.clip(-1, 1)


def join_waves(waves: Sequence[np.ndarray], pause_seconds: float) -> Joined:
    """Waves one behind another, with digital silence between them."""
    pause = int(pause_seconds * SAMPLE_RATE)
    edge = np.zeros(int(EDGE_SECONDS * SAMPLE_RATE), np.float32)
    parts, ends, position = [edge], [], len(edge)
    for wave in waves:
        ends.append((position, position + len(wave)))
        parts += [wave, np.zeros(pause, np.float32)]
        position += len(wave) + pause
    return Joined(np.concatenate([*parts, edge]), ends, pause)


def in_condition(wave: np.ndarray, condition: str, seed: int = 0) -> np.ndarray:
    """A wave of utterances as it is heard somewhere.

    Args:
        wave: ``(samples,)``.
        condition: ``quiet``, ``room``, or the level of utterances over a bed of pink
            noise in dB.
        seed: Of the noise.
    """
    rng = np.random.default_rng(seed)
    if condition == "quiet":
        return wave
    if condition == "room":
        t = np.arange(int(ROOM_SECONDS * SAMPLE_RATE)) / SAMPLE_RATE
        echo = rng.standard_normal(len(t)) * 10 ** (-3 * t / ROOM_SECONDS)
        echo *= 10 ** (-DIRECT_DB / 20) / np.sqrt(np.square(echo).sum())
        echo[0] = 1.0
        size = 1 << (len(wave) + len(echo)).bit_length()
        spectrum = np.fft.rfft(wave, size) * np.fft.rfft(echo, size)
        heard = np.fft.irfft(spectrum, size)[: len(wave)]
    else:
        spectrum = np.fft.rfft(rng.standard_normal(len(wave)))
        spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 1))
        noise = np.fft.irfft(spectrum, len(wave))
        heard = wave + noise * (LEVEL * 10 ** (-float(condition) / 20) / noise.std())
    return heard.clip(-1, 1).astype(np.float32)


class Decoder:
    """Decodes utterances joined and alone.

    Args:
        model: To decode with.
        task: Whose text.
        references: Of the utterances.
        units: That are counted.
    """

    def __init__(
        self, model: SpeechToText, task: str, references: Sequence[str], units: Units
    ):
        self.model, self.task, self.units = model, task, units
        self.references = [units.split(text) for text in references]

    def cells(self, joined: Joined, detectors: Sequence[str]) -> Iterator[str]:
        """What of a line of the table is about texts, for each way to find speech."""
        label, task = self.model.bandwidths[0], self.task
        stretches = joined.alone(self.model.lead_seconds, self.model.tail_seconds)
        count, spoken = len(stretches), self.references
        found = self.model.recognize(stretches, [label] * count, [task], [""] * count)
        alone = Aligned.alone(
            spoken, [self.units.split(of_one[task].text) for of_one in found]
        )
        units = sum(map(len, spoken))
        errors = alone.errors(spoken)
        for detector in detectors:
            self.model.vad = detector
            (pieces,) = decode_long(self.model, [joined.wave], [task], [label], [""])
            text = join_results(
                [piece.results[task] for piece in pieces],
                [piece.start for piece in pieces],
            ).text
            together = Aligned.of(spoken, self.units.split(text))
            lost, doubled = at_seams(spoken, alone, together, self.units.near)
            own = together.errors(spoken)
            more, low, high = change(errors, own)
            before, after = (100 * each.sum() / units for each in (errors, own))
            yield (
                f" {len(pieces)} | {lost} | {doubled} "
                f"| {before:.1f} | {after:.1f} "
                f"| {more:+.1f} % | {low:+.0f} to {high:+.0f} |"
            )


def get_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = new_parser("espnet-smoe benchmark long_form", __doc__)
    add = parser.add_argument
    add("--data", type=Path, required=True, help="data directory")
    add("--model", help="zip file or folder of an experiment that knows its speech")
    add("--task", help="whose text is counted (default: the model's first)")
    add(
        "--units",
        choices=list(UNITS),
        default="words",
        help="letters: without spaces, case and punctuation (default: %(default)s)",
    )
    add("--most", type=positive, default=24, help="utterances (default: %(default)s)")
    add(
        "--pauses",
        type=float,
        nargs="+",
        default=[0.0, 0.3, 0.5, 0.8, 1.5, 3.0],
        metavar="S",
        help="seconds between utterances (default: %(default)s)",
    )
    add(
        "--conditions",
        nargs="+",
        default=["quiet", "20", "10", "room"],
        metavar="C",
        help="quiet, room, or dB of speech over noise (default: %(default)s)",
    )
    add(
        "--detectors",
        nargs="+",
        choices=DETECTORS[1:],
        default=["energy"],
        help="ways to find speech (default: %(default)s)",
    )
    add(
        "--max-segment-seconds", type=float, help="longest piece (default: the model's)"
    )
    add("--beam-size", type=positive, default=1, help="default: %(default)s")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Measure, and print a table in Markdown.

    Returns:
        0.
    """
    args = get_parser().parse_args(argv)
    for condition in args.conditions:
        if condition not in PLACES and not _is_number(condition):
            raise ValueError(
                f"--conditions {condition}: quiet, room, or a number of dB"
            )
    if min(args.pauses) < 0:
        raise ValueError("--pauses: seconds are not negative")
    listed = utterances_of(args.data)
    listed = listed[:: max(1, -(-len(listed) // args.most))]
    waves = [trimmed(read_utterance(name, path)[0]) for name, path, _ in listed]
    decoder = _decoder(args, [name for name, _, _ in listed]) if args.model else None
    print("| | pause | speech by | missed | found |" + HEAD * bool(decoder))
    print("|---|---:|---|---:|---:|" + "---:|" * HEAD.count("|") * bool(decoder))
    for condition in args.conditions:
        for pause in args.pauses:
            quiet = join_waves(waves, pause)
            joined = replace(quiet, wave=in_condition(quiet.wave, condition))
            cells = decoder.cells(joined, args.detectors) if decoder else repeat("")
            place = condition if condition in PLACES else f"{condition} dB"
            for detector in args.detectors:
                activity = new_activity(detector)
                activity.accept(joined.wave)
                missed, found = found_speech(quiet, activity.spans())
                line = f"| {place} | {pause:g} s | {detector} | {missed:.1f} %"
                print(f"{line} | {found:.0f} % |{next(cells)}", flush=True)
    return 0


def _decoder(args: argparse.Namespace, names: Sequence[str]) -> Decoder:
    problems: list = []
    table = read_table(args.data / "text", problems)
    lacking = [name for name in names if not table.get(name)]
    if problems or lacking:
        raise ValueError(
            "\n".join(map(str, problems)) or f"{args.data}/text has no {lacking[0]}"
        )
    given = {"longest_seconds": args.max_segment_seconds, "beam_size": args.beam_size}
    given = {name: value for name, value in given.items() if value is not None}
    model = SpeechToText.load(args.model, **given)
    (task,) = model.check_tasks(args.task or model.tasks[0])
    return Decoder(model, task, [table[name] for name in names], UNITS[args.units])


def _is_number(text: str) -> bool:
    try:
        return np.isfinite(float(text))
    except ValueError:
        return False


if __name__ == "__main__":
    sys.exit(run_command(main))
