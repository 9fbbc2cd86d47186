"""Tasks of a model: what the decoder makes of an utterance, and by which prompt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from espnet_smoe.data.preprocessor import LANGUAGE
from espnet_smoe.data.task_table import WHERE, TaskRow
from espnet_smoe.data.text.tokenizer import is_special
from espnet_smoe.data.text.tokens import BEGIN
from espnet_smoe.moe import Labels, Routing


@dataclass(frozen=True)
class Task:
    """One thing that the decoder does.

    Attributes:
        name: Such as ``asr``.
        target: The field with its text.
        prompt: Ids of the prompt, the token that ends it included.
        spoken_at: Where the prompt names the spoken language; None where it does not.
    """

    name: str
    target: str
    prompt: tuple[int, ...]
    spoken_at: int | None = None

    def prompt_for(self, language: int | None) -> tuple[int, ...]:
        """The prompt for speech of another language than its own.

        Args:
            language: Id of the language's token; None for the prompt's own.
        """
        prompt = list(self.prompt)
        if language is not None and self.spoken_at is not None:
            prompt[self.spoken_at] = language
        return tuple(prompt)

    def present_in(self, fields: Mapping[str, Any]) -> torch.Tensor:
        """``(B,)``, true where an utterance of the batch has the target."""
        target = fields.get(self.target)
        if target is None:
            return torch.zeros(1, dtype=torch.bool)
        return target[:, 0] >= 0

    def prompts(self, fields: Mapping[str, Any], rows: torch.Tensor) -> torch.Tensor:
        """The prompts of the utterances ``rows`` ``(b,)``: ``(b, P)``.

        It is the task's own, in the language of the batch's ``lang`` ``(B, 1)`` where
        it names one, unless the batch brings ``<target>_prompt``.

        Raises:
            ValueError: Prompts of different lengths in one batch.
        """
        own = fields.get(f"{self.target}_prompt")
        if own is None:
            prompts = rows.new_tensor(self.prompt).repeat(len(rows), 1)
            if self.spoken_at is not None and LANGUAGE in fields:
                prompts[:, self.spoken_at] = fields[LANGUAGE][rows, 0]
            return prompts
        own = own[rows]
        if bool((own < 0).any()):
            raise ValueError(
                f"{self.target}_prompt: prompts of different lengths in one batch; "
                "give every utterance as many prompt tokens"
            )
        return torch.cat([own, own.new_full((len(own), 1), self.prompt[-1])], dim=1)


class TaskPass(NamedTuple):
    """What came of one task of a batch.

    Attributes:
        loss: Without the auxiliary losses of the decoder's gates.
        targets: Utterances that have the task's target.
        stats: Statistics, without the task's name in their keys.
        routing: Of the decoder; None for a decoder that is not ours.
    """

    loss: torch.Tensor
    targets: int
    stats: dict[str, Any]
    routing: Routing | None


def read_tasks(
    table: Mapping[str, TaskRow],
    token_list: Sequence[str],
    labels: Labels | None = None,
    begin: str = BEGIN,
    sos: str | None = None,
) -> dict[str, Task]:
    """The tasks of a table, prompts as ids.

    Args:
        table: See `espnet_smoe.data.task_table`.
        token_list: V tokens.
        labels: What reads a prompt to choose the decoder's experts, bound already.
        begin: The token that ends every prompt: behind it the text begins.
        sos: The token that begins a text; where it is ``begin``, it may be all of the
            prompt, as in a model of one task.

    Raises:
        ValueError: No prompt, a prompt token that is not in the token list, or no label
            among them where the decoder needs one.
    """
    read = {}
    for name, row in table.items():
        where = f"{WHERE}.{name}"
        if not row.prompt and begin != sos:
            raise ValueError(f"{where}: needs a target and a prompt")
        prompt = [*row.prompt, begin]
        missing = [t for t in prompt if t not in token_list]
        if missing:
            known = [t for t in token_list if is_special(t)]
            raise ValueError(
                f"{where}.prompt: {missing[0]} is not in the token list; known special "
                f"tokens: {' '.join(known)}"
            )
        if labels is not None and not set(prompt) & set(labels.tokens):
            raise ValueError(
                f"{where}.prompt: {' '.join(row.prompt)} has no label, but the "
                "decoder's experts are chosen by one of "
                f"{', '.join(labels.names)} there; put it in the prompt or name one "
                "of its tokens in decoder_conf.moe.labels"
            )
        ids = tuple(token_list.index(token) for token in prompt)
        read[name] = Task(name, row.target, ids, row.spoken_at)
    return read
