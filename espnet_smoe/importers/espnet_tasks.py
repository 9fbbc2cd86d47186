"""What an imported model of ESPnet does: the tasks of asr.sh, st.sh or OWSM."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from espnet_smoe.config.options import nearest
from espnet_smoe.config.typed import convert
from espnet_smoe.data.task_table import is_language
from espnet_smoe.data.text.tokenizer import is_special
from espnet_smoe.registry import task_of

SOS_EOS, BLANK = "<sos/eos>", "<blank>"
ENGLISH = "eng"
OWSM_SYMBOLS = {"sym_sos": "<sos>", "sym_eos": "<eos>"}  # ESPnet's defaults
TIMES = {"first": "<0.00>", "last": "<30.00>"}
# of model_conf: what is taken over, what a training alone reads
TAKEN = ("interctc_weight", "lsm_weight", "length_normalized_loss", "ignore_id")
OF_TRAINING = ("report_cer", "report_wer", "report_bleu", "autocast_frontend")
OF_TRAINING += ("extract_feats_in_collect_stats", "sym_space", "sym_na", "sym_sop")
OF_TRAINING += ("asr_weight", "mt_weight", "mtlalpha", "ctc_sample_rate")
OF_TRAINING += ("tgt_ignore_id", "tgt_sym_space", "transducer_multi_blank_durations")
OF_TRAINING += ("transducer_multi_blank_sigma",)
# codes of OWSM whose texts are scored in a way of their own -> the usual code
SHORT = {"kor": "ko", "eng": "en", "jpn": "ja", "zho": "zh", "cmn": "zh", "tha": "th"}
SHORT |= {"lao": "lo", "khm": "km", "mya": "my"}


@dataclass(frozen=True)
class ImportedTasks:
    """Model and task table of a configuration, and what the model needs for them.

    Attributes:
        config: ``model`` and ``model_conf``.
        ctc: The part of ESPnet's model that is the CTC head; None without one.
        window: Seconds that the model always hears (OWSM); None for any.
        times: Ids of the first and the last time mark (OWSM), which are not written.
    """

    config: dict[str, Any]
    ctc: str | None
    window: float | None = None
    times: tuple[int, int] | None = None


def tasks_of(
    config: Mapping[str, Any],
    tokens: Sequence[str],
    place: Path,
    language: str | None = None,
    targets: Sequence[str] | None = None,
) -> ImportedTasks:
    """Model and task table.

    Args:
        config: Training configuration of ESPnet.
        tokens: V tokens.
        place: Where it is, for messages.
        language: That is spoken.
        targets: Languages that are written.

    Raises:
        ValueError: Options that cannot be carried, a language that OWSM does not know.
    """
    kind = task_of(config).__name__
    conf = dict(config.get("model_conf") or {})
    if kind == "S2TTask":
        return _owsm(config, conf, tokens, place, language, targets)
    translates = kind == "STTask"
    prefix = "tgt_" if translates else ""
    written = (targets or [None])[0] if translates else language
    if targets and (not translates or len(targets) > 1):
        raise ValueError(
            f"--to {','.join(targets)}: the model of {place} writes one language"
            f"{'' if translates else ', that is spoken: name it with --language'}"
        )
    # ESPnet takes the last token where the list has none of this name
    sos, eos = (
        symbol
        if (symbol := conf.pop(f"{prefix}{name}", SOS_EOS)) in tokens
        else tokens[-1]
        for name in ("sym_sos", "sym_eos")
    )
    name = "st" if translates else "asr"
    row: dict[str, Any] = {"target": "text_st" if translates else "text", "prompt": []}
    weight = conf.pop("st_mtlalpha", 0.0) if translates else conf.pop("ctc_weight", 0.5)
    if weight == 1.0:
        raise ValueError(
            f"{place}: ctc_weight 1: a model without decoder cannot be carried; "
            "transcribe with it as it is"
        )
    model_conf = {
        "tasks": {name: row | ({"language": written} if written else {})},
        "ctc_weight": weight,
        "ctc_task": name,
        "sym_sos": sos,
        "sym_eos": eos,
        "sym_begin": sos,  # a text begins with it: there is no prompt
        **_taken(conf, place, tokens, f"{prefix}sym_blank"),
    }
    ctc = ("st_ctc" if translates else "ctc") if weight else None
    return ImportedTasks({"model": "smoe", "model_conf": model_conf}, ctc)


def _owsm(
    config: Mapping[str, Any],
    conf: dict[str, Any],
    tokens: Sequence[str],
    place: Path,
    language: str | None,
    targets: Sequence[str] | None,
) -> ImportedTasks:
    """Transcribe one language, and translate it."""
    own = config.get("preprocessor_conf") or {}
    if language is None:
        raise ValueError(
            f"--language is missing: {place} knows many; name that which is spoken, "
            "such as --language kor"
        )
    symbols = {name: conf.pop(name, token) for name, token in OWSM_SYMBOLS.items()}
    begin = own.get("notime_symbol", "<notimestamps>")
    weight = conf.pop("ctc_weight", 0.5)
    if weight == 1.0:
        raise ValueError(f"{place}: a model without decoder cannot be carried")
    if begin not in tokens:
        raise ValueError(f"{place}: {begin} is not in its token list")
    model_conf = {
        "tasks": _owsm_tasks(symbols["sym_sos"], tokens, place, language, targets),
        "ctc_weight": weight,
        "ctc_task": "asr",
        **symbols,
        "sym_begin": begin,
        **_taken(conf, place, tokens, "sym_blank"),
    }
    return ImportedTasks(
        {"model": "smoe", "model_conf": model_conf},
        "ctc" if weight else None,
        convert(
            own.get("speech_length", 30.0), float, "preprocessor_conf.speech_length"
        ),
        _time_marks(own, tokens, place),
    )


def _owsm_tasks(
    begin: str,
    tokens: Sequence[str],
    place: Path,
    language: str,
    targets: Sequence[str] | None,
) -> dict[str, dict[str, Any]]:
    """The task table; ``begin`` is what every prompt begins with."""
    known = [t[1:-1] for t in tokens if is_special(t)]
    languages = [t[1:-1] for t in tokens if is_language(t)]

    def token(name: str, option: str) -> str:
        if f"<{name}>" not in tokens:
            raise ValueError(
                f"{option}: <{name}> is not in the vocabulary of {place}"
                f"{nearest(name, known)}"
            )
        return f"<{name}>"

    spoken = f"<{language}>"
    if language not in languages:
        raise ValueError(
            f"--language {language}: {spoken} is no language of the vocabulary of "
            f"{place}{nearest(language, languages)}"
        )
    tasks = {
        "asr": {
            "target": "text",
            "prompt": [begin, spoken, token("asr", "asr")],
            "language": SHORT.get(language, language),
        }
    }
    if targets is None:
        translates = language != ENGLISH and f"<st_{ENGLISH}>" in tokens
        targets = [ENGLISH] if translates else []
    for number, target in enumerate(targets):
        verb = token(f"st_{target}", f"--to {target}")
        tasks["st" if number == 0 else target] = {
            "target": "text_st" if number == 0 else f"text_{target}",
            "prompt": [begin, spoken, verb],
            "language": SHORT.get(target, target),
        }
    return tasks


def _time_marks(
    own: Mapping[str, Any], tokens: Sequence[str], place: Path
) -> tuple[int, int]:
    """Ids of the first and of the last one, by the options of the preprocessor."""
    times = [own.get(f"{end}_time_symbol", time) for end, time in TIMES.items()]
    for time in times:
        if time not in tokens:
            raise ValueError(f"{place}: {time} is not in its token list")
    first, last = map(tokens.index, times)
    if first > last:
        raise ValueError(
            f"{place}: preprocessor_conf: {times[0]}, the first time mark, comes "
            f"behind {times[1]}, the last; fetch the model again"
        )
    return first, last


def _taken(
    conf: dict[str, Any], place: Path, tokens: Sequence[str], blank: str
) -> dict[str, Any]:
    """Options of the model that ours has too.

    Raises:
        ValueError: One that changes what it writes has no counterpart.
    """
    if tokens.index(conf.pop(blank, BLANK)) if BLANK in tokens else 0:
        raise ValueError(
            f"{place}: {blank} is not the first token; it cannot be carried"
        )
    left = {
        name: value
        for name, value in conf.items()
        if name not in (*TAKEN, *OF_TRAINING)
        and value not in (None, False, 0, -1, [], BLANK)
    }
    if left:
        name, value = next(iter(left.items()))
        raise ValueError(f"{place}: model_conf.{name}: {value} cannot be carried")
    return {name: conf[name] for name in TAKEN if name in conf}
