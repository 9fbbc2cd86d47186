"""Speak the mini_cmn corpus: wav files, data directories and text for the LM.

No sentence and no voice of dev or test is in training, and lm_text holds further
sentences, of none of the three. Everything follows from the seed, whatever --nj; wav
files that exist already are kept, so a broken run goes on.
"""

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path

from sentences import sample_sentences

from espnet_smoe.data.data_dir import write_lines, write_table
from espnet_smoe.data.speech.spoken_corpus import (
    Speech,
    content_name,
    corpus_parser,
    draw_style,
    plan_sets,
    speak_all,
)

SPEEDS = (190, 240)  # words per minute; about five syllables a second


@dataclass(frozen=True)
class Utterance:
    """One line of the corpus and all that its sound depends on."""

    utt_id: str
    speech: Speech

    @property
    def file_name(self) -> str:
        """Name of the wav file: changed content never meets an old file."""
        return content_name(self.utt_id, asdict(self.speech))


def plan(
    num_train: int, num_dev: int, num_test: int, num_lm: int, seed: int
) -> tuple[dict[str, list[Utterance]], list[str]]:
    """Decide sentence and voice of every utterance, and the text for the LM.

    Args:
        num_train: Utterances, each a different sentence; likewise the next two.
        num_dev: Of the set that training validates on.
        num_test: Of the test set, the voices in turn.
        num_lm: Sentences that are only read.
        seed: Same seed, same corpus; a longer training set keeps dev and test.

    Returns:
        Utterances of ``train``, ``dev`` and ``test``, sorted by id, and `num_lm`
        sentences that are none of theirs.

    Raises:
        ValueError: A count below 1 (`num_lm`: 0) or beyond the grammar.
    """
    if num_lm < 0:
        raise ValueError(f"--num-lm {num_lm}: at least 0 is needed")
    lm_text: list[str] = []

    def draw(count: int) -> list[str]:
        sentences = sample_sentences(count + num_lm, seed)
        lm_text.extend(sentences[count:])
        return sentences[:count]

    def make(name: str, index: int, sentence: str) -> Utterance:
        how = draw_style(name, index, seed, SPEEDS)
        utt_id = f"{how.voice}-{name}{index:05d}"
        return Utterance(utt_id, Speech(sentence, "cmn", how))

    counts = {"train": num_train, "dev": num_dev, "test": num_test}
    return plan_sets(counts, draw, make, lambda utt: utt.utt_id), lm_text


def write_data_dir(directory: Path, wav_dir: Path, utterances: list[Utterance]) -> None:
    """Write the files of one data directory."""
    columns = {
        "wav.scp": lambda utt: wav_dir / utt.file_name,
        "text": lambda utt: utt.speech.text,
        "utt2spk": lambda utt: utt.speech.delivery.voice,
    }
    for name, value in columns.items():
        write_table(directory / name, {utt.utt_id: value(utt) for utt in utterances})


def get_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = corpus_parser("mini_cmn", num_train=2800)
    parser.add_argument("--num-lm", type=int, default=30000, help="lines of lm_text")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Make the corpus."""
    args = get_parser().parse_args(argv)
    counts = (args.num_train, args.num_dev, args.num_test, args.num_lm)
    sets, lm_text = plan(*counts, args.seed)
    wav_dir = args.wav_dir.absolute()
    utterances = [utt for utts in sets.values() for utt in utts]
    speeches = {wav_dir / utt.file_name: utt.speech for utt in utterances}
    kept = speak_all(speeches, args.nj)
    for name, utts in sets.items():
        write_data_dir(args.out / name, wav_dir, utts)
    write_lines(args.out / "lm_text", lm_text)
    spoken = ", ".join(f"{name} {len(utts)}" for name, utts in sets.items())
    print(
        f"{args.out}: {spoken} utterances ({kept} wav kept), "
        f"lm_text {len(lm_text)} sentences"
    )


if __name__ == "__main__":
    main()
