"""What a training configuration and checkpoint of ESPnet's recipes are as model `smoe`.

Weights keep their names and values. Parts that no class of ours stands for, such as an
E-Branchformer, stay ESPnet's own classes.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from espnet_smoe.config.options import option_names
from espnet_smoe.data.text.tokenizer import load_tokenizer
from espnet_smoe.data.text.tokens import read_token_list
from espnet_smoe.decoder.transformer import SMoETransformerDecoder
from espnet_smoe.encoder.transformer import SMoETransformerEncoder
from espnet_smoe.importers.espnet_tasks import tasks_of
from espnet_smoe.importers.experiment import Experiment
from espnet_smoe.inference.config_files import (
    named_files,
    read_config,
    sample_rate,
    trained_lengths,
)
from espnet_smoe.input_files import check_statistics_file, read_checkpoint
from espnet_smoe.registry import register, task_of
from espnet_smoe.training.options import check_classes

OWN = "smoe_transformer"  # of a training with this package
ENCODERS = ("transformer", "conformer", "branchformer", "e_branchformer", OWN)
ENCODERS += ("smoe_conformer", "smoe_e_branchformer")
# choice -> what of it can be carried
CARRIED: dict[str, tuple[str | None, ...]] = {
    "frontend": ("default", None),
    "normalize": ("global_mvn", "utterance_mvn", None),
    "preencoder": (None,),
    "encoder": ENCODERS,
    "postencoder": (None,),
    "decoder": ("transformer", OWN),
    "model": ("espnet", None),
    "preprocessor": ("default", "s2t", None),
    "token_type": ("bpe", "char", "word", "phn"),
}
KEPT = ("specaug", "specaug_conf", "normalize", "normalize_conf", "ctc_conf")
KEPT += ("non_linguistic_symbols", "cleaner", "g2p")
# options of a training that change no output and that ours lack
OF_TRAINING = ("layer_drop_rate", "stochastic_depth_rate", "use_flash_attn")
OURS = {"encoder": SMoETransformerEncoder, "decoder": SMoETransformerDecoder}
# ESPnet's own encoders with room for experts: the same options, the same weights
WITH_EXPERTS = {"conformer": "smoe_conformer", "e_branchformer": "smoe_e_branchformer"}
SAMPLE_RATE = 16000  # Hz
FROM_TRAINING = "copy it from where the model was trained"
CURE = "fetch the model again, or name another checkpoint with --model"
LISTED = 5  # weights that a message names


def convert_model(
    config_file: Path,
    checkpoint: Path,
    language: str | None = None,
    targets: Sequence[str] | None = None,
    pad_seconds: float | None = None,
    without: Sequence[str] = (),
) -> Experiment:
    """A trained model of ESPnet as an experiment of ours.

    Args:
        config_file: ``config.yaml`` that the training wrote.
        checkpoint: Its weights.
        language: That is spoken; needed for OWSM.
        targets: Languages that it writes.
        pad_seconds: Of OWSM, silence behind shorter speech; None for its training's.
        without: Parts whose weights are left out, by name.

    Raises:
        ValueError: A file is missing or damaged, or the model has what cannot be
            carried; names it.
    """
    given = read_config(config_file)
    check_kind(given, config_file)
    tokens = _tokens(given["token_list"], config_file)
    tasks = tasks_of(given, tokens, config_file, language, targets)
    files = _take_files(given)
    state = _state(read_checkpoint(checkpoint, CURE), checkpoint, tasks.ctc, without)
    lengths = asdict(trained_lengths(config_file, given))
    config = tasks.config | parts_of(given, config_file)
    if tasks.window is not None:
        lengths["longest_seconds"] = tasks.window
        padded = tasks.window if pad_seconds is None else pad_seconds
        if not 0 <= padded <= tasks.window:
            raise ValueError(
                f"--pad {padded:g}: not in 0..{tasks.window:g} seconds, which the "
                "model was trained on"
            )
        config["frontend"] = "smoe_padded"
        config["frontend_conf"]["pad_seconds"] = padded
    if tasks.times is not None and config["decoder"] == OWN:
        config["decoder_conf"]["suppress_tokens"] = [list(tasks.times)]
    return Experiment(
        config,
        state,
        tokens,
        files,
        {name: value for name, value in lengths.items() if value is not None},
        [
            f"encoder {config['encoder']}, decoder {config['decoder']}, "
            f"{len(tokens)} tokens",
            f"tasks: {', '.join(config['model_conf']['tasks'])}",
        ],
    )


def _take_files(config: dict[str, Any]) -> dict[str, bytes]:
    """What a configuration names, but the tokens; it then names their copies."""
    files = {}
    for section, key, _ in named_files(config):
        if key == "token_list":
            continue
        source = Path(section[key])
        if key == "bpemodel":
            load_tokenizer(source)  # says what is wrong with it
        else:
            check_statistics_file(source, FROM_TRAINING)
        files[source.name] = source.read_bytes()
        section[key] = source.name
    return files


def _tokens(given: str | list, place: Path) -> list[str]:
    tokens = read_token_list(given) if isinstance(given, str) else list(given)
    doubled = [token for token, times in Counter(tokens).items() if times > 1]
    if doubled or not all(isinstance(token, str) for token in tokens):
        fault = f"'{doubled[0]}' stands there twice" if doubled else "not all are text"
        raise ValueError(f"{place}: token_list: {fault}; fetch the model again")
    return tokens


def check_kind(config: Mapping[str, Any], place: Path) -> None:
    """Refuse a model that has a part which cannot be carried.

    Raises:
        ValueError: Names the part and what can be carried.
    """
    for name, known in CARRIED.items():
        value = config.get(name)
        if value not in known:
            names = ", ".join(k for k in known if k is not None) or "none"
            raise ValueError(
                f"{place}: '{name}: {value}' cannot be carried; what can: {names}"
            )
    if config.get("input_size") is not None:
        raise ValueError(
            f"{place}: input_size: {config['input_size']}: the model takes features, "
            "but the commands here read audio; train it with 'feats_type: raw'"
        )
    register()
    try:
        # no preprocessor: what it was trained with changes nothing any more
        named = {name: value for name, value in config.items() if value is not None}
        check_classes(task_of(config), named, without=("preprocessor",))
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error
    rate = sample_rate(config)
    if rate != SAMPLE_RATE:
        raise ValueError(
            f"{place}: the model is for {rate:g} Hz; only models of {SAMPLE_RATE} Hz "
            "can be carried"
        )


def parts_of(config: Mapping[str, Any], place: Path) -> dict[str, Any]:
    """Features, encoder, decoder and tokenizer of the configuration of ours."""
    kept = {name: config[name] for name in KEPT if name in config}
    bpe = config["token_type"] == "bpe"
    # another value than a path names no file, and none would be carried
    if bpe and not isinstance(config.get("bpemodel") or None, str):
        raise ValueError(f"{place}: bpemodel is missing; add the model's tokenizer")
    return {
        "input_size": None,
        "frontend": "default",
        "frontend_conf": dict(config.get("frontend_conf") or {}),
        **kept,
        **_part(config, "encoder"),
        **_part(config, "decoder"),
        "token_type": config["token_type"],
        "bpemodel": config.get("bpemodel") if bpe else None,
        "preprocessor": "smoe" if bpe else "default",
        "init": None,
    }


def _part(config: Mapping[str, Any], part: str) -> dict[str, Any]:
    """Our Transformer where it can be the same, else ESPnet's own class."""
    name, conf = config[part], dict(config.get(f"{part}_conf") or {})
    if name == "transformer":
        known = option_names(OURS[part].__init__, f"{part}_conf")
        linear = conf.get("positionwise_layer_type", "linear") == "linear"
        dropped = (*OF_TRAINING, *(["positionwise_layer_type"] if linear else ()))
        dropped += ("positionwise_conv_kernel_size",) if linear else ()
        ours = {key: value for key, value in conf.items() if key not in dropped}
        if set(ours) <= set(known):
            name, conf = OWN, ours
    return {part: WITH_EXPERTS.get(name, name), f"{part}_conf": conf}


def _state(
    given: Mapping[str, torch.Tensor],
    place: Path,
    ctc: str | None,
    without: Sequence[str],
) -> dict[str, torch.Tensor]:
    """The weights under our names.

    Args:
        given: Of the checkpoint.
        place: Where they come from.
        ctc: The part that is the CTC head; None without one.
        without: Parts to leave out.

    Raises:
        ValueError: A part has no place in the model, or there is none of that name.
    """
    renamed = {ctc: "ctc"} if ctc is not None else {}
    carried = {"frontend", "normalize", "encoder", "decoder", *renamed}
    parts = dict.fromkeys(name.partition(".")[0] for name in given)
    wrong = [part for part in without if part not in parts or part in carried]
    if wrong:
        raise ValueError(
            f"--without {wrong[0]}: the parts of {place} that can be left out are "
            f"{', '.join(p for p in parts if p not in carried) or 'none'}"
        )
    foreign = [part for part in parts if part not in carried and part not in without]
    if foreign:
        raise ValueError(
            f"{place}: {', '.join(foreign[:LISTED])} cannot be carried: the model here "
            f"has no such part; leave it out with --without {','.join(foreign)}"
        )
    state = {"minibatches": torch.zeros((), dtype=torch.long)}
    for name, tensor in given.items():
        if not isinstance(tensor, torch.Tensor):
            raise ValueError(f"{place}: {name} is no tensor; {CURE}")
        part, _, rest = name.partition(".")
        if part in carried:
            state[f"{renamed.get(part, part)}.{rest}"] = tensor
    return state
