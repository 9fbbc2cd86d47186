"""What sherpa-onnx's type ``whisper`` asks for, and the prompts of a model's tasks."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from espnet_smoe.data.task_table import token_of
from espnet_smoe.data.text.tokens import UNKNOWN
from espnet_smoe.model.smoe import ESPnetSMoEModel
from espnet_smoe.moe import BANDWIDTHS

PROMPT = 4  # tokens that sherpa-onnx begins with
NONE = -1  # no token's id
WHISPERS, OURS = re.compile(r"<\|[a-z]{2,3}\|>"), re.compile(r"<[a-z]{2,3}>")


@dataclass(frozen=True)
class Prompts:
    """The tasks of a model as sherpa-onnx asks for them.

    Attributes:
        tokens: R rows of `PROMPT` ids, shorter ones at the end.
        starts: Where each row begins.
        roles: Which of ``transcribe`` and ``translate`` each is for, as an id.
        languages: Id of the language of each, `NONE` where the prompt names the spoken
            one, and sherpa-onnx may name any.
        spoken: Where each prompt names the spoken language; `NONE` where it does not.
        experts: Number of the label of each, 0 without labels.
        transcribe: Id that asks for it; `NONE` where the model has no such task.
        translate: As ``transcribe``.
        codes: Language code -> id.
    """

    tokens: list[list[int]]
    starts: list[int]
    roles: list[int]
    languages: list[int]
    spoken: list[int]
    experts: list[int]
    transcribe: int
    translate: int
    codes: dict[str, int]


def read_prompts(model: ESPnetSMoEModel) -> Prompts:
    """The tasks of a model as sherpa-onnx asks for them.

    Raises:
        ValueError: A prompt is too long.
    """
    tokens, starts, spoken = [], [], []
    for task in model.tasks.values():
        start = PROMPT - len(task.prompt)
        if start < 0:
            raise ValueError(
                f"model_conf.tasks.{task.name}: a prompt of {len(task.prompt)} tokens, "
                f"but sherpa-onnx begins with {PROMPT}; train with a shorter one"
            )
        tokens.append([0] * start + list(task.prompt))
        starts.append(start)
        spoken.append(NONE if task.spoken_at is None else start + task.spoken_at)
    table = list(model.task_table.values())
    transcripts = [row.is_transcript for row in table]
    ids = _role_ids(tokens, transcripts, len(model.token_list))
    labels = getattr(model.decoder, "labels", None)
    experts = [0] * len(tokens)
    if labels is not None:
        experts = [labels.number_of(task.prompt) or 0 for task in model.tasks.values()]
    known = model.token_list
    codes = {
        row.spoken or row.language: _id(
            token_of(row.spoken or row.language, known), known
        )
        for row in table
    }
    languages = [NONE if row.spoken else codes[row.language] for row in table]
    if any(row.spoken for row in table):
        codes |= _languages(model, {*(labels.tokens if labels is not None else ())})
    return Prompts(
        tokens,
        starts,
        [ids[0] if transcript else ids[1] for transcript in transcripts],
        languages,
        spoken,
        experts,
        *ids,
        {code: number for code, number in codes.items() if code},
    )


def _languages(model: ESPnetSMoEModel, labels: set[str]) -> dict[str, int]:
    """Language code -> id of all that a prompt may name as spoken."""
    table, known = model.task_table.values(), model.token_list
    spoken = {token_of(row.spoken, known) for row in table if row.spoken}
    like = WHISPERS if any(token[:2] == "<|" for token in spoken) else OURS
    others = {token for row in table for token in row.prompt} - spoken
    others -= {token_of(row.language, known) for row in table}
    none = others | labels | {*BANDWIDTHS, UNKNOWN}
    found = [t for t in known if like.fullmatch(t) and t not in none]
    return {token.strip("<|>"): known.index(token) for token in found}


def _role_ids(
    tokens: Sequence[list[int]], transcripts: Sequence[bool], size: int
) -> tuple[int, int]:
    """Ids by which sherpa-onnx asks for a transcript or a translation.

    They are the tokens in which the first prompts of both differ, where each has one.
    """
    first = {wanted: prompt for prompt, wanted in zip(tokens[::-1], transcripts[::-1])}
    if len(first) == 2:
        for pair in zip(first[True], first[False]):
            if pair[0] != pair[1] and 0 not in pair:
                return pair
    return size if True in first else NONE, size + 1 if False in first else NONE


def _id(token: str, known: Sequence[str]) -> int:
    """Of a token; 0, the blank's, where it is none."""
    return known.index(token) if token in known else 0
