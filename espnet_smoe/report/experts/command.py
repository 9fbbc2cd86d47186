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
from pathlib import Path

from espnet_smoe.command import new_parser, positive

BY_LABEL = "smoe"  # the model that is asked for labels; others choose frame by frame


def get_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = new_parser("espnet-smoe experts", __doc__)
    add = parser.add_argument
    add("exp", type=Path, help="experiment of the trained model")
    add("--model", help="checkpoint (default: the averaged or best one that is there)")
    add(
        "--data",
        type=Path,
        default=Path("dump/raw/test"),
        help="data directory (default: %(default)s)",
    )
    add("--limit", type=positive, help="utterances, drawn by chance (default: all)")
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


def main(argv: list[str] | None = None) -> None:
    """Analyze the experts, write Markdown and PNG, print the tables.

    Raises:
        ValueError: The model has no experts, or a file is missing or faulty.
    """
    args = get_parser().parse_args(argv)
    # torch and matplotlib are slow to load, and --help needs neither
    from espnet_smoe.inference.checkpoint import find_checkpoint, read_config
    from espnet_smoe.report.experts.analysis import analyze_experts, analyze_routers

    config = read_config(args.exp / "config.yaml")
    if args.model is None:
        args.model = find_checkpoint(args.exp, "--model").name
    learned = config.get("model") != BY_LABEL
    if args.utt is not None and not learned:
        raise ValueError(
            f"--utt: the model of {args.exp} is routed by label, the same for a whole "
            "utterance; leave the option out"
        )
    if learned:
        from espnet_smoe.report.routing.figure import draw_routing as draw
        from espnet_smoe.report.routing.page import print_page, to_page
    else:
        from espnet_smoe.report.experts.figure import draw_experts as draw
        from espnet_smoe.report.experts.page import print_page, to_page

    report = (analyze_routers if learned else analyze_experts)(args, config)
    out = args.out or args.exp / "experts.md"
    png = args.png or args.exp / "experts.png"
    for path in (out, png):
        path.parent.mkdir(parents=True, exist_ok=True)
    draw(report, png)
    picture = Path(os.path.relpath(png.resolve(), out.resolve().parent)).as_posix()
    out.write_text(to_page(report, picture), encoding="utf-8")
    print_page(report)
    print(f"Written to {out} and {png}")
