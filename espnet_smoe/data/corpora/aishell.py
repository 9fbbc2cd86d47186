"""AISHELL-1, and the dev set of AISHELL-2 as a further test set (openslr.org/33).

    python -m espnet_smoe.data.corpora aishell /corpora/aishell data

Layout of AISHELL-1, as its archive unpacks; the archives of the speakers have to be
unpacked too:

    data_aishell/wav/{train,dev,test}/S0002/BAC009S0002W0122.wav
    data_aishell/transcript/aishell_transcript_v0.8.txt   id, then words and spaces

Layout of AISHELL-2, dev of the iOS recordings: wav.scp (id, path from there) and
trans.txt (id, text) in AISHELL-DEV-TEST-SET/iOS/dev.

Transcripts are written without the spaces between Hanzi, which are AISHELL-1's own
segmentation. Audio without a transcript and transcripts without audio are left out,
counted, and named in problems.tsv.
"""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from heapq import merge
from itertools import groupby, repeat
from pathlib import Path

from espnet_smoe.command import run_command
from espnet_smoe.data.data_dir import new_tables
from espnet_smoe.data.problems import ProblemLog, split_message
from espnet_smoe.data.scratch import scratch_folder
from espnet_smoe.data.sorted_file import Record, read_sorted, sort_records
from espnet_smoe.data.sorted_rows import sorted_records
from espnet_smoe.data.text.mandarin import WITHIN_HANZI
from espnet_smoe.data.text.unicode_text import normalize_unicode

NAME, NAME_2 = "AISHELL-1", "AISHELL-2"
SETS = ("train", "dev", "test")
TEST_2 = "test_aishell2_dev"
TRANSCRIPT = "transcript/aishell_transcript_v0.8.txt"
FOLDERS_2 = ("", "iOS/dev", "dev", "AISHELL-DEV-TEST-SET/iOS/dev")


def prepare_aishell(
    corpus_dir: Path, output_dir: Path, *, aishell2: Path | None = None
) -> str:
    """AISHELL-1, and the dev set of AISHELL-2 as a further test set.

    Args:
        corpus_dir: Folder ``data_aishell``, or the one that holds it.
        output_dir: Receives ``train``, ``dev``, ``test`` and, with AISHELL-2,
            ``test_aishell2_dev``.
        aishell2: Folder AISHELL-DEV-TEST-SET of AISHELL-2, or its dev set.

    Returns:
        The report.

    Raises:
        ValueError: A folder or file is missing, archives are not unpacked, or a set
            would be empty.
    """
    root = _find_root(corpus_dir)
    _check_unpacked(root)
    second = _find_root_2(aishell2) if aishell2 else None
    report = []
    log = ProblemLog(output_dir / "problems.tsv")
    with log, scratch_folder(output_dir, ".listed") as scratch:
        texts = _texts(root / TRANSCRIPT, NAME, scratch, log)
        audio = {
            name: sort_records(_waves(root / "wav" / name), scratch) for name in SETS
        }
        _report_missing_audio(texts, audio.values(), root / TRANSCRIPT, NAME, log)
        for name, waves in audio.items():
            report.append(_write_set(output_dir / name, waves, texts, NAME, log))
        if second:
            waves = sort_records(_waves_2(second, scratch, log), scratch)
            texts = _texts(second / "trans.txt", NAME_2, scratch, log)
            _report_missing_audio(texts, [waves], second / "trans.txt", NAME_2, log)
            report.append(_write_set(output_dir / TEST_2, waves, texts, NAME_2, log))
    for (name, reason), count in sorted(log.dropped.items()):
        report.append(f"{name}: {count:,} left out: {reason}, named in {log.path}")
    return "\n".join(report)


def _find_root(aishell: Path) -> Path:
    for root in (aishell / "data_aishell", aishell):
        if (root / TRANSCRIPT).is_file() and (root / "wav").is_dir():
            return root
    raise ValueError(
        f"--aishell: {aishell} holds no data_aishell with wav/ and {TRANSCRIPT}. Give "
        "the folder where data_aishell.tgz was unpacked."
    )


def _check_unpacked(root: Path) -> None:
    packed = sorted((root / "wav").glob("*.tar.gz"))
    speaker = [path.name.removesuffix(".tar.gz") for path in packed]
    missing = [s for s in speaker if not any((root / "wav").glob(f"*/{s}"))]
    if missing:
        raise ValueError(
            f"{root / 'wav'}: {len(missing)} speakers are not unpacked, such as "
            f"{missing[0]}.tar.gz. Run: cd {root / 'wav'} && "
            "for f in *.tar.gz; do tar -xzf $f; done"
        )


def _find_root_2(aishell2: Path) -> Path:
    for folder in FOLDERS_2:
        root = aishell2 / folder
        if (root / "wav.scp").is_file() and (root / "trans.txt").is_file():
            return root
    raise ValueError(
        f"--aishell2: no wav.scp and trans.txt in {aishell2} nor in its iOS/dev. Give "
        "the folder AISHELL-DEV-TEST-SET."
    )


# Tables are files of sorted lines: utterance, and its text or recording.


def _read(path: Path, name: str, scratch: Path, log: ProblemLog) -> Iterator[Record]:
    for line in sorted_records(path, scratch):
        if line.fault:
            cause, fix = split_message(ValueError(line.fault))
            log.drop(name, "unreadable label", line.place, line.key, cause, fix)
        else:
            yield line


def _texts(path: Path, name: str, scratch: Path, log: ProblemLog) -> Path:
    read = _read(path, name, scratch, log)
    plain = (line._replace(value=normalize_unicode(line.value)) for line in read)
    return sort_records(plain, scratch)


def _waves(folder: Path) -> Iterator[Record]:
    """Utterance and its audio; the parent folder is the speaker."""
    for place, folders, files in os.walk(folder, followlinks=True):
        folders.sort()
        place = os.fspath(Path(place).absolute())
        for file in sorted(files):
            if file.endswith(".wav") and not file.startswith("."):
                yield Record(file.removesuffix(".wav"), "", f"{place}/{file}")


def _waves_2(root: Path, scratch: Path, log: ProblemLog) -> Iterator[Record]:
    for line in _read(root / "wav.scp", NAME_2, scratch, log):
        path = os.path.join(root.absolute(), line.value)
        if os.path.isfile(path):
            yield line._replace(value=path)


def _joined(texts: Path, *waves: Path) -> Iterator[tuple[str, str | None, str | None]]:
    """Each utterance, its text and its recording, None where it has none."""
    tables = [zip(read_sorted(path), repeat(path)) for path in (texts, *waves)]
    both = merge(*tables, key=lambda line: line[0].key)
    for utt, lines in groupby(both, key=lambda line: line[0].key):
        text = wave = None
        for line, table in lines:
            if table is texts:
                text = line.value
            else:
                wave = line.value
        yield utt, text, wave


def _report_missing_audio(
    texts: Path, waves: Iterable[Path], place: Path, name: str, log: ProblemLog
) -> None:
    for utt, _, wave in _joined(texts, *waves):
        if wave is None:
            cause, fix = "no recording of that name", "Download or unpack its audio"
            log.drop(name, "label without audio", str(place), utt, cause, fix)


def _write_set(
    directory: Path, waves: Path, texts: Path, name: str, log: ProblemLog
) -> str:
    count: Counter[str] = Counter()
    speakers = set()
    with new_tables(directory, ("wav.scp", "text", "utt2spk")) as write:
        for utt, text, wave in _joined(texts, waves):
            count["transcripts"] += text is not None
            if wave is None:
                continue
            count["recordings"] += 1
            if plain := WITHIN_HANZI.sub("", text or ""):
                speaker = os.path.basename(os.path.dirname(wave))
                speakers.add(speaker)
                write(utt, {"wav.scp": wave, "text": plain, "utt2spk": speaker})
                count["written"] += 1
            else:
                lack = "audio without label" if text is None else "empty transcript"
                fix = "Nothing to do: its corpus has no transcript of it"
                log.drop(name, lack, wave, utt, "no transcript", fix)
        if not count["written"]:
            raise ValueError(
                f"{directory.name}: no audio with a transcript "
                f"({count['recordings']} recordings, {count['transcripts']} "
                f"transcripts). Unpack {name} again, its audio too."
            )
    written = f"{count['written']:,} utterances of {len(speakers):,} speakers"
    return f"{directory}: {written}"


def main(argv: list[str] | None = None) -> None:
    """Run the command by its earlier name, ``--aishell DIR --out DIR``."""
    from espnet_smoe.data.corpora.__main__ import main as prepare

    old = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
    old.add_argument("--aishell", required=True)
    old.add_argument("--out", default="data")
    args, rest = old.parse_known_args(argv)
    prepare(["aishell", args.aishell, args.out, *rest])


if __name__ == "__main__":
    sys.exit(run_command(main))
