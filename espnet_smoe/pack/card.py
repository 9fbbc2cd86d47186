"""The model card of a trained model: what the hub reads, and what people do."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from espnet_smoe.data.task_table import CTC_TASKS, TaskRow, task_table
from espnet_smoe.inference.config_files import sample_rate, training_seconds
from espnet_smoe.pack.gathered import Gathered
from espnet_smoe.registry import task_name
from espnet_smoe.report.scoring.metrics import METRICS
from espnet_smoe.report.tables.experiment import (
    decode_info,
    parameters,
    read_scores,
    scored,
)
from espnet_smoe.report.tables.number_format import count
from espnet_smoe.report.tables.results import scores_table

PIPELINE = "automatic-speech-recognition"
TRANSLATES = "speech-translation"
ISO_639 = re.compile(r"[a-z]{2,3}")
KINDS = {
    "smoe": "S-MoE: an encoder and a decoder, whose experts are chosen by labels",
    "u2pp": "U2++: streams, and takes whole recordings",
    "speech_moe": "SpeechMoE: an encoder with CTC",
    "espnet": "a model of ESPnet's own kind",
}
USE = """```bash
espnet-smoe transcribe --model {name} talk.wav
```

```python
import soundfile
from espnet_smoe.inference import load

speech_to_text = load("{name}")
waveform, rate = soundfile.read("talk.wav", dtype="float32")  # mono
result = speech_to_text([waveform], sample_rate=rate)[0]
print({{task: found.text for task, found in result.items()}})
```"""
USE_OF_OWSM = """```bash
espnet transcribe talk.wav --model {name} --language kor
espnet translate talk.wav --model {name} --language kor --to eng
```

For `espnet-smoe transcribe`, `serve` and the rest, make an experiment of one language:

```bash
espnet-smoe import espnet {name} --out exp/{title} --language kor
```"""
PAGE = """
# {title}

A model of `espnet_smoe`, mixtures of experts for speech inside
[ESPnet](https://github.com/espnet/espnet).

{facts}

## Use

In an environment with the package `espnet_smoe`:

{use}

The weights are tensors alone (safetensors); nothing of this folder is run.

## Scores

{scores}

## Training data

{data}

## Limits

{limits}
"""


def model_card(
    config_file: Path,
    model_file: Path,
    gathered: Gathered,
    name: str,
    license: str,
    languages: Sequence[str] | None = None,
) -> str:
    """Markdown behind the YAML that the Hugging Face hub reads.

    Args:
        config_file: Training configuration, in its experiment.
        model_file: Checkpoint; scores of another one are left out.
        gathered: The model.
        name: On the hub.
        license: As the hub calls it.
        languages: Codes; those of the tasks when None.
    """
    from huggingface_hub import ModelCardData

    config = gathered.config
    tasks = _tasks(config)
    tags = ["espnet", "mixture-of-experts", str(config.get("model") or "espnet")]
    if any(not row.is_transcript for row in tasks.values()):
        tags.append(TRANSLATES)
    decodings = _decodings(config_file.parent, model_file)
    title = name.rpartition("/")[2]
    results = list(_results(decodings, tasks))
    data = ModelCardData(
        license=license,
        language=list(languages or _languages(tasks)) or None,
        library_name="espnet_smoe",
        pipeline_tag=PIPELINE,
        tags=tags,
        metrics=list(dict.fromkeys(r.metric_type for r in results)) or None,
        model_name=title if results else None,
        eval_results=results or None,
    )
    use = USE_OF_OWSM if task_name(config) == "s2t" else USE
    page = PAGE.format(
        title=title,
        use=use.format(name=name, title=title),
        facts=_facts(config, config_file.parent, gathered.weights, tasks),
        scores=_scores(decodings),
        data=_data(config_file, config, gathered),
        limits=_limits(gathered, tasks),
    )
    return f"---\n{data.to_yaml()}\n---\n{page.rstrip()}"


def _tasks(config: Mapping[str, Any]) -> dict[str, TaskRow]:
    """What the model writes, by name."""
    kind = config.get("model")
    if kind == "smoe":
        return task_table((config.get("model_conf") or {}).get("tasks"))
    if kind == "speech_moe":  # its language is that of its units
        return task_table({"units": {**CTC_TASKS["units"], "language": "-"}})
    return task_table({"asr": {"target": "text", "language": "-"}})


def _languages(tasks: Mapping[str, TaskRow]) -> list[str]:
    codes = [c for row in tasks.values() for c in (row.spoken, row.language)]
    return list(dict.fromkeys(code for code in codes if ISO_639.fullmatch(code)))


def _decodings(experiment: Path, model_file: Path) -> list[Path]:
    """Folders with scores of this checkpoint."""
    if not any(experiment.glob("decode_*/*/scores.json")):
        return []
    try:
        found = scored(experiment)
    except ValueError:  # all of them are of an earlier model
        return []
    named = {folder: decode_info(folder).get("model_file") for folder in found}
    return [
        folder
        for folder, model in named.items()
        if model is None or Path(model).name == model_file.name
    ]


def _results(decodings: Sequence[Path], tasks: Mapping[str, TaskRow]) -> Iterator:
    """One result a decoding, task and metric, over the whole test set."""
    from huggingface_hub import EvalResult

    for decoding in decodings:
        for task, groups in read_scores(decoding).items():
            row = tasks.get(task)
            kind = TRANSLATES if row and not row.is_transcript else PIPELINE
            for metric, score in groups["all"].items():
                if score["value"] is None:
                    continue
                yield EvalResult(
                    task_type=kind,
                    task_name=task,
                    dataset_type=decoding.name,
                    dataset_name=decoding.name,
                    dataset_config=decoding.parent.name,
                    metric_type=metric.partition("_")[0],
                    metric_name=METRICS[metric].label,
                    metric_value=score["value"],
                )


def _scores(decodings: Sequence[Path]) -> str:
    if not decodings:
        return "None are known."
    parts = [
        "Of this one training; in brackets the 95 % bootstrap interval. A row is a "
        "condition of the test set."
    ]
    for decoding in decodings:
        parts += [f"**{decoding.parent.name}/{decoding.name}**"]
        parts += [scores_table(read_scores(decoding))]
    return "\n\n".join(parts)


def _facts(
    config: Mapping[str, Any],
    experiment: Path,
    weights: Mapping[str, Any],
    tasks: Mapping[str, TaskRow],
) -> str:
    """A table of what the model is."""
    kind = str(config.get("model") or "espnet")
    total, active = parameters(experiment)
    if total is None:
        total = sum(t.numel() for t in weights.values() if t.is_floating_point())
    size = count(total) if active is None else f"{count(total)}, {count(active)} active"
    rows = {"Kind": f"`{kind}`: {KINDS.get(kind, 'of its own kind')}"}
    for task, row in tasks.items():
        language = "" if row.language == "-" else f" in `{row.language}`"
        rows[f"Task `{task}`"] = f"{row.title}{language}"
    for part in ("encoder", "decoder"):
        if config.get(part):
            rows[part.capitalize()] = f"`{config[part]}`{_experts(config, part)}"
    rows["Parameters"] = size
    rows["Sampling rate"] = f"{sample_rate(config):g} Hz; others are resampled"
    if isinstance(config["token_list"], list):
        rows["Vocabulary"] = f"{len(config['token_list'])} tokens"
    lines = [f"| {name} | {value} |" for name, value in rows.items()]
    return "\n".join(["| | |", "|---|---|", *lines])


def _experts(config: Mapping[str, Any], part: str) -> str:
    moe = (config.get(f"{part}_conf") or {}).get("moe")
    if moe is None:
        return ""
    options = ", ".join(f"{key} `{value}`" for key, value in moe.items())
    return f" with experts ({options})" if options else " with experts"


def _data(config_file: Path, config: Mapping[str, Any], gathered: Gathered) -> str:
    parts = []
    seconds = training_seconds(config_file, config)
    if seconds:
        parts.append(
            f"{len(seconds):,} utterances, {sum(seconds) / 3600:.1f} h; copies at "
            "another speed or through a telephone count."
        )
    if gathered.lengths.longest_seconds:
        parts.append(f"The longest lasts {gathered.lengths.longest_seconds:.1f} s.")
    files = config.get("train_data_path_and_name_and_type") or ()
    folders = dict.fromkeys(Path(str(file[0])).parent.name for file in files if file)
    if folders:
        parts.append(f"Read from {', '.join(f'`{name}`' for name in folders)}.")
    parts.append(
        "`config.yaml` has every option of the training. Say here which corpora these "
        "were, and under which terms."
    )
    return " ".join(parts)


def _limits(gathered: Gathered, tasks: Mapping[str, TaskRow]) -> str:
    longest = gathered.lengths.longest_seconds
    lines = [
        "It is good for speech like its training data, in language, domain, recording "
        "and length; fluent text is no proof that it was said.",
    ]
    if longest:
        lines.append(
            f"Recordings are cut in their pauses into pieces of at most {longest:.1f} "
            "s; speech without a pause is cut where it is quietest."
        )
    lines.append("Silence and noise give no text; music does.")
    if any(not row.is_transcript for row in tasks.values()):
        lines.append("It translates sentences one by one, without what came before.")
    lines.append("Scores are of one training and of the test sets named above.")
    return "\n".join(f"- {line}" for line in lines)
