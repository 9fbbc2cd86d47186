"""The corpora below a folder, and the files of a corpus, unpacked or zipped.

AIHub's trees are ``NNN.<name>/01.데이터/{1.Training,2.Validation}/`` with audio under
``원천데이터*`` or ``[원천]*`` and labels under ``라벨링데이터*`` or ``[라벨]*``, each
as folders or as zip files (``TS_*``, ``TL_*``, ``VS_*``, ``VL_*``). What a file is, its
suffix says; which split it is of, its folders or its archive say.
"""

import json
import os
import re
import unicodedata
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from espnet_smoe.data.corpora.match import Files, numbered_by_stem
from espnet_smoe.data.problems import ProblemLog, split_message
from espnet_smoe.data.sorted_file import Listed, Record, read_sorted, sort_records
from espnet_smoe.data.speech.archive import members

AUDIO = {".wav", ".flac", ".pcm", ".mp3", ".ogg"}
LABELS = {".json", ".txt", ".trn"}
TARS = (".tar", ".tar.gz", ".tgz")
PART = re.compile(r"(.+\.(?:zip|tar|tar\.gz))\.part\d*", re.IGNORECASE)
NUMBERED = re.compile(r"\d{2,6}[._]\D")
DATA_FOLDER = re.compile(
    r"(?:\d+\.)?(?:데이터|개방데이터|training|validation)|"
    r"(?:\d+\.)?(?:원천|라벨링)데이터.*|\[(?:원천|라벨)\].*|scripts|kspon\w+_\w+(?:\.zip)?",
    re.IGNORECASE,
)
DEEPEST_CORPUS = 3  # folders below --aihub


@dataclass
class Tree:
    """The files of one corpus.

    Attributes:
        root: Its folder.
        audio: Its recordings.
        texts: Its .txt files.
        labels: References of its .json and .trn files, in the order of their paths.
    """

    root: Path
    audio: Files
    texts: Files
    labels: Listed


def list_tree(root: Path, log: ProblemLog, scratch: Path) -> Tree:
    """List the files of a corpus and of its archives.

    An archive that was unpacked beside itself, into a folder of its name or without
    one, is not listed again.

    Args:
        root: Folder of the corpus.
        log: Receives what is not listed.
        scratch: Folder for the names of the files.
    """
    tree = Tree(root, Files(root, scratch), Files(root, scratch), Listed(scratch))
    for folder, files in walk(root, scratch, log):
        for file in files:
            path = os.path.join(folder, file)
            if not file.lower().endswith(".zip"):
                _add(tree, path, log)
            elif not os.path.isdir(path[: -len(".zip")]):
                inside = _list_archive(tree, path, log, scratch)
                if not _lie_in(folder, inside):
                    for member in inside:
                        _add(tree, f"{path}!{member}", log)
    labels = numbered_by_stem(tree.labels, scratch)
    tree.audio.index(labels, tree.texts.by_stem)
    tree.texts.index(labels)
    return tree


def walk(
    root: Path, scratch: Path, log: ProblemLog | None = None
) -> Iterator[tuple[str, Iterator[str]]]:
    """Yield each folder below a folder with its files, both in order.

    A folder that several links lead to, or a link to a folder above it, is listed once;
    what is neither a file nor a folder never.

    Args:
        root: Where to begin.
        scratch: Folder for the names in a folder.
        log: Receives what is not listed.
    """
    seen: set[tuple[int, int]] = set()
    waiting = [os.fspath(root)]
    while waiting:
        folder = waiting.pop()
        try:
            stat = os.stat(folder)
            entries = os.scandir(folder)
        except OSError as error:
            fix = "Give the right to read it"
            _note(log, root, "unreadable folder", folder, str(error.strerror), fix)
            continue
        with entries:
            if (stat.st_dev, stat.st_ino) in seen:
                cause = "a link to a folder that is listed already"
                fix = "Remove the link"
                _note(log, root, "folder linked twice", folder, cause, fix)
                continue
            seen.add((stat.st_dev, stat.st_ino))
            names = sort_records(map(_with_kind, entries), scratch)
        for name in _names(names, OTHER):
            cause, path = "a pipe or device, or a link to nothing", f"{folder}/{name}"
            _note(log, root, "no file", path, cause, "Remove it")
        yield folder, _names(names, FILE)
        waiting += reversed([f"{folder}/{name}" for name in _names(names, FOLDER)])
        names.unlink()


FOLDER, FILE, OTHER = "folder", "file", "other"


def _with_kind(entry: os.DirEntry) -> Record:
    kind = FOLDER if entry.is_dir() else FILE if entry.is_file() else OTHER
    # quoted, since a name may hold a newline
    return Record(json.dumps(entry.name, ensure_ascii=False), "", kind)


def _names(path: Path, kind: str) -> Iterator[str]:
    return (json.loads(r.key) for r in read_sorted(path) if r.value == kind)


def _note(log: ProblemLog | None, root: Path, reason: str, *what: str) -> None:
    if log is not None:
        file, cause, fix = what
        log.drop(nfc(root), reason, file, "-", cause, fix)


def _add(tree: Tree, reference: str, log: ProblemLog) -> None:
    if not is_unicode(reference):
        cause = "a name that is not UTF-8"
        fix = "Rename it: convmv -r -f cp949 -t utf8 --notest FOLDER"
        _note(log, tree.root, "name not UTF-8", reference, cause, fix)
        return
    lower = reference.lower()
    suffix = os.path.splitext(lower)[1]
    if os.path.basename(reference).startswith("."):  # ._x.wav of a Mac
        return
    if suffix in AUDIO:
        tree.audio.add(reference)
    elif suffix == ".txt":
        tree.texts.add(reference)
    elif suffix in LABELS:
        tree.labels.append(reference)
    elif lower.endswith((".zip", *TARS)) or PART.fullmatch(reference):
        _report_packed(tree, reference, log)


def _lie_in(folder: str, inside: Listed) -> bool:
    """Whether the members of an archive, judged by two of them, lie in a folder."""
    some = [*islice(inside, 1), *deque(inside, 1)]
    return bool(some) and all(os.path.isfile(os.path.join(folder, m)) for m in some)


def _list_archive(tree: Tree, path: str, log: ProblemLog, scratch: Path) -> Listed:
    try:
        return members(path, scratch)
    except ValueError as error:
        cause, fix = split_message(error)
        log.drop(nfc(tree.root), "broken zip", path, "-", cause, fix)
        return Listed(scratch)


def _report_packed(tree: Tree, path: str, log: ProblemLog) -> None:
    part = PART.fullmatch(path)
    if part:
        cause, fix = "part of a download", f"Join the parts: cat in order > {part[1]}"
    elif "!" in path:
        cause, fix = "an archive within an archive", "Unpack the outer one beside it"
    else:
        cause, fix = "a tar archive cannot be read in place", "Unpack it where it is"
    log.drop(nfc(tree.root), "not unpacked", path, "-", cause, fix)


def find_corpora(root: Path, scratch: Path, named: Iterable[str] = ()) -> list[Path]:
    """Folders of corpora at or below a folder.

    Args:
        root: A folder of corpora, or a corpus.
        scratch: Folder for the names in a folder.
        named: Folder names that are corpora whatever is in them.

    Raises:
        ValueError: The folder does not exist or holds no corpus.
    """
    if not root.is_dir():
        raise ValueError(
            f"{root} is not a folder. Give --aihub the folder that holds the corpora, "
            "such as 123.한국어음성."
        )
    found = _corpora_below(root, set(named), DEEPEST_CORPUS, scratch)
    if not found and _holds_speech(root, scratch):
        found = [root]
    if not found:
        inside = ", ".join(sorted(p.name for p in root.iterdir())[:10]) or "nothing"
        raise ValueError(
            f"{root} holds no corpus: no folder such as 123.<name>, 01.데이터, "
            "1.Training, 원천데이터, [라벨]<name> or scripts, and no audio with "
            f"labels below it; there is: {inside}. Give --aihub the folder that holds "
            "the corpora."
        )
    return found


def _corpora_below(
    folder: Path, named: set[str], depth: int, scratch: Path
) -> list[Path]:
    if nfc(folder) in named:
        return [folder]
    children = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if DATA_FOLDER.fullmatch(unicodedata.normalize("NFC", entry.name)):
                return [folder]
            if entry.is_dir() and not entry.name.startswith("."):
                children.append(folder / entry.name)
    found = []
    for child in sorted(children):
        below = _corpora_below(child, named, depth - 1, scratch) if depth else []
        whole = NUMBERED.match(nfc(child)) or _holds_speech(child, scratch)
        found += below or ([child] if whole else [])
    return found


def is_unicode(name: str) -> bool:
    """Whether a name or text can be written in UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def nfc(path: Path) -> str:
    """Name of a file or folder, Hangul composed."""
    return unicodedata.normalize("NFC", path.name)


def _holds_speech(folder: Path, scratch: Path) -> bool:
    """Whether there are audio and labels, or an archive, anywhere in a folder."""
    suffixes: set[str] = set()
    for _, files in walk(folder, scratch):
        suffixes |= {os.path.splitext(file)[1].lower() for file in files}
        if ".zip" in suffixes or (suffixes & AUDIO and suffixes & LABELS):
            return True
    return False
