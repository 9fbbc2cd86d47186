"""The only file that touches ESPnet's tasks: their choices, and how they build."""

import functools
import importlib
from typing import Any

from torch import nn

from espnet_smoe.plugins import REGISTERED, load_plugins

# espnet2.tasks.<name> and its task, where a release has it
TASKS = {"asr": "ASRTask", "st": "STTask", "s2t": "S2TTask", "mt": "MTTask"}


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
    from espnet_smoe.layers.kaldi_fbank import KaldiFbank
    from espnet_smoe.layers.whisper import WhisperFrontend
    from espnet_smoe.model.smoe import ESPnetSMoEModel
    from espnet_smoe.model.speech_moe import ESPnetSpeechMoEModel
    from espnet_smoe.model.u2pp import ESPnetU2PPModel

    return {
        "frontend": {"kaldi_fbank": KaldiFbank, "smoe_whisper": WhisperFrontend},
        "preencoder": {"stacked_deltas": StackedDeltas},
        "encoder": {
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
    """Add our classes, and those of plugins, to every task with a choice of their kind.

    The tasks also give their own models what our mixtures need (`route_stock_model`),
    and ESPnet's token type ``bpe`` reads our tokenizers.
    Safe to call again. A class reaches only the tasks whose type it has: the model
    `smoe` is an ASR model, the encoder fits wherever there is a choice of encoders.

    Raises:
        ValueError: A name is already taken by another class, or a plugin cannot be
            imported.
    """
    load_plugins()
    classes_of_kind = {kind: dict(classes) for kind, classes in _classes().items()}
    for kind, classes in REGISTERED.items():
        known = classes_of_kind.setdefault(kind, {})
        for name, cls in classes.items():
            _add_to(known, name, cls, f"--{kind} {name}")
    _read_our_tokenizers()
    for task, task_class in TASKS.items():
        try:
            module = importlib.import_module(f"espnet2.tasks.{task}")
        except ModuleNotFoundError:
            continue
        _route_what_it_builds(getattr(module, task_class))
        for kind, classes in classes_of_kind.items():
            choices = getattr(module, f"{kind}_choices", None)
            if choices is None:
                continue
            for name, cls in classes.items():
                _add(task, choices, name, cls)


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


def _add(task: str, choices: object, name: str, cls: type) -> None:
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
