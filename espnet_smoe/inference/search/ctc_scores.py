"""CTC prefix scores of the hypotheses in a beam, without a loop over frames.

The scores are those of ESPnet's ``CTCPrefixScoreTH`` (Watanabe et al. 2017, Algorithm
2). With g a prefix, c a further token, h = gc, and x_t(c) the log probability of c at
frame t, the forward variables are

    r_t^n(h) = x_t(c)     + logaddexp(r_{t-1}^n(h), phi_{t-1})     h ends in c
    r_t^b(h) = x_t(blank) + logaddexp(r_{t-1}^b(h), r_{t-1}^n(h))  h, then a blank
    psi(h)   = logsumexp_t(phi_{t-1} + x_t(c))                     the prefix score

where phi_t = logaddexp(r_t^n(g), r_t^b(g)), without its first term where c repeats the
last token of g. The prefix score needs the variables of g alone, so those of h are
computed for what the search has chosen, not for every candidate. Both recursions are
r_t = x_t + logaddexp(r_{t-1}, p_{t-1}), which is a cumulative sum:

    r_t = X_t + logcumsumexp_{s <= t}(p_{s-1} - X_{s-1}),  X_t = x_0 + ... + x_t
"""

from dataclasses import dataclass

import torch

from espnet_smoe.compat import CTC
from espnet_smoe.inference.search.hypothesis import NEG_INF

IMPOSSIBLE = -1e10  # as in ESPnet finite, so that differences of two are no NaN
BLANK = 0


@dataclass(frozen=True)
class CTCState:
    """The hypotheses of a beam, as CTC sees them.

    Attributes:
        utterances: ``(N,)`` of each hypothesis, its row in the encoder's output.
        last: ``(N,)`` last tokens; -1 where a hypothesis is empty.
        forward: ``(N, 2, T)`` r^n and r^b.
        score: ``(N,)`` psi.
    """

    utterances: torch.Tensor
    last: torch.Tensor
    forward: torch.Tensor
    score: torch.Tensor

    def select(self, rows: torch.Tensor) -> "CTCState":
        """The hypotheses ``rows`` ``(N',)``."""
        return CTCState(
            self.utterances[rows],
            self.last[rows],
            self.forward[rows],
            self.score[rows],
        )


class CTCScores:
    """Scores hypotheses of a batch by its CTC head.

    Args:
        ctc: The head.
        encoded: ``(B, T, D)``.
        lengths: ``(B,)`` frames.
        eos: Id of the end of a sentence.
    """

    def __init__(
        self, ctc: CTC, encoded: torch.Tensor, lengths: torch.Tensor, eos: int
    ):
        self.log_probs = ctc.log_softmax(encoded)  # (B, T, V)
        frames = torch.arange(encoded.size(1), device=encoded.device)
        self.padding = frames >= lengths.to(frames.device)[:, None]  # (B, T)
        # after the end nothing but blanks, which cost nothing: the last frame of all
        # tells what was reached at the end
        blanks = self.log_probs[..., BLANK].masked_fill(self.padding, 0.0)
        self.blanks = blanks.double().cumsum(dim=1)  # (B, T)
        self.eos = eos

    def start(self, hypotheses: int) -> CTCState:
        """The empty prefix, for K hypotheses of each utterance, ``N = B K``."""
        rows = torch.arange(len(self.padding), device=self.padding.device)
        rows = rows.repeat_interleave(hypotheses)
        blank = self.blanks[rows].float()
        return CTCState(
            rows,
            torch.full_like(rows, -1),
            torch.stack([torch.full_like(blank, IMPOSSIBLE), blank], dim=1),
            torch.zeros_like(blank[:, 0]),
        )

    def score(
        self, state: CTCState, tokens: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What further tokens add to the prefix scores.

        Args:
            state: Of N hypotheses.
            tokens: ``(N, C)`` candidates.

        Returns:
            What each adds, minus infinity where the frames do not allow it, and its
            prefix score: ``(N, C)`` each.
        """
        repeats = tokens == state.last[:, None]
        phi = self._phi(state, repeats)  # (N, C, T)
        x = self._emissions(state.utterances, tokens)
        first = x[..., :1].masked_fill(state.last[:, None, None] >= 0, IMPOSSIBLE)
        psi = torch.cat([first, phi[..., :-1] + x[..., 1:]], dim=-1).logsumexp(dim=-1)
        whole = state.forward.logsumexp(dim=1)  # (N, T)
        psi = torch.where(tokens == self.eos, whole[:, -1:], psi)
        psi = psi.masked_fill(tokens == BLANK, IMPOSSIBLE)
        gain = psi - state.score[:, None]
        return gain.masked_fill(gain < IMPOSSIBLE / 100, NEG_INF), psi

    def extend(
        self, state: CTCState, tokens: torch.Tensor, psi: torch.Tensor
    ) -> CTCState:
        """Hypotheses with one more token each.

        Args:
            state: Of N hypotheses.
            tokens: ``(N,)``.
            psi: ``(N,)`` prefix scores of both together.
        """
        x = self._emissions(state.utterances, tokens[:, None])[:, 0].double()  # (N, T)
        phi = self._phi(state, (tokens == state.last)[:, None])[:, 0].double()
        start = torch.full_like(phi[:, :1], IMPOSSIBLE)
        first = torch.where(state.last < 0, 0.0, IMPOSSIBLE)[:, None].to(start)
        total = x.cumsum(dim=1)
        before = torch.cat([torch.zeros_like(start), total[:, :-1]], dim=1)
        entered = torch.cat([first, phi[:, :-1]], dim=1) - before
        spoken = total + entered.logcumsumexp(dim=1)
        blanks = self.blanks[state.utterances]
        before = torch.cat([torch.zeros_like(start), blanks[:, :-1]], dim=1)
        entered = torch.cat([start, spoken[:, :-1]], dim=1) - before
        silent = blanks + entered.logcumsumexp(dim=1)
        forward = torch.stack([spoken, silent], dim=1).clamp(min=IMPOSSIBLE)
        return CTCState(state.utterances, tokens, forward.to(psi.dtype), psi)

    def _phi(self, state: CTCState, repeats: torch.Tensor) -> torch.Tensor:
        """``(N, C, T)`` for tokens that repeat the last one or do not, ``(N, C)``."""
        whole = state.forward.logsumexp(dim=1)  # (N, T)
        return torch.where(repeats[..., None], state.forward[:, 1:], whole[:, None])

    def _emissions(
        self, utterances: torch.Tensor, tokens: torch.Tensor
    ) -> torch.Tensor:
        """``(N, C, T)`` log probabilities of tokens ``(N, C)``."""
        x = self.log_probs.transpose(1, 2)[utterances[:, None], tokens]
        return x.masked_fill(self.padding[utterances, None], IMPOSSIBLE)
