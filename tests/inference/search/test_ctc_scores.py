"""CTC prefix scores: ESPnet's, token by token, and the sums they stand for."""

import itertools

import pytest
import torch

from espnet_smoe.compat import CTC, CTCPrefixScorer
from espnet_smoe.inference.search.ctc_scores import BLANK, CTCScores

B, K, D, V = 3, 4, 8, 20
EOS = V - 1


def head(size=V):
    torch.manual_seed(0)
    ctc = CTC(size, D, dropout_rate=0.0).eval()
    with torch.no_grad():
        ctc.ctc_lo.weight.mul_(4.0)
    return ctc


@pytest.mark.parametrize("frames", [12, 200])
@torch.inference_mode()
def test_every_step_of_a_beam_scores_as_in_espnet(frames):
    ctc, lengths = head(), torch.tensor([frames, frames - 5, 0])
    encoded = torch.randn(B, frames, D)
    theirs, their_state = CTCPrefixScorer(ctc, EOS), [None]
    theirs.batch_init_state(encoded, lengths)
    ours = CTCScores(ctc, encoded, lengths, EOS)
    state = ours.start(K)
    ys = torch.full((B * K, 1), EOS)
    for step in range(10):  # longer than the shortest utterance
        tokens = torch.stack([torch.randperm(EOS)[:6] for _ in ys])
        if step:  # one candidate repeats the last token
            absent = ~(tokens == ys[:, -1:]).any(dim=1)
            tokens[absent, 0] = ys[absent, -1]
        scored, their_state = theirs.batch_score_partial(ys, tokens, their_state, None)
        tokens = torch.cat([tokens, torch.full((B * K, 1), EOS)], dim=1)
        gain, psi = ours.score(state, tokens)
        expected = scored.gather(1, tokens)
        alive = (state.score > -1e8)[:, None]  # what is lost stays so in the search
        possible = alive & (expected > -1e8)
        assert torch.equal(possible, alive & (gain > -1e8))
        torch.testing.assert_close(
            gain[possible], expected[possible], atol=1e-4, rtol=1e-5
        )
        parents, picks = torch.randint(0, K, (B, K)), torch.randint(0, 6, (B * K,))
        rows = (parents + K * torch.arange(B)[:, None]).flatten()
        chosen = tokens[rows, picks]
        their_state = theirs.batch_select_state(
            their_state, parents * V + chosen.view(B, K)
        )
        state = ours.extend(state.select(rows), chosen, psi[rows, picks])
        ys = torch.cat([ys[rows], chosen[:, None]], dim=1)


def collapsed(path):
    return tuple(token for token, _ in itertools.groupby(path) if token != BLANK)


@torch.inference_mode()
def test_prefix_and_whole_text_are_sums_over_all_alignments():
    frames, size = 4, 4  # blank, a, b, end
    ctc, encoded = head(size), torch.randn(1, frames, D)
    ours = CTCScores(ctc, encoded, torch.tensor([frames]), eos=size - 1)
    probs = ctc.log_softmax(encoded)[0].exp()
    paths = {
        path: torch.stack([probs[t, c] for t, c in enumerate(path)]).prod()
        for path in itertools.product(range(size), repeat=frames)
    }

    def mass(of):
        return sum(p for path, p in paths.items() if of(collapsed(path)))

    state = ours.start(1)
    for length, token in enumerate([1, 1, 2], start=1):
        text = (1, 1, 2)[:length]
        _, psi = ours.score(state, torch.tensor([[token]]))
        expected = mass(lambda found: found[:length] == text).log()
        torch.testing.assert_close(psi[0, 0], expected)
        state = ours.extend(state, torch.tensor([token]), psi[0])
        _, end = ours.score(state, torch.tensor([[size - 1]]))
        torch.testing.assert_close(end[0, 0], mass(lambda found: found == text).log())
