"""What our models share: features, an encoder with its routing, CTC, bfloat16."""

import logging
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypedDict

import torch
from torch import nn

from espnet_smoe.compat import CTC, AbsDecoder, AbsEncoder, ESPnetASRModel
from espnet_smoe.model.bf16 import faster_in_bf16
from espnet_smoe.model.losses import LabelSmoothingLoss, ctc_loss
from espnet_smoe.model.parts import check_interctc, check_part, takes_routing
from espnet_smoe.moe import Routing


class ModelParts(TypedDict):
    """What ESPnet's task fills in when it builds a model.

    Attributes:
        vocab_size: V.
        token_list: V tokens.
        frontend: Waveform to features.
        specaug: Augmentation in training.
        normalize: Feature normalisation.
        preencoder: Such as `stacked_deltas`, or None.
        encoder: Features to frames.
        postencoder: On the encoder, or None.
        decoder: With attention, or None.
        ctc: CTC head on the encoder.
        joint_network: None.
    """

    vocab_size: int
    token_list: Sequence[str]
    frontend: nn.Module | None
    specaug: nn.Module | None
    normalize: nn.Module | None
    preencoder: nn.Module | None
    encoder: AbsEncoder
    postencoder: nn.Module | None
    decoder: AbsDecoder | None
    ctc: CTC
    joint_network: None


class RoutedASRModel(ESPnetASRModel):
    """An ESPnet ASR model whose encoder may be a mixture.

    Attributes:
        serves: What a model does for its parts, see `check_part`.
        bf16_on_cpu: Train in bfloat16 autocast on a CPU that is faster in it.
        too_short: Utterances with too few frames that were named.
    """

    serves: Collection[str] = ()
    bf16_on_cpu: bool

    def __init__(self, **parts: Any):
        parts["token_list"] = list(parts["token_list"])
        super().__init__(**parts)
        for name in ("encoder", "decoder"):
            check_part(name, getattr(self, name), self, self.serves)
        if hasattr(self, "criterion_att"):
            given = self.criterion_att
            self.criterion_att = LabelSmoothingLoss(
                *(given.size, given.padding_idx, given.smoothing),
                given.normalize_length,
            )
        check_interctc(self.encoder, self.interctc_weight, self.ctc_weight)
        self.too_short: set[str] = set()

    def training_precision(self, x: torch.Tensor) -> AbstractContextManager:
        """The context in which a batch like ``x`` is trained."""
        wanted = self.bf16_on_cpu and self.training and x.device.type == "cpu"
        bf16 = wanted and faster_in_bf16()
        return torch.autocast("cpu", torch.bfloat16, enabled=bf16)

    def encode_routed(
        self,
        speech: torch.Tensor,
        speech_lengths: torch.Tensor,
        routing: Routing | None,
        **options: Any,
    ) -> tuple[torch.Tensor, torch.Tensor, list[tuple[int, torch.Tensor]]]:
        """Encode waveforms.

        Args:
            speech: ``(B, samples)``.
            speech_lengths: ``(B,)``.
            routing: For an encoder that is a mixture; None for any other.
            **options: For the encoder.

        Returns:
            ``(B, T, D)``; ``(B,)`` frames; the layers with a CTC loss of their own.
        """
        # as ESPnet does it: powers of a loud wave have no place in float16
        with torch.autocast(speech.device.type, enabled=False):
            feats, lengths = self._extract_feats(speech, speech_lengths)
            if self.specaug is not None and self.training:
                feats, lengths = self.specaug(feats, lengths)
            if self.normalize is not None:
                feats, lengths = self.normalize(feats, lengths)
        if self.preencoder is not None:
            feats, lengths = self.preencoder(feats, lengths)
        extra = options if routing is None else {**options, "routing": routing}
        if getattr(self.encoder, "interctc_use_conditioning", False):
            extra["ctc"] = self.ctc
        encoded, lengths, _ = self.encoder(feats, lengths, **extra)
        encoded, hidden = encoded if isinstance(encoded, tuple) else (encoded, [])
        if self.postencoder is not None:
            encoded, lengths = self.postencoder(encoded, lengths)
        return encoded, lengths, hidden

    def new_routing(self, lengths: torch.Tensor) -> Routing | None:
        """For an encoder that takes one and needs no label; else as ESPnet calls it."""
        return Routing(lengths) if takes_routing(self.encoder) else None

    def with_frames(
        self, lengths: torch.Tensor, names: Sequence[str] | None
    ) -> torch.Tensor:
        """Which utterances the subsampling left a frame of; the others are named once.

        Args:
            lengths: ``(B,)`` frames of the encoder.
            names: Of the utterances, for the message.

        Returns:
            ``(B,)`` booleans.
        """
        has_frames = lengths > 0
        for row in (~has_frames).nonzero()[:, 0].tolist():
            self._name_once(
                row,
                names,
                "too short for a single frame of the encoder; it plays no part in the "
                "loss: filter short utterances, or take fewer frames together",
            )
        return has_frames

    def _name_once(self, row: int, names: Sequence[str] | None, message: str) -> None:
        name = names[row] if names else f"row {row}"
        if name not in self.too_short:
            self.too_short.add(name)
            logging.warning("%s: %s", name, message)

    def fits_ctc(
        self,
        lengths: torch.Tensor,
        text: torch.Tensor,
        text_lengths: torch.Tensor,
        names: Sequence[str] | None,
    ) -> torch.Tensor:
        """Which utterances CTC has frames enough for; the others are named once.

        Args:
            lengths: ``(B,)`` frames.
            text: ``(B, L)`` tokens, padded with ``ignore_id``.
            text_lengths: ``(B,)``.
            names: Of the utterances, for the message.

        Returns:
            ``(B,)`` booleans.
        """
        text_lengths = text_lengths.to(text.device)
        repeated = (text[:, 1:] == text[:, :-1]) & (text[:, 1:] != self.ignore_id)
        needed = text_lengths + repeated.sum(1)  # a blank stands between equal tokens
        fits = lengths.to(needed.device) >= needed
        for row in (~fits).nonzero()[:, 0].tolist():
            self._name_once(
                row,
                names,
                f"{int(lengths[row])} frames for {int(text_lengths[row])} tokens, CTC "
                f"needs {int(needed[row])}; it plays no part in the CTC loss: look at "
                "its audio and text, or take fewer frames together",
            )
        return fits

    def ctc_loss(
        self,
        ctc: CTC,
        fits: torch.Tensor,
        encoded: torch.Tensor,
        lengths: torch.Tensor,
        text: torch.Tensor,
        text_lengths: torch.Tensor,
    ) -> torch.Tensor:
        """Mean over the batch; an utterance that does not fit costs nothing."""
        if not fits.any():
            return encoded.sum() * 0.0
        given = encoded[fits], lengths[fits], text[fits], text_lengths[fits]
        loss = ctc_loss(ctc, *given)
        return loss * fits.sum() / len(fits)
