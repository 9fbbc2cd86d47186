"""Data directories: one line an utterance, one file a fact.

A table is a text file of lines ``utterance value``. Reading collects every fault
as a :class:`Problem` instead of stopping at the first, so that a user sees the
whole list once.
"""

import codecs
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from espnet_smoe.command import check_out
from espnet_smoe.data.problems import Problem, split_message
from espnet_smoe.data.scratch import scratch_folder
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
                value = path_in(raw)
            place = f"{path}:{number}"
            if not is_utf8(raw.split(None, 1)[0] if verbatim else raw):
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


def path_in(line: bytes) -> str:
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
            fields = value.split()
            path = recordings.get(fields[0]) if fields else None
            utterances[utterance] = reference_of_segment(fields, path)
        except ValueError as error:
            problems.append(Problem(str(path), utterance, *split_message(error)))
    return utterances


def reference_of_segment(fields: list[str], path: str | None) -> str:
    """The reference that a line of ``segments`` stands for.

    Args:
        fields: What stands behind the utterance: recording, start, end.
        path: Of the recording; None where ``wav.scp`` has no such one.

    Raises:
        ValueError: The line is wrong.
    """
    if len(fields) != 3:
        raise ValueError(
            f"{len(fields) + 1} fields. Write: utterance recording start end"
        )
    recording, *times = fields
    if path is None:
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
    return segment(path, start, None if whole else end)


def is_utf8(raw: bytes) -> bool:
    """Whether bytes are text in UTF-8."""
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
    problems: list[Problem] = []
    tables = {}
    for name, path in find_tables(directory).items():
        if name == WAV_SCP:
            tables[name] = read_recordings(directory, problems)
        else:
            tables[name] = read_table(path, problems)
    return tables, problems


def find_tables(directory: Path | str) -> dict[str, Path]:
    """The tables of a data directory, by name; optional ones where they are there.

    Raises:
        ValueError: The directory, ``wav.scp`` or ``text`` does not exist.
    """
    names = (WAV_SCP, *find_targets(directory), *OPTIONAL_TABLES)
    found = {name: Path(directory) / name for name in names}
    for name in REQUIRED_TABLES:
        if not found[name].is_file():
            raise ValueError(
                f"{found[name]} does not exist. A data directory holds "
                f"{' and '.join(REQUIRED_TABLES)}, one line an utterance; "
                "the recipe's stage 1 (local/data.sh) makes it."
            )
    return {name: path for name, path in found.items() if path.is_file()}


def write_table(path: Path | str, table: Mapping[str, object]) -> None:
    """Write lines ``utterance value``; a reader never sees half a file.

    Raises:
        ValueError: A value holds a newline, which no table can.
    """
    write_lines(path, (_line(path, utt, value) for utt, value in table.items()))


def _line(path: Path | str, utt: str, value: object) -> str:
    text = str(value)
    if "\n" in text or "\r" in text:
        raise ValueError(
            f"{path}: the value of {utt} holds a newline: {text!r}. Rename the file or "
            "take the newline out."
        )
    return f"{utt} {text}"


@contextmanager
def new_tables(
    out: Path, names: Iterable[str]
) -> Iterator[Callable[[str, Mapping[str, object]], None]]:
    """Write tables line by line; they appear when all are complete, or none does.

    Args:
        out: The data directory.
        names: The tables.

    Yields:
        A function that takes an utterance and its values by table.

    Raises:
        ValueError: As `write_table`.
    """
    with ExitStack() as stack:
        files = [
            (name, out / name, stack.enter_context(new_lines(out / name)))
            for name in names
        ]

        def write(utt: str, row: Mapping[str, object]) -> None:
            for name, path, add in files:
                if name in row:
                    add(_line(path, utt, row[name]))

        yield write


@contextmanager
def new_folder(path: Path | str) -> Iterator[Path]:
    """Make a folder that appears when all of it is there.

    Args:
        path: Where it shall be: nothing, or an empty folder.

    Yields:
        Where its files are to be written, a folder of the same name.
    """
    path = Path(path).resolve()
    with scratch_folder(path.parent, ".part") as scratch:
        partial = scratch / path.name
        partial.mkdir()
        yield partial
        os.replace(partial, path)


def write_lines(path: Path | str, lines: Iterable[str]) -> None:
    """Write lines through a neighboring file that is renamed when complete."""
    with new_lines(path) as add:
        for line in lines:
            add(line)


@contextmanager
def new_lines(path: Path | str) -> Iterator[Callable[[str], None]]:
    """A file that appears when all its lines are there.

    Yields:
        A function that writes a line.
    """
    path = Path(path)
    check_out(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    # names of files need not be UTF-8: they keep their bytes
    try:
        with open(partial, "w", encoding="utf-8", errors="surrogateescape") as out:
            yield lambda line: print(line, file=out)
            out.flush()
            os.fsync(out.fileno())
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    os.replace(partial, path)
