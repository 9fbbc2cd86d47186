"""Data directories: one line an utterance, one file a fact.

A table is a text file of lines ``utterance value``. Reading collects every fault
as a :class:`Problem` instead of stopping at the first, so that a user sees the
whole list once.
"""

import codecs
import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from espnet_smoe.command import check_out
from espnet_smoe.data.problems import Problem, split_message
from espnet_smoe.data.segment import segment
from espnet_smoe.data.task_table import find_targets

NO_TRANSLATION = "<na>"
WAV_SCP = "wav.scp"
SEGMENTS = "segments"
LANGUAGES = "utt2lang"  # the language that is spoken, as a code such as "es"
REQUIRED_TABLES = (WAV_SCP, "text")
OPTIONAL_TABLES = (
    "utt2bandwidth",
    "utt2spk",
    "utt2condition",
    "utt2speed",
    LANGUAGES,
)


def read_table(path: Path | str, problems: list[Problem]) -> dict[str, str]:
    """Read the lines ``utterance value`` of a file.

    Runs of white space in a value become one space, since they carry nothing and
    ESPnet's readers drop some of them anyway. A path in ``wav.scp`` stays as it is;
    only a newline it cannot hold.

    Args:
        path: The file, in UTF-8.
        problems: Receives doubled ids and lines that are not UTF-8.

    Returns:
        Utterance to value; the value of a line that holds only an id is empty.
        Of a doubled id the first line is kept.
    """
    table: dict[str, str] = {}
    verbatim = Path(path).name == WAV_SCP
    with open(path, "rb") as lines:
        for number, raw in enumerate(lines, 1):
            words = raw.decode("utf-8-sig", errors="replace").split()
            if not words:
                continue
            utterance, value = words[0], " ".join(words[1:])
            if verbatim:
                value = _path_in(raw)
            place = f"{path}:{number}"
            if not _is_utf8(raw.split(None, 1)[0] if verbatim else raw):
                problems.append(
                    Problem(place, utterance, "not UTF-8", "Convert it with iconv")
                )
            elif utterance in table:
                problems.append(
                    Problem(place, utterance, "the id is used twice", "Rename one")
                )
            else:
                table[utterance] = value
    return table


def _path_in(line: bytes) -> str:
    """What stands behind the id, with the bytes of its file name."""
    _, *rest = line.removeprefix(codecs.BOM_UTF8).strip(b"\r\n").split(None, 1)
    path = os.fsdecode(rest[0]) if rest else ""
    return path if os.path.exists(path) else path.strip()


def read_recordings(directory: Path | str, problems: list[Problem]) -> dict[str, str]:
    """Read where the audio of each utterance is, as ``segments`` cuts it.

    Args:
        directory: With ``wav.scp``; and with Kaldi's ``segments`` where its lines are
            recordings: ``utterance recording start end`` in seconds, ``end`` -1 for
            that of the recording.
        problems: Receives what is wrong.

    Returns:
        Utterance to reference, see :mod:`espnet_smoe.data.speech.audio`.
    """
    recordings = read_table(Path(directory) / WAV_SCP, problems)
    path = Path(directory) / SEGMENTS
    if not path.is_file():
        return recordings
    utterances = {}
    for utterance, value in read_table(path, problems).items():
        try:
            utterances[utterance] = _part_of(value.split(), recordings)
        except ValueError as error:
            problems.append(Problem(str(path), utterance, *split_message(error)))
    return utterances


def _part_of(fields: list[str], recordings: Mapping[str, str]) -> str:
    """The reference of a line of ``segments``, without its id."""
    if len(fields) != 3:
        raise ValueError(
            f"{len(fields) + 1} fields. Write: utterance recording start end"
        )
    recording, *times = fields
    if recording not in recordings:
        raise ValueError(
            f"recording '{recording}' is not in wav.scp. Add it there or remove the "
            "segment"
        )
    try:
        start, end = map(float, times)
    except ValueError:
        start = end = math.nan
    whole = end == -1
    if not (math.isfinite(start) and math.isfinite(end) and start >= 0):
        raise ValueError(f"times {' '.join(times)}. Give seconds from 0 on")
    if not whole and end <= start:
        raise ValueError(
            f"it ends at {times[1]} s, not behind its start at {times[0]} s. Correct "
            "the times, in seconds"
        )
    return segment(recordings[recording], start, None if whole else end)


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def read_tables(directory: Path | str) -> tuple[dict[str, dict[str, str]], list]:
    """Read every table of a data directory; ``wav.scp`` as ``segments`` cuts it.

    Texts are ``text`` and every ``text_<name>``, a target of another task.

    Returns:
        The tables by file name (optional files that are absent are left out), and
        the problems met.

    Raises:
        ValueError: The directory, ``wav.scp`` or ``text`` does not exist.
    """
    directory = Path(directory)
    problems: list[Problem] = []
    tables = {}
    for name in (WAV_SCP, *find_targets(directory), *OPTIONAL_TABLES):
        path = directory / name
        if name == WAV_SCP and path.is_file():
            tables[name] = read_recordings(directory, problems)
        elif path.is_file():
            tables[name] = read_table(path, problems)
        elif name in REQUIRED_TABLES:
            raise ValueError(
                f"{path} does not exist. A data directory holds "
                f"{' and '.join(REQUIRED_TABLES)}, one line an utterance; "
                "the recipe's stage 1 (local/data.sh) makes it."
            )
    return tables, problems


def write_table(path: Path | str, table: Mapping[str, object]) -> None:
    """Write lines ``utterance value``; a reader never sees half a file.

    Raises:
        ValueError: A value holds a newline, which no table can.
    """
    for utt, value in table.items():
        if "\n" in str(value) or "\r" in str(value):
            raise ValueError(
                f"{path}: the value of {utt} holds a newline: {str(value)!r}. Rename "
                "the file or take the newline out."
            )
    write_lines(path, (f"{utt} {value}" for utt, value in table.items()))


@contextmanager
def new_folder(path: Path | str) -> Iterator[Path]:
    """Make a folder that appears when all of it is there.

    Args:
        path: Where it shall be: nothing, or an empty folder.

    Yields:
        Where its files are to be written, a folder of the same name.
    """
    path = Path(path).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".part") as scratch:
        partial = Path(scratch) / path.name
        partial.mkdir()
        yield partial
        os.replace(partial, path)


def write_lines(path: Path | str, lines: Iterable[str]) -> None:
    """Write lines through a neighboring file that is renamed when complete."""
    path = Path(path)
    check_out(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    # names of files need not be UTF-8: they keep their bytes
    with open(partial, "w", encoding="utf-8", errors="surrogateescape") as out:
        out.writelines(f"{line}\n" for line in lines)
        out.flush()
        os.fsync(out.fileno())
    os.replace(partial, path)
