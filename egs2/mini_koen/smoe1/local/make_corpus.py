"""Speak the mini_koen corpus: wav files and data directories train, dev, test.

No sentence and no voice of dev or test is in training. The speech is wideband; stage 3
makes the telephone conditions. Everything follows from the seed, whatever --nj; wav
files that exist already are kept, so a broken run goes on.
"""

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path

from sentences import Sentence, sample_sentences

from espnet_smoe.data.data_dir import write_table
from espnet_smoe.data.speech.spoken_corpus import (
    SpeakingStyle,
    Speech,
    content_name,
    corpus_parser,
    draw_style,
    plan_sets,
    speak_all,
)

SPEEDS = (200, 250)  # words per minute


@dataclass(frozen=True)
class Utterance:
    """One line of the corpus and all that its sound depends on."""

    utt_id: str
    ko: str
    en: str
    voice: str
    speed: int  # words per minute
    pitch: int  # 0 to 99
    seed: int

    @property
    def speech(self) -> Speech:
        """What is spoken, and how."""
        how = SpeakingStyle(self.voice, self.speed, self.pitch, self.seed)
        return Speech(self.ko, "ko", how)

    @property
    def file_name(self) -> str:
        """Name of the wav file: changed content never meets an old file."""
        return content_name(self.utt_id, asdict(self))


def plan(
    num_train: int, num_dev: int, num_test: int, seed: int
) -> dict[str, list[Utterance]]:
    """Decide sentence and voice of every utterance.

    Args:
        num_train: Utterances, each a different sentence; likewise the next two.
        num_dev: Of the set that training validates on.
        num_test: Of the test set, the voices in turn.
        seed: Same seed, same corpus; a longer training set keeps dev and test.

    Returns:
        Utterances of ``train``, ``dev`` and ``test``, sorted by id.

    Raises:
        ValueError: A count below 1 or beyond the grammar.
    """

    def make(name: str, index: int, sentence: Sentence) -> Utterance:
        how = draw_style(name, index, seed, SPEEDS)
        utt_id = f"{how.voice}-{name}{index:05d}"
        return Utterance(utt_id, sentence.ko, sentence.en, **asdict(how))

    return plan_sets(
        {"train": num_train, "dev": num_dev, "test": num_test},
        lambda count: sample_sentences(count, seed),
        make,
        lambda utterance: utterance.utt_id,
    )


def write_data_dir(directory: Path, wav_dir: Path, utterances: list[Utterance]) -> None:
    """Write the files of one data directory."""
    columns = {
        "wav.scp": lambda utt: wav_dir / utt.file_name,
        "text": lambda utt: utt.ko,
        "text_st": lambda utt: utt.en,
        "utt2spk": lambda utt: utt.voice,
        "utt2bandwidth": lambda utt: "wb",
        "utt2condition": lambda utt: "wb",
    }
    for name, value in columns.items():
        write_table(directory / name, {utt.utt_id: value(utt) for utt in utterances})


def get_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    return corpus_parser("mini_koen", num_train=6000)


def main(argv: list[str] | None = None) -> None:
    """Make the corpus."""
    args = get_parser().parse_args(argv)
    sets = plan(args.num_train, args.num_dev, args.num_test, args.seed)
    wav_dir = args.wav_dir.absolute()
    utterances = [utt for utts in sets.values() for utt in utts]
    speeches = {wav_dir / utt.file_name: utt.speech for utt in utterances}
    kept = speak_all(speeches, args.nj)
    for name, utts in sets.items():
        write_data_dir(args.out / name, wav_dir, utts)
    counts = ", ".join(f"{name} {len(utts)}" for name, utts in sets.items())
    print(f"{args.out}: {counts} utterances ({kept} wav kept)")


if __name__ == "__main__":
    main()
