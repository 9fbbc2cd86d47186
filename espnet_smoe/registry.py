"""The only file that touches ESPnet's tasks: their choices, and how they build."""

import functools
import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from torch import nn

from espnet_smoe.plugins import REGISTERED, load_plugins

# espnet2.tasks.<name> and its task, where a release has it
TASKS = {"asr": "ASRTask", "st": "STTask", "s2t": "S2TTask", "mt": "MTTask"}
# What of ours each of them can build, train and decode, by kind; None for all. Models
# and preprocessor are of the ASR task; the input of MT is text.
PARTS = {"frontend": None, "preencoder": None, "encoder": None, "decoder": None}
OFFERED: dict[str, dict[str, tuple[str, ...] | None]] = {
    "asr": {**PARTS, "model": None, "preprocessor": None},
    "st": PARTS,
    "s2t": PARTS,
    "mt": {
        "encoder": ("smoe_transformer", "smoe_conformer", "smoe_e_branchformer"),
        "decoder": None,
    },
}


def _classes() -> dict[str, dict[str, type]]:
    """Our classes by kind of choice: kind -> name -> class."""
    from espnet_smoe.data.preprocessor import SMoEPreprocessor
    from espnet_smoe.decoder.bidirectional import U2PPTransformerDecoder
    from espnet_smoe.decoder.transformer import SMoETransformerDecoder
    from espnet_smoe.decoder.whisper import SMoEOpenAIDecoder
    from espnet_smoe.encoder.conformer import U2PPConformerEncoder
    from espnet_smoe.encoder.speech_moe import SpeechMoEEncoder
    from espnet_smoe.encoder.stacking import StackedDeltas
    from espnet_smoe.encoder.transformer import SMoETransformerEncoder
    from espnet_smoe.encoder.whisper import SMoEOpenAIEncoder
    from espnet_smoe.encoder.with_experts import (
        SMoEConformerEncoder,
        SMoEEBranchformerEncoder,
    )
    from espnet_smoe.layers.kaldi_fbank import KaldiFbank
    from espnet_smoe.layers.padded_frontend import PaddedFrontend
    from espnet_smoe.layers.whisper import WhisperFrontend
    from espnet_smoe.model.smoe import ESPnetSMoEModel
    from espnet_smoe.model.speech_moe import ESPnetSpeechMoEModel
    from espnet_smoe.model.u2pp import ESPnetU2PPModel

    return {
        "frontend": {
            "kaldi_fbank": KaldiFbank,
            "smoe_padded": PaddedFrontend,
            "smoe_whisper": WhisperFrontend,
        },
        "preencoder": {"stacked_deltas": StackedDeltas},
        "encoder": {
            "smoe_conformer": SMoEConformerEncoder,
            "smoe_e_branchformer": SMoEEBranchformerEncoder,
            "smoe_transformer": SMoETransformerEncoder,
            "smoe_whisper": SMoEOpenAIEncoder,
            "speech_moe": SpeechMoEEncoder,
            "u2pp_conformer": U2PPConformerEncoder,
        },
        "decoder": {
            "smoe_transformer": SMoETransformerDecoder,
            "smoe_whisper": SMoEOpenAIDecoder,
            "u2pp_transformer": U2PPTransformerDecoder,
        },
        "model": {
            "smoe": ESPnetSMoEModel,
            "speech_moe": ESPnetSpeechMoEModel,
            "u2pp": ESPnetU2PPModel,
        },
        "preprocessor": {"smoe": SMoEPreprocessor},
    }


def register() -> None:
    """Add our classes to the tasks of `OFFERED`, and those of plugins to all.

    The tasks also give their own models what our mixtures need (`route_stock_model`),
    and ESPnet's token type ``bpe`` reads our tokenizers.
    Safe to call again. A plugin's class reaches the tasks with a choice of its kind
    whose type it has.

    Raises:
        ValueError: A name is already taken by another class, or a plugin cannot be
            imported.
    """
    load_plugins()
    ours = _classes()
    for kind, classes in REGISTERED.items():
        known = dict(ours.get(kind, {}))
        for name, cls in classes.items():
            _add_to(known, name, cls, f"--{kind} {name}")
    _read_our_tokenizers()
    for task, task_class in TASKS.items():
        try:
            module = importlib.import_module(f"espnet2.tasks.{task}")
        except ModuleNotFoundError:
            continue
        _route_what_it_builds(getattr(module, task_class))
        for kind, names in OFFERED[task].items():
            for name in ours[kind] if names is None else names:
                _add(task, module, kind, name, ours[kind][name])
        for kind, classes in REGISTERED.items():
            for name, cls in classes.items():
                _add(task, module, kind, name, cls)


def task_of(config: Mapping[str, Any]) -> type:
    """The ESPnet task that a training configuration is of: S2T, ST or else ASR.

    Args:
        config: Of a training, or what ESPnet has written of one.
    """
    name = task_name(config)
    return getattr(importlib.import_module(f"espnet2.tasks.{name}"), TASKS[name])


def task_name(config: Mapping[str, Any]) -> str:
    """The key in `TASKS` of `task_of`."""
    if config.get("preprocessor") == "s2t":
        return "s2t"
    if "src_token_list" in config and not config.get("model"):  # ST has no choice
        return "st"
    return "asr"


def _route_what_it_builds(task: type) -> None:
    from espnet_smoe.model.stock import route_stock_model

    build = task.build_model.__func__
    if getattr(build, "routes", False):
        return

    @functools.wraps(build)
    def build_routed(cls: type, *args: Any, **kwargs: Any) -> nn.Module:
        return route_stock_model(build(cls, *args, **kwargs))

    build_routed.routes = True
    task.build_model = classmethod(build_routed)


def _read_our_tokenizers() -> None:
    """Let ESPnet's token type ``bpe`` read a byte-level tokenizer of our recipes."""
    from espnet_smoe.compat import SentencepiecesTokenizer
    from espnet_smoe.data.text.tokenizer import ForESPnet

    build = SentencepiecesTokenizer._build_sentence_piece_processor
    if hasattr(build, "__wrapped__"):
        return

    @functools.wraps(build)
    def build_any(self: SentencepiecesTokenizer) -> None:
        if self.sp is None and self.model.endswith(".json"):
            self.sp = ForESPnet(self.model)
        build(self)

    SentencepiecesTokenizer._build_sentence_piece_processor = build_any


def _add(task: str, module: ModuleType, kind: str, name: str, cls: type) -> None:
    choices = getattr(module, f"{kind}_choices", None)
    if choices is None:
        return
    if choices.base_type is not None and not issubclass(cls, choices.base_type):
        return
    place = f"--{choices.name} {name} of the {task} task"
    _add_to(choices.classes, name, cls, place)


def _add_to(classes: dict[str, type], name: str, cls: type, place: str) -> None:
    present = classes.setdefault(name, cls)
    if present is not cls:
        raise ValueError(
            f"{place} is already {present.__module__}.{present.__qualname__}; only one "
            "of the two plugins can be loaded"
        )
