"""What our models share: features, an encoder that is told its routing, bfloat16."""

from contextlib import AbstractContextManager
from typing import Any

import torch

from espnet_smoe.compat import ESPnetASRModel
from espnet_smoe.moe import Routing


class RoutedASRModel(ESPnetASRModel):
    """An ESPnet ASR model whose encoder may be a mixture.

    Attributes:
        bf16_on_cpu: Train in bfloat16 autocast on CPU.
    """

    bf16_on_cpu = False

    def use_bf16_on_cpu(self, wanted: bool) -> None:
        """Where the CPU has it in hardware; elsewhere nothing changes."""
        self.bf16_on_cpu = wanted and torch.cpu._is_avx512_bf16_supported()

    def training_precision(self, x: torch.Tensor) -> AbstractContextManager:
        """The context in which a batch like ``x`` is trained."""
        bf16 = self.bf16_on_cpu and self.training and x.device.type == "cpu"
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
        """For our encoders that need no label; any other is called as ESPnet does."""
        return Routing(lengths) if hasattr(self.encoder, "loss_weights") else None
