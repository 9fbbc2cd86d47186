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
from collections.abc import Iterator
from pathlib import Path

from espnet_smoe.command import run_command
from espnet_smoe.data.data_dir import read_table, write_table
from espnet_smoe.data.problems import Problem, ProblemLog
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
    with ProblemLog(output_dir / "problems.tsv") as log:
        texts = _texts(root / TRANSCRIPT, NAME, log)
        audio = {name: _waves(root / "wav" / name) for name in SETS}
        report_missing_audio(texts, set().union(*audio.values()), root, log)
        for name, waves in audio.items():
            report.append(_write_set(output_dir / name, waves, texts, NAME, log))
        if second:
            waves = _waves_2(second, log)
            texts = _texts(second / "trans.txt", NAME_2, log)
            report_missing_audio(texts, set(waves), second, log, NAME_2)
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


def _read(path: Path, name: str, log: ProblemLog) -> dict[str, str]:
    problems: list[Problem] = []
    table = read_table(path, problems)
    for p in problems:
        log.drop(name, "unreadable label", p.file, p.utterance, p.cause, p.fix)
    return table


def _texts(path: Path, name: str, log: ProblemLog) -> dict[str, str]:
    read = _read(path, name, log)
    return {utt: normalize_unicode(text) for utt, text in read.items()}


def _waves(folder: Path) -> dict[str, Path]:
    """Utterance to its audio; the parent folder is the speaker."""
    found: dict[str, Path] = {}
    for place, folders, files in os.walk(folder, followlinks=True):
        folders.sort()
        for file in sorted(files):
            if file.endswith(".wav") and not file.startswith("."):
                found[file.removesuffix(".wav")] = Path(place).absolute() / file
    return found


def _waves_2(root: Path, log: ProblemLog) -> dict[str, Path]:
    listed = _read(root / "wav.scp", NAME_2, log)
    waves = {utt: (root / path).absolute() for utt, path in listed.items()}
    return {utt: wave for utt, wave in waves.items() if wave.is_file()}


def report_missing_audio(
    texts: dict[str, str],
    spoken: set[str],
    root: Path,
    log: ProblemLog,
    name: str = NAME,
) -> None:
    place = str(root / (TRANSCRIPT if name == NAME else "trans.txt"))
    for utt in texts:
        if utt not in spoken:
            cause, fix = "no recording of that name", "Download or unpack its audio"
            log.drop(name, "label without audio", place, utt, cause, fix)


def _write_set(
    directory: Path,
    waves: dict[str, Path],
    texts: dict[str, str],
    name: str,
    log: ProblemLog,
) -> str:
    rows = dict(_rows(waves, texts, name, log))
    if not rows:
        raise ValueError(
            f"{directory.name}: no audio with a transcript ({len(waves)} recordings, "
            f"{len(texts)} transcripts). Unpack {name} again, its audio too."
        )
    for column, table in enumerate(("wav.scp", "text", "utt2spk")):
        write_table(directory / table, {utt: row[column] for utt, row in rows.items()})
    speakers = len({speaker for *_, speaker in rows.values()})
    return f"{directory}: {len(rows):,} utterances of {speakers:,} speakers"


def _rows(
    waves: dict[str, Path], texts: dict[str, str], name: str, log: ProblemLog
) -> Iterator[tuple[str, tuple[str, str, str]]]:
    for utt, wave in sorted(waves.items()):
        text = WITHIN_HANZI.sub("", texts.get(utt, ""))
        if text:
            yield utt, (str(wave), text, wave.parent.name)
        else:
            lack = "empty transcript" if utt in texts else "audio without label"
            fix = "Nothing to do: its corpus has no transcript of it"
            log.drop(name, lack, str(wave), utt, "no transcript", fix)


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
