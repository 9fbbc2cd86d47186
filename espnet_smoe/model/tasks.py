"""Tasks of a model: what the decoder makes of an utterance, and by which prompt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from espnet_smoe.data.tokens import BEGIN
from espnet_smoe.options import reject_unknown

DEFAULT_TASKS = {
    "asr": {"target": "text", "prompt": ["<transcribe>", "<ko>"]},
    "st": {"target": "text_st", "prompt": ["<translate>", "<en>"]},
}


@dataclass(frozen=True)
class Task:
    """One thing that the decoder does.

    Attributes:
        name: Such as ``asr``.
        target: The field with its text.
        prompt: Ids of the prompt, ``<beginning_of_sentence>`` included.
    """

    name: str
    target: str
    prompt: tuple[int, ...]


def read_tasks(
    tasks: Mapping[str, Mapping[str, Any]] | None, token_list: Sequence[str]
) -> dict[str, Task]:
    """Read ``model_conf.tasks``.

    Args:
        tasks: Name -> ``{target, prompt}``; `DEFAULT_TASKS` when None.
        token_list: V tokens.

    Raises:
        ValueError: Unknown key, no target or prompt, or a prompt token that is not in
            the token list.
    """
    read = {}
    for name, options in (tasks or DEFAULT_TASKS).items():
        where = f"model_conf.tasks.{name}"
        reject_unknown(options, ("target", "prompt"), where)
        if not options.get("target") or not options.get("prompt"):
            raise ValueError(f"{where}: needs a target and a prompt")
        prompt = [*options["prompt"], BEGIN]
        missing = [t for t in prompt if t not in token_list]
        if missing:
            known = [t for t in token_list if t[:1] == "<" and t[-1:] == ">"]
            raise ValueError(
                f"{where}.prompt: {missing[0]} is not in the token list; known special "
                f"tokens: {' '.join(known)}"
            )
        ids = tuple(token_list.index(token) for token in prompt)
        read[name] = Task(name, options["target"], ids)
    return read
