"""Attention decoding finds what ESPnet's search and an exhaustive one find."""

from itertools import product
from types import SimpleNamespace

import pytest
import torch
from espnet2.asr.ctc import CTC

from espnet_smoe.decoder.bidirectional import U2PPTransformerDecoder
from espnet_smoe.inference.search.beam_search import PromptBeamSearch
from espnet_smoe.inference.search.encoded_batch import EncodedBatch
from espnet_smoe.inference.search.espnet_search import ESPnetBeamSearch
from espnet_smoe.inference.search.options import SearchOptions
from espnet_smoe.inference.search.searches import attention_search

D, T = 16, 20
MIXTURE = {"gate": "topk", "num_experts": 4, "top_k": 2}


def model(vocabulary, sure=4.0):
    """A mixture that hears what is said, and ends now and then."""
    torch.manual_seed(0)
    decoder = U2PPTransformerDecoder(vocabulary, D, 2, 32, 2, 1, moe=MIXTURE)
    ctc = CTC(vocabulary, D)
    with torch.no_grad():
        decoder.output_layer.weight.mul_(sure)
        decoder.output_layer.bias[-1] = 1.5
        ctc.ctc_lo.weight.mul_(4)
        for layer in decoder.decoders:
            layer.src_attn.linear_v.weight.mul_(8)
    end = vocabulary - 1
    return SimpleNamespace(decoder=decoder.eval(), ctc=ctc.eval(), sos=end, eos=end)


def utterances(count):
    """Encoder outputs of different lengths, padded with garbage."""
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(8, T + 1, (count,), generator=generator)
    own = torch.randn(count, 1, D, generator=generator)  # what makes them differ
    return own + torch.randn(count, T, D, generator=generator), lengths


def searched(asr, x, lengths, beam_size, ctc_weight=0.0):
    options = SearchOptions(beam_size=beam_size, ctc_weight=ctc_weight)
    return attention_search(asr, options)(EncodedBatch(asr, x, lengths))


@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_equals_espnets_search_batched_over_utterances(weight):
    asr, (x, lengths) = model(60), utterances(12)
    options = SearchOptions(beam_size=4, ctc_weight=weight)
    espnet = ESPnetBeamSearch(asr.decoder, asr.eos, options, 60, asr.ctc)
    theirs = espnet(x, lengths, [[asr.sos]], ctc_prompt=0)[0]
    ours = searched(asr, x, lengths, 4, weight)
    assert len({nbest[0].tokens for nbest in ours}) > 6  # not all alike
    for mine, its in zip(ours, theirs, strict=True):
        assert [h.tokens for h in mine] == [h.tokens for h in its[:4]]
        scores = [h.score for h in mine]
        assert scores == pytest.approx([h.score for h in its[:4]], abs=1e-4)


@torch.no_grad()
def every_text(asr, heard, longest):
    """Log probability of every text that ends after at most so many tokens."""
    others = sorted(set(range(asr.decoder.vocab_size)) - {asr.eos})
    scores = {}
    for length in range(longest):
        for text in product(others, repeat=length):
            inputs = torch.tensor([[asr.sos, *text]])
            sizes = torch.tensor([heard.size(0)]), torch.tensor([length + 1])
            logits, _ = asr.decoder(heard[None], sizes[0], inputs, sizes[1])
            gains = logits[0].log_softmax(dim=-1)
            wanted = torch.tensor([*text, asr.eos])
            scores[text] = float(gains.gather(1, wanted[:, None]).sum())
    return scores


def test_a_wide_beam_finds_the_best_text_of_all():
    asr, (x, lengths) = model(4, sure=1.0), utterances(3)
    longest = 4
    options = SearchOptions(beam_size=81, maxlenratio=-longest)
    search = PromptBeamSearch(asr.decoder, asr.eos, options)
    found = search(x, lengths, [[asr.sos]])[0]
    for heard, frames, nbest in zip(x, lengths, found, strict=True):
        scores = every_text(asr, heard[:frames], longest)
        ended = {h.tokens: h.score for h in nbest[:81] if h.tokens in scores}
        best = max(scores, key=scores.get)
        assert best in ended and ended[best] == pytest.approx(scores[best], abs=1e-4)
        assert all(ended[t] == pytest.approx(scores[t], abs=1e-4) for t in ended)


def test_at_most_a_beam_of_hypotheses_is_given():
    asr, (x, lengths) = model(60), utterances(4)
    for nbest in searched(asr, x, lengths, 2):
        scores = [h.score for h in nbest]
        assert 1 <= len(nbest) <= 2 and scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("beam", [11, 12, 24])
def test_a_beam_as_wide_as_the_vocabulary_says_nothing_that_ctc_calls_impossible(beam):
    asr, (x, lengths) = model(12), utterances(2)
    for nbest in searched(asr, x, lengths, beam, 0.5):
        assert nbest[0].score < -1 and all(0 not in h.tokens for h in nbest)
