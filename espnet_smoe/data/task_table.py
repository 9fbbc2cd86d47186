"""The task table: which texts a model writes, from which files, scored by what.

``model_conf.tasks`` of the training YAML defines it, and it is `DEFAULT_TASKS` without:

    model_conf:
      tasks:
        asr: {target: text, prompt: ["<transcribe>", "<ko>"]}
        st: {target: text_st, prompt: ["<translate>", "<en>"]}
        ja: {target: text_ja, prompt: ["<translate>", "<ja>"], metrics: [bleu, chrf]}

A list of names will do: ``tasks: [asr, st, ja]`` is the same. Training keeps the table
in the experiment's ``config.yaml``, which is packed with the model; decoding writes it
to ``decode.json`` as ``task_table``. Who reads it:

- of a training YAML, ``config.yaml`` or experiment's folder: `load_task_table`;
- of a folder of hypotheses, to score or show them: `table_of_decoding`;
- of a loaded model: ``model.task_table`` (``SpeechToText.model`` has it).

For shell scripts, the files and special tokens of a table on one line each:

    python3 -m espnet_smoe.data.task_table conf/train.yaml --show targets
    python3 -m espnet_smoe.data.task_table "asr st ja" --show tokens
"""

import argparse
import json
import re
import sys
from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from espnet_smoe.command import new_parser, run_command
from espnet_smoe.config.options import make, section
from espnet_smoe.config.typed import OneOf, convert
from espnet_smoe.config.yaml_file import read_yaml

WHERE = "model_conf.tasks"
DEFAULT_TASKS = {
    "asr": {"target": "text", "prompt": ["<transcribe>", "<ko>"]},
    "st": {"target": "text_st", "prompt": ["<translate>", "<en>"]},
}
# What the CTC recipes decode: no decoder, hence no prompt.
CTC_TASKS = {
    "words": {"target": "text", "metrics": ["cer_no_space"], "language": "zh"},
    "units": {"target": "text_syllable", "metrics": ["ser"]},
}
TRANSCRIBE, TRANSLATE = "<transcribe>", "<translate>"
METRICS = ("wer", "ser", "cer", "cer_no_space", "cer_letters")  # those of scoring
METRICS += ("bleu", "chrf")
ERROR_RATES, OF_TRANSLATIONS = ("wer", "cer", "cer_no_space"), ("bleu", "chrf")
# Written without spaces between words: a word error rate has no sense.
UNSPACED = ("ja", "zh", "yue", "th", "lo", "km", "my")
SPECIAL = re.compile(r"<[^<>]+>")
# special tokens that are no languages: of Whisper, of OWSM, of our own recipes
OTHERS = re.compile(
    r"<\|?(\d.*|blank|unk|space|hf|empty|so[sp]|eos|sos/eos|beginning_of_\w+|endoftext"
    r"|startof\w+|no(speech|captions|timestamps)|na|transcribe|translate|asr|st_\w+"
    r"|nb|wb)\|?>"
)
NAME = re.compile(r"[^\W_]\w*(?:-\w+)*")  # it becomes part of file names
# keys beside the tasks' names where `transcribe --format json` writes a file or a piece
JSON_KEYS = ("file", "seconds", "bandwidth", "confidence", "pieces", "start", "end")
TARGET = re.compile(r"text(_[\w-]+)?")  # a file of texts in a data directory


@dataclass(frozen=True)
class TaskRow:
    """One task.

    Attributes:
        target: File of the data directory with its texts, and the field of a batch.
        prompt: Special tokens at the head of the decoder's input; the one among them
            that is a label of the decoder chooses its experts.
        metrics: What scores it; error rates of transcripts, BLEU and chrF of
            translations by default.
        language: Code of what is written, such as ``en``; by default that of the
            prompt, ``<en>``, wherever it stands there.
        spoken: Code of the spoken language, where the prompt names it: ``es`` for
            ``<es>`` or ``<|es|>``. The token of another one takes its place for an
            utterance that has a line in ``utt2lang``.
    """

    target: str = ""
    prompt: Sequence[str] = ()
    metrics: Sequence[Annotated[str, OneOf(METRICS)]] = ()
    language: str = ""
    spoken: str = ""

    @property
    def spoken_at(self) -> int | None:
        """Where the prompt names the spoken language; None where it does not.

        Example:
            >>> TaskRow("text", ("<|transcribe|>", "<|es|>"), spoken="es").spoken_at
            1
        """
        names = [token.strip("<|>") for token in self.prompt]
        return names.index(self.spoken) if self.spoken in names else None

    @property
    def title(self) -> str:
        """What it is called beside a text.

        Example:
            >>> TaskRow("text_ja", ("<translate>", "<ja>")).title
            'translation'
        """
        return "transcript" if self.is_transcript else "translation"

    @property
    def is_transcript(self) -> bool:
        """Whether it writes what is said, in the language in which it is said."""
        if TRANSCRIBE in self.prompt or TRANSLATE in self.prompt:
            return TRANSCRIBE in self.prompt
        return self.target in ("text", "src_text", "text_syllable")


def task_table(
    tasks: Mapping[str, Any] | Sequence[str] | None = None, where: str = WHERE
) -> dict[str, TaskRow]:
    """Read a table.

    Args:
        tasks: Name -> options of `TaskRow`, or names alone; `DEFAULT_TASKS` when None.
        where: Its place, for messages.

    Returns:
        Name -> row, its metrics and language filled in.

    Raises:
        ValueError: Unknown key or metric, a name or target that is no file name, no
            target.

    Example:
        >>> task_table(["asr", "ja"])["ja"].target
        'text_ja'
    """
    if isinstance(tasks, (list, tuple)):
        tasks = {name: _by_name(convert(name, str, where)) for name in tasks}
    table = {}
    for name, options in (section(tasks, where) or DEFAULT_TASKS).items():
        place = f"{where}.{name}"
        if not NAME.fullmatch(convert(name, str, where)):
            raise ValueError(f"{where}: '{name}' cannot be part of a file's name")
        if name in JSON_KEYS:
            raise ValueError(
                f"{where}: a task cannot be called '{name}': in the JSON of transcribe "
                "that key is something else"
            )
        row = make(TaskRow, options, place)
        if not row.target:
            raise ValueError(f"{place}: needs a target and a prompt")
        if not NAME.fullmatch(row.target):
            raise ValueError(f"{place}.target: '{row.target}' is no name of a file")
        if row.spoken and row.spoken_at is None:
            raise ValueError(
                f"{place}.spoken: no token of the prompt {' '.join(row.prompt)} names "
                f"'{row.spoken}'; write <{row.spoken}> there, or leave spoken out"
            )
        table[name] = _complete(row)
    return table


def _by_name(name: str) -> dict[str, Any]:
    """Options of a task of which only the name is known: it is a language."""
    known = DEFAULT_TASKS.get(name)
    return known or {"target": f"text_{name}", "prompt": [TRANSLATE, f"<{name}>"]}


def _complete(row: TaskRow) -> TaskRow:
    # one token of a prompt says what is done, another in which language
    several = row.prompt if len(row.prompt) > 1 else ()
    named = [token.strip("<|>") for token in several if is_language(token)]
    if not row.is_transcript:
        named = [name for name in named if name != row.spoken]
    named = named or [token.strip("<>") for token in several]
    language = row.language or (named[-1] if named else "")
    metrics = tuple(row.metrics)
    if not metrics:
        metrics = ERROR_RATES if row.is_transcript else OF_TRANSLATIONS
        if language in UNSPACED:
            metrics = tuple(m for m in metrics if m != "wer")
    return replace(row, prompt=tuple(row.prompt), metrics=metrics, language=language)


def load_task_table(source: str | Path | None) -> dict[str, TaskRow]:
    """The table of a file, an experiment, or of names.

    Args:
        source: A training YAML, a ``config.yaml``, the folder of an experiment, or
            names with spaces or commas between them (``asr st ja``); None or an empty
            one for the default.

    Raises:
        ValueError: There is no such file, or the table is wrong; names the file.
    """
    if source is None or not str(source).strip():
        return task_table()
    path = Path(source)
    if path.is_dir():
        path /= "config.yaml"
    names = re.split(r"[\s,]+", str(source).strip())
    if not path.is_file() and all(map(NAME.fullmatch, names)):
        return task_table(names, "--tasks")
    content = read_yaml(str(path), empty=True)
    conf = section(content.get("model_conf"), f"{path}: model_conf")
    return task_table(conf.get("tasks"), f"{path}: {WHERE}")


def token_of(name: str, known: Container[str]) -> str:
    """The special token of a label or language, as a vocabulary writes it.

    Example:
        >>> token_of("es", ["<|es|>"]), token_of("nb", ["<nb>"])
        ('<|es|>', '<nb>')
    """
    whisper = f"<|{name}|>"
    return whisper if whisper in known else f"<{name}>"


def is_language(token: str) -> bool:
    """Whether a special token may stand for a language that is spoken.

    Example:
        >>> [t for t in ("<|ko|>", "<kor>", "<asr>", "<|0.02|>") if is_language(t)]
        ['<|ko|>', '<kor>']
    """
    return SPECIAL.fullmatch(token) is not None and not OTHERS.fullmatch(token)


def as_plain(table: Mapping[str, TaskRow]) -> dict[str, dict[str, Any]]:
    """The table as YAML and JSON hold it."""
    rows = {name: asdict(row) for name, row in table.items()}
    return json.loads(json.dumps(rows))  # tuples become lists


def table_of_decoding(folder: Path) -> dict[str, TaskRow]:
    """What a folder of hypotheses may hold, by task.

    It is the table in its ``decode.json``; of a decoding without, that of the
    experiment two folders above, or the default; and what CTC recipes decode.

    Raises:
        ValueError: A file is damaged.
    """
    found = None
    written, config = folder / "decode.json", folder.parent.parent / "config.yaml"
    if written.is_file():
        try:
            found = json.loads(written.read_text(encoding="utf-8")).get("task_table")
        except (ValueError, AttributeError) as error:
            raise ValueError(f"{written} is damaged ({error}): decode again") from error
    if found is not None:
        table = task_table(found, f"{written}: task_table")
    else:
        table = load_task_table(config if config.is_file() else None)
    return task_table(CTC_TASKS) | table


def targets_of(table: Mapping[str, TaskRow]) -> list[str]:
    """The files of a table, each once, ``text`` first."""
    return list(dict.fromkeys(["text", *(row.target for row in table.values())]))


def tokens_of(table: Mapping[str, TaskRow]) -> list[str]:
    """The special tokens of its prompts, each once."""
    return list(dict.fromkeys(t for row in table.values() for t in row.prompt))


def spoken_of(table: Mapping[str, TaskRow]) -> list[str]:
    """The spoken languages that its prompts name, each once; others may be spoken."""
    return list(dict.fromkeys(row.spoken for row in table.values() if row.spoken))


def find_targets(directory: Path | str) -> list[str]:
    """Files of texts in a data directory: ``text`` and each ``text_<name>``."""
    paths = Path(directory).glob("text_*")
    found = (p.name for p in paths if TARGET.fullmatch(p.name) and p.is_file())
    return ["text", *sorted(found)]


def get_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = new_parser("python3 -m espnet_smoe.data.task_table", __doc__)
    parser.add_argument(
        "tasks",
        nargs="?",
        help="training YAML, experiment's folder, or names (default: asr st)",
    )
    parser.add_argument(
        "--show",
        choices=("table", "names", "targets", "tokens", "spoken"),
        default="table",
        help="what to print (default: %(default)s)",
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the command."""
    args = get_parser().parse_args(argv)
    table = load_task_table(args.tasks)
    if args.show == "table":
        for name, row in table.items():
            print(f"{name}: {json.dumps(as_plain({name: row})[name])}")
    else:
        shown = {
            "names": list,
            "targets": targets_of,
            "tokens": tokens_of,
            "spoken": spoken_of,
        }
        print(*shown[args.show](table))


if __name__ == "__main__":
    sys.exit(run_command(main))
