"""`espnet-smoe transcribe`: audio files to text, translation or subtitles.

    espnet-smoe transcribe talk.wav call.mp3 --model model.zip --tasks asr,st

Recordings may be of any length: they are cut in their pauses, what is no speech is left
out, and no more than some pieces are in memory. A file that fails is reported and the
rest goes on; the exit status is then 1.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import numpy as np

from espnet_smoe.command import MODEL_HELP, check_not_read, new_parser, reason
from espnet_smoe.data.data_dir import write_lines
from espnet_smoe.inference.audio import SAMPLE_RATE
from espnet_smoe.inference.long_form.detectors import DETECTOR_HELP, DETECTORS
from espnet_smoe.inference.long_form.early_ends import recognize_cuts
from espnet_smoe.inference.long_form.long_audio import Piece, cuts_of
from espnet_smoe.inference.long_form.seams import without_overlaps
from espnet_smoe.inference.long_form.segmentation import Cut
from espnet_smoe.inference.long_form.speech_pieces import (
    find_speech,
    pieces,
    seconds_of,
)
from espnet_smoe.inference.output.formats import FORMATS, SUBTITLES, Transcript
from espnet_smoe.inference.search.options import AUTO
from espnet_smoe.inference.streaming.options import INT8_HELP

if TYPE_CHECKING:  # torch takes its time, and --help has none
    from espnet_smoe.inference.speech_to_text import SpeechToText

OPTIONS = (  # those of decoding YAMLs
    *("search", "beam_size", "ctc_weight", "batch_size", "nbest", "longest_seconds"),
    *("detect_speech", "vad", "chunk_size", "left_chunks", "int8", "graph", "language"),
)
BATCHES = 4  # held at once: enough to find pieces of like length


@dataclass
class _Recording:
    """A file that is being transcribed.

    Attributes:
        path: As the user wrote it.
        seconds: How long it is.
        bandwidth: Its label.
        waiting: Pieces that have not been decoded.
        found: Those that have.
        failed: Why it cannot be transcribed.
    """

    path: str
    seconds: float = 0.0
    bandwidth: str = ""
    waiting: int = 0
    found: list[Piece] = field(default_factory=list)
    failed: str = ""


_Waiting = tuple[_Recording, Cut, np.ndarray]


class Transcriber:
    """Decode files piece by piece, so that pieces of several share a batch.

    Args:
        speech_to_text: The model.
        tasks: Names.
        bandwidth: ``auto`` or a label.
        progress: Called after each piece with how many seconds of its file are done.
    """

    def __init__(
        self,
        speech_to_text: "SpeechToText",
        tasks: Sequence[str],
        bandwidth: str,
        progress: Callable[[float], object] = lambda seconds: None,
    ):
        self.speech_to_text, self.progress = speech_to_text, progress
        self.tasks, self.bandwidth = tasks, bandwidth
        self.failures: list[str] = []
        self.audio_seconds = self.compute_seconds = 0.0

    def __call__(self, paths: Sequence[str]) -> Iterator[Transcript | None]:
        """Yield what is found in each file, in their order; None if it failed."""
        most = BATCHES * self.speech_to_text.batch_size
        held: list[_Waiting] = []
        open_: list[_Recording] = []
        for path in paths:
            recording = _Recording(path)
            open_.append(recording)
            for piece in self._pieces(recording):
                held.append(piece)
                if len(held) >= most:
                    self._decode(held)
                    held = []
                    yield from self._finished(open_)
            if not held:
                yield from self._finished(open_)
        self._decode(held)
        yield from self._finished(open_)

    def _pieces(self, recording: _Recording) -> Iterator[_Waiting]:
        """Find the speech of a file, then read it piece by piece."""
        model = self.speech_to_text
        try:
            activity, label = find_speech(recording.path, vad=model.vad)
            recording.seconds = activity.samples / SAMPLE_RATE
            recording.bandwidth = label if self.bandwidth == AUTO else self.bandwidth
            model.check_label(recording.bandwidth, recording.path)
            cuts = cuts_of(model, activity, self.tasks, recording.path)
            recording.waiting = len(cuts)
            for cut, wave in pieces(recording.path, cuts):
                own = cut.of(wave, model.lead_seconds, model.tail_seconds)
                yield recording, own, wave[own.start - cut.start : own.end - cut.start]
        except (ValueError, OSError) as error:
            recording.failed, recording.waiting = str(error), 0

    def _decode(self, held: list[_Waiting]) -> None:
        """All pieces together; file by file where that fails."""
        held = [piece for piece in held if not piece[0].failed]
        if not held:
            return
        begun = time.perf_counter()
        try:
            found = recognize_cuts(
                self.speech_to_text,
                [cut for _, cut, _ in held],
                [wave for _, _, wave in held],
                [recording.bandwidth for recording, _, _ in held],
                self.tasks,
                [recording.path for recording, _, _ in held],
            )
        except (ValueError, RuntimeError) as error:
            files = list(
                {id(recording): recording for recording, _, _ in held}.values()
            )
            if len(files) > 1:
                for file in files:
                    self._decode([piece for piece in held if piece[0] is file])
            else:
                files[0].failed = f"{files[0].path}: {error}"
            return
        self.compute_seconds += time.perf_counter() - begun
        for (recording, cut, _), results in zip(held, found):
            start, end = cut.start / SAMPLE_RATE, cut.end / SAMPLE_RATE
            before = recording.found[-1].end if recording.found else 0.0
            recording.found.append(Piece(start, end, results))
            recording.waiting -= 1
            self.progress(max(0.0, end - before))

    def _finished(self, open_: list[_Recording]) -> Iterator[Transcript | None]:
        """Take the files that are done off the front of the list."""
        while open_ and (open_[0].failed or not open_[0].waiting):
            recording = open_.pop(0)
            done = recording.found[-1].end if recording.found else 0.0
            self.progress(recording.seconds - done)
            if recording.failed:
                self.fail(recording.failed)
                yield None
            else:
                self.audio_seconds += recording.seconds
                yield Transcript(
                    recording.path,
                    recording.seconds,
                    recording.bandwidth,
                    self.tasks,
                    list(without_overlaps(recording.found, self.speech_to_text.join)),
                )

    def fail(self, message: str) -> None:
        """Report a file that fails; the others go on."""
        from tqdm import tqdm

        self.failures.append(message)
        tqdm.write(f"failed: {message}", file=sys.stderr)


def get_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = new_parser("espnet-smoe transcribe", __doc__)
    add = parser.add_argument
    add("files", nargs="+", help="recordings of any kind and rate, or .pcm")
    add("--model", help=MODEL_HELP)
    add("--train-config", help="config.yaml, in place of --model")
    add("--model-file", help="checkpoint, in place of --model")
    add("--tasks", help="such as asr,st (default: all that the model knows)")
    add("--bandwidth", help="auto, nb or wb (default: auto)")
    add(
        "--language",
        help="that is spoken, such as es, for S-MoE models whose prompts name it",
    )
    add("--format", default="text", choices=list(FORMATS), help="default: %(default)s")
    add("--out", help="file to write; subtitles of several files: a folder")
    add("--nbest", type=int, help="hypotheses of each piece, in json (default: 1)")
    add(
        "--max-segment-seconds",
        dest="longest_seconds",
        type=float,
        help="longest piece (default: the longest utterance of the training, or 30)",
    )
    add(
        "--keep-silence",
        dest="detect_speech",
        action="store_false",
        default=None,
        help="decode files in which nobody seems to speak, too",
    )
    add("--vad", choices=DETECTORS, help=DETECTOR_HELP)
    add(
        "--config",
        help="decoding YAML, over which the options here take precedence (default: the "
        "one that came with the model)",
    )
    add(
        "--search",
        help="way to decode, such as greedy or rescoring (default: the model's)",
    )
    add("--beam-size", type=int, help="hypotheses kept (default: 5, U2++ 8)")
    add("--ctc-weight", type=float, help="of CTC scores (default: 0, U2++ 0.5)")
    add("--batch-size", type=int, help="pieces decoded together (default: 8, U2++ 16)")
    add("--int8", action="store_true", default=None, help=INT8_HELP)
    u2pp = parser.add_argument_group("U2++ models")
    u2pp.add_argument("--chunk-size", type=int, help="encoder frames (default: 0, all)")
    u2pp.add_argument("--left-chunks", type=int, help="seen before (default: -1, all)")
    add("--graph", help="SpeechMoE models: folder of the decoding graph, for words")
    add("--device", default="cpu", help="such as cuda (default: %(default)s)")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command.

    Returns:
        0, or 1 where a file failed.
    """
    args = get_parser().parse_args(argv)
    if args.nbest and args.nbest > 1 and args.format != "json":
        raise ValueError(
            "--nbest is for --format json; the others have no place for it"
        )
    speech_to_text = _load(args)
    tasks = speech_to_text.check_tasks(args.tasks.split(",") if args.tasks else None)
    bandwidth = args.bandwidth or speech_to_text.own_bandwidth
    bandwidth = speech_to_text.check_bandwidth(bandwidth)
    transcriber = Transcriber(speech_to_text, tasks, bandwidth)
    _write(transcriber, args)
    if transcriber.audio_seconds > 0:
        rtf = transcriber.compute_seconds / transcriber.audio_seconds
        print(
            f"{transcriber.audio_seconds:.1f} s of audio in "
            f"{transcriber.compute_seconds:.1f} s: RTF {rtf:.3f}",
            file=sys.stderr,
        )
    if transcriber.failures:
        print(
            f"{len(transcriber.failures)} of {len(args.files)} files failed",
            file=sys.stderr,
        )
    return 1 if transcriber.failures else 0


def _load(args: argparse.Namespace) -> "SpeechToText":
    from espnet_smoe.inference.checkpoint import model_files
    from espnet_smoe.inference.config_files import own_decoding
    from espnet_smoe.inference.speech_to_text import speech_to_text_class

    given = {name: getattr(args, name) for name in OPTIONS}
    both = bool(args.train_config and args.model_file)
    if bool(args.model) == both or bool(args.train_config) != bool(args.model_file):
        raise ValueError("give --model, or both --train-config and --model-file")
    with ExitStack() as stack:
        files = args.train_config, args.model_file
        if args.model:
            files = stack.enter_context(model_files(args.model))
        kind = speech_to_text_class(files[0])
        kind.Options.check_flags(n for n, value in given.items() if value is not None)
        options = kind.Options.read(args.config or own_decoding(files[0]), **given)
        return kind(*files, device=args.device, options=options)


def _write(transcriber: Transcriber, args: argparse.Namespace) -> None:
    from tqdm import tqdm

    write = FORMATS[args.format]
    # subtitles have no place for a file's name, so several need several files
    folder = args.format in SUBTITLES and len(args.files) > 1
    if folder and not args.out:
        raise ValueError(f"{args.format} of several files: name a folder with --out")
    names = _names_of(args.files)
    if folder:
        Path(args.out).mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        out: TextIO | _OutFile = sys.stdout
        if args.out and not folder:
            check_not_read(Path(args.out), *args.files)
            out = stack.enter_context(closing(_OutFile(Path(args.out))))
        total = sum(map(seconds_of, args.files))
        bar = stack.enter_context(tqdm(total=round(total, 1), unit="s", disable=None))
        transcriber.progress = lambda seconds: bar.update(round(seconds, 1))
        for number, found in enumerate(transcriber(args.files)):
            if found is None:
                continue
            text = write(found)
            if folder:
                lines = [text.removesuffix("\n")] if text else []
                name = f"{names[number]}.{args.format}"
                write_lines(Path(args.out) / name, lines)
            else:
                try:
                    print(text, file=out, flush=True)
                except UnicodeEncodeError as error:  # other files may be of other text
                    transcriber.fail(f"{found.path}: {reason(error)}")


class _OutFile:
    """A file that keeps what it held until there is a text to write.

    Args:
        path: Of the file; it is opened at once, so that it fails at once.
    """

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._is_new, self._begun = path, not path.exists(), False
        # names of files need not be UTF-8: they keep their bytes
        self._file = open(path, "a", encoding="utf-8", errors="surrogateescape")

    def write(self, text: str) -> None:
        """Write what is found; the first time in the place of what was there."""
        if not self._begun and self._path.is_file():
            self._file.truncate(0)
        self._begun = True
        self._file.write(text)

    def flush(self) -> None:
        """Let others read what was written."""
        self._file.flush()

    def close(self) -> None:
        """Close the file; one that was made in vain goes."""
        self._file.close()
        if self._is_new and not self._begun:
            self._path.unlink(missing_ok=True)


def _names_of(files: Sequence[str]) -> list[str]:
    """``talk`` of each file; those of one stem in different folders are numbered."""
    stems = [Path(file).stem for file in files]
    names: dict[str, None] = {}
    taken = set(stems)
    for stem in stems:
        numbered = (f"{stem}.{number}" for number in count(2))
        name = next(n for n in numbered if n not in taken) if stem in names else stem
        names[name] = None
        taken.add(name)
    return list(names)
