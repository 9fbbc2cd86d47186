"""The recordings that experts are analyzed on: a sample of a data directory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from torch import nn

from espnet_smoe.data.data_dir import LANGUAGES, read_table, read_tables
from espnet_smoe.data.preprocessor import LANGUAGE, SMoEPreprocessor
from espnet_smoe.data.task_table import spoken_of
from espnet_smoe.report.scoring.pairing import look_up

SEED = 1


@dataclass(frozen=True)
class Recording:
    """One utterance.

    Attributes:
        name: Its id.
        path: Audio file.
        label: What the encoder is routed by, such as ``nb``; None where the encoder
            has no experts.
        label_id: Token id of the label; None without one.
        language: That is spoken; None where no prompt or no ``utt2lang`` names it.
        language_id: Token id of the language; None without one.
        targets: Target -> ids of its text; missing ones are left out.
        texts: Target -> text.
    """

    name: str
    path: str
    label: str | None
    label_id: int | None
    language: str | None
    language_id: int | None
    targets: dict[str, list[int]]
    texts: dict[str, str]


def read_recordings(
    data: Path,
    model: nn.Module,
    config: Mapping[str, Any],
    encoder_has_experts: bool,
    limit: int | None = None,
) -> list[Recording]:
    """Read a data directory as the model's preprocessor does.

    Args:
        data: ``wav.scp``, ``text`` and, as the model needs them, ``text_st`` and
            ``utt2bandwidth``.
        model: A model ``smoe``.
        config: Its training configuration.
        encoder_has_experts: Every utterance needs a label.
        limit: Utterances to take, drawn by chance with a fixed seed; all when None.

    Raises:
        ValueError: A file is missing or faulty, or a label unknown; says which.
    """
    tables, problems = read_tables(data)
    if problems:
        raise ValueError("\n".join(map(str, problems)))
    names = sample(list(tables["wav.scp"]), limit)
    if not names:
        raise ValueError(f"{data / 'wav.scp'} is empty; there are no recordings")
    field = model.label_field
    columns = _columns(data, model, encoder_has_experts, names)
    preprocess = SMoEPreprocessor(
        False,
        config["token_list"],
        config["bpemodel"],
        label_names=[field],
        text_cleaner=config.get("cleaner"),
    )
    recordings = []
    for name in names:
        texts = {column: values[name] for column, values in columns.items()}
        ids = preprocess(name, dict(texts))
        label = texts.pop(field, None)
        language = texts.pop(LANGUAGE, None)
        present = {t: ids[t].tolist() for t in texts if ids[t][0] >= 0}
        recordings.append(
            Recording(
                name,
                tables["wav.scp"][name],
                label,
                None if label is None else int(ids[field][0]),
                language,
                None if language is None else int(ids[LANGUAGE][0]),
                present,
                {t: texts[t] for t in present},
            )
        )
    return recordings


def _columns(
    data: Path, model: nn.Module, labeled: bool, names: Sequence[str]
) -> dict[str, dict[str, str]]:
    """Field -> utterance -> value, of targets, label and language."""
    columns = {}
    for target in sorted({task.target for task in model.tasks.values()}):
        if target == "text" or (data / target).is_file():
            columns[target] = _column(data / target, names)
    if labeled:
        field = model.label_field
        path = data / f"utt2{field}"
        if not path.is_file():
            raise ValueError(
                f"{path} does not exist; the encoder's experts are compared by the "
                f"{field}: write lines 'utterance label', or prepare the data again "
                "(stages 1 to 4)"
            )
        columns[field] = _column(path, names)
    if spoken_of(model.task_table) and (data / LANGUAGES).is_file():
        columns[LANGUAGE] = _column(data / LANGUAGES, names)
    return columns


def sample(names: Sequence[str], limit: int | None) -> list[str]:
    """Draw ``limit`` names, in their order.

    By chance, not every n-th: conditions of a test set may follow each other in turns.
    """
    if limit is None or limit >= len(names):
        return list(names)
    return [names[i] for i in sorted(Random(SEED).sample(range(len(names)), limit))]


def _column(path: Path, names: Sequence[str]) -> dict[str, str]:
    problems: list = []
    table = read_table(path, problems)
    if problems:
        raise ValueError("\n".join(map(str, problems)))
    return dict(zip(names, look_up(table, names, path)))
