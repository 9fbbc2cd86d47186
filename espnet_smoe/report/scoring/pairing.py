"""Pairing references with hypotheses."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from espnet_smoe.data.data_dir import NO_TRANSLATION, read_table
from espnet_smoe.data.problems import Problem
from espnet_smoe.data.text.unicode_text import invisible_characters, normalize_unicode


def read_text(path: Path, cure: str) -> dict[str, str]:
    """Read a file of ``utt value`` lines; the value may be empty.

    Args:
        path: File to read.
        cure: What to do if the file is not there; part of the error.

    Returns:
        Utterance -> value with single spaces, in the order of the file.

    Raises:
        ValueError: The file is missing, not UTF-8 or lists an utterance twice.
    """
    if not path.is_file():
        raise ValueError(f"{path} does not exist: {cure}")
    problems: list[Problem] = []
    table = read_table(path, problems)
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise ValueError(f"{problems[0]}{more}")
    return table


def pair(
    references: dict[str, str],
    hypotheses: dict[str, str],
    reference_file: Path,
    hypothesis_file: Path,
) -> tuple[list[str], list[str], list[str]]:
    """Put references and hypotheses side by side, in the references' order.

    Utterances whose reference is ``<na>`` are left out. An empty reference stays: it
    says that there is no speech, and every word recognized there is an insertion.

    Returns:
        Utterance ids, references, hypotheses.

    Raises:
        ValueError: An utterance is in one file only.
    """
    utts = [utt for utt, text in references.items() if text != NO_TRANSLATION]
    missing = [utt for utt in utts if utt not in hypotheses]
    if missing:
        raise ValueError(
            f"{hypothesis_file}: no hypothesis for {name_some(missing)} of "
            f"{reference_file}: decode again (stage 12)"
        )
    foreign = [utt for utt in hypotheses if utt not in references]
    if foreign:
        raise ValueError(
            f"{reference_file}: no reference for {name_some(foreign)} of "
            f"{hypothesis_file}: give the data directory that was decoded"
        )
    return utts, [references[u] for u in utts], [hypotheses[u] for u in utts]


def in_one_form(
    references: dict[str, str], hypotheses: dict[str, str]
) -> tuple[dict[str, str], dict[str, str], list[str]]:
    """References and hypotheses in the Unicode form that the package works with.

    The same text can be written in several ways that look alike; none is an error.

    Returns:
        References, hypotheses, and what had to be changed, in words.
    """
    classes: Counter[str] = Counter()
    changed, tables = {}, []
    for name, texts in (("reference", references), ("hypothesis", hypotheses)):
        plain = {u: normalize_unicode(text, classes) for u, text in texts.items()}
        changed[name] = [u for u, text in texts.items() if plain[u] != text]
        tables.append(plain)
    notes = []
    if any(changed.values()):
        counts = [
            f"{len(utts)} of {len(texts)} {plural}"
            for utts, texts, plural in zip(
                changed.values(), tables, ("references", "hypotheses")
            )
        ]
        kinds = ", ".join(sorted(classes))
        notes.append(f"brought into one Unicode form: {' and '.join(counts)} ({kinds})")
    lost = [u for u in changed["reference"] if not tables[0][u]]
    if lost:
        signs = sorted({c for u in lost for c in invisible_characters(references[u])})
        notes.append(
            f"nothing to be seen in the reference of {name_some(lost)}, only "
            f"{', '.join(signs)}: scored as empty"
        )
    return tables[0], tables[1], notes


def look_up(table: dict[str, str], utts: Iterable[str], path: Path) -> list[str]:
    """Values of the utterances; ValueError naming those without one."""
    utts = list(utts)
    missing = [utt for utt in utts if not table.get(utt)]
    if missing:
        raise ValueError(f"{path}: no value for {name_some(missing)}: add it")
    return [table[utt] for utt in utts]


def name_some(utts: list[str], most: int = 5) -> str:
    """``utterance(s) a, b and 3 more`` for an error message."""
    rest = f" and {len(utts) - most} more" if len(utts) > most else ""
    return f"utterance(s) {', '.join(utts[:most])}{rest}"
