"""A model whose encoder may read a label: from the data, the caller or the waveform."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from espnet_smoe.data.speech.bandwidth import bandwidth_at_16khz
from espnet_smoe.model.routed import RoutedASRModel
from espnet_smoe.moe import BANDWIDTHS, Labels, Routing, label_ids

SAMPLE_RATE = 16000  # Hz, of the model's input


class LabeledASRModel(RoutedASRModel):
    """An ASR model that brings each utterance's label to its encoder.

    Attributes:
        label_field: The field with the label.
    """

    serves = ("labels",)
    label_field: str

    @property
    def encoder_labels(self) -> Labels | None:
        """What reads the encoder's labels; None where it needs none."""
        return getattr(self.encoder, "labels", None)

    def encode(
        self,
        speech: torch.Tensor,
        speech_lengths: torch.Tensor,
        label_ids: torch.Tensor | None = None,
        utterances: Sequence[str] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode waveforms for decoding.

        Args:
            speech: ``(B, samples)`` at 16 kHz.
            speech_lengths: ``(B,)``.
            label_ids: ``(B,)`` token ids, for an encoder that reads labels. None, as
                ESPnet's own decoding has it: the bandwidth that the waveform shows.
            utterances: Their names, for error messages.

        Returns:
            ``(B, T, D)``, ``(B,)`` frames.

        Raises:
            ValueError: The encoder's labels are no bandwidths and none are given.
        """
        routing = self.new_routing(speech_lengths)
        if self.encoder_labels is not None:
            if label_ids is None:
                label_ids = self._bandwidth_labels(speech, speech_lengths)
            routing = self._route(label_ids, utterances)
        encoded, lengths, _ = self.encode_routed(speech, speech_lengths, routing)
        return encoded, lengths

    def route_encoder(
        self,
        fields: Mapping[str, Any],
        lengths: torch.Tensor,
        names: Sequence[str] | None,
    ) -> Routing | None:
        """The encoder's routing of a batch; None for an encoder that takes none.

        Args:
            fields: Of the batch.
            lengths: ``(B,)``.
            names: Of the utterances, for error messages.

        Raises:
            ValueError: The encoder reads a label that the batch lacks.
        """
        if self.encoder_labels is None:
            return self.new_routing(lengths)
        if self.label_field not in fields:
            raise ValueError(
                f"the encoder's experts are chosen by the {self.label_field}, but the "
                f"data has none; add utt2{self.label_field} to the data directory and "
                f"'utt2{self.label_field},{self.label_field},text' to the data paths"
            )
        return self._route(fields[self.label_field][:, 0], names)

    def _route(self, label_ids: torch.Tensor, names: Sequence[str] | None) -> Routing:
        unknown = torch.ones_like(label_ids)  # lengths, until the encoder sets them
        return self.encoder_labels.route(label_ids, unknown, names)

    def _bandwidth_labels(
        self, speech: torch.Tensor, lengths: torch.Tensor
    ) -> torch.Tensor:
        """``(B,)`` token ids of the bandwidths estimated from ``(B, samples)``."""
        tokens = self.encoder_labels.tokens
        if speech.dim() != 2 or not set(BANDWIDTHS).issuperset(tokens):
            raise ValueError(
                f"no label reached the encoder; give one of {', '.join(tokens)} for "
                "each utterance"
            )
        waves = [x[: int(n)].float().cpu().numpy() for x, n in zip(speech, lengths)]
        labels = [f"<{bandwidth_at_16khz(wave, SAMPLE_RATE)}>" for wave in waves]
        ids = label_ids(self.token_list)
        return speech.new_tensor([ids[label] for label in labels], dtype=torch.long)
