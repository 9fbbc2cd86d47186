"""Labels: what is known of an utterance beforehand, read once per forward pass."""

import re
from collections.abc import Sequence

import torch
from torch import nn

from espnet_smoe.moe.dense_dispatch import traced
from espnet_smoe.moe.routing import BatchLabels, Routing

# A special token, a pattern for all that are like it (``<st_*>``), or several of these
Label = str | Sequence[str]
ANY = "*"  # in a pattern: any letters


def entries_of(label: Label) -> tuple[str, ...]:
    """The tokens and patterns of a label."""
    return (label,) if isinstance(label, str) else tuple(label)


def name_of(label: Label) -> str:
    """A label in a message or a table.

    Example:
        >>> name_of(["<st_eng>", "<st_kor>"])
        '<st_eng>|<st_kor>'
    """
    return "|".join(entries_of(label))


def tokens_like(entry: str, token_list: Sequence[str]) -> list[str]:
    """The tokens that one entry of a label stands for.

    Example:
        >>> tokens_like("<st_*>", ["<asr>", "<st_eng>", "<st_kor>"])
        ['<st_eng>', '<st_kor>']
    """
    if entry in token_list:
        return [entry]
    if ANY not in entry:
        return []
    like = re.compile(".*".join(map(re.escape, entry.split(ANY))))
    return [token for token in token_list if like.fullmatch(token)]


BANDWIDTHS = ("<wb>", "<nb>")  # E0, E1 (S-MoE, Eq. 2)


def label_ids(token_list: Sequence[str]) -> dict[str, int]:
    """The id of each token, and of the bandwidths, whatever the list.

    No text holds a bandwidth, so a model of other people need not have it among its
    tokens: it then has an id behind the V of them.

    Example:
        >>> label_ids(["<blank>", "<ko>"])
        {'<blank>': 0, '<ko>': 1, '<wb>': 2, '<nb>': 3}
    """
    behind = [label for label in BANDWIDTHS if label not in token_list]
    return {token: i for i, token in enumerate([*token_list, *behind])}


class Labels(nn.Module):
    """Turns the labels of a batch into the routing of all layers behind it.

    Labels are special tokens. They are bound to a token list once; their ids, see
    `label_ids`, are then mapped to the labels' numbers 0..L-1, in the order given.

    Args:
        labels: Each a token, a pattern such as ``<st_*>``, or a list of these: tokens
            that share an expert. A token that is written out belongs where it stands,
            though a pattern of another label is like it.

    Attributes:
        names: The labels as they are named in messages.
        tokens: All tokens that are labels; once bound, those of patterns too.

    Example:
        >>> labels = Labels(["<wb>", "<nb>"]).bind(["<blank>", "<nb>", "<wb>"])
        >>> labels.numbers(torch.tensor([1, 2, 2]))
        tensor([1, 0, 0])
        >>> Labels(["<asr>", "<st_*>"]).bind(["<st_en>", "<asr>", "<st_ko>"]).tokens
        ('<asr>', '<st_en>', '<st_ko>')
    """

    def __init__(self, labels: Sequence[Label]):
        super().__init__()
        entries = [entry for label in labels for entry in entries_of(label)]
        if not entries or len({*entries}) < len(entries):
            raise ValueError(f"labels must be different tokens, got {list(labels)}")
        self.names = tuple(map(name_of, labels))
        self.tokens = tuple(entries)
        self.entries = [(n, e) for n, one in enumerate(labels) for e in entries_of(one)]
        self.register_buffer("number_of_token", torch.empty(0, dtype=torch.long), False)

    def bind(self, token_list: Sequence[str]) -> "Labels":
        """Learn the ids of the labels.

        Raises:
            ValueError: A label is neither in the token list nor a bandwidth, or no
                token is like a pattern.
        """
        token_list = list(label_ids(token_list))
        number_of: dict[str, int] = {}
        missing = []
        # what is written out comes before what a pattern is like
        for number, entry in sorted(self.entries, key=lambda e: e[1] not in token_list):
            tokens = tokens_like(entry, token_list)
            missing += [] if tokens else [entry]
            for token in tokens:
                number_of.setdefault(token, number)
        if missing:
            raise ValueError(
                f"label {', '.join(missing)} is not in the token list; add it as a "
                "special token when the token list is made"
            )
        table = torch.full((len(token_list),), -1)
        for token, number in number_of.items():
            table[token_list.index(token)] = number
        self.number_of_token = table.to(self.number_of_token.device)
        self.token_list = tuple(token_list)
        self.tokens = tuple(sorted(number_of, key=lambda token: number_of[token]))
        return self

    def numbers(
        self, label_ids: torch.Tensor, utterances: Sequence[str] | None = None
    ) -> torch.Tensor:
        """Map token ids to labels.

        Args:
            label_ids: ``(B,)`` ids, see the function of that name.
            utterances: Their names, for the error message.

        Returns:
            ``(B,)`` numbers of the labels.

        Raises:
            ValueError: Not bound yet, or a token is not one of the labels.
        """
        if self.number_of_token.numel() == 0:
            raise ValueError(
                f"the labels {', '.join(self.names)} have no token list; use them in "
                "a model that binds them, such as 'model: smoe'"
            )
        numbers = self.number_of_token[label_ids]
        if traced():  # a graph cannot look, but it stops
            known = (numbers >= 0).all()
            names = ", ".join(self.names)
            torch._assert_async(known, f"not a label of this mixture: {names}")
        elif bool((numbers < 0).any()):
            row = int((numbers < 0).nonzero()[0])
            who = f"utterance {utterances[row]}" if utterances else f"row {row}"
            raise ValueError(
                f"{who}: {self.token_list[label_ids[row]]} is not a label of this "
                f"mixture; known labels: {', '.join(self.names)}"
            )
        return numbers

    def number_of(self, prompt: Sequence[int]) -> int | None:
        """The number of the first label in a prompt of token ids; None without one."""
        numbers = self.number_of_token[list(prompt)]
        known = numbers[numbers >= 0]
        return int(known[0]) if len(known) else None

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
            label_ids: ``(B,)`` ids, see the function of that name.
            lengths: ``(B,)`` frames that are not padding.
            utterances: Names of the utterances, for the error message.
        """
        numbers = self.numbers(label_ids, utterances)
        return Routing(lengths, BatchLabels(numbers, len(self.names)))
