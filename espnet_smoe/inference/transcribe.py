"""`espnet-smoe transcribe`: audio files to text, translation or subtitles.

    espnet-smoe transcribe talk.wav call.mp3 --model model.zip --tasks asr,st

Files longer than 30 s are cut where they are quietest. A file that fails is reported
and the rest goes on; the exit status is then 1.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

from espnet_smoe.command import run_command
from espnet_smoe.inference.audio import SAMPLE_RATE, bandwidth_of, read_audio
from espnet_smoe.inference.formats import FORMATS
from espnet_smoe.inference.long import Piece, decode_long
from espnet_smoe.inference.model_files import model_files, read_config
from espnet_smoe.inference.speech_to_text import AUTO, SpeechToText
from espnet_smoe.inference.stream_options import INT8_HELP
from espnet_smoe.inference.two_pass import SEARCHES
from espnet_smoe.inference.u2pp_speech_to_text import U2PPSpeechToText

SEARCH_OPTIONS = ("beam_size", "ctc_weight", "batch_size")
U2PP_OPTIONS = ("search", "chunk_size", "left_chunks", "int8")


@dataclass
class _Recording:
    """A file that has been read.

    Attributes:
        path: As the user wrote it.
        wave: ``(samples,)`` at 16 kHz.
        bandwidth: Its label.
    """

    path: str
    wave: np.ndarray
    bandwidth: str


class Transcriber:
    """Decode files in groups, so that short ones share a batch.

    Args:
        speech_to_text: The model.
        tasks: Names.
        bandwidth: ``auto`` or a label.
    """

    def __init__(
        self, speech_to_text: SpeechToText, tasks: Sequence[str], bandwidth: str
    ):
        self.speech_to_text = speech_to_text
        self.tasks, self.bandwidth = tasks, bandwidth
        self.failures: list[str] = []
        self.audio_seconds = self.compute_seconds = 0.0

    def __call__(
        self, paths: Sequence[str]
    ) -> Iterator[tuple[str, str, list[Piece]] | None]:
        """Yield path, bandwidth and pieces of each file in order; None if it failed."""
        size = self.speech_to_text.batch_size
        for start in range(0, len(paths), size):
            group = [self._read(path) for path in paths[start : start + size]]
            found = self._decode([r for r in group if r is not None])
            for recording in group:
                pieces = None if recording is None else found[id(recording)]
                if pieces is None:
                    yield None
                else:
                    yield recording.path, recording.bandwidth, pieces

    def _read(self, path: str) -> _Recording | None:
        try:
            wave, rate = read_audio(path)
        except (ValueError, OSError) as error:
            self._fail(str(error))
            return None
        label = bandwidth_of(wave, rate) if self.bandwidth == AUTO else self.bandwidth
        return _Recording(path, wave, label)

    def _decode(self, group: list[_Recording]) -> dict[int, list[Piece] | None]:
        """All pieces together; file by file where one of them fails."""
        if not group:
            return {}
        begun = time.perf_counter()
        try:
            found = decode_long(
                self.speech_to_text,
                [r.wave for r in group],
                self.tasks,
                [r.bandwidth for r in group],
                [r.path for r in group],
            )
        except (ValueError, RuntimeError) as error:
            if len(group) > 1:
                alone = (self._decode([recording]) for recording in group)
                return {key: value for one in alone for key, value in one.items()}
            self._fail(f"{group[0].path}: {error}")
            return {id(group[0]): None}
        self.compute_seconds += time.perf_counter() - begun
        self.audio_seconds += sum(len(r.wave) for r in group) / SAMPLE_RATE
        return {id(r): pieces for r, pieces in zip(group, found)}

    def _fail(self, message: str) -> None:
        from tqdm import tqdm

        self.failures.append(message)
        tqdm.write(f"failed: {message}", file=sys.stderr)


def get_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = argparse.ArgumentParser(
        prog="espnet-smoe transcribe",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("files", nargs="+", help="audio of any rate that soundfile reads, or .pcm")
    add("--model", help="zip file of the recipe's stage 14, or an experiment's folder")
    add("--train-config", help="config.yaml, in place of --model")
    add("--model-file", help="checkpoint, in place of --model")
    add("--tasks", help="such as asr,st (default: all that the model knows)")
    add("--bandwidth", default=AUTO, help="auto, nb or wb (default: %(default)s)")
    add("--format", default="text", choices=list(FORMATS), help="default: %(default)s")
    add("--out", help="file to write; srt of several files: a folder")
    add("--beam-size", type=int, help="hypotheses kept (default: 5, U2++ 8)")
    add("--ctc-weight", type=float, help="of CTC scores (default: 0, U2++ 0.5)")
    add("--batch-size", type=int, help="pieces decoded together (default: 8, U2++ 16)")
    u2pp = parser.add_argument_group("U2++ models")
    u2pp.add_argument("--search", choices=SEARCHES, help="default: rescoring")
    u2pp.add_argument("--chunk-size", type=int, help="encoder frames (default: 0, all)")
    u2pp.add_argument("--left-chunks", type=int, help="seen before (default: -1, all)")
    u2pp.add_argument("--int8", action="store_true", default=None, help=INT8_HELP)
    add("--device", default="cpu", help="such as cuda (default: %(default)s)")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command.

    Returns:
        0, or 1 where a file failed.
    """
    args = get_parser().parse_args(argv)
    speech_to_text = _load(args)
    tasks = args.tasks.split(",") if args.tasks else None
    transcriber = Transcriber(
        speech_to_text,
        speech_to_text.check_tasks(tasks),
        speech_to_text.check_bandwidth(args.bandwidth),
    )
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


def _load(args: argparse.Namespace) -> SpeechToText:
    given = {name: getattr(args, name) for name in (*SEARCH_OPTIONS, *U2PP_OPTIONS)}
    options = {name: value for name, value in given.items() if value is not None}
    both = bool(args.train_config and args.model_file)
    if bool(args.model) == both or bool(args.train_config) != bool(args.model_file):
        raise ValueError("give --model, or both --train-config and --model-file")
    with ExitStack() as stack:
        files = args.train_config, args.model_file
        if args.model:
            files = stack.enter_context(model_files(args.model))
        if read_config(files[0]).get("model") == "u2pp":
            return U2PPSpeechToText(*files, device=args.device, **options)
        for name in U2PP_OPTIONS:
            if name in options:
                raise ValueError(
                    f"--{name.replace('_', '-')} is for U2++ models, which this is not"
                )
        return SpeechToText(*files, device=args.device, **options)


def _write(transcriber: Transcriber, args: argparse.Namespace) -> None:
    from tqdm import tqdm

    write = FORMATS[args.format]
    # subtitles have no place for a file's name, so several need several files
    folder = args.format == "srt" and len(args.files) > 1
    if folder and not args.out:
        raise ValueError("srt of several files: name a folder with --out")
    if folder:
        Path(args.out).mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        out: TextIO = sys.stdout
        if args.out and not folder:
            Path(args.out).parent.mkdir(parents=True, exist_ok=True)
            out = stack.enter_context(open(args.out, "w", encoding="utf-8"))
        found = tqdm(transcriber(args.files), total=len(args.files), unit="file")
        for number, result in enumerate(found):
            if result is None:
                continue
            text = write(*result)
            if folder:
                name = _subtitle_name(args.files, number)
                (Path(args.out) / name).write_text(text, encoding="utf-8")
            else:
                print(text, file=out, flush=True)


def _subtitle_name(files: Sequence[str], number: int) -> str:
    """``talk.srt``; files of one stem in different folders are numbered."""
    stems = [Path(file).stem for file in files]
    same = stems[:number].count(stems[number])
    return f"{stems[number]}{f'.{same + 1}' if same else ''}.srt"


if __name__ == "__main__":
    sys.exit(run_command(main))
