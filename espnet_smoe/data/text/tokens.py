"""Train the subword model and write the token list (stage 5).

    python3 -m espnet_smoe.data.text.tokens --text dump/raw/train/text \\
        dump/raw/train/text_st --size 500 --out data/token_list/bbpe500

The list is: blank, unknown, the labels (tasks, languages, bandwidths), where there are
labels the mark where the text begins, the pieces, and last the mark of start and end.
The subword model holds the pieces alone, and all 256 bytes among them, so no text is
unknown. With ``--type char`` the pieces are the characters of the text, the most
frequent first; there is no model.
"""

import argparse
import os
import random
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from espnet_smoe.command import new_parser, run_command
from espnet_smoe.data.data_dir import NO_TRANSLATION, write_lines
from espnet_smoe.data.sorted_rows import read_records
from espnet_smoe.data.task_table import load_task_table, tokens_of
from espnet_smoe.data.text.unicode_text import normalize_unicode

BLANK, UNKNOWN = "<blank>", "<unk>"
BEGIN, SOS_EOS = "<beginning_of_sentence>", "<sos/eos>"
LABELS = ("<transcribe>", "<translate>", "<ko>", "<en>", "<wb>", "<nb>")
BYTES = 256
SPACE = "<space>"  # as ESPnet's CharTokenizer writes it
# `bpe` and `unigram` are of sentencepiece, which is also the former name of `bpe`.
KINDS = ("bbpe", "bpe", "unigram", "sentencepiece", "char")


def read_token_list(path: str | Path) -> list[str]:
    """The tokens of a file with one a line.

    A token may be white space of any kind, U+2028 included, so only what follows its
    first character is stripped.
    """
    with open(path, encoding="utf-8") as lines:
        return [line[:1] + line[1:].rstrip() for line in lines]


class Texts:
    """Texts of tables in the one Unicode form, without missing translations.

    They are read anew each time, so that none of them stays in memory.

    Args:
        paths: The tables.
        sample: How many of them to take, chosen by chance; None for all.

    Raises:
        ValueError: A file does not exist, or there is no text at all.
    """

    def __init__(self, paths: Sequence[Path], sample: int | None = None):
        for path in paths:
            if not path.is_file():
                raise ValueError(f"{path} does not exist; stage 4 makes it.")
        self._paths = paths
        self._all = sum(1 for _ in self._read())
        if not self._all:
            names = " ".join(map(str, paths))
            raise ValueError(f"{names}: no text to learn pieces from; see stage 4.")
        self._taken = self._all if sample is None else min(sample, self._all)

    def __len__(self) -> int:
        return self._taken

    def __iter__(self) -> Iterator[str]:
        # Each is taken with the chance that leaves as many as are wanted.
        uniform = random.Random(0).random
        wanted = self._taken
        for left, text in zip(range(self._all, 0, -1), self._read()):
            if wanted == left or uniform() * left < wanted:
                wanted -= 1
                yield text

    def _read(self) -> Iterator[str]:
        for path in self._paths:
            for record in read_records(path):
                text = normalize_unicode(record.value)
                if text and text != NO_TRANSLATION and not record.fault:
                    yield text


def train_tokens(
    texts: Iterable[str],
    size: int,
    out: Path,
    kind: str = "bbpe",
    labels: Sequence[str] = LABELS,
) -> list[str]:
    """Train a subword model and write ``tokens.txt`` beside it.

    Args:
        texts: Sentences to learn from.
        size: Number of tokens in all; fewer where the text does not yield as many.
            For ``char`` 0 is no limit.
        out: Folder for ``tokens.txt`` and ``bpe.json`` or ``bpe.model``.
        kind: ``bbpe`` (byte-level, Hugging Face tokenizers), ``bpe`` or ``unigram``
            (sentencepiece), or ``char``.
        labels: Task, language and bandwidth tokens; may be none.

    Returns:
        The tokens.

    Raises:
        ValueError: The size leaves no room for labels and bytes (``char``: for a
            character), or a label is doubled or also a piece.
    """
    head = [BLANK, UNKNOWN, *labels, *([BEGIN] if labels else [])]
    others, what = (1, "a character") if kind == "char" else (BYTES, f"{BYTES} bytes")
    least = len(head) + 1 + others
    if size < least and not (kind == "char" and size == 0):
        raise ValueError(
            f"a vocabulary of {size} is too small: {len(head) + 1} special tokens and "
            f"{what} need at least {least}. Raise --size (--nbpe in a recipe)."
        )
    out.mkdir(parents=True, exist_ok=True)
    if kind == "char":
        pieces = _characters(texts, size - len(head) - 1 if size else None)
    elif kind == "bbpe":
        pieces = _train_bbpe(texts, size - len(head) - 1, out)
    else:
        kind = "bpe" if kind == "sentencepiece" else kind
        pieces = _train_sentencepiece(texts, size - len(head) - 1, out, kind)
    tokens = [*head, *pieces, SOS_EOS]
    doubled = sorted(token for token, n in Counter(tokens).items() if n > 1)
    if doubled:
        raise ValueError(
            f"tokens {' '.join(doubled)} occur twice. Remove them from --special, or "
            "from the text if they stand in it."
        )
    write_lines(out / "tokens.txt", tokens)
    return tokens


def _characters(texts: Iterable[str], size: int | None) -> list[str]:
    """The most frequent characters; of equals the first in Unicode."""
    counts = Counter(char for text in texts for char in text)
    by_count = sorted(counts, key=lambda char: (-counts[char], char))
    return [SPACE if char == " " else char for char in by_count[:size]]


def _train_bbpe(texts: Iterable[str], size: int, out: Path) -> list[str]:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    model = Tokenizer(models.BPE())
    # A space before the first word makes it the same piece as within a sentence;
    # the decoder takes that space off again.
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    model.decoder = decoders.Sequence(
        [decoders.ByteLevel(), decoders.Strip(content=" ", left=1, right=0)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    model.train_from_iterator(texts, trainer)
    _save(out / "bpe.json", model.to_str(pretty=True).encode())
    vocabulary = model.get_vocab()
    return sorted(vocabulary, key=vocabulary.__getitem__)


def _train_sentencepiece(
    texts: Iterable[str], size: int, out: Path, kind: str
) -> list[str]:
    import io

    import sentencepiece

    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            model_type=kind,
            vocab_size=size + 1,  # its own <unk> is not among our pieces
            byte_fallback=True,
            character_coverage=0.9995,
            normalization_rule_name="identity",
            hard_vocab_limit=False,
            bos_id=-1,
            eos_id=-1,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise ValueError(
            f"sentencepiece cannot make {size} pieces of this text ({error}). "
            "Raise --size, or take --type bbpe, which needs no piece a character."
        ) from error
    _save(out / "bpe.model", model.getvalue())
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    pieces = map(processor.id_to_piece, range(processor.get_piece_size()))
    return [piece for piece in pieces if piece != UNKNOWN]


def _save(path: Path, content: bytes) -> None:
    partial = path.with_name(path.name + ".part")
    partial.write_bytes(content)
    os.replace(partial, path)


def get_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = new_parser("python3 -m espnet_smoe.data.text.tokens", __doc__)
    add = parser.add_argument
    add("--text", type=Path, nargs="+", required=True, help="tables to learn from")
    add(
        "--size",
        type=int,
        required=True,
        help="tokens in all, specials included; of characters 0 for all",
    )
    add("--out", type=Path, required=True, help="folder to write")
    add("--type", choices=KINDS, default="bbpe")
    add(
        "--sentences",
        type=int,
        help="learn from so many texts, chosen by chance (default: all)",
    )
    add(
        "--special",
        nargs="*",
        default=list(LABELS),
        help="task, language and bandwidth tokens (default: %(default)s)",
    )
    add("--tasks", help="training YAML, or names: the tokens of its prompts come too")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the command."""
    args = get_parser().parse_args(argv)
    texts = Texts(args.text, args.sentences)
    labels = list(args.special)
    if args.tasks:
        prompts = tokens_of(load_task_table(args.tasks))
        labels += [token for token in prompts if token not in labels]
    tokens = train_tokens(texts, args.size, args.out, args.type, labels)
    print(f"{args.out / 'tokens.txt'}: {len(tokens)} tokens from {len(texts)} texts")
    if len(tokens) < args.size:
        print(f"  fewer than the {args.size} asked for: the text yields no more")


if __name__ == "__main__":
    sys.exit(run_command(main))
