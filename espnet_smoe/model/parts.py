"""What a model knows of its encoder and decoder, and checks when it is built."""

from collections.abc import Collection, Iterator
from inspect import signature
from typing import Any

from torch import nn

from espnet_smoe.compat import AbsDecoder
from espnet_smoe.config.ignored_options import warn_without_effect
from espnet_smoe.moe import MoEFeedForward


def mixtures_of(part: nn.Module) -> Iterator[MoEFeedForward]:
    """The mixtures of a part, without those of a second decoder inside it.

    That one, from right to left, has a forward pass of its own.
    """
    for child in part.children():
        if isinstance(child, MoEFeedForward):
            yield child
        elif not isinstance(child, AbsDecoder):
            yield from mixtures_of(child)


def takes_routing(part: nn.Module | None) -> bool:
    """Whether an encoder or decoder is called with a `Routing`, ours or another's."""
    return part is not None and "routing" in signature(part.forward).parameters


def auxiliary_loss_names(part: nn.Module | None) -> list[str]:
    """The auxiliary losses that the gates of a part have a weight for."""
    layers = mixtures_of(part) if part is not None else ()
    return list(dict.fromkeys(n for layer in layers for n in layer.gate.loss_weights))


def bind_labels(model: nn.Module) -> None:
    """Tell the labels of a model's encoder and decoder its token list.

    Raises:
        ValueError: A label is not in it; says which part has the label.
    """
    for name in ("encoder", "decoder"):
        labels = getattr(getattr(model, name, None), "labels", None)
        if labels is not None:
            try:
                labels.bind(model.token_list)
            except ValueError as error:
                raise ValueError(f"{name}_conf.moe.labels: {error}") from error


def check_part(
    name: str, part: Any, model: nn.Module, serves: Collection[str] = ()
) -> None:
    """Refuse experts that the model cannot choose; warn of what it never trains.

    Args:
        name: ``encoder`` or ``decoder``.
        part: Ours, another one, or None.
        model: The model.
        serves: What the model does: ``labels`` brings each utterance's label to the
            gates, ``prompts`` begins each text with a label, which a decoder reads
            there, ``right`` trains the decoder from right to left, ``embedding`` the
            embedding network.

    Raises:
        ValueError: Gates that read a label, which the model does not give them; or
            mixtures in a part that takes no routing.
    """
    kind = type(model).__name__
    if (
        isinstance(part, nn.Module)
        and next(mixtures_of(part), None) is not None
        and not takes_routing(part)
    ):
        raise ValueError(
            f"{name}: {type(part).__name__} has mixtures, but its forward takes no "
            "'routing'; add the argument and hand it to each MoEFeedForward"
        )
    labels = getattr(part, "labels", None)
    needed = {"labels"} if name == "encoder" else {"labels", "prompts"}
    if labels is not None and not needed.intersection(serves):
        raise ValueError(
            f"{name}_conf.moe: its gates read a label ({', '.join(labels.tokens)}), "
            f"which {kind} brings to no {name}; write 'model: smoe' (for ESPnet's ST "
            "recipes run espnet_smoe.bin.st_train), or a learned gate without "
            "labels: 'gate: topk'"
        )
    untrained = getattr(part, "detach_embedding", False) and part.embedding_size
    warn_without_effect(
        {
            f"{name}_conf.r_num_blocks: {kind} does not train the decoder from right "
            "to left; write 0, or 'model: u2pp' with a reverse_weight": (
                getattr(part, "right", None) is not None and "right" not in serves
            ),
            f"{name}_conf.detach_embedding: {kind} has no loss for the embedding "
            "network, which then learns nothing; write 'detach_embedding: false', or "
            "'model: speech_moe' with an embedding_ctc_weight": (
                bool(untrained) and "embedding" not in serves
            ),
        }
    )


def check_interctc(encoder: Any, interctc_weight: float, ctc_weight: float) -> None:
    """Warn of options of CTC inside the encoder that have no effect.

    Args:
        encoder: Any.
        interctc_weight: Of these losses.
        ctc_weight: Of all CTC losses.
    """
    layers = getattr(encoder, "interctc_layer_idx", None) or []
    conditioned = getattr(encoder, "interctc_use_conditioning", False)
    warn_without_effect(
        {
            f"model_conf.interctc_weight: {interctc_weight} has no effect, no layer of "
            "the encoder has a CTC loss; name some in encoder_conf.interctc_layer_idx "
            "or remove it": interctc_weight > 0 and not layers,
            f"model_conf.interctc_weight: {interctc_weight} has no effect where "
            "ctc_weight is 0": interctc_weight > 0 and bool(layers) and not ctc_weight,
            f"encoder_conf.interctc_layer_idx: {layers} has no effect where "
            "model_conf.interctc_weight is 0": (
                bool(layers) and not interctc_weight and not conditioned
            ),
            "encoder_conf.interctc_use_conditioning: no effect without "
            "interctc_layer_idx": conditioned and not layers,
        }
    )
