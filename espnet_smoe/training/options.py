"""Checks of a training configuration before anything is trained.

ESPnet checks what stands on its command line, not what stands in the YAML file. Here
each option is held against what reads it: the argument parser of the task, the
constructor of the class that the file chooses, ours, ESPnet's or PyTorch's. The
launcher and `espnet-smoe check-config` do the same.
"""

import argparse
import inspect
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
from torch import nn

from espnet_smoe.compat import CTC, abs_task, str_or_none
from espnet_smoe.config.options import check_options, limited, reject_unknown, section
from espnet_smoe.config.refusals import refusal, refusals_in_one_line
from espnet_smoe.config.typed import OneOf, Range, convert
from espnet_smoe.data.preprocessor import BANDWIDTH
from espnet_smoe.data.speech.audio import SAMPLE_RATE
from espnet_smoe.data.speech.effects import check_effects
from espnet_smoe.data.speech.random_channel import BANDWIDTH_OF, RandomChannel
from espnet_smoe.moe.labels import entries_of, name_of, tokens_like
from espnet_smoe.training.criteria import check_criteria
from espnet_smoe.training.model_parallel import EXPERTS, FSDP
from espnet_smoe.training.steps import OPTION, save_steps

Phase = Annotated[str, OneOf(("train", "valid"))]
Mode = Annotated[str, OneOf(("min", "max"))]
HINTS: dict[str, Any] = {  # what a type function of ESPnet's parsers returns
    "int": int,
    "float": float,
    "str": str,
    "str2bool": bool,
    "int_or_none": int | None,
    "float_or_none": float | None,
    "str_or_none": str | None,
    "str_or_int": str | int,
}
OF_OPTION: dict[str, Any] = {
    "best_model_criterion": list[tuple[Phase, str, Mode]],
    "early_stopping_criterion": tuple[Phase, str, Mode],
    "val_scheduler_criterion": tuple[Phase, str],
    "keep_nbest_models": Annotated[int, Range(1)] | list[Annotated[int, Range(1)]],
}
N_FFT = 512  # where a front-end names none
AT_LEAST_0 = Range(0)
AT_LEAST_1 = Range(1)
POSITIVE = Range(above=0)
RATE = Range(0, below=1)
# where a parser or a constructor that is not ours names no range
RANGES: dict[str, Range] = {
    **dict.fromkeys(
        ("max_epoch", "accum_grad", "batch_size", "valid_batch_size", "batch_bins")
        + ("valid_batch_bins", "num_iters_per_epoch", "log_interval", "input_size")
        + ("output_size", "linear_units", "num_blocks", "attention_heads", "n_mels")
        + ("n_fft", "hop_length", "hidden_size", "num_layers", "first_cycle_steps")
        + ("step_size", "T_max", "T_0", "total_steps", "model_size", "fs")
        + ("win_length", EXPERTS),
        AT_LEAST_1,
    ),
    **dict.fromkeys(
        ("ngpu", "seed", "num_workers", "num_att_plot", "patience", "warmup_steps")
        + ("nbest_averaging_interval", "num_freq_mask", "num_time_mask")
        + ("weight_decay", "min_lr", "time_warp_window", OPTION),
        AT_LEAST_0,
    ),
    **dict.fromkeys(
        ("grad_clip", "lr", "max_lr", "base_lr", "eps", "gamma", "chunk_shift_ratio"),
        POSITIVE,
    ),
    **dict.fromkeys(
        ("dropout_rate", "dropout", "positional_dropout_rate", "lsm_weight")
        + ("attention_dropout_rate", "self_attention_dropout_rate")
        + ("src_attention_dropout_rate", "interctc_weight", "momentum"),
        RATE,
    ),
    **dict.fromkeys(("ctc_weight", "rir_apply_prob", "noise_apply_prob"), Range(0, 1)),
}


def check_training(task: type, options: Mapping[str, Any]) -> dict[str, Any]:
    """Hold a training configuration against what reads it.

    Args:
        task: An ESPnet task, such as ``ASRTask``.
        options: The YAML file's content, or all options of a training.

    Returns:
        The options, their values of the types that training needs: a number that is
        written as text is a number, a name is in small letters.

    Raises:
        ValueError: An unknown key, class or value; names it and the nearest known.
    """
    save_steps()  # an option more
    parser = task.get_parser()
    checked = check_top_level(parser, options)
    checked = check_classes(task, checked)
    audio = checked.get("preprocessor_conf") or {}
    check_effects(audio, _sampling_rate(task, checked, audio), "preprocessor_conf")
    channel = audio.get("channel")
    if channel is not None:
        conditions = RandomChannel.from_options(
            channel, "preprocessor_conf.channel"
        ).conditions
        _check_labels(conditions, checked)
    defaults = {action.dest: action.default for action in parser._actions}
    for number in range(1, task.num_optimizers + 1):
        suffix = "" if number == 1 else str(number)
        optim, scheduler = f"optim{suffix}", f"scheduler{suffix}"
        _check_class(checked, optim, defaults[optim], abs_task.optim_classes)
        _check_class(checked, scheduler, None, abs_task.scheduler_classes)
        _check_optimizer(defaults | checked, suffix)
    _check_together(defaults | checked)
    for choices in task.class_choices_list:
        model = choices.classes.get(checked.get("model", choices.default))
        if choices.name == "model" and model is not None:
            check_criteria(model, checked, defaults)
    return checked


def _sampling_rate(
    task: type, options: Mapping[str, Any], conf: Mapping[str, Any]
) -> int:
    """Hz of the audio that a preprocessor gets; 0 where it is not told and has to."""
    for choices in task.class_choices_list:
        if choices.name == "preprocessor":
            chosen = options.get("preprocessor") or choices.default
            known = inspect.signature(choices.classes[chosen]).parameters
            for name in ("fs", "sample_rate"):
                if name in known:
                    return conf.get(name, known[name].default)
    return SAMPLE_RATE


def check_classes(
    task: type, options: Mapping[str, Any], without: Sequence[str] = ()
) -> dict[str, Any]:
    """Hold the classes that options name, and their sections, against what is there.

    Args:
        task: An ESPnet task.
        options: Of a training.
        without: Kinds of classes to leave out.

    Returns:
        The options, those of classes of the types that they need.

    Raises:
        ValueError: An unknown class, key or value; names it and the nearest known.
    """
    checked = dict(options)
    for choices in task.class_choices_list:
        if choices.name not in without:
            _check_class(checked, choices.name, choices.default, choices.classes)
    _check_section(checked, "ctc_conf", CTC)
    return checked


def _check_labels(conditions: Sequence[str], options: Mapping[str, Any]) -> None:
    """Each bandwidth that a channel makes has an expert."""
    moe = (options.get("encoder_conf") or {}).get("moe") or {}
    field = (options.get("model_conf") or {}).get("label_field", BANDWIDTH)
    labels = moe.get("labels")
    if field != BANDWIDTH or options.get("model") != "smoe":
        return
    if not isinstance(labels, list) or len({*map(str, labels)}) < max(1, len(labels)):
        return  # its own check says what is wrong
    entries = [entry for one in labels for entry in entries_of(one)]
    for condition in conditions:
        label = f"<{BANDWIDTH_OF[condition]}>"
        if not any(tokens_like(entry, [label]) for entry in entries):
            raise ValueError(
                f"encoder_conf.moe.labels: preprocessor_conf.channel makes speech of "
                f"'{condition}', whose label {label} is not one of "
                f"{', '.join(map(name_of, labels))}; add it, or leave that condition "
                "out"
            )


def check_top_level(
    parser: argparse.ArgumentParser, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Each option as the parser of a task would read it from the command line.

    Raises:
        ValueError: An unknown key, or a value that does not fit.
    """
    actions = {action.dest: action for action in parser._actions}
    reject_unknown(options, actions, "configuration")
    return {name: _check_option(actions[name], v) for name, v in options.items()}


def build(task: type, args: argparse.Namespace) -> nn.Module:
    """Build the model of a training.

    Raises:
        ValueError: The options do not go together; says which part refuses them.
    """
    return refusals_in_one_line(task.build_model)(args)


def _check_option(action: argparse.Action, value: Any) -> Any:
    name = action.dest
    if value == action.default and type(value) is type(action.default):
        return value
    if name.endswith("_conf"):
        return section(value, name)
    hint = OF_OPTION.get(name)
    if hint is None:
        hint = HINTS.get(getattr(action.type, "__name__", "str"), Any)
        if isinstance(value, str) and hint is not str:
            value = str_or_none(value)
        if action.choices is not None:
            if isinstance(value, str) and value.lower() in action.choices:
                value = value.lower()
            hint = Annotated[str, OneOf([c for c in action.choices if c is not None])]
            hint = hint | None if None in action.choices else hint
        elif name in RANGES and hint is not Any:
            hint = limited(hint, RANGES[name])
        if action.nargs is not None or isinstance(action, argparse._AppendAction):
            hint = Any if hint is str or hint is Any else list[hint] | hint
    return convert(value, hint, name)


def _check_class(
    options: dict[str, Any], kind: str, default: str | None, classes: Mapping[str, type]
) -> None:
    """The name of a class, and its section."""
    where = f"{kind}_conf"
    name = options.get(kind, default)
    if name is None:
        if options.get(where):
            raise ValueError(
                f"{where}: there is no {kind} that it could be of; name one in "
                f"'{kind}: ...' or remove the section"
            )
        return
    hint = Annotated[str, OneOf(classes)]
    lower = name.lower() if isinstance(name, str) else name
    name = convert(lower if lower in [*classes] else name, hint, kind)
    if kind in options:
        options[kind] = name
    _check_section(options, where, classes[name])


def _check_section(options: dict[str, Any], where: str, kind: type) -> None:
    if options.get(where):
        ranges = {} if kind.__module__.startswith("espnet_smoe.") else RANGES
        options[where] = check_options(kind, options[where], where, ranges)


def _check_optimizer(options: Mapping[str, Any], suffix: str) -> None:
    """Make the optimizer and its scheduler of one weight: they check themselves."""
    name, scheduler = options[f"optim{suffix}"], options[f"scheduler{suffix}"]
    conf = options[f"scheduler{suffix}_conf"]
    warmup, cycle = conf.get("warmup_steps"), conf.get("first_cycle_steps")
    if warmup is not None and cycle is not None and warmup >= cycle:
        raise ValueError(
            f"scheduler_conf.warmup_steps: {warmup} is not below first_cycle_steps "
            f"{cycle}; the cycle would end before it has begun"
        )
    low, high = conf.get("min_lr"), conf.get("max_lr")
    if low is not None and high is not None and low > high:
        raise ValueError(f"scheduler_conf.min_lr: {low} is above max_lr {high}")
    where = f"optim_conf of '{name}'"
    try:
        weight = nn.Parameter(torch.zeros(1))
        kind = abs_task.optim_classes[name]
        optimizer = kind([weight], **options[f"optim{suffix}_conf"])
        if scheduler is not None:
            where = f"scheduler_conf of '{scheduler}'"
            abs_task.scheduler_classes[scheduler](optimizer, **conf)
    except Exception as error:  # asserts, types, values: each class has its own
        raise ValueError(f"{where}: {refusal(error)}") from error


def _check_together(options: Mapping[str, Any]) -> None:
    """What ESPnet finds out at the first batch."""
    frontend = options.get("frontend_conf") or {}
    window, size = frontend.get("win_length"), frontend.get("n_fft", N_FFT)
    if window is not None and window > size:
        raise ValueError(f"frontend_conf.win_length: {window} is above n_fft {size}")
    others = ("use_deepspeed", "sharded_ddp")
    excluded = [(OPTION, other) for other in others]
    excluded += [(FSDP, other) for other in (*others, "ddp_comm_hook")]
    excluded += [(EXPERTS, other) for other in others if options.get(EXPERTS, 1) > 1]
    for option, other in excluded:
        if options.get(option) and options.get(other):
            raise ValueError(f"{option}: does not go with {other}; leave one out")
    model = options.get("model_conf") or {}
    if options.get("model") != "espnet" or options.get("decoder", "") is not None:
        return
    if model.get("ctc_weight", 0.5) != 1.0:
        raise ValueError(
            f"model_conf.ctc_weight: {model.get('ctc_weight', 0.5)} needs a decoder; "
            "name one, or write 'ctc_weight: 1.0'"
        )
