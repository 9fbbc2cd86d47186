"""Model `u2pp`: CTC and two decoders over an encoder for streams and whole utterances.

``L = w L_ctc + (1 - w) [(1 - r) L_left_to_right + r L_right_to_left]`` (U2++, Wu et al.
2021, arXiv 2106.05642, Eq. 1 and 2), and the auxiliary losses of the mixtures.
"""

from typing import Annotated, Any, Unpack

import torch
from torch import nn

from espnet_smoe.compat import force_gatherable
from espnet_smoe.config.ignored_options import warn_without_effect
from espnet_smoe.config.options import options_of
from espnet_smoe.config.typed import Range, Rate
from espnet_smoe.decoder.bidirectional import U2PPTransformerDecoder
from espnet_smoe.encoder.conformer import U2PPConformerEncoder
from espnet_smoe.model.metrics import (
    auxiliary_losses,
    error_rates,
    greedy_ctc,
    routing_statistics,
)
from espnet_smoe.model.routed import ModelParts, RoutedASRModel
from espnet_smoe.moe import Routing


class ESPnetU2PPModel(RoutedASRModel):
    """Speech to text in two passes: CTC first, then both decoders.

    Args:
        ctc_weight: w, above 0: every way to decode needs the CTC head.
        reverse_weight: r; 0 where there is no decoder from right to left.
        ignore_id: Padding of targets.
        lsm_weight: Label smoothing.
        length_normalized_loss: Mean over tokens instead of utterances.
        bf16_on_cpu: Train in bfloat16 autocast on a CPU that is faster in it.
        report_cer: Report the character error rate of greedy CTC in validation.
        report_wer: Report its word error rate.
        extract_feats_in_collect_stats: Part of ESPnet's interface.
        **parts: Of ESPnet; ``encoder: u2pp_conformer``, ``decoder: u2pp_transformer``,
            neither pre-encoder nor post-encoder.

    Raises:
        ValueError: Unknown option, or parts that do not go together.
    """

    serves = ("right",)

    @options_of("model_conf")
    def __init__(
        self,
        *,
        ctc_weight: Annotated[float, Range(above=0, below=1)] = 0.3,
        reverse_weight: Rate = 0.3,
        ignore_id: int = -1,
        lsm_weight: Rate = 0.1,
        length_normalized_loss: bool = False,
        bf16_on_cpu: bool = False,
        report_cer: bool = True,
        report_wer: bool = True,
        extract_feats_in_collect_stats: bool = True,
        **parts: Unpack[ModelParts],
    ):
        check_parts(parts)
        super().__init__(
            **parts,
            ctc_weight=ctc_weight,
            ignore_id=ignore_id,
            lsm_weight=lsm_weight,
            length_normalized_loss=length_normalized_loss,
            report_cer=False,  # ESPnet's calculators need a package of their own
            report_wer=False,
            extract_feats_in_collect_stats=extract_feats_in_collect_stats,
        )
        reverses = self.decoder.right is not None
        self.reverse_weight = reverse_weight if reverses else 0.0
        warn_without_effect(
            {
                "model_conf.reverse_weight: with 0 nothing trains the decoder from "
                "right to left; give it a weight or write 'decoder_conf.r_num_blocks: "
                "0'": reverses and not reverse_weight,
            }
        )
        self.bf16_on_cpu = bf16_on_cpu
        self.reports = {"cer": report_cer, "wer": report_wer}

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
            text: ``(B, L)`` tokens, -1 where padded.
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
            has_frames = self.with_frames(lengths, fields.get("utt_id"))
            fits = self.fits_ctc(*targets, fields.get("utt_id"))
            loss_ctc = self.ctc_loss(self.ctc, fits, encoded, *targets)
            stats: dict[str, Any] = {"loss_ctc": loss_ctc.detach()}
            stats["too_short"] = float((~fits).sum())
            stats |= routing_statistics("encoder", routing, not self.training)
            passes = [("encoder", self.encoder, routing)]
            r = self.reverse_weight
            attention = torch.zeros_like(loss_ctc)
            for side, weight in (("l2r", 1 - r), ("r2l", r)):
                if not weight:
                    continue
                loss, side_stats, side_pass = self._attention_loss(
                    side, encoded, *targets, has_frames
                )
                attention = attention + weight * loss
                passes.append(side_pass)
                stats |= side_stats
            w = self.ctc_weight
            loss = w * loss_ctc + (1 - w) * attention
            for aux_loss, aux_stats in auxiliary_losses(passes):
                loss = loss + aux_loss
                stats |= aux_stats
        stats |= {
            "loss_att": attention.detach(),
            "acc": stats["acc_l2r"],  # what ESPnet looks for to find the best epoch
            "loss": loss.detach(),
        }
        if not self.training:
            stats |= self._error_rates(encoded, lengths, text)
        stats = {k: torch.as_tensor(v, dtype=torch.float32) for k, v in stats.items()}
        return force_gatherable((loss, stats, len(speech)), loss.device)

    def encode(
        self,
        speech: torch.Tensor,
        speech_lengths: torch.Tensor,
        chunk_size: int | None = None,
        left_chunks: int | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode waveforms for decoding.

        Args:
            speech: ``(B, samples)``.
            speech_lengths: ``(B,)``.
            chunk_size: Encoder frames a chunk, 0 for the whole utterance; None for the
                encoder's own.
            left_chunks: Chunks on the left that a frame attends to, -1 for all; None
                for the encoder's own.

        Returns:
            ``(B, T, D)``, ``(B,)`` frames.
        """
        chunks = {"chunk_size": chunk_size, "left_chunks": left_chunks}
        encoded, lengths, _ = self.encode_routed(
            speech,
            speech_lengths,
            self.new_routing(speech_lengths),
            **{name: n for name, n in chunks.items() if n is not None},
        )
        return encoded, lengths

    def _attention_loss(
        self,
        side: str,
        encoded: torch.Tensor,
        lengths: torch.Tensor,
        text: torch.Tensor,
        text_lengths: torch.Tensor,
        has_frames: torch.Tensor,
    ) -> tuple[torch.Tensor, dict[str, Any], tuple[str, nn.Module, Routing]]:
        """Loss of one decoder, statistics, and the pass for `auxiliary_losses`."""
        decoder = self.decoder
        if side == "r2l":
            decoder, text = self.decoder.right, reverse_text(text, text_lengths)
        start = text.new_full((len(text), 1), self.sos)
        ys_in = torch.cat((start, text.clamp(min=0)), dim=1)  # (B, 1 + L)
        target = torch.cat((text, torch.full_like(start, self.ignore_id)), dim=1)
        target = target.scatter(1, text_lengths[:, None], self.eos)  # (B, L + 1)
        # without a frame there is nothing to learn from
        empty = ~has_frames.to(target.device)
        target = target.masked_fill(empty[:, None], self.ignore_id)
        counted_lengths = (text_lengths + 1) * has_frames.to(text_lengths.device)
        routing = decoder.route(ys_in, counted_lengths)
        out, _ = decoder(encoded, lengths, ys_in, text_lengths + 1, routing=routing)
        out = out.to(torch.promote_types(out.dtype, torch.float32))
        counted = target != self.ignore_id
        loss = self.criterion_att(out, target) if counted.any() else out.sum() * 0.0
        right = (out.argmax(dim=-1) == target)[counted]
        stats = {
            f"loss_{side}": loss.detach(),
            f"acc_{side}": right.float().mean(),
            **routing_statistics(f"decoder_{side}", routing, not self.training),
        }
        return loss, stats, (f"decoder_{side}", decoder, routing)

    def _error_rates(
        self, encoded: torch.Tensor, lengths: torch.Tensor, text: torch.Tensor
    ) -> dict[str, float]:
        """Error rates of greedy CTC."""
        best = greedy_ctc(self.ctc.argmax(encoded), lengths, self.blank_id)
        special = {i for i, t in enumerate(self.token_list) if t[:1] + t[-1:] == "<>"}
        rates = error_rates(best, text, self.token_list, special, self.eos)
        return {f"{k}_ctc": v for k, v in rates.items() if self.reports[k]}


def reverse_text(text: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Each text from its end, padding where it was.

    Args:
        text: ``(B, L)``.
        lengths: ``(B,)``.

    Example:
        >>> reverse_text(torch.tensor([[1, 2, 3], [4, 5, -1]]), torch.tensor([3, 2]))
        tensor([[ 3,  2,  1],
                [ 5,  4, -1]])
    """
    positions = torch.arange(text.size(1), device=text.device)
    mirrored = lengths.to(text.device)[:, None] - 1 - positions  # (B, L)
    return text.gather(1, torch.where(mirrored >= 0, mirrored, positions))


def check_parts(parts: ModelParts) -> None:
    """Refuse parts that the model has no place for.

    Raises:
        ValueError: Names the part and the cure.
    """
    for name in ("preencoder", "postencoder"):
        if parts.get(name) is not None:
            raise ValueError(f"model: u2pp has no {name}; remove '{name}'")
    encoder, decoder = parts["encoder"], parts["decoder"]
    if not isinstance(encoder, U2PPConformerEncoder):
        raise ValueError(
            f"model: u2pp needs 'encoder: u2pp_conformer', got {type(encoder).__name__}"
        )
    if not isinstance(decoder, U2PPTransformerDecoder):
        raise ValueError(
            f"model: u2pp needs 'decoder: u2pp_transformer', got "
            f"{'none' if decoder is None else type(decoder).__name__}"
        )
