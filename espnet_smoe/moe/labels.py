"""Labels: what is known of an utterance beforehand, read once per forward pass."""

from collections.abc import Sequence

import torch
from torch import nn

from espnet_smoe.moe.dense_dispatch import traced
from espnet_smoe.moe.routing import BatchLabels, Routing


class Labels(nn.Module):
    """Turns the labels of a batch into the routing of all layers behind it.

    Labels are special tokens. They are bound to a token list once; token ids are then
    mapped to the labels' numbers 0..L-1, in the order given.

    Args:
        tokens: The labels.

    Example:
        >>> labels = Labels(["<wb>", "<nb>"]).bind(["<blank>", "<nb>", "<wb>"])
        >>> labels.numbers(torch.tensor([1, 2, 2]))
        tensor([1, 0, 0])
    """

    def __init__(self, tokens: Sequence[str]):
        super().__init__()
        if not tokens or len(set(tokens)) != len(tokens):
            raise ValueError(f"labels must be different tokens, got {list(tokens)}")
        self.tokens = tuple(tokens)
        self.register_buffer("number_of_token", torch.empty(0, dtype=torch.long), False)

    def bind(self, token_list: Sequence[str]) -> "Labels":
        """Learn the ids of the labels.

        Raises:
            ValueError: A label is not in the token list.
        """
        missing = [label for label in self.tokens if label not in token_list]
        if missing:
            raise ValueError(
                f"label {', '.join(missing)} is not in the token list; add it as a "
                "special token when the token list is made"
            )
        table = torch.full((len(token_list),), -1)
        for number, label in enumerate(self.tokens):
            table[list(token_list).index(label)] = number
        self.number_of_token = table.to(self.number_of_token.device)
        self.token_list = tuple(token_list)
        return self

    def numbers(
        self, label_ids: torch.Tensor, utterances: Sequence[str] | None = None
    ) -> torch.Tensor:
        """Map token ids to labels.

        Args:
            label_ids: ``(B,)`` token ids.
            utterances: Their names, for the error message.

        Returns:
            ``(B,)`` numbers of the labels.

        Raises:
            ValueError: Not bound yet, or a token is not one of the labels.
        """
        if self.number_of_token.numel() == 0:
            raise ValueError(
                f"the labels {', '.join(self.tokens)} have no token list; use them in "
                "a model that binds them, such as 'model: smoe'"
            )
        numbers = self.number_of_token[label_ids]
        if traced():  # a graph cannot look, but it stops
            known = (numbers >= 0).all()
            names = ", ".join(self.tokens)
            torch._assert_async(known, f"not a label of this mixture: {names}")
        elif bool((numbers < 0).any()):
            row = int((numbers < 0).nonzero()[0])
            who = f"utterance {utterances[row]}" if utterances else f"row {row}"
            raise ValueError(
                f"{who}: {self.token_list[label_ids[row]]} is not a label of this "
                f"mixture; known labels: {', '.join(self.tokens)}"
            )
        return numbers

    def find(self, prompts: torch.Tensor) -> torch.Tensor:
        """The first label in each row of token ids.

        Args:
            prompts: ``(B, L)``, whatever else is in them.

        Returns:
            ``(B,)``; the first token of a row without a label, which `route` refuses.
        """
        if self.number_of_token.numel() == 0:
            return prompts[:, 0]
        known = self.number_of_token[prompts] >= 0
        return prompts.gather(1, known.int().argmax(1, keepdim=True)).squeeze(1)

    def route(
        self,
        label_ids: torch.Tensor,
        lengths: torch.Tensor,
        utterances: Sequence[str] | None = None,
    ) -> Routing:
        """Read the labels once for all layers.

        Args:
            label_ids: ``(B,)`` token ids.
            lengths: ``(B,)`` frames that are not padding.
            utterances: Names of the utterances, for the error message.
        """
        numbers = self.numbers(label_ids, utterances)
        return Routing(lengths, BatchLabels(numbers, len(self.tokens)))
