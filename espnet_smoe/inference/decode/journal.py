"""What of a decoding is done, written as it goes: a run that was ended goes on.

Each process appends a line for each batch to a file of its own. A file begins with what
it was made of; those of another model, other options or other data do not count.
"""

import json
import os
import shutil
import uuid
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from espnet_smoe.inference.decode.parallel import DecodedPart

FOLDER = "partial"  # beside the results, until they are whole

Utterance = tuple[str, str, str]  # name, audio file, bandwidth


@dataclass(frozen=True)
class Journal:
    """The batches that are done.

    Attributes:
        out: Folder of the results.
        made_of: Model, options and data, as JSON.
    """

    out: Path
    made_of: str

    @classmethod
    def of(cls, out: Path, made_of: Mapping[str, Any]) -> "Journal":
        """A journal of results that are made of so and so."""
        return cls(out, json.dumps(made_of, sort_keys=True, default=str))

    def add(self, part: DecodedPart) -> None:
        """Append a batch.

        Raises:
            OSError: The disk is full.
        """
        folder = self.out / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        what = zlib.crc32(self.made_of.encode())
        path = folder / f"{os.getpid()}-{PROCESS}-{what:08x}.jsonl"
        record = json.dumps(vars(part))
        with open(path, "a", encoding="utf-8") as file:
            if file.tell() == 0:
                file.write(self.made_of + "\n")
            file.write(record + "\n")

    def read(self) -> DecodedPart:
        """All that is done."""
        done = DecodedPart()
        for path in sorted((self.out / FOLDER).glob("*.jsonl")):
            first, *lines = path.read_text(encoding="utf-8").split("\n")
            if first != self.made_of:  # of another model, or other options or data
                continue
            for line in lines:
                try:
                    batch = json.loads(line)
                except ValueError:  # cut off when the run was ended
                    continue
                for task, texts in batch["texts"].items():
                    done.texts.setdefault(task, {}).update(texts)
                for task, details in batch["details"].items():
                    done.details.setdefault(task, {}).update(details)
                done.seconds.update(Counter(batch["seconds"]))
        return done

    def to_do(self, utterances: Sequence[Utterance]) -> list[Utterance]:
        """The utterances that are not done, in their order."""
        done = self.read().texts.values()
        known = set.intersection(*map(set, done)) if done else set()
        return [utterance for utterance in utterances if utterance[0] not in known]

    def close(self) -> None:
        """The results are written: forget how."""
        shutil.rmtree(self.out / FOLDER, ignore_errors=True)


PROCESS = uuid.uuid4().hex[:8]  # process ids come again


def by_size(utterances: Iterable[Utterance]) -> list[Utterance]:
    """The utterances sorted by the size of their files, so that batches have little
    padding though none but their own audio is read."""

    def size(utterance: Utterance) -> int:
        try:
            return os.path.getsize(utterance[1])
        except OSError:  # a part of a recording, or a member of an archive
            return 0

    return sorted(utterances, key=size)
