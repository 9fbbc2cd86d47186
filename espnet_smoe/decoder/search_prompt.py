"""The prompt of a task in ESPnet's own search, which knows ``<sos>`` alone."""

import functools
from collections.abc import Sequence
from typing import Any

import torch

from espnet_smoe.compat import AbsDecoder, BaseTransformerDecoder

SearchPrompt = tuple[int, tuple[int, ...]]  # id of <sos>; what stands in its place


def with_prompt(ys: torch.Tensor, prompt: SearchPrompt | None) -> torch.Tensor:
    """Put the prompt where ESPnet's search has put ``<sos>``.

    Args:
        ys: ``(N, L)`` prefixes.
        prompt: None: they stay as they are, and so do those with a prompt of their own.

    Returns:
        ``(N, P + L - 1)``.
    """
    if prompt is None or int(ys[0, 0]) != prompt[0]:
        return ys
    first = ys.new_tensor(prompt[1]).expand(len(ys), -1)
    return torch.cat((first, ys[:, 1:]), dim=1)


class _Prompted:
    """Beside a decoder of ESPnet's: scores what follows the prompt."""

    search_prompt: SearchPrompt | None = None

    def score(self, ys: torch.Tensor, state: Any, x: torch.Tensor) -> Any:
        return super().score(with_prompt(ys[None], self.search_prompt)[0], state, x)

    def batch_score(self, ys: torch.Tensor, *args: Any, **options: Any) -> Any:
        ys = with_prompt(ys, self.search_prompt)
        return super().batch_score(ys, *args, **options)

    def batch_score_partially_AR(self, *_: Any, **__: Any) -> Any:  # noqa: N802
        raise ValueError(
            "--partial_ar: a model of tasks needs their prompt; decode without it"
        )


class _Unpromptable:
    """Beside a decoder that sees one token at a time, or tokens of another's."""

    def score(self, *_: Any, **__: Any) -> Any:
        raise ValueError(
            f"decoder {type(self).__mro__[2].__name__} cannot be given the prompt of a "
            "task in ESPnet's search: train with 'decoder: smoe_transformer' or "
            "'decoder: transformer'"
        )

    batch_score = score


def take_prompt(decoder: AbsDecoder, sos: int, prompt: Sequence[int]) -> None:
    """Let a decoder that is not ours begin ESPnet's search with a prompt.

    Args:
        decoder: Changed in place; it stays an instance of its class.
        sos: Id with which the search begins.
        prompt: Ids that the decoder was trained to see there.
    """
    fits = isinstance(decoder, BaseTransformerDecoder)
    decoder.__class__ = _beside(_Prompted if fits else _Unpromptable, type(decoder))
    decoder.search_prompt = sos, tuple(prompt)


@functools.cache
def _beside(ours: type, theirs: type) -> type:
    if issubclass(theirs, (_Prompted, _Unpromptable)):
        return theirs
    return type(theirs.__name__, (ours, theirs), {"__module__": theirs.__module__})
