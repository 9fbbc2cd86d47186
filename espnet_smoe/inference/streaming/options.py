"""Options of streaming recognition, and how a command takes them."""

import argparse
from dataclasses import dataclass, fields
from typing import Annotated

from espnet_smoe.config.options import options_of
from espnet_smoe.config.typed import Count, Range, Seconds, Share, Weight
from espnet_smoe.inference.long_form.detectors import (
    DETECTOR_HELP,
    DETECTORS,
    Detector,
)

HELP = {
    "chunk_size": "encoder frames computed together",
    "left_chunks": "chunks that attention sees before its own, -1: all",
    "beam_size": "prefixes that the CTC search keeps",
    "ctc_weight": "of CTC in rescoring",
    "reverse_weight": "of the right-to-left decoder in it (default: the model's)",
    "silence_seconds": "that end an utterance",
    "start_seconds": "of silence after which the encoder begins anew",
    "longest_seconds": "of an utterance",
}
INT8_HELP = "weights in int8: a quarter of the memory to read, on a CPU"


@options_of("")
@dataclass(frozen=True)
class StreamOptions:
    """How streams are recognised.

    Attributes:
        chunk_size: Encoder frames that are computed together: the model sees no
            further, so a chunk is also the longest wait for a word.
        left_chunks: Chunks that attention sees before its own; -1 for all of the
            utterance.
        beam_size: Prefixes that the CTC search keeps.
        rescore: Whether the attention decoders choose among the prefixes when an
            utterance ends.
        ctc_weight: Weight of the CTC score in that choice.
        reverse_weight: Share of the right-to-left decoder in it, 0 to 1; None for the
            model's own.
        silence_seconds: Blanks that end an utterance; looked at behind each chunk;
            infinity for none that do, here and in the next two.
        start_seconds: Of nothing but blanks; the encoder then begins anew, silently.
        longest_seconds: An utterance ends here, in whatever it says.
        detect_speech: Give no text to an utterance in which nobody speaks.
        vad: How speech is found: ``energy``; ``silero``, a network, which the extra
            ``vad`` installs; ``auto``: silero where it is installed.
        int8: All linear layers but routers in int8, on a CPU; for a model that is
            loaded from files.

    Raises:
        ValueError: An option has no sense; names it.
    """

    chunk_size: Count = 16
    left_chunks: Annotated[int, Range(-1)] = 4
    beam_size: Count = 8
    rescore: bool = True
    ctc_weight: Weight = 0.5
    reverse_weight: Share | None = None
    silence_seconds: Seconds = 0.8
    start_seconds: Seconds = 5.0
    longest_seconds: Seconds = 20.0
    detect_speech: bool = True
    vad: Detector = "energy"
    int8: bool = False


def add_options(parser: argparse.ArgumentParser) -> None:
    """Let a command take `StreamOptions`, such as ``--chunk-size``."""
    group = parser.add_argument_group("recognition")
    for option in fields(StreamOptions):
        if option.name in HELP:
            default, text = option.default, HELP[option.name]
            group.add_argument(
                f"--{option.name.replace('_', '-')}",
                type=int if isinstance(default, int) else float,
                default=default,
                help=text if default is None else f"{text} (default: {default})",
            )
    group.add_argument(
        "--no-rescore",
        dest="rescore",
        action="store_false",
        help="leave the choice to CTC: finals come sooner",
    )
    group.add_argument(
        "--keep-silence",
        dest="detect_speech",
        action="store_false",
        help="give text where nobody speaks, too, if the model does",
    )
    group.add_argument("--vad", choices=DETECTORS, default="energy", help=DETECTOR_HELP)
    group.add_argument("--int8", action="store_true", help=INT8_HELP)


def given_options(args: argparse.Namespace) -> StreamOptions:
    """The `StreamOptions` that a command was given."""
    return StreamOptions(
        **{f.name: getattr(args, f.name) for f in fields(StreamOptions)}
    )
