"""The models of a server: what each does, by the names that clients call them."""

import copy
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espnet_smoe.config.options import nearest
from espnet_smoe.data.task_table import TaskRow, spoken_of
from espnet_smoe.serve.capacity import RoundCosts, round_costs

if TYPE_CHECKING:
    from espnet_smoe.inference.speech_to_text import SpeechToText
    from espnet_smoe.inference.streaming.options import StreamOptions
    from espnet_smoe.inference.streaming.recognizer import StreamingRecognizer

ENGLISH = "en"  # what OpenAI's clients want translations in


@dataclass(frozen=True, eq=False)
class Model:
    """One model.

    Attributes:
        name: As clients call it.
        recordings: Takes whole recordings.
        streams: Takes streams; None where the model cannot.
        no_streams: Why it cannot.
        created: Seconds since 1970.
        round_costs: Of streams, see `capacity`.
    """

    name: str
    recordings: "SpeechToText"
    streams: "StreamingRecognizer | None" = None
    no_streams: str = ""
    created: int = 0
    round_costs: RoundCosts | None = None
    rows: dict[str, TaskRow] = field(default_factory=dict)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of what it writes."""
        return tuple(self.recordings.tasks)

    @property
    def takes_language(self) -> bool:
        """Whether its prompts name the language that is spoken."""
        return bool(spoken_of(self.rows))

    def tasks_of(self, transcripts: bool, language: str | None) -> list[str]:
        """The tasks that transcribe, or translate, in a language.

        Args:
            transcripts: Those that transcribe; else those that translate.
            language: Code, such as ``en``; None for any.

        Raises:
            ValueError: There is none; names those that there are.
        """
        kind = "transcribe" if transcripts else "translate"
        found = {
            task: self.language_of(task)
            for task in self.tasks
            if transcripts == self._is_transcript(task)
        }
        if not found:
            raise ValueError(
                f"{self.name} does not {kind}; its tasks are {', '.join(self.tasks)}"
            )
        if language is None:
            return list(found)
        code = language.lower().replace("_", "-").partition("-")[0]
        spoken = [task for task, known in found.items() if known in ("", code)]
        if not spoken:
            known = ", ".join(sorted(set(found.values())))
            raise ValueError(
                f"{self.name} does not {kind} '{language}'; it knows {known}"
            )
        return spoken

    def language_of(self, task: str) -> str:
        """Code of the language that a task writes; empty where nobody knows."""
        row = self.rows.get(task)
        return row.language if row else ""

    def _is_transcript(self, task: str) -> bool:
        """One that no table describes writes what is said, whatever the language."""
        row = self.rows.get(task)
        return row is None or row.is_transcript

    def token_ids(self, tokens: Sequence[str]) -> list[int]:
        """Numbers of tokens in the model's list; those that are not in it are left out.

        Words that a graph finds are no tokens.
        """
        return [self._ids[token] for token in tokens if token in self._ids]

    @cached_property
    def _ids(self) -> dict[str, int]:
        names = self.recordings.model.token_list
        return {token: number for number, token in enumerate(names)}

    def as_dict(self) -> dict[str, Any]:
        """As ``GET /v1/models`` tells it."""
        return {
            "id": self.name,
            "object": "model",
            "created": self.created,
            "owned_by": "espnet_smoe",
            "tasks": list(self.tasks),
            "translations": [t for t in self.tasks if not self._is_transcript(t)],
            "languages": {task: self.language_of(task) for task in self.tasks},
            "word_times": [t for t in self.tasks if self.recordings.is_timed(t)],
            "takes_language": self.takes_language,
            "streams": self.streams is not None,
        }


def parse_name(text: str) -> tuple[str, str]:
    """Name and path of ``--model``: ``NAME=PATH``, or a path whose stem is the name.

    Example:
        >>> parse_name("whisper-1=exp/u2pp"), parse_name("exp/a.zip")
        (('whisper-1', 'exp/u2pp'), ('a', 'exp/a.zip'))
    """
    name, equals, path = text.partition("=")
    if not equals or not name or "/" in name or Path(text).exists():
        place = Path(text)
        resolved = place if place.name else place.resolve()
        return resolved.stem if resolved.suffix == ".zip" else resolved.name, text
    return name, path


def load_models(
    given: Sequence[str],
    options: "StreamOptions",
    device: str = "cpu",
    configs: Sequence[str] = (),
) -> list[Model]:
    """Load the models of a server, each once for recordings and streams.

    Args:
        given: As ``--model`` takes them.
        options: Of streams.
        device: Such as ``cpu`` or ``cuda``.
        configs: Decoding YAML of each model, or none.

    Raises:
        ValueError: Two have one name, or a model cannot be loaded.
    """
    named = [parse_name(text) for text in given]
    names = [name for name, _ in named]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"--model: two are called '{name}'; write NAME=PATH")
    if configs and len(configs) != len(given):
        raise ValueError(f"{len(configs)} times --config for {len(given)} models")
    files = configs or [None] * len(given)
    return [_load(*pair, options, device, file) for pair, file in zip(named, files)]


def _load(
    name: str, path: str, options: "StreamOptions", device: str, config: str | None
) -> Model:
    from espnet_smoe.inference.checkpoint import model_files
    from espnet_smoe.inference.config_files import own_decoding
    from espnet_smoe.inference.speech_to_text import speech_to_text_class

    with model_files(path) as (train_config, model_file):
        kind = speech_to_text_class(train_config)
        shared: dict[str, Any] = {"int8": True} if options.int8 else {}
        if options.vad != "energy":
            shared["vad"] = options.vad
        decoding = kind.Options.read(config or own_decoding(train_config), **shared)
        recordings = kind(train_config, model_file, device=device, options=decoding)
        created = int(model_file.stat().st_mtime)
    streams, reason = None, ""
    try:
        streams = streams_of(recordings, options)
    except ValueError as error:
        reason = str(error)
    costs = None
    if streams is not None:
        with suppress(RuntimeError):  # as where there is memory for few streams only
            costs = round_costs(streams)
    rows = getattr(recordings.model, "task_table", None) or {}
    return Model(name, recordings, streams, reason, created, costs, rows)


def streams_of(
    recordings: "SpeechToText", options: "StreamOptions"
) -> "StreamingRecognizer":
    """Streams of a model that takes recordings; they share its weights.

    Raises:
        ValueError: It cannot stream.
    """
    from espnet_smoe.inference.streaming.recognizer import StreamingRecognizer

    encoder = getattr(recordings, "encoder", None)
    if encoder is None:
        raise ValueError("a model that ESPnet itself decodes takes no streams")
    model = copy.copy(recordings.model)
    # its own names for the same parts: `BatchEncoder` has taken the front-end away
    model._modules = {**model._modules, "frontend": encoder.frontend}
    return StreamingRecognizer(model, options, recordings.join)


def find_model(models: Sequence[Model], name: str | None) -> Model:
    """The model that a client asks for; the first one where it names none.

    Raises:
        KeyError: There is no such model; tells which there are.
    """
    if not name:
        return models[0]
    for model in models:
        if model.name == name:
            return model
    known = [model.name for model in models]
    raise KeyError(
        f"the model '{name}' does not exist{nearest(name, known)}; there are "
        f"{', '.join(known)}"
    )
