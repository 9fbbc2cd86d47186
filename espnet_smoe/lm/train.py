"""Estimate, prune and write an n-gram language model.

    python3 -m espnet_smoe.lm.train --text data/lm/text --order 5 --prune 1e-8 \\
        --vocab data/lang/words.txt --out data/lang/lm.arpa

The text has one sentence a line, words separated by spaces. The model is smoothed by
interpolated modified Kneser-Ney and pruned by relative entropy.
"""

import argparse
import logging
import sys
from pathlib import Path

from espnet_smoe.command import new_parser, run_command
from espnet_smoe.lm.arpa import write_arpa
from espnet_smoe.lm.ngram import NGram
from espnet_smoe.lm.text import read_sentences, read_words


def get_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = new_parser("python3 -m espnet_smoe.lm.train", __doc__)
    add = parser.add_argument
    add("--text", type=Path, required=True, help="sentences to learn from (or .gz)")
    add("--order", type=int, default=5, help="of the longest n-grams (default: 5)")
    add(
        "--prune",
        type=float,
        default=0.0,
        help="leave out n-grams that change the perplexity by less than this share, "
        "such as 1e-8 (default: 0, none)",
    )
    add(
        "--vocab",
        type=Path,
        help="words to know, one a line; others count as <unk> (default: those of the "
        "text)",
    )
    add("--out", type=Path, required=True, help="ARPA file to write (or .gz)")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the command."""
    logging.basicConfig(format="%(levelname)s: %(message)s")
    args = get_parser().parse_args(argv)
    vocabulary = read_words(args.vocab) if args.vocab else None
    model = NGram.estimate(read_sentences(args.text), args.order, vocabulary)
    print(f"{args.text}: {_counts(model)}")
    if args.prune:
        model = model.prune(args.prune)
    write_arpa(model, args.out)
    print(f"{args.out}: {_counts(model)}")


def _counts(model: NGram) -> str:
    return ", ".join(f"{n} {k}-grams" for k, n in enumerate(model.counts, 1))


if __name__ == "__main__":
    sys.exit(run_command(main))
