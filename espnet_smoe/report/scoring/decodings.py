"""The hypotheses of a decoding folder: of our recipes, or of ESPnet's own asr.sh.

Ours holds ``hyp.<task>``; the task table (`data.task_table`) says what scores a task.
ESPnet's holds ``text``, put together from those of the jobs in ``logdir``, and, once it
is scored, ``score_wer/{hyp,ref}.trn``, which tell the references too where the data
directory is no longer there.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from espnet_smoe.data.task_table import NAME, TaskRow, table_of_decoding, task_table
from espnet_smoe.inference.decode.provenance import check_decoding
from espnet_smoe.report.scoring.pairing import name_some, read_text
from espnet_smoe.report.tables.experiment import decode_info

ASR = "asr"  # what ESPnet's own recipe decodes
# Of asr.sh after stage 12 and before its end, and of espnet2.bin.asr_inference alone.
ESPNET_TEXTS = ("text", "logdir/output.*/1best_recog/text", "1best_recog/text")
TRN = ("score_wer", ".")  # where hyp.trn and ref.trn may be
# sclite's id is (speaker-utterance), and in Kaldi's data utterances begin with speakers
TRN_LINE = re.compile(r"(?P<text>.*?)\s*\((?P<id>[^()\s]+)\)\s*")
TRN_ID = re.compile(r"(?P<speaker>.+?)-(?P<utt>(?P=speaker).*)")


@dataclass(frozen=True)
class Decoded:
    """Texts of one task.

    Attributes:
        row: The task: its file of references, its metrics.
        hypotheses: Utterance -> text.
        path: Their file.
        references: Utterance -> text; None where they are in the data directory.
        speakers: Utterance -> speaker; None likewise.
    """

    row: TaskRow
    hypotheses: dict[str, str]
    path: Path
    references: dict[str, str] | None = None
    speakers: dict[str, str] | None = None


def is_decoded(folder: Path) -> bool:
    """Whether a folder holds hypotheses."""
    return bool(_hypothesis_files(folder))


def hypotheses_sum(folder: Path) -> str:
    """The beginning of ``cat hyp.* | sha256sum``: which texts a score is of.

    Args:
        folder: Decoding folder; of ESPnet's its texts, in the order of their names.
    """
    content = hashlib.sha256()
    for path in _hypothesis_files(folder):
        content.update(path.read_bytes())
    return content.hexdigest()[:16]


def _hypothesis_files(folder: Path) -> list[Path]:
    ours = [folder / f"hyp.{task}" for task in _decoded_tasks(folder)]
    trn = _trn(folder)
    return ours or _texts(folder) or ([trn / "hyp.trn"] if trn else [])


def _decoded_tasks(folder: Path) -> list[str]:
    names = (path.name.removeprefix("hyp.") for path in folder.glob("hyp.*"))
    return sorted(name for name in names if NAME.fullmatch(name) and name != "trn")


def read_decoded(folder: Path, data: Path | None) -> dict[str, Decoded]:
    """Read every decoded task of a folder.

    Args:
        folder: Decoding folder.
        data: Data directory of the test set; None where the user gave none.

    Returns:
        Task -> hypotheses. A task that no table knows is taken for a translation into
        the language of its name, as `task_table` does.

    Raises:
        ValueError: Nothing was decoded, or other recordings or by another model; or a
            decoded task has lost its hypotheses.
    """
    cure = f"run stage 12 (decode) of the recipe to write {folder}"
    if not folder.is_dir():
        raise ValueError(f"{folder} does not exist: {cure}")
    check_decoding(folder)
    found = _decoded_tasks(folder)
    promised = decode_info(folder).get("tasks", [])
    if found or promised:
        table = table_of_decoding(folder)
        foreign = [task for task in (*found, *promised) if task not in table]
        table |= task_table(foreign) if foreign else {}
        return {
            task: Decoded(row, read_text(path, cure), path)
            for task, row in table.items()
            for path in [folder / f"hyp.{task}"]
            if task in found or task in promised
        }
    asr = task_table([ASR])[ASR]
    has_references = data is not None and (data / asr.target).is_file()
    texts, trn = _texts(folder), _trn(folder)
    if texts and (has_references or trn is None):
        hypotheses: dict[str, str] = {}
        for path in texts:
            of_job = read_text(path, cure)
            if twice := [utt for utt in of_job if utt in hypotheses]:
                raise ValueError(
                    f"{path}: {name_some(twice)} is in the file of another job, too: "
                    "one of them is of an earlier decoding; remove it or decode again"
                )
            hypotheses |= of_job
        return {ASR: Decoded(asr, hypotheses, texts[0])}
    if trn is not None:
        return {ASR: _read_trn_pair(asr, trn)}
    files = ", ".join(["hyp.<task>", *ESPNET_TEXTS])
    raise ValueError(f"{folder} holds none of {files}: {cure}")


def _texts(folder: Path) -> list[Path]:
    """Files of hypotheses that ESPnet wrote: one, or one a job."""
    for pattern in ESPNET_TEXTS:
        if found := sorted(folder.glob(pattern)):
            return found
    return []


def _trn(folder: Path) -> Path | None:
    """Folder of ``hyp.trn`` and ``ref.trn``."""
    for place in (folder / name for name in TRN):
        if (place / "hyp.trn").is_file() and (place / "ref.trn").is_file():
            return place
    return None


def _read_trn_pair(row: TaskRow, folder: Path) -> Decoded:
    path = folder / "hyp.trn"
    hypotheses, references = _read_trn(path), _read_trn(folder / "ref.trn")
    ids = {trn_id: TRN_ID.fullmatch(trn_id) for trn_id in references}
    speakers = None
    if all(ids.values()):
        speakers = {trn_id: match["speaker"] for trn_id, match in ids.items() if match}
    # in one order, whatever that of the file: systems are compared row by row
    references = dict(sorted(references.items()))
    return Decoded(row, hypotheses, path, references, speakers)


def _read_trn(path: Path) -> dict[str, str]:
    """Lines ``words (id)``."""
    texts: dict[str, str] = {}
    try:
        # of all line ends that Unicode knows a text may hold some
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8: convert it with iconv") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        match = TRN_LINE.fullmatch(line)
        if match is None or match["id"] in texts:
            fault = "no (id) at the end" if match is None else "its id is used twice"
            raise ValueError(f"{path}:{number}: {fault}: score again (stage 13)")
        texts[match["id"]] = " ".join(match["text"].split())
    return texts
