"""Rescoring in one batch gives what one hypothesis after the other gets."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_smoe.decoder.bidirectional import U2PPTransformerDecoder
from espnet_smoe.inference.search import rescoring
from espnet_smoe.inference.search.hypothesis import Hypothesis
from espnet_smoe.inference.search.rescoring import decoder_scores, rescore

V, D, T = 30, 16, 12
SOS = EOS = V - 1
MIXTURE = {"gate": "topk", "num_experts": 4, "top_k": 2}


def decoder(moe=MIXTURE, right=2):
    torch.manual_seed(0)
    made = U2PPTransformerDecoder(V, D, 2, 32, 2, right, moe=moe)
    with torch.no_grad():  # sharper than at the start, so that hypotheses differ
        for side in filter(None, (made, made.right)):
            side.output_layer.weight.mul_(4)
            for layer in side.decoders:
                layer.src_attn.linear_v.weight.mul_(8)
    return made.eval()


def encoded(lengths, seed=1):
    """Encoder outputs, padded with garbage."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(len(lengths), T, D, generator=generator) * 3


def one_score(side, heard, text):
    """One text through the decoder's own training pass, token by token."""
    inputs = torch.tensor([[SOS, *text]])
    lengths = torch.tensor([heard.size(0)]), torch.tensor([inputs.size(1)])
    logits, _ = side(heard[None], lengths[0], inputs, lengths[1])
    log_probs = logits[0].log_softmax(dim=-1)
    return sum(float(log_probs[i, token]) for i, token in enumerate([*text, EOS]))


@torch.no_grad()
def loop(model, x, lengths, nbests, ctc_weight, reverse_weight):
    results = []
    for heard, frames, nbest in zip(x, lengths.tolist(), nbests):
        scored = []
        for h in nbest:
            left = one_score(model, heard[:frames], h.tokens)
            right = one_score(model.right, heard[:frames], h.tokens[::-1])
            attention = (1 - reverse_weight) * left + reverse_weight * right
            scored.append(Hypothesis(h.tokens, ctc_weight * h.score + attention))
        results.append(sorted(scored, key=lambda h: -h.score))
    return results


def assert_same(ours, theirs):
    assert len(ours) == len(theirs)
    for mine, its in zip(ours, theirs):
        assert [h.tokens for h in mine] == [h.tokens for h in its]
        scores = [h.score for h in mine]
        assert scores == pytest.approx([h.score for h in its], abs=1e-4)


tokens = st.lists(st.integers(1, 4), max_size=7).map(tuple)  # few: prefixes are shared
nbest_lists = st.lists(
    st.lists(tokens, max_size=5, unique=True).map(
        lambda texts: [Hypothesis(t, -i - 0.3) for i, t in enumerate(texts)]
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=25, deadline=None)
@given(
    nbests=nbest_lists, seed=st.integers(0, 99), moe=st.sampled_from([MIXTURE, None])
)
def test_equals_the_loop_over_utterances_and_hypotheses(nbests, seed, moe):
    model = decoder(moe)
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, T + 1, (len(nbests),), generator=generator)
    x = encoded(lengths, seed)
    weights = {"ctc_weight": 0.4, "reverse_weight": 0.3}
    ours = rescore(model, x, lengths, nbests, SOS, EOS, **weights)
    assert_same(ours, loop(model, x, lengths, nbests, **weights))


def some_nbests(count=6):
    generator = torch.Generator().manual_seed(4)
    nbests = []
    for b in range(count):
        text = torch.randint(1, V - 1, (b + 3,), generator=generator).tolist()
        others = [(*text[:i], 1 + i, *text[i + 1 :]) for i in range(len(text))]
        nbests.append([Hypothesis(t, -2.0) for t in (tuple(text), *others)])
    return nbests


@pytest.mark.parametrize("positions", [1, 30, 60])
def test_how_utterances_are_put_together_changes_nothing(monkeypatch, positions):
    model, nbests = decoder(), some_nbests()
    lengths = torch.tensor([12, 3, 9, 12, 5, 7])
    x = encoded(lengths)
    together = rescore(model, x, lengths, nbests, SOS, EOS)
    monkeypatch.setattr(rescoring, "POSITIONS", positions)
    monkeypatch.setattr(rescoring, "LOGITS", 3)
    assert_same(rescore(model, x, lengths, nbests, SOS, EOS), together)


@pytest.mark.parametrize("side", ["left", "right"])
def test_each_decoder_can_turn_the_order(side):
    """The weights decide: all to one side gives the order of that side alone."""
    model, nbests = decoder(), some_nbests(6)[-1:]
    lengths = torch.tensor([12])
    x = encoded(lengths)
    weight = float(side == "right")
    found = rescore(model, x, lengths, nbests, SOS, EOS, 0.0, weight)[0]
    one = model.right if side == "right" else model
    step = -1 if side == "right" else 1
    with torch.no_grad():
        alone = {h.tokens: one_score(one, x[0], h.tokens[::step]) for h in nbests[0]}
    order = [h.tokens for h in found]
    assert order == sorted(alone, key=alone.get, reverse=True)
    assert order != [h.tokens for h in nbests[0]]


def test_padding_and_shared_prefixes_reach_no_expert():
    model = decoder()
    seen = []
    for expert in model.decoders[0].feed_forward.experts:
        expert.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    texts = [[(5, 6, 7), (5, 6, 8), (5,)], [(9,)]]
    lengths = torch.tensor([12, 4])
    decoder_scores(model, encoded(lengths), lengths, texts, SOS, EOS)
    nodes = 5 + 2  # <sos> 5 6 7 8, <sos> 9
    assert sum(seen) == 2 * nodes  # each to two experts


def test_without_a_decoder_from_the_right_its_weight_must_be_nothing():
    model, nbests = decoder(right=0), some_nbests(2)
    lengths = torch.tensor([12, 3])
    x = encoded(lengths)
    with pytest.raises(ValueError, match="no decoder from right to left"):
        rescore(model, x, lengths, nbests, SOS, EOS, reverse_weight=0.3)
    found = rescore(model, x, lengths, nbests, SOS, EOS, reverse_weight=0.0)
    assert [len(nbest) for nbest in found] == [4, 5]


@pytest.mark.parametrize(
    "weights", [{"ctc_weight": -0.1}, {"reverse_weight": 1.1}, {"reverse_weight": -1.0}]
)
def test_weights_out_of_range_are_refused(weights):
    with pytest.raises(ValueError, match=f"{next(iter(weights))} must"):
        rescore(
            decoder(), torch.zeros(0, 1, D), torch.zeros(0), [], SOS, EOS, **weights
        )
