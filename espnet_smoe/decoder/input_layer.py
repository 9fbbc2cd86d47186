"""What a decoder reads: tokens, or vectors."""

from torch import nn


def input_layers(
    kind: str, vocab_size: int, size: int, dropout_rate: float
) -> list[nn.Module]:
    """ESPnet's input layers of a decoder.

    Args:
        kind: ``embed`` for tokens, ``linear`` for vectors.
        vocab_size: V, tokens or the width of a vector.
        size: D.
        dropout_rate: For vectors.
    """
    if kind == "embed":
        return [nn.Embedding(vocab_size, size)]
    return [
        nn.Linear(vocab_size, size),
        nn.LayerNorm(size),
        nn.Dropout(dropout_rate),
        nn.ReLU(),
    ]
