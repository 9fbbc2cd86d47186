"""Beam search of several prompts over several utterances, as rows of one batch.

The results are those of ESPnet's ``BatchBeamSearch``, prompt by prompt. It is quicker
since one encoder output serves all prompts, finished utterances leave the batch, and
the vocabulary is looked over twice a step, not ten times.

R prompts, B utterances, K hypotheses of each: N = R B K rows, laid out in this order.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from espnet_smoe.compat import CTC
from espnet_smoe.decoder.cache import DecoderCache
from espnet_smoe.decoder.transformer import SMoETransformerDecoder
from espnet_smoe.inference.search.ctc_scores import CTCScores, CTCState
from espnet_smoe.inference.search.hypothesis import (
    NEG_INF,
    FinishedHypotheses,
    Hypothesis,
)
from espnet_smoe.inference.search.options import SearchOptions
from espnet_smoe.inference.search.repetition import say_once
from espnet_smoe.inference.search.topk import topk_chunked
from espnet_smoe.moe import Routing

PRE_BEAM = 1.5  # tokens a hypothesis that CTC scores, over the beam, as in ESPnet


@dataclass
class _Beam:
    """The rows of a running search.

    Attributes:
        utterances: ``(B,)`` their indices in the caller's batch.
        ys: ``(N, L)`` prefixes.
        scores: ``(R, B, K)``; minus infinity where a hypothesis has ended.
        hidden: ``(N, D)`` decoder's output for the next token.
        cache: The decoder's.
        routing: The decoder's.
        ctc: The hypotheses of the prompt whose texts CTC scores.
        ended: Texts that have just ended without a place in the beam: prompt,
            utterance, tokens, score.
    """

    utterances: torch.Tensor
    ys: torch.Tensor
    scores: torch.Tensor
    hidden: torch.Tensor
    cache: DecoderCache
    routing: Routing | None = None
    ctc: CTCState | None = None
    ended: Sequence[tuple[int, int, list[int], float]] = ()


class PromptBeamSearch:
    """Search the texts that a decoder gives to utterances under several prompts.

    Args:
        decoder: Scores the next token.
        eos: Id of the end of a sentence.
        options: Beam size, weights and lengths.
        ctc: CTC head of the encoder, where ``options.ctc_weight`` is not 0.
    """

    def __init__(
        self,
        decoder: SMoETransformerDecoder,
        eos: int,
        options: SearchOptions,
        ctc: CTC | None = None,
    ):
        self.decoder = decoder
        self.eos = eos
        self.options = options
        self.ctc = ctc if options.ctc_weight > 0 else None
        pre_beam = int(PRE_BEAM * options.beam_size)
        self.pre_beam = min(pre_beam, decoder.vocab_size)

    @torch.inference_mode()
    def __call__(
        self,
        encoded: torch.Tensor,
        lengths: torch.Tensor,
        prompts: Sequence[Sequence[int]],
        ctc_prompt: int | None = None,
    ) -> list[list[list[Hypothesis]]]:
        """Search.

        Args:
            encoded: Encoder's output ``(B, T, D)``.
            lengths: ``(B,)`` frames.
            prompts: R prompts of one length.
            ctc_prompt: Index of the prompt whose texts the CTC head scores too.

        Returns:
            Of each prompt, of each utterance, hypotheses with the best first.
        """
        longest, shortest = self.options.bounds(lengths.tolist())
        ended = [[FinishedHypotheses() for _ in lengths] for _ in prompts]
        scorer = None
        if self.ctc is not None and ctc_prompt is not None:
            scorer = CTCScores(self.ctc, encoded, lengths, self.eos)
        beam = self._start(encoded, lengths, prompts)
        if scorer is not None:
            beam.ctc = scorer.start(self.options.beam_size)
        prompt_length = beam.ys.size(1)
        if self.decoder.max_length is not None:
            most = self.decoder.max_length - prompt_length
            longest = [min(n, most) for n in longest]
        if self.decoder.longest_text is not None:
            longest = [min(n, self.decoder.longest_text) for n in longest]
        for step in range(max(longest)):
            beam = self._extend(beam, scorer, ctc_prompt, prompt_length)
            self._collect(beam, ended, step, longest, shortest, prompt_length)
            open_ = [
                i
                for i, u in enumerate(beam.utterances.tolist())
                if not all(of_prompt[u].closed for of_prompt in ended)
            ]
            if not open_:
                break
            if len(open_) < len(beam.utterances):  # fewer rows make a quicker step
                kept = torch.tensor(open_, device=encoded.device)
                beam = self._keep(beam, kept)
            beam = self._advance(beam)
        normalize = self.options.normalize_length
        if normalize is None:
            normalize = self.decoder.normalize_length
        over = prompt_length if normalize else None
        if normalize and self.decoder.searched_as_whisper:
            over = 0
        results = [[e.nbest(over) for e in of_prompt] for of_prompt in ended]
        if self.options.cut_repetition:
            results = [list(map(say_once, r, longest)) for r in results]
        return self._retry(results, encoded, lengths, prompts, ctc_prompt)

    # -- one step -------------------------------------------------------------------

    def _start(
        self,
        encoded: torch.Tensor,
        lengths: torch.Tensor,
        prompts: Sequence[Sequence[int]],
    ) -> _Beam:
        """Read the prompts, once an utterance; K copies, the first of them alive."""
        n, k = len(lengths), self.options.beam_size
        cache = self.decoder.batch_init_state(encoded, lengths)
        cache = replace(cache, prompts=len(prompts))
        ys = torch.tensor(prompts, device=encoded.device).repeat_interleave(n, dim=0)
        hidden, cache = self.decoder.advance(ys, cache)  # (R * B, D)
        copies = torch.arange(len(ys), device=ys.device).repeat_interleave(k)
        # K equal hypotheses would find the same text K times: one begins
        scores = encoded.new_full((len(prompts), n, k), NEG_INF)
        scores[:, :, 0] = 0.0
        return _Beam(
            utterances=torch.arange(n, device=ys.device),
            ys=ys[copies],
            scores=scores,
            hidden=hidden[copies],
            cache=cache.select(copies),
        )

    def _extend(
        self,
        beam: _Beam,
        scorer: CTCScores | None,
        ctc_prompt: int | None,
        prompt_length: int,
    ) -> _Beam:
        """Choose the K best further tokens of each prompt and utterance."""
        grid = beam.scores.shape  # (R, B, K)
        first = beam.ys.size(1) == prompt_length
        gain, ids = self._candidates(beam.hidden, first)  # (N, C)
        if scorer is not None:  # of the candidates alone: each costs it all frames
            size = grid[1:].numel()
            scored = slice(ctc_prompt * size, (ctc_prompt + 1) * size)
            ctc_gain, ctc_totals = scorer.score(beam.ctc, ids[scored])
            w = self.options.ctc_weight
            gain[scored] = (1 - w) * gain[scored] + w * ctc_gain
        totals = beam.scores[..., None] + gain.view(*grid, -1)  # (R, B, K, C)
        places = grid[2]
        if self.decoder.searched_as_whisper:  # each hypothesis may end, K go on
            places = min(2 * places, totals[0, 0].numel())
        # of all candidates of the K hypotheses together
        scores, best = totals.flatten(2).topk(places, dim=-1)  # (R, B, K or 2K)
        parents = torch.div(best, gain.size(1), rounding_mode="trunc")
        tokens = ids.view(*grid[:2], -1).gather(2, best)
        ended: Sequence[tuple[int, int, list[int], float]] = ()
        if self.decoder.searched_as_whisper:
            ends = tokens == self.eos
            ended = self._ended(beam, scores, parents, ends, prompt_length)
            going = ends.int().argsort(dim=-1, stable=True)[..., : grid[2]]
            scores = scores.masked_fill(ends, NEG_INF).gather(2, going)
            parents, tokens = parents.gather(2, going), tokens.gather(2, going)
            best = best.gather(2, going)
        # what is kept of a hypothesis moves to the places of those it goes on as
        starts = torch.arange(grid[:2].numel(), device=best.device) * grid[2]
        rows = (parents.flatten(0, 1) + starts[:, None]).flatten()  # (N,)
        ctc = beam.ctc
        if scorer is not None:
            of_utterances = ctc_totals.view(grid[1], -1)  # (B, K C)
            ctc = scorer.extend(
                beam.ctc.select(rows[scored] - scored.start),
                tokens[ctc_prompt].flatten(),
                of_utterances.gather(1, best[ctc_prompt]).flatten(),
            )
        return replace(
            beam,
            ys=torch.cat([beam.ys[rows], tokens.view(-1, 1)], dim=1),
            scores=scores,
            cache=beam.cache.select(rows),
            ctc=ctc,
            ended=ended,
        )

    def _ended(
        self,
        beam: _Beam,
        scores: torch.Tensor,
        parents: torch.Tensor,
        ends: torch.Tensor,
        prompt_length: int,
    ) -> list[tuple[int, int, list[int], float]]:
        """The texts that end with this step before K better ones go on.

        Args:
            beam: Before the step.
            scores: ``(R, B, 2K)``, the best first.
            parents: Their places in the beam.
            ends: Whether they end.
            prompt_length: P.
        """
        better = (~ends).cumsum(dim=-1)  # that go on
        ends = ends & (better < beam.scores.size(2)) & (scores > NEG_INF)
        texts = beam.ys[:, prompt_length:].view(*beam.scores.shape, -1)
        return [
            (r, b, texts[r, b, parents[r, b, k]].tolist(), float(scores[r, b, k]))
            for r, b, k in ends.nonzero().tolist()
        ]

    def _candidates(
        self, hidden: torch.Tensor, first: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Log probabilities and ids of the tokens worth a look: ``(N, C)`` each.

        The last of them is the end, which CTC scores whatever the decoder says.
        """
        decoder = self.decoder
        logits = decoder.next_logits(hidden).float()  # (N, V)
        lost = None  # what is not shared among the others
        if never := decoder.suppressed_first if first else decoder.suppressed:
            if not decoder.shares_suppressed:
                lost = logits[:, never].logsumexp(dim=1, keepdim=True)  # (N, 1)
            logits[:, never] = NEG_INF
        top, ids = topk_chunked(logits, self.pre_beam)
        # the end not a second time, where it is among the best anyway
        end = logits[:, self.eos, None].masked_fill(
            (ids == self.eos).any(dim=1, keepdim=True), NEG_INF
        )
        peak = top[:, :1]
        # in place: fresh memory of this size costs more than the sum itself
        norm = peak + logits.sub_(peak).exp_().sum(dim=1, keepdim=True).log()
        norm = norm if lost is None else torch.logaddexp(norm, lost)
        ids = torch.cat([ids, ids.new_full((len(ids), 1), self.eos)], dim=1)
        return torch.cat([top, end], dim=1) - norm, ids

    def _collect(
        self,
        beam: _Beam,
        ended: list[list[FinishedHypotheses]],
        step: int,
        longest: list[int],
        shortest: list[int],
        prompt_length: int,
    ) -> None:
        """Move hypotheses that have ended out of the beam."""
        scores = beam.scores.tolist()
        last = beam.ys[:, -1].view_as(beam.scores).tolist()
        ys = beam.ys[:, prompt_length:].view(*beam.scores.shape, -1)
        for r, b, tokens, score in beam.ended:  # the best first
            utterance = int(beam.utterances[b])
            if step >= shortest[utterance] and not self._full(ended[r][utterance]):
                ended[r][utterance].add(tokens, score)
        gone = []
        for r, of_prompt in enumerate(ended):
            for b, utterance in enumerate(beam.utterances.tolist()):
                of_utterance = of_prompt[utterance]
                if of_utterance.closed:
                    continue
                # at the limit every hypothesis is a text as it stands
                out_of_time = step == longest[utterance] - 1
                out_of_time = out_of_time and not self._full(of_utterance)
                for k, score in enumerate(scores[r][b]):
                    at_end = last[r][b][k] == self.eos
                    if not (at_end or out_of_time):
                        continue
                    gone.append((r, b, k))
                    if step >= shortest[utterance]:
                        tokens = ys[r, b, k].tolist()
                        of_utterance.add(tokens[:-1] if at_end else tokens, score)
                all_gone = sum(g[:2] == (r, b) for g in gone) == len(scores[r][b])
                if all_gone or self._hopeless(of_utterance, step):
                    of_utterance.closed = True
                    gone += [(r, b, k) for k in range(len(scores[r][b]))]
        if gone:
            beam.scores[tuple(torch.tensor(gone, device=beam.ys.device).T)] = NEG_INF

    def _full(self, ended: FinishedHypotheses) -> bool:
        """Whether as many texts have ended as the search asks for."""
        whole = len(ended) >= self.options.beam_size
        return self.decoder.searched_as_whisper and whole

    def _hopeless(self, ended: FinishedHypotheses, step: int) -> bool:
        """Whether nothing better is to be found."""
        if self.decoder.searched_as_whisper:
            return self._full(ended)
        return self.options.maxlenratio == 0 and ended.end_detect(step)

    def _keep(self, beam: _Beam, kept: torch.Tensor) -> _Beam:
        """Go on with the utterances ``kept`` ``(B',)``."""
        grid = torch.arange(len(beam.ys), device=kept.device).view_as(beam.scores)
        rows = grid[:, kept].flatten()
        ctc = beam.ctc and beam.ctc.select(grid[0, kept].flatten())
        return replace(
            beam,
            utterances=beam.utterances[kept],
            ys=beam.ys[rows],
            scores=beam.scores[:, kept],
            cache=beam.cache.select(rows).keep_utterances(kept),
            routing=None,  # it has labels of the rows that were
            ctc=ctc,
        )

    def _advance(self, beam: _Beam) -> _Beam:
        """Let the decoder read the tokens that were chosen."""
        routing = beam.routing
        if routing is None:
            routing = self.decoder.route(beam.ys, torch.ones_like(beam.ys[:, 0]))
        hidden, cache = self.decoder.advance(beam.ys, beam.cache, routing)
        return replace(beam, hidden=hidden, cache=cache, routing=routing)

    # -- after the search -----------------------------------------------------------

    def _retry(
        self,
        results: list[list[list[Hypothesis]]],
        encoded: torch.Tensor,
        lengths: torch.Tensor,
        prompts: Sequence[Sequence[int]],
        ctc_prompt: int | None,
    ) -> list[list[list[Hypothesis]]]:
        """Search again, with a lower limit, where nothing was long enough."""
        if self.options.minlenratio < 0.1:
            return results
        lower = replace(
            self.options, minlenratio=max(0.0, self.options.minlenratio - 0.1)
        )
        search = PromptBeamSearch(self.decoder, self.eos, lower, self.ctc)
        for r, of_prompt in enumerate(results):
            empty = [b for b, nbest in enumerate(of_prompt) if not nbest]
            if empty:
                rows = torch.tensor(empty, device=encoded.device)
                again = search(
                    encoded[rows],
                    lengths[rows.to(lengths.device)],
                    [prompts[r]],
                    0 if r == ctc_prompt else None,
                )
                for b, nbest in zip(empty, again[0]):
                    of_prompt[b] = nbest
        return results
