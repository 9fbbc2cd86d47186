"""Write Kaldi data directories for the mini_an4 recordings of the ESPnet wheel.

The .sph files are listed as they are: soundfile reads them, so no sph2pipe.
"""

import argparse
import re
import tarfile
from importlib.resources import as_file, files
from pathlib import Path

AUDIO_DIRS = {"train": "an4_clstk", "test": "an4test_clstk"}
LINE = re.compile(r"(?:<s> )?(?P<words>.+?)(?: </s>)? \((?P<name>\S+)\)")


def unpack(downloads: Path) -> Path:
    """Unpack the recordings that the ESPnet wheel carries; returns the corpus root."""
    source = files("egs3") / "mini_an4/esp2_asr/downloads.tar.gz"
    with as_file(source) as archive, tarfile.open(archive) as tar:
        tar.extractall(downloads.parent, filter="data")
    return downloads / "an4"


def prepare(corpus: Path, split: str, target: Path) -> None:
    """Write wav.scp, text and utt2spk of one split, sorted by utterance."""
    rows = []
    transcripts = corpus / "etc" / f"an4_{split}.transcription"
    for number, line in enumerate(transcripts.read_text().splitlines(), start=1):
        match = LINE.fullmatch(line.strip())
        if match is None:
            raise ValueError(f"{transcripts}:{number}: not 'WORDS (name)': {line!r}")
        prefix, speaker, take = match["name"].split("-")
        audio = corpus / "wav" / AUDIO_DIRS[split] / speaker / f"{match['name']}.sph"
        rows.append((f"{speaker}-{prefix}-{take}", speaker, audio, match["words"]))
    target.mkdir(parents=True, exist_ok=True)
    rows.sort()
    tables = {
        "utt2spk": [f"{key} {speaker}" for key, speaker, _, _ in rows],
        "wav.scp": [f"{key} {audio}" for key, _, audio, _ in rows],
        "text": [f"{key} {words}" for key, _, _, words in rows],
    }
    for name, lines in tables.items():
        (target / name).write_text("\n".join(lines) + "\n")


def get_parser() -> argparse.ArgumentParser:
    """The options of this program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--downloads", type=Path, default=Path("downloads"))
    parser.add_argument("--data", type=Path, default=Path("data"))
    return parser


def main(argv: list[str] | None = None) -> None:
    """Unpack the recordings and write both splits."""
    args = get_parser().parse_args(argv)
    corpus = unpack(args.downloads)
    for split in AUDIO_DIRS:
        prepare(corpus, split, args.data / split)


if __name__ == "__main__":
    main()
