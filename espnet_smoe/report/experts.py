"""`espnet-smoe experts EXP`: did the experts become different, and does it matter?

    espnet-smoe experts exp/decsmoe --data dump/raw/test --limit 200

Writes ``EXP/experts.md`` and ``EXP/experts.png``: the load of each expert by label, the
similarity of the experts, and the scores when labels are swapped. Of the encoder of any
other model, `speech_moe`, `u2pp` or ESPnet's own with our encoder, whose routers choose
frame by frame: loads by layer, by modelling unit (a syllable's initial, final and tone)
and by silence, what these tell about the expert, the similarity of the experts, and the
routing of one utterance over time.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from espnet_smoe.command import run_command
from espnet_smoe.inference.model_files import find_checkpoint, load_model, read_config
from espnet_smoe.inference.speech_to_text import SpeechToText
from espnet_smoe.report.expert_data import Recording, read_recordings
from espnet_smoe.report.expert_layers import Seen, mixtures, own_experts, watch
from espnet_smoe.report.expert_page import Findings, print_page, to_page
from espnet_smoe.report.expert_similarity import similarity
from espnet_smoe.report.expert_swap import decode_swapped
from espnet_smoe.report.routing import RoutingFindings, look_at_routing
from espnet_smoe.report.routing_data import read_spoken
from espnet_smoe.report.routing_page import print_page as print_routing
from espnet_smoe.report.routing_page import to_page as to_routing_page

BY_LABEL = "smoe"  # the model that is asked for labels; others choose frame by frame


def look_at_experts(args: argparse.Namespace, config: dict[str, Any]) -> Findings:
    """Watch, compare and swap the experts of a trained model ``smoe``.

    Args:
        args: Of `get_parser`.
        config: The training configuration.

    Raises:
        ValueError: The model has no experts, or a file is missing or faulty.
    """
    files = args.exp / "config.yaml", args.exp / args.model
    speech_to_text = SpeechToText(
        *files,
        device=args.device,
        beam_size=args.beam_size,
        ctc_weight=args.ctc_weight,
    )
    try:
        parts = mixtures(speech_to_text.model)
    except ValueError as error:
        raise ValueError(f"{args.exp}: {error}") from error
    recordings = read_recordings(
        args.data, speech_to_text.model, config, "encoder" in parts, args.limit
    )
    # A second copy: the one that decodes has its weights laid out for searching.
    model = load_model(config, files[1], args.device)
    seen = watch(model, recordings, args.device)
    return Findings(
        experiment=args.exp.resolve().name,
        source=_source(args, recordings),
        loads=_loads(seen),
        own=own_experts(model),
        similarity=_similarities(model, seen),
        systems=decode_swapped(speech_to_text, recordings, args.data),
    )


def look_at_routers(
    args: argparse.Namespace, config: dict[str, Any]
) -> RoutingFindings:
    """See what the routers of the encoder go by, where they choose frame by frame.

    Args:
        args: Of `get_parser`.
        config: The training configuration.

    Raises:
        ValueError: The model has no experts, the utterance is unknown, or a file is
            missing or faulty.
    """
    model = load_model(config, args.exp / args.model, args.device)
    try:
        mixtures(model)
    except ValueError as error:
        raise ValueError(f"{args.exp}: {error}") from error
    spoken = read_spoken(args.data, config, args.limit, args.utt)
    drawn = "" if args.limit is None else ", drawn by chance"
    source = f"Checkpoint {args.model}; {len(spoken)} utterances of {args.data}{drawn}."
    name = args.exp.resolve().name
    try:
        return look_at_routing(model, spoken, config, name, source, args.utt)
    except ValueError as error:
        raise ValueError(f"{args.exp}: {error}") from error


def _similarities(model: nn.Module, seen: dict[str, dict[str, Seen]]) -> dict:
    return {
        part: {
            layer.name: similarity(
                layer.experts, torch.cat(seen[part][layer.name].frames)
            )
            for layer in layers
        }
        for part, layers in mixtures(model).items()
    }


def _loads(seen: dict[str, dict[str, Seen]]) -> dict:
    return {
        part: {name: layer.loads for name, layer in layers.items()}
        for part, layers in seen.items()
    }


def _source(args: argparse.Namespace, recordings: list[Recording]) -> str:
    drawn = "" if args.limit is None else ", drawn by chance"
    return (
        f"Checkpoint {args.model}; {len(recordings)} utterances of {args.data}{drawn}; "
        f"beam {args.beam_size}, CTC weight {args.ctc_weight:g}."
    )


def get_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = argparse.ArgumentParser(
        prog="espnet-smoe experts",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("exp", type=Path, help="experiment of the trained model")
    add("--model", help="checkpoint (default: the averaged or best one that is there)")
    add(
        "--data",
        type=Path,
        default=Path("dump/raw/test"),
        help="data directory (default: %(default)s)",
    )
    add("--limit", type=_positive, help="utterances, drawn by chance (default: all)")
    add("--device", default="cpu", help="such as cuda (default: %(default)s)")
    add("--beam-size", type=int, default=5, help="of smoe (default: %(default)s)")
    add("--ctc-weight", type=float, default=0.0, help="of smoe (default: %(default)s)")
    add(
        "--utt",
        help="utterance to show over time (not smoe; default: the first fit)",
    )
    add("--out", type=Path, help="Markdown file (default: EXP/experts.md)")
    add("--png", type=Path, help="picture (default: EXP/experts.png)")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of utterances")
    return int(text)


def main(argv: list[str] | None = None) -> None:
    """Look at the experts, write Markdown and PNG, print the tables.

    Raises:
        ValueError: The model has no experts, or a file is missing or faulty.
    """
    args = get_parser().parse_args(argv)
    config = read_config(args.exp / "config.yaml")
    if args.model is None:
        args.model = find_checkpoint(args.exp, "--model").name
    learned = config.get("model") != BY_LABEL
    if args.utt is not None and not learned:
        raise ValueError(
            f"--utt: the model of {args.exp} is routed by label, the same for a whole "
            "utterance; leave the option out"
        )
    look, page_of, tell = look_at_experts, to_page, print_page
    if learned:
        look, page_of, tell = look_at_routers, to_routing_page, print_routing
    findings = look(args, config)
    # matplotlib is slow to load
    if learned:
        from espnet_smoe.report.routing_picture import draw_routing as draw
    else:
        from espnet_smoe.report.expert_picture import draw_experts as draw

    out = args.out or args.exp / "experts.md"
    png = args.png or args.exp / "experts.png"
    for path in (out, png):
        path.parent.mkdir(parents=True, exist_ok=True)
    draw(findings, png)
    picture = Path(os.path.relpath(png.resolve(), out.resolve().parent)).as_posix()
    out.write_text(page_of(findings, picture), encoding="utf-8")
    tell(findings)
    print(f"Written to {out} and {png}")


if __name__ == "__main__":
    sys.exit(run_command(main))
