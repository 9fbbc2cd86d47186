"""One corpus while it is read: its files, its rules, its log."""

import codecs
import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import PurePosixPath
from typing import TextIO

from espnet_smoe.data.corpora.base import TRAIN, Entry
from espnet_smoe.data.corpora.config import CorpusRules
from espnet_smoe.data.corpora.match import split_of
from espnet_smoe.data.corpora.tree import Tree
from espnet_smoe.data.problems import ProblemLog, split_message
from espnet_smoe.data.speech.archive import open_file
from espnet_smoe.data.text.parallel_text import encoding_in

UTF_8 = "utf-8-sig"  # with or without a mark
LARGEST_LABEL = 256 * 2**20  # bytes; in memory it takes ten times as much
LONGEST_LOCAL_SPEAKER = 3  # characters; such ids number the speakers of one dialogue


@dataclass
class Corpus:
    """What a reader of one kind of corpus works with.

    Attributes:
        name: Folder name.
        prefix: What its utterance and speaker ids begin with.
        tree: Its files.
        log: Receives what is wrong.
        rules: What the user says of it.
    """

    name: str
    prefix: str
    tree: Tree
    log: ProblemLog
    rules: CorpusRules

    def drop(
        self,
        reason: str,
        file: str,
        utterance: str,
        cause: str,
        fix: str,
        count: int = 1,
    ) -> None:
        """Note what is left out of this corpus."""
        self.log.drop(self.name, reason, file, utterance, cause, fix, count)

    def audio_of(self, label: str, *names: str, count: int = 1) -> str:
        """The recording of a label, or "" and a line in the log.

        Args:
            label: The label's file.
            names: What the recording may be called, the likeliest first.
            count: How many utterances are lost without it.
        """
        audio = self.tree.audio.take(*names)
        if not audio:
            name = PurePosixPath(names[-1].replace("\\", "/")).name
            cause = f"no recording fits the label ({name})"
            fix = "Download or unpack its audio"
            self.drop("label without audio", label, name, cause, fix, count)
        return audio

    def entry(self, label: str, audio: str, key: str, text: str) -> Entry:
        """An utterance with what every kind has in common."""
        root = str(self.tree.root)
        return Entry(
            id=one_word(f"{self.prefix}-{key}"),
            key=key,
            corpus=self.name,
            split=split_of(label, root) or split_of(audio, root) or TRAIN,
            audio=audio,
            text=text,
            label=label,
        )

    def speaker(self, name: object, recording: str = "") -> str:
        """A speaker's id, unique among all corpora; empty where unknown.

        Args:
            name: What the corpus calls the speaker.
            recording: Name of the recording or dialogue, where that has several
                speakers: short ids number them anew in each.
        """
        if name is None or isinstance(name, (dict, list)) or not str(name).strip():
            return ""
        parts = [self.prefix, str(name).strip()]
        if recording and len(parts[1]) <= LONGEST_LOCAL_SPEAKER:
            parts.insert(1, recording)
        return one_word("-".join(parts))

    def read_text(self, file: str) -> str | None:
        """The text of a label file in UTF-8, UTF-16 or CP949; None where unreadable."""
        with self._opened(file, LARGEST_LABEL) as text:
            return None if text is None else text.read()

    def read_lines(self, file: str) -> Iterator[str]:
        """The lines of a label file of any size; none where it is unreadable."""
        with self._opened(file) as text:
            for line in text or ():
                yield from line.splitlines()  # also at marks other than newlines

    @contextmanager
    def _opened(self, file: str, most: int | None = None) -> Iterator[TextIO | None]:
        with ExitStack() as stack:
            try:
                raw = stack.enter_context(open_file(file, most))
                encoding = encoding_in(raw)
                cause = "" if encoding else "neither UTF-8 nor CP949"
                fix = "Convert it with iconv or download it again"
            except ValueError as error:
                cause, fix = split_message(error)
            except OSError as error:
                cause, fix = str(error.strerror), "Copy it again"
            if cause:
                self.drop("unreadable label", file, "-", cause, fix)
                yield None
                return
            raw.seek(0)
            self._note_encoding(file, encoding, raw.read(len(codecs.BOM_UTF8)))
            raw.seek(0)
            yield TextIOWrapper(raw, encoding, newline="")

    def _note_encoding(self, file: str, encoding: str, raw: bytes) -> None:
        """A line for what is not plain UTF-8."""
        if encoding != UTF_8:
            found = f"in {encoding.upper()}"
        elif raw.startswith(codecs.BOM_UTF8):
            found = "with a BOM"
        else:
            return
        reason, cause = f"label {found}", f"a label {found}, read as such"
        self.log.keep(self.name, reason, file, "-", cause, "Nothing to do")

    def read_json(self, file: str) -> object:
        """The content of a JSON file; None where unreadable."""
        text = self.read_text(file)
        if text is None:
            return None
        try:
            content = json.loads(
                text, strict=False
            )  # bare tabs and newlines in strings
            cause = "it holds nothing but null" if content is None else ""
        except ValueError as error:
            content, cause = None, f"not JSON ({error})"
        except RecursionError:
            content, cause = None, "JSON nested too deeply"
        if cause:
            self.drop("unreadable JSON", file, "-", cause, "Download it again")
        return content


def one_word(name: str) -> str:
    """An id without white space, since tables put a space after the id."""
    return re.sub(r"\s+", "_", name.strip())
