"""Model `smoe`: one encoder and one decoder that serve several tasks.

An utterance has a target for each task (a transcript, a translation). The decoder's
input is the task's prompt and the target's text; its experts follow the prompt
(S-MoE, Section 2.1.2).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Unpack

import torch
from torch import nn

from espnet_smoe.compat import (
    force_gatherable,
)
from espnet_smoe.config.options import nearest, options_of
from espnet_smoe.config.typed import OneOf, Rate
from espnet_smoe.data.task_table import task_table
from espnet_smoe.data.text.tokenizer import is_special
from espnet_smoe.data.text.tokens import BEGIN, SOS_EOS
from espnet_smoe.decoder.search_prompt import take_prompt
from espnet_smoe.decoder.transformer import SMoETransformerDecoder
from espnet_smoe.model.labeled import LabeledASRModel
from espnet_smoe.model.losses import ctc_loss
from espnet_smoe.model.metrics import (
    auxiliary_losses,
    error_rates,
    greedy_ctc,
    nanmean,
    routing_statistics,
)
from espnet_smoe.model.parts import auxiliary_loss_names, bind_labels
from espnet_smoe.model.routed import ModelParts
from espnet_smoe.model.tasks import Task, TaskPass, read_tasks
from espnet_smoe.moe import Routing

SCHEDULES = ("joint", "alternate")


class ESPnetSMoEModel(LabeledASRModel):
    """Speech to several texts through one shared encoder.

    Args:
        tasks: The task table: name -> ``{target, prompt, metrics, language}``, see
            `espnet_smoe.data.task_table`. ESPnet's own search decodes the first task.
        schedule: ``joint``: every target of an utterance from one encoder pass.
            ``alternate``: one task a minibatch, in turns (S-MoE, Section 2.1.3).
        ctc_weight: Weight w in w CTC + (1 - w) attention of ``ctc_task``.
        ctc_task: The task whose text the CTC head learns.
        interctc_weight: Weight of the CTC losses inside the encoder.
        label_field: The field whose label routes the encoder.
        bf16_on_cpu: Train in bfloat16 autocast on a CPU that is faster in it; on
            any other CPU nothing changes. (ESPnet's ``use_amp`` is for GPUs.) It pays
            for large models: the kernels are built anew for each shape of a batch.
        sym_sos: Token that begins a text in ESPnet's own search.
        sym_eos: Token that ends a text.
        sym_begin: Token that ends every prompt.
        ignore_id: Padding of targets.
        lsm_weight: Label smoothing.
        length_normalized_loss: Mean over tokens instead of utterances.
        report_cer: Report character error rates in validation.
        report_wer: Report word error rates in validation.
        extract_feats_in_collect_stats: Part of ESPnet's interface.
        **parts: Of ESPnet, an encoder and an attention decoder of any kind: an encoder
            that reads labels needs ``bandwidth``, our decoder routes itself by the
            prompt; ``ctc`` is unused where ``ctc_weight`` is 0.

    Raises:
        ValueError: Unknown option, schedule or task; a prompt token that is not in the
            token list.
    """

    @options_of("model_conf")
    def __init__(
        self,
        *,
        tasks: Mapping[str, Any] | Sequence[str] | None = None,
        schedule: Annotated[str, OneOf(SCHEDULES)] = "joint",
        ctc_weight: Rate = 0.3,
        ctc_task: str = "asr",
        interctc_weight: Rate = 0.0,
        label_field: str = "bandwidth",
        bf16_on_cpu: bool = False,
        sym_sos: str = SOS_EOS,
        sym_eos: str = SOS_EOS,
        sym_begin: str = BEGIN,
        ignore_id: int = -1,
        lsm_weight: Rate = 0.0,
        length_normalized_loss: bool = False,
        report_cer: bool = True,
        report_wer: bool = True,
        extract_feats_in_collect_stats: bool = True,
        **parts: Unpack[ModelParts],
    ):
        super().__init__(
            **parts,
            ctc_weight=ctc_weight,
            interctc_weight=interctc_weight,
            sym_sos=sym_sos,
            sym_eos=sym_eos,
            ignore_id=ignore_id,
            lsm_weight=lsm_weight,
            length_normalized_loss=length_normalized_loss,
            report_cer=False,  # ESPnet's calculators do not know byte-level pieces
            report_wer=False,
            extract_feats_in_collect_stats=extract_feats_in_collect_stats,
        )
        decoder = parts["decoder"]  # ESPnet drops it where `ctc_weight` is 1
        if decoder is None:
            raise ValueError(
                "model: smoe writes texts with a decoder; add 'decoder: "
                "smoe_transformer' and its decoder_conf"
            )
        bind_labels(self)
        labels = getattr(decoder, "labels", None)
        self.task_table = task_table(tasks)
        symbols = sym_begin, sym_sos
        self.tasks = read_tasks(self.task_table, self.token_list, labels, *symbols)
        if ctc_weight > 0 and ctc_task not in self.tasks:
            raise ValueError(
                f"model_conf.ctc_task: '{ctc_task}' is not one of the tasks "
                f"{', '.join(self.tasks)}{nearest(ctc_task, self.tasks)}"
            )
        self.schedule = schedule
        # of processes that share the weights of a decoder, which must all call it
        self.same_passes = False
        self.ctc_task = ctc_task
        self.label_field = label_field
        self.bf16_on_cpu = bf16_on_cpu
        self.report_cer, self.report_wer = report_cer, report_wer
        self.special_ids = {
            i for i, token in enumerate(self.token_list) if is_special(token)
        }
        # in the checkpoint, so that a resumed run goes on with the task that is due
        self.register_buffer("minibatches", torch.zeros((), dtype=torch.long))
        first = next(iter(self.tasks.values()))
        if isinstance(decoder, SMoETransformerDecoder):
            decoder.search_prompt = self.sos, first.prompt
        else:
            take_prompt(decoder, self.sos, first.prompt)

    def forward(
        self,
        speech: torch.Tensor,
        speech_lengths: torch.Tensor,
        **fields: Any,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor], torch.Tensor]:
        """Loss and statistics of a batch.

        Args:
            speech: ``(B, samples)``.
            speech_lengths: ``(B,)``.
            **fields: For each task its target ``(B, L)`` and ``<target>_lengths``, -1
                where padded or missing; optionally ``<target>_prompt``; the label
                ``(B, 1)``; optionally ``lang`` ``(B, 1)``, ids of the languages that
                are spoken; ``utt_id``.

        Returns:
            Loss, the mean over all targets of the batch; statistics, the same keys
            whatever the batch holds (NaN for a task that it lacks); the weight of
            both, B where no target is missing. Batches that are averaged by this
            weight, as ESPnet does it over processes, give the loss of all of them
            in one batch.
        """
        with self.training_precision(speech):
            return self._forward(speech, speech_lengths, fields)

    def _forward(
        self,
        speech: torch.Tensor,
        speech_lengths: torch.Tensor,
        fields: Mapping[str, Any],
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor], torch.Tensor]:
        names = fields.get("utt_id")
        routing = self.route_encoder(fields, speech_lengths, names)
        encoded, lengths, hidden = self.encode_routed(speech, speech_lengths, routing)
        has_frames = self.with_frames(lengths, names).cpu()
        present = {
            name: task.present_in(fields).cpu() & has_frames
            for name, task in self.tasks.items()
        }
        due = self._tasks_due(present)
        passes: dict[str, TaskPass] = {}
        nothing = []
        for task in (task for name, task in self.tasks.items() if name in due):
            if present[task.name].any():
                rows = present[task.name].nonzero().squeeze(1).to(encoded.device)
                given = task, fields, rows, encoded, lengths, hidden
                passes[task.name] = self._task_loss(*given)
            elif self.same_passes and has_frames.any():
                row = has_frames.nonzero()[:1, 0].to(encoded.device)
                nothing.append(self._zero_pass(task, row, encoded, lengths, hidden))
        if not passes:
            raise ValueError(
                f"no target in the batch of {', '.join(names or ['?'])}; an utterance "
                "needs a frame of the encoder and one of: "
                f"{' '.join(t.target for t in self.tasks.values())}"
            )
        loss, stats = self._with_auxiliary_losses(routing, passes)
        loss = loss + sum(nothing)
        targets = sum(done.targets for done in passes.values())
        stats["acc"] = nanmean(stats.get(f"acc_{name}") for name in self.tasks)
        stats |= routing_statistics("encoder", routing, each_layer=not self.training)
        stats["loss"] = loss.detach()
        # one type on every process, also for what is NaN on some
        stats = {k: torch.as_tensor(v, dtype=torch.float32) for k, v in stats.items()}
        return force_gatherable((loss, stats, targets / len(due)), loss.device)

    def _with_auxiliary_losses(
        self, routing: Routing | None, passes: Mapping[str, TaskPass]
    ) -> tuple[torch.Tensor, dict[str, Any]]:
        """The loss of the batch, and the statistics of its tasks.

        Another process may have targets that this batch lacks, so every task is named,
        with a pass or without.

        Args:
            routing: Of the encoder.
            passes: By task.
        """
        decoder = nn.Identity() if self.decoder is None else self.decoder
        (total, stats), *task_losses = auxiliary_losses(
            [
                ("encoder", self.encoder, routing),
                *(
                    ("decoder", decoder, passes[n].routing if n in passes else None)
                    for n in self.tasks
                ),
            ]
        )
        targets = sum(done.targets for done in passes.values())
        for (name, task), (aux_loss, aux_stats) in zip(self.tasks.items(), task_losses):
            task_stats = aux_stats
            if name in passes:
                loss = passes[name].loss + aux_loss
                total = total + loss * (passes[name].targets / targets)
                task_stats = passes[name].stats | aux_stats | {"loss": loss.detach()}
            stats |= self._task_stats(task, task_stats)
        return total, stats

    # -- the tasks ------------------------------------------------------------------

    def _tasks_due(self, present: Mapping[str, torch.Tensor]) -> set[str]:
        """All tasks, or the one whose turn it is; a task without a target passes."""
        if self.schedule == "joint" or not self.training:
            return set(self.tasks)
        turn = int(self.minibatches)
        self.minibatches += 1
        names = list(self.tasks)
        in_turn = names[turn % len(names) :] + names[: turn % len(names)]
        return set([name for name in in_turn if present[name].any()][:1])

    def _task_loss(
        self,
        task: Task,
        fields: Mapping[str, Any],
        rows: torch.Tensor,
        encoded: torch.Tensor,
        lengths: torch.Tensor,
        hidden: list[tuple[int, torch.Tensor]],
    ) -> TaskPass:
        """Decode the utterances ``rows``, which have the task's target."""
        if len(rows) < encoded.size(0):
            encoded, lengths = encoded[rows], lengths[rows]
            hidden = [(i, h[rows]) for i, h in hidden]
        text = fields[task.target][rows]
        text_lengths = (text >= 0).sum(1)
        text = text[:, : text_lengths.max()]  # (b, L)
        prompts = task.prompts(fields, rows)  # (b, P)
        stats: dict[str, Any] = {}
        loss, routing = None, None
        if self.decoder is not None:
            loss, stats, routing = self._attention_loss(
                encoded, lengths, text, text_lengths, prompts
            )
        if self.ctc is not None and task.name == self.ctc_task:
            loss_ctc, ctc_stats = self._ctc_loss(
                encoded, lengths, hidden, text, text_lengths
            )
            stats |= ctc_stats
            w = self.ctc_weight
            loss = loss_ctc if loss is None else w * loss_ctc + (1 - w) * loss
        return TaskPass(loss, len(rows), stats, routing)

    def _zero_pass(
        self,
        task: Task,
        row: torch.Tensor,
        encoded: torch.Tensor,
        lengths: torch.Tensor,
        hidden: list[tuple[int, torch.Tensor]],
    ) -> torch.Tensor:
        """Zero, of a pass for a task that the batch lacks, with a text of one token."""
        text = torch.full((len(encoded), 1), self.eos, device=encoded.device)
        fields = {task.target: text}
        done = self._task_loss(task, fields, row, encoded, lengths, hidden)
        return done.loss * 0.0

    def _attention_loss(
        self,
        encoded: torch.Tensor,
        lengths: torch.Tensor,
        text: torch.Tensor,
        text_lengths: torch.Tensor,
        prompts: torch.Tensor,
    ) -> tuple[torch.Tensor, dict[str, Any], Routing | None]:
        """Loss, statistics, the decoder's routing."""
        ys_in = torch.cat([prompts, text.clamp(min=0)], dim=1)  # (b, P + L)
        ys_in_lengths = text_lengths + prompts.size(1)
        routing, routed = None, {}
        if hasattr(self.decoder, "route"):
            routing = self.decoder.route(ys_in, ys_in_lengths)
            routed = {"routing": routing}
        out, _ = self.decoder(encoded, lengths, ys_in, ys_in_lengths, **routed)
        # no loss on the prompt: its last token predicts the first of the text
        out = out[:, prompts.size(1) - 1 :]  # (b, L + 1, V)
        out = out.to(torch.promote_types(out.dtype, torch.float32)).contiguous()
        target = torch.cat([text, text.new_full((len(text), 1), self.ignore_id)], 1)
        target.scatter_(1, text_lengths[:, None], self.eos)  # (b, L + 1)
        target = target.masked_fill(target < 0, self.ignore_id)
        loss = self.criterion_att(out, target)
        best = out.argmax(dim=-1)
        counted = target != self.ignore_id
        correct = (best == target)[counted].float()
        stats: dict[str, Any] = {"acc": float(correct.mean())}
        if not self.training:
            best = best.masked_fill(~counted, self.eos)
            stats |= self._error_rates(best, text)
        return loss, stats, routing

    def _ctc_loss(
        self,
        encoded: torch.Tensor,
        lengths: torch.Tensor,
        hidden: list[tuple[int, torch.Tensor]],
        text: torch.Tensor,
        text_lengths: torch.Tensor,
    ) -> tuple[torch.Tensor, dict[str, Any]]:
        loss = ctc_loss(self.ctc, encoded, lengths, text, text_lengths)
        stats: dict[str, Any] = {"loss_ctc": loss.detach()}
        if not self.training and self.report_cer:
            best = greedy_ctc(self.ctc.argmax(encoded), lengths, self.blank_id)
            stats["cer_ctc"] = self._error_rates(best, text)["cer"]
        if hidden and self.interctc_weight > 0:
            targets = lengths, text, text_lengths
            inner = [ctc_loss(self.ctc, h, *targets) for _, h in hidden]
            w = self.interctc_weight
            loss = (1 - w) * loss + w * torch.stack(inner).mean()
        return loss, stats

    # -- statistics -----------------------------------------------------------------

    def _error_rates(
        self, best: torch.Tensor | list[list[int]], text: torch.Tensor
    ) -> dict[str, float]:
        rates = error_rates(best, text, self.token_list, self.special_ids, self.eos)
        keep = {"cer": self.report_cer, "wer": self.report_wer}
        return {name: rate for name, rate in rates.items() if keep[name]}

    def _task_stats(self, task: Task, stats: dict[str, Any]) -> dict[str, Any]:
        """``{loss_asr, acc_asr, ...}``: every key, NaN where there is none."""
        keys = ["loss"] + (["acc"] if self.decoder is not None else [])
        if self.ctc is not None and task.name == self.ctc_task:
            keys.append("loss_ctc")
        if not self.training:
            keys += ["cer"] * (self.report_cer and self.decoder is not None)
            keys += ["wer"] * (self.report_wer and self.decoder is not None)
            keys += ["cer_ctc"] * (self.report_cer and "loss_ctc" in keys)
        else:
            auxiliary = auxiliary_loss_names(self.decoder)
            keys += [f"decoder_{name}" for name in auxiliary]
        return {f"{key}_{task.name}": stats.get(key, math.nan) for key in keys}
