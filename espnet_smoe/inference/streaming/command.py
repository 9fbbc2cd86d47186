"""`espnet-smoe stream`: words while they are spoken, from file, pipe or microphone.

    espnet-smoe stream --model exp/u2pp talk.wav --realtime
    arecord -f S16_LE -r 16000 -t raw | espnet-smoe stream --model exp/u2pp -
    espnet-smoe stream --model exp/u2pp --mic --json

On a terminal the words of an unfinished utterance are rewritten in place; elsewhere
only finished ones are printed, a line each. Ctrl-C ends with what was said so far.
"""

import argparse
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import TYPE_CHECKING

import numpy as np

from espnet_smoe.command import MODEL_HELP, new_parser
from espnet_smoe.data.speech.raw_pcm import DEFAULT_FORMAT, RAW_FORMATS
from espnet_smoe.inference.audio import SAMPLE_RATE
from espnet_smoe.inference.streaming.display import Show, display
from espnet_smoe.inference.streaming.options import add_options, given_options
from espnet_smoe.inference.streaming.sources import (
    Pieces,
    in_real_time,
    open_file,
    open_microphone,
    open_pipe,
)

if TYPE_CHECKING:  # torch takes its time, and --help has none
    from espnet_smoe.inference.streaming.recognizer import StreamingRecognizer


def recognize(
    recognizer: "StreamingRecognizer", pieces: Iterable[np.ndarray], show: Show
) -> tuple[float, float]:
    """Recognise one stream as it comes.

    Args:
        recognizer: The model.
        pieces: ``(n,)`` float32 at 16 kHz.
        show: Gets each event.

    Returns:
        Seconds of audio, seconds of computing.
    """
    stream, computing = recognizer.create_stream(), 0.0

    def decode() -> None:
        nonlocal computing
        while stream.ready:
            begun = time.perf_counter()
            events = recognizer.decode_streams([stream])[0]
            computing += time.perf_counter() - begun
            for event in events:
                show(event)

    for samples in pieces:
        stream.accept_waveform(samples)
        decode()
    stream.finish()
    decode()
    return stream.seconds, computing


def until_interrupted(pieces: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Pieces until Ctrl-C: it stops the waiting for audio, not what is done with it."""
    waiting = asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        if waiting:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, ask)
    source = iter(pieces)
    try:
        while not asked:
            waiting = True
            piece = next(source, None)
            waiting = False
            if piece is None:
                break
            yield piece
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGINT, before)


def get_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = new_parser("espnet-smoe stream", __doc__)
    add = parser.add_argument
    add("file", nargs="?", help="audio of any kind and rate, .pcm, or - for a pipe")
    add("--mic", action="store_true", help="listen to the microphone")
    add("--model", required=True, help=MODEL_HELP)
    add(
        "--pcm-rate",
        type=int,
        default=SAMPLE_RATE,
        help="Hz of raw audio, mono (default: %(default)s)",
    )
    add(
        "--pcm-format",
        default=DEFAULT_FORMAT,
        choices=RAW_FORMATS,
        help="of raw audio (default: %(default)s)",
    )
    add("--realtime", action="store_true", help="play the file at its own pace")
    add("--json", action="store_true", help="a JSON object a line, with times")
    add("--device", default="cpu", help="such as cuda (default: %(default)s)")
    add_options(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command.

    Returns:
        0; an error that a user can cure is raised.
    """
    args = get_parser().parse_args(argv)
    options = given_options(args)
    pieces = _source(args)  # before the model: a wrong name shall show at once
    from espnet_smoe.inference.streaming.recognizer import StreamingRecognizer

    recognizer = StreamingRecognizer.load(args.model, options, args.device)
    if args.mic:
        print("listening; Ctrl-C ends", file=sys.stderr)
    if args.realtime:
        pieces = in_real_time(pieces)
    show = display(sys.stdout, args.json)
    seconds, computing = recognize(recognizer, until_interrupted(pieces), show)
    if seconds > 0:
        print(
            f"{seconds:.1f} s of audio in {computing:.1f} s: RTF "
            f"{computing / seconds:.3f}",
            file=sys.stderr,
        )
    return 0


def _source(args: argparse.Namespace) -> Pieces:
    if args.pcm_rate < 1:
        raise ValueError(f"--pcm-rate must be a number of Hz, got {args.pcm_rate}")
    if bool(args.file) == args.mic:
        raise ValueError("name one audio file, - for standard input, or give --mic")
    if args.mic:
        return open_microphone()
    if args.file != "-":
        return open_file(args.file, args.pcm_rate, args.pcm_format)
    if sys.stdin.isatty():
        raise ValueError("standard input is the keyboard; pipe WAV or raw PCM into it")
    return open_pipe(sys.stdin.buffer, args.pcm_rate, args.pcm_format)
