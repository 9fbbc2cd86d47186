"""Model `speech_moe`: CTC over an encoder of experts (SpeechMoE, Eq. 12).

``L = L_ctc + alpha L_sparsity + beta L_importance + gamma L_embedding``: alpha and beta
are options of the mixture (``encoder_conf.moe``), gamma is ours. The embedding network
learns the same targets by a CTC loss of its own.
"""

from typing import Any, Unpack

import jiwer
import torch

from espnet_smoe.compat import CTC, force_gatherable
from espnet_smoe.config.ignored_options import warn_without_effect
from espnet_smoe.config.options import options_of
from espnet_smoe.config.typed import Weight
from espnet_smoe.model.metrics import auxiliary_loss, greedy_ctc, routing_statistics
from espnet_smoe.model.routed import ModelParts, RoutedASRModel


class ESPnetSpeechMoEModel(RoutedASRModel):
    """Speech to modelling units by CTC.

    Args:
        embedding_ctc_weight: gamma, the weight of the embedding network's own CTC
            loss; plays no part where the encoder has no such network.
        bf16_on_cpu: Train in bfloat16 autocast on a CPU that is faster in it. It
            seldom pays: kernels are built anew for each shape, and the rows of an
            expert are as many as the batch makes them.
        ignore_id: Padding of targets.
        extract_feats_in_collect_stats: Part of ESPnet's interface.
        **parts: Of ESPnet, an encoder of any kind, `speech_moe` for the paper's, and
            no decoder; ``token_list`` are the units, ``<blank>`` first.

    Raises:
        ValueError: Unknown option, or a decoder.
    """

    serves = ("embedding",)

    @options_of("model_conf")
    def __init__(
        self,
        *,
        embedding_ctc_weight: Weight = 0.01,
        bf16_on_cpu: bool = False,
        ignore_id: int = -1,
        extract_feats_in_collect_stats: bool = True,
        **parts: Unpack[ModelParts],
    ):
        if parts["decoder"] is not None:
            raise ValueError("model: speech_moe has no decoder; remove 'decoder'")
        super().__init__(
            **parts,
            ctc_weight=1.0,
            ignore_id=ignore_id,
            report_cer=False,
            report_wer=False,
            extract_feats_in_collect_stats=extract_feats_in_collect_stats,
        )
        self.bf16_on_cpu = bf16_on_cpu
        self.embedding_ctc = None
        self.embedding_ctc_weight = embedding_ctc_weight
        embedding_size = getattr(self.encoder, "embedding_size", 0)
        if embedding_size and embedding_ctc_weight:
            self.embedding_ctc = CTC(self.vocab_size, embedding_size)
        detached = bool(embedding_size) and self.encoder.detach_embedding
        warn_without_effect(
            {
                "model_conf.embedding_ctc_weight: with 0 nothing trains the embedding "
                "network; give it a weight or write 'encoder_conf.detach_embedding: "
                "false'": detached and not embedding_ctc_weight,
            }
        )

    def forward(
        self,
        speech: torch.Tensor,
        speech_lengths: torch.Tensor,
        text: torch.Tensor,
        text_lengths: torch.Tensor,
        **fields: Any,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor], torch.Tensor]:
        """Loss and statistics of a batch.

        Args:
            speech: ``(B, samples)``.
            speech_lengths: ``(B,)``.
            text: ``(B, L)`` units, -1 where padded.
            text_lengths: ``(B,)``.
            **fields: ``utt_id``, for messages.

        Returns:
            Loss, the mean over the utterances; statistics; B.
        """
        with self.training_precision(speech):
            routing = self.new_routing(speech_lengths)
            encoded, lengths, _ = self.encode_routed(speech, speech_lengths, routing)
            text = text[:, : text_lengths.max()]
            targets = lengths, text, text_lengths
            fits = self.fits_ctc(*targets, fields.get("utt_id"))
            loss = self.ctc_loss(self.ctc, fits, encoded, *targets)
            stats: dict[str, Any] = {"loss_ctc": loss.detach()}
            if self.embedding_ctc is not None:
                e = routing.embedding_sequence  # (B, T, De)
                own = self.ctc_loss(self.embedding_ctc, fits, e, *targets)
                stats["loss_embedding_ctc"] = own.detach()
                loss = loss + self.embedding_ctc_weight * own
            aux_loss, aux_stats = auxiliary_loss("encoder", self.encoder, routing)
            loss = loss + aux_loss
        stats |= aux_stats
        stats["too_short"] = float((~fits).sum())
        stats |= routing_statistics("encoder", routing, each_layer=not self.training)
        if not self.training:
            stats["ser"] = self._unit_error_rate(encoded, lengths, text)
        stats["loss"] = loss.detach()
        stats = {k: torch.as_tensor(v, dtype=torch.float32) for k, v in stats.items()}
        return force_gatherable((loss, stats, len(speech)), loss.device)

    def encode(
        self, speech: torch.Tensor, speech_lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode waveforms for decoding: ``(B, T, D)``, ``(B,)`` frames."""
        routing = self.new_routing(speech_lengths)
        encoded, lengths, _ = self.encode_routed(speech, speech_lengths, routing)
        return encoded, lengths

    def _unit_error_rate(
        self, encoded: torch.Tensor, lengths: torch.Tensor, text: torch.Tensor
    ) -> float:
        """Error rate of greedy CTC in modelling units."""
        best = greedy_ctc(self.ctc.argmax(encoded), lengths, self.blank_id)
        pairs = [
            ([self.token_list[i] for i in r if i != self.ignore_id], h)
            for r, h in zip(text.tolist(), best)
        ]
        pairs = [(r, [self.token_list[i] for i in h]) for r, h in pairs if r]
        if not pairs:
            return float("nan")
        references, hypotheses = zip(*pairs)
        joined = [[" ".join(units) for units in s] for s in (references, hypotheses)]
        return jiwer.wer(*joined)
