"""The sub-model of a label: its experts, and what is left of the configuration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from espnet_smoe.config.options import nearest
from espnet_smoe.data.task_table import TaskRow, as_plain
from espnet_smoe.inference.checkpoint import check_weights, skeleton
from espnet_smoe.input_files import check_finite
from espnet_smoe.moe import Gate, Labels
from espnet_smoe.moe.slice import slice_experts
from espnet_smoe.moe.upcycle import gates_of

COUNTER = "minibatches"  # of `model: smoe`, which takes tasks in turns
CTC_HEAD = "ctc."
PARTS = ("encoder", "decoder")


@dataclass
class SubModel:
    """A part of a trained model that works alone.

    Attributes:
        config: Training configuration; files are named as they were.
        state: Weights.
        tokens: V of them.
        prompts: Task -> what the decoder's input begins with; empty without tasks.
        mixtures: Parts that still have experts -> the labels that choose them; none
            where they are learned.
        chosen: Parts that have lost theirs -> the tokens that would have chosen what is
            left, the one that was named first.
        decoding: Options by which the model decodes, those that are left of them;
            empty where none came with it.
        notes: What the user should know.
    """

    config: dict[str, Any]
    state: dict[str, torch.Tensor]
    tokens: list[str]
    prompts: dict[str, list[str]] = field(default_factory=dict)
    mixtures: dict[str, tuple[str, ...]] = field(default_factory=dict)
    chosen: dict[str, list[str]] = field(default_factory=dict)
    decoding: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def require_dense(self) -> None:
        """Refuse a part that is still a mixture.

        Raises:
            ValueError: There is one; says how to choose its experts, if one can.
        """
        for name, labels in self.mixtures.items():
            if labels:
                raise ValueError(
                    f"the {name} is still a mixture: name one of its labels with "
                    f"--label, too: {', '.join(labels)}"
                )
            raise ValueError(
                f"the {name} is a mixture whose experts routers choose, by no label: "
                "it cannot be sliced; '--format smoe' keeps it as it is"
            )


def sub_model(
    config: Mapping[str, Any],
    state: Mapping[str, torch.Tensor],
    labels: Sequence[str],
    place: str,
    decoding: Mapping[str, Any] | None = None,
) -> SubModel:
    """Take the experts of labels out of a model.

    Args:
        config: From `read_config`.
        state: Weights of the whole model.
        labels: One a part: of the encoder, of the decoder, or both.
        place: The checkpoint, for messages.
        decoding: Options by which the whole model decodes.

    Raises:
        ValueError: The weights do not fit, no gate reads a label, two are of one part,
            or a router chooses the experts.
    """
    model = skeleton(config)
    check_weights(model, state, place)
    check_finite(state, place, "take another checkpoint of the experiment")
    parts = {name: _Part(name, model) for name in PARTS}
    parts = {name: part for name, part in parts.items() if part.gates}
    if not parts:
        raise ValueError(f"{place} is of a dense model: there is nothing to slice")
    for label in labels:
        readers = [part for part in parts.values() if part.choose(label)]
        if not readers:
            _refuse(label, parts)
    experts: dict[str, int] = {}
    for part in parts.values():
        experts |= part.experts()
    made = SubModel(dict(config), slice_experts(state, experts), list(model.token_list))
    made.decoding = dict(decoding or {})
    for name, part in parts.items():
        if part.label is None:
            made.mixtures[name] = part.names
        else:
            section = {**made.config[f"{name}_conf"]}
            section.pop("moe")
            made.config[f"{name}_conf"] = section
            made.chosen[name] = part.chosen()
    if hasattr(model, "tasks"):
        _keep_tasks(made, model, parts.get("decoder"))
    return made


class _Part:
    """Encoder or decoder: its gates, and the label that was chosen of it."""

    def __init__(self, name: str, model: nn.Module):
        self.name = name
        part = getattr(model, name, None)
        self.gates: dict[str, Gate] = {}
        if part is not None:
            self.gates = {f"{name}.{block}": g for block, g in gates_of(part).items()}
        self.tokens = list(model.token_list)
        self.labels: Labels | None = getattr(part, "labels", None)
        if self.labels is not None:
            # of a model without memory: its table has to be made here
            self.labels.number_of_token = torch.empty(0, dtype=torch.long)
            self.labels.bind(self.tokens)
        self.label: str | None = None
        self.number = -1

    @property
    def names(self) -> tuple[str, ...]:
        """The labels that its gates read, in the order of their experts."""
        return next(iter(self.gates.values())).labels if self.labels else ()

    @property
    def told(self) -> str:
        """What chooses its experts, in words."""
        return f"chosen by {', '.join(self.names)}" if self.names else "learned"

    def choose(self, label: str) -> bool:
        """Take the expert of a label, if a gate reads it.

        Raises:
            ValueError: Another expert is taken already, or the label has several.
        """
        number = self.number_of(label)
        if number is None:
            return False
        for gate in self.gates.values():
            if gate.experts_per_label != 1:
                raise ValueError(
                    f"{self.name}_conf.moe: a router chooses among the "
                    f"{gate.experts_per_label or gate.num_experts} experts of {label}, "
                    "frame by frame, which no dense model does; only a label with one "
                    "expert ('gate: label') can be sliced"
                )
        if self.label is not None and number != self.number:
            raise ValueError(
                f"--label {self.label} {label}: both are of the {self.name}; make a "
                "slice for each"
            )
        self.label, self.number = label, number
        return True

    def chosen(self) -> list[str]:
        """The tokens of the expert that stays, the one that was named first."""
        numbers = self.labels.number_of_token.tolist()
        tokens = [t for t, number in zip(self.tokens, numbers) if number == self.number]
        return sorted(tokens, key=lambda token: token != self.label)

    def experts(self) -> dict[str, int]:
        """Block -> the expert that stays; empty where no label was chosen."""
        if self.label is None:
            return {}
        return dict.fromkeys(self.gates, self.number)

    def number_of(self, label: str) -> int | None:
        """The number of a label or of a token that is one; None for any other."""
        if label in self.names:
            return self.names.index(label)
        if self.labels is None or label not in self.tokens:
            return None
        number = int(self.labels.number_of_token[self.tokens.index(label)])
        return None if number < 0 else number


def _refuse(label: str, parts: Mapping[str, _Part]) -> None:
    """Say that no gate reads a label.

    Raises:
        ValueError: Always.
    """
    known = [name for part in parts.values() for name in part.names]
    if not known:
        raise ValueError(
            f"--label {label}: routers choose the experts of {' and '.join(parts)}, "
            "frame by frame and by no label; such a model cannot be sliced"
        )
    told = "; ".join(f"{name}: {part.told}" for name, part in parts.items())
    raise ValueError(
        f"--label {label}: no gate reads it{nearest(label, known)} ({told})"
    )


def _keep_tasks(made: SubModel, model: nn.Module, decoder: _Part | None) -> None:
    """Leave the tasks that the decoder can still do, and CTC with its task."""
    table = dict(model.task_table)
    if decoder is not None and decoder.label is not None:
        rows = {n: _of_label(row, decoder) for n, row in table.items()}
        table = {name: row for name, row in rows.items() if row is not None}
        if not table:
            raise ValueError(
                f"--label {decoder.label}: no prompt in model_conf.tasks has it, so "
                "there is no task that its expert does"
            )
    end = {name: made.tokens[task.prompt[-1]] for name, task in model.tasks.items()}
    made.prompts = {name: [*row.prompt, end[name]] for name, row in table.items()}
    conf = {**(made.config.get("model_conf") or {}), "tasks": as_plain(table)}
    if model.ctc is not None and model.ctc_task not in table:
        if getattr(model.encoder, "interctc_use_conditioning", False):
            raise ValueError(
                f"encoder_conf.interctc_use_conditioning: the encoder reads the CTC "
                f"head, which spells task {model.ctc_task}: take a label of that task, "
                "or one of the encoder alone, which leaves all tasks"
            )
        conf["ctc_weight"] = 0.0
        made.decoding.pop("ctc_weight", None)
        made.state = {k: v for k, v in made.state.items() if not k.startswith(CTC_HEAD)}
        made.notes.append(f"the CTC head is left out: it spells task {model.ctc_task}")
    made.config["model_conf"] = conf
    if tasks := made.decoding.pop("tasks", None):
        kept = [name for name in tasks if name in table]
        made.decoding |= {"tasks": kept} if kept else {}
    if not any(row.spoken for row in table.values()):
        made.decoding.pop("language", None)


def _of_label(row: TaskRow, decoder: _Part) -> TaskRow | None:
    """A task as the chosen expert does it; None where it does not.

    Of a label that is the spoken language, the prompt names that language for good.
    """
    prompt, slot = list(row.prompt), row.spoken_at
    label = decoder.label
    if slot is not None and decoder.number_of(prompt[slot]) is not None:
        if label not in decoder.tokens:
            return None
        spoken = label.strip("<|>")
        language = spoken if row.language == row.spoken else row.language
        prompt[slot] = label
        row = replace(row, prompt=prompt, spoken="", language=language)
    numbers = [decoder.number_of(token) for token in prompt]
    # the first label of a prompt is the one that counts
    first = next((number for number in numbers if number is not None), None)
    return row if first == decoder.number else None
