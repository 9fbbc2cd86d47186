"""Print the perplexity of a language model on a text.

    python3 -m espnet_smoe.lm.perplexity --arpa data/lang/lm.arpa --text data/dev/words

ppl counts known words and sentence ends, ppl1 known words alone. Words that the model
does not know are not scored, as in SRILM; their number is printed as oov.
"""

import argparse
import sys
from pathlib import Path

from espnet_smoe.command import new_parser, run_command
from espnet_smoe.lm.arpa import read_arpa
from espnet_smoe.lm.text import read_sentences


def get_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = new_parser("python3 -m espnet_smoe.lm.perplexity", __doc__)
    add = parser.add_argument
    add("--arpa", type=Path, required=True, help="the model (or .gz)")
    add("--text", type=Path, required=True, help="a sentence a line (or .gz)")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the command."""
    args = get_parser().parse_args(argv)
    result = read_arpa(args.arpa).perplexity(read_sentences(args.text))
    print(
        f"{args.text}: ppl {result.ppl:.2f}, ppl1 {result.ppl1:.2f}, "
        f"oov {result.oov}, tokens {result.tokens}"
    )


if __name__ == "__main__":
    sys.exit(run_command(main))
