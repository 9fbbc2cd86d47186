"""Our search equals ESPnet's own on the same weights."""

import logging

import pytest
import torch
from espnet2.asr.ctc import CTC
from espnet2.asr.decoder.transformer_decoder import TransformerDecoder
from espnet2.legacy.nets.scorer_interface import BatchScorerInterface

from espnet_smoe.decoder.transformer import SMoETransformerDecoder
from espnet_smoe.inference.runtime.mkldnn_linear import convert_to_mkldnn
from espnet_smoe.inference.search.beam_search import PromptBeamSearch
from espnet_smoe.inference.search.espnet_search import ESPnetBeamSearch
from espnet_smoe.inference.search.options import SearchOptions

V, D, EOS = 160, 16, 159
TOKENS = ["<blank>", "<transcribe>", "<translate>", *map(str, range(3, V))]
ASR, ST = [1, 4, 6], [2, 5, 6]
UTTERANCES = 50


@pytest.fixture(autouse=True)
def quiet():
    logging.getLogger("espnet2.legacy.nets").setLevel(logging.ERROR)


def decoder(moe=None, cls=SMoETransformerDecoder, seed=0):
    torch.manual_seed(seed)
    options = {} if moe is None else {"moe": moe}
    made = cls(V, D, attention_heads=2, linear_units=32, num_blocks=2, **options)
    with torch.no_grad():  # sharper than at the start, so that hypotheses differ
        made.output_layer.weight.mul_(4)
        made.output_layer.bias[EOS] = 1.5  # lively enough to end now and then
        for layer in made.decoders:  # and what is heard decides
            layer.src_attn.linear_v.weight.mul_(8)
    if getattr(made, "labels", None) is not None:
        made.labels.bind(TOKENS)
    return made.eval()


def ctc():
    torch.manual_seed(3)
    made = CTC(V, D)
    with torch.no_grad():
        made.ctc_lo.weight.mul_(4)
    return made.eval()


def utterances(count=UTTERANCES, seed=1):
    """Encoder outputs of different lengths, padded with garbage."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(8, 26, (count,), generator=generator)
    own = torch.randn(count, 1, D, generator=generator)  # what makes them differ
    return own + torch.randn(count, 25, D, generator=generator), lengths


def espnet(scorer, x, lengths, prompt, options, ctc_head=None, one_by_one=False):
    search = ESPnetBeamSearch(scorer, EOS, options, V, ctc_head)
    ctc_prompt = None if ctc_head is None else 0
    if not one_by_one:
        return search(x, lengths, [prompt], ctc_prompt)[0]
    return [
        search(x[i, None, :n], lengths[i, None], [prompt], ctc_prompt)[0][0]
        for i, n in enumerate(lengths)
    ]


def assert_same(ours, theirs):
    assert len(ours) == len(theirs) > 0
    for mine, its in zip(ours, theirs):
        assert [h.tokens for h in mine] == [h.tokens for h in its]
        assert [h.score for h in mine] == pytest.approx(
            [h.score for h in its], abs=1e-4
        )


@pytest.mark.parametrize("one_by_one", [True, False])
@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_equals_espnet_with_its_own_decoder(weight, one_by_one):
    """(a) The stock decoder and search of ESPnet on the same weights."""
    dense, stock = decoder(), decoder(cls=TransformerDecoder)
    stock.load_state_dict(dense.state_dict())
    options, head = SearchOptions(ctc_weight=weight), ctc() if weight else None
    x, lengths = utterances()
    theirs = espnet(stock, x, lengths, ASR, options, head, one_by_one)
    search = PromptBeamSearch(dense, EOS, options, head)
    if one_by_one:
        ours = [
            search(x[i, None, :n], lengths[i, None], [ASR], 0)[0][0]
            for i, n in enumerate(lengths)
        ]
    else:
        ours = search(x, lengths, [ASR], 0)[0]
    assert len({h[0].tokens for h in ours}) > UTTERANCES / 2  # not all alike
    assert_same(ours, theirs)


@pytest.mark.parametrize(
    "options",
    [
        SearchOptions(maxlenratio=0.3),
        SearchOptions(normalize_length=True),
        SearchOptions(maxlenratio=-5, minlenratio=-3),
        SearchOptions(beam_size=1),
        SearchOptions(beam_size=3, minlenratio=0.6),
        SearchOptions(maxlenratio=0.2, minlenratio=0.35),
    ],
)
def test_length_bounds_and_beams_are_espnets(options):
    dense, stock = decoder(), decoder(cls=TransformerDecoder)
    stock.load_state_dict(dense.state_dict())
    x, lengths = utterances(10)
    ours = PromptBeamSearch(dense, EOS, options)(x, lengths, [ASR])[0]
    assert_same(ours, espnet(stock, x, lengths, ASR, options))


class Uncached(BatchScorerInterface):
    """The decoder's training pass over the whole prefix, nothing kept."""

    def __init__(self, inner):
        self.inner = inner

    def init_state(self, x):
        return None

    def batch_init_state(self, x):
        return None

    def final_score(self, state):
        return 0.0

    def select_state(self, state, i, new_id=None):
        return None

    def batch_score(self, ys, states, xs, xs_mask=None):
        lengths = torch.full((len(xs),), xs.size(1))
        if xs_mask is not None:
            lengths = xs_mask.sum(dim=(1, 2))
        tokens = torch.full((len(ys),), ys.size(1))
        out, _ = self.inner(xs.contiguous(), lengths, ys, tokens)
        return out[:, -1].log_softmax(-1), [None] * len(ys)


@pytest.mark.parametrize(
    "moe", [{}, {"gate": "topk", "num_experts": 4}], ids=["label", "learned"]
)
@pytest.mark.parametrize("prompt", [ASR, ST])
def test_kept_keys_equal_the_whole_prefix_computed_anew(prompt, moe):
    """(b) A mixture against its own training pass, in ESPnet's search."""
    mixture, options = decoder(moe), SearchOptions()
    x, lengths = utterances()
    theirs = espnet(Uncached(mixture), x, lengths, prompt, options)
    ours = PromptBeamSearch(mixture, EOS, options)(x, lengths, [prompt])[0]
    assert_same(ours, theirs)


def test_our_decoder_in_espnets_search_equals_our_search():
    mixture, options = decoder({}), SearchOptions()
    x, lengths = utterances(10)
    theirs = espnet(mixture, x, lengths, ST, options)
    assert_same(PromptBeamSearch(mixture, EOS, options)(x, lengths, [ST])[0], theirs)


@pytest.mark.parametrize("weight", [0.0, 0.3])
@pytest.mark.parametrize("prompts", [[ASR, ST], [ST, ASR]])
def test_prompts_together_equal_each_alone(prompts, weight):
    mixture = decoder({})
    search = PromptBeamSearch(mixture, EOS, SearchOptions(ctc_weight=weight), ctc())
    x, lengths = utterances(12)
    heard = prompts.index(ASR)
    together = search(x, lengths, prompts, heard)
    for r, prompt in enumerate(prompts):
        alone = search(x, lengths, [prompt], 0 if r == heard else None)[0]
        assert_same(together[r], alone)
    assert together[0][0][0].tokens != together[1][0][0].tokens


def test_utterance_comes_out_the_same_in_any_batch():
    search = PromptBeamSearch(decoder({}), EOS, SearchOptions())
    x, lengths = utterances(12)
    batch = search(x, lengths, [ASR, ST])
    for i, n in enumerate(lengths.tolist()):
        alone = search(x[i, None, :n], lengths[i, None], [ASR, ST])
        for r in range(2):
            assert_same([batch[r][i]], alone[r])


def test_ctc_does_not_count_the_prompt():
    """A CTC score of the text alone, whatever its prompt's length."""
    dense, head = decoder(), ctc()
    x, lengths = utterances(1)
    options = SearchOptions(ctc_weight=0.3)
    best = PromptBeamSearch(dense, EOS, options, head)(x, lengths, [ASR], 0)[0][0][0]
    x = x[:, : lengths[0]]
    log_probs = head.log_softmax(x)
    tokens = torch.tensor([best.tokens])
    heard = -torch.nn.functional.ctc_loss(
        log_probs.transpose(0, 1),
        tokens,
        lengths,
        torch.tensor([tokens.size(1)]),
        reduction="sum",
    )
    ys = torch.tensor([[*ASR, *best.tokens]])
    out, _ = dense(x, lengths, ys, torch.tensor([ys.size(1)]))
    targets = torch.tensor([*best.tokens, EOS])
    spoken = out[0, len(ASR) - 1 :].log_softmax(-1)
    spoken = spoken.gather(1, targets[:, None]).sum()
    assert best.score == pytest.approx((0.7 * spoken + 0.3 * heard).item(), abs=1e-3)


def test_packed_layers_find_the_same():
    x, lengths = utterances(10)
    plain, packed = (
        PromptBeamSearch(made, EOS, SearchOptions())(x, lengths, [ASR, ST])
        for made in (decoder({}), convert_to_mkldnn(decoder({})))
    )
    for ours, theirs in zip(packed, plain):
        assert_same(ours, theirs)


def test_encoder_is_read_once_for_all_prompts():
    mixture = decoder({})
    calls = []
    mixture.decoders[0].src_attn.linear_k.register_forward_hook(
        lambda module, inputs, output: calls.append(output.shape)
    )
    x, lengths = utterances(3)
    PromptBeamSearch(mixture, EOS, SearchOptions())(x, lengths, [ASR, ST])
    assert calls == [(3, 25, D)]


def search_of_openai(made, encoded, prompt, size, most):
    """`BeamSearchDecoder` and `MaximumLikelihoodRanker` of openai-whisper, in short.

    Returns:
        The text with the best score over its length, and that score.
    """
    beams, finished = {tuple(prompt): 0.0}, {}
    for step in range(most):
        scores = {}
        for prefix, total in beams.items():
            tokens = torch.tensor([prefix])
            lengths = torch.tensor([encoded.size(1)]), torch.tensor([len(prefix)])
            logits = made(encoded, lengths[0], tokens, lengths[1])[0][0, -1]
            for gain, token in zip(*logits.log_softmax(-1).topk(size + 1)):
                scores[(*prefix, int(token))] = total + float(gain)
        beams, ended = {}, {}
        for prefix in sorted(scores, key=scores.get, reverse=True):
            if prefix[-1] == EOS:
                ended[prefix[:-1]] = scores[prefix]
                continue
            beams[prefix] = scores[prefix]
            if len(beams) == size:
                break
        finished |= dict(list(ended.items())[: size - len(finished)])
        if len(finished) >= size:
            break
    if len(finished) < size:
        finished |= beams
    ranked = {
        prefix[len(prompt) :]: total / max(1, len(prefix) - len(prompt))
        for prefix, total in finished.items()
    }
    best = max(ranked, key=ranked.get)
    return best, ranked[best]


@pytest.mark.parametrize("size", [1, 2, 5])
@torch.inference_mode()
def test_whispers_models_are_searched_as_whispers_program_does(size):
    made, (x, lengths) = decoder(), utterances(12)
    plain = PromptBeamSearch(made, EOS, SearchOptions(size))(x, lengths, [ASR])[0]
    made.searched_as_whisper, made.normalize_length = True, True
    found = PromptBeamSearch(made, EOS, SearchOptions(size))(x, lengths, [ASR])[0]
    for row, (length, nbest) in enumerate(zip(lengths.tolist(), found)):
        given = x[row : row + 1, :length], ASR, size, length
        tokens, score = search_of_openai(made, *given)
        assert nbest[0].tokens == tokens
        assert nbest[0].score / max(1, len(tokens)) == pytest.approx(score, rel=1e-4)
    assert size == 1 or [n[0] for n in found] != [n[0] for n in plain]


def test_a_text_is_no_longer_than_the_decoder_says():
    made, (x, lengths) = decoder(), utterances()
    made.longest_text = 3
    found = PromptBeamSearch(made, EOS, SearchOptions(2))(x, lengths, [ASR])[0]
    assert {len(h.tokens) for nbest in found for h in nbest} <= {0, 1, 2, 3}


def test_a_decoder_may_ask_for_scores_over_lengths():
    made, (x, lengths) = decoder(), utterances()
    asked = PromptBeamSearch(made, EOS, SearchOptions(normalize_length=True))
    wanted = asked(x, lengths, [ASR])
    plain = PromptBeamSearch(made, EOS, SearchOptions())(x, lengths, [ASR])
    made.normalize_length = True
    assert PromptBeamSearch(made, EOS, SearchOptions())(x, lengths, [ASR]) == wanted
    unasked = SearchOptions(normalize_length=False)
    assert PromptBeamSearch(made, EOS, unasked)(x, lengths, [ASR]) == plain != wanted


AFTER = {ASR[-1]: 9, 9: 10, 10: 11, 11: 10}  # 9 10 11 10 11 and so on, without an end


def looping(last):
    """``(N, V)`` scores of what comes after ``last`` ``(N,)``."""
    scores = torch.full((len(last), V), -20.0)
    scores[range(len(last)), [AFTER.get(token, 8) for token in last.tolist()]] = 0.0
    scores[:, EOS] = -9.0  # it may also end anywhere
    return scores


class Loop(torch.nn.Module, BatchScorerInterface):
    def batch_score(self, ys, states, xs):
        return looping(ys[:, -1]), [None] * len(ys)


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("size", [1, 3])
def test_what_is_repeated_to_the_limit_is_said_once_if_asked_for(size, cut):
    made, (x, lengths) = decoder(), utterances(4)
    made.next_logits = lambda hidden: looping(made.last)
    extend = PromptBeamSearch._extend

    def noting(self, beam, *more):
        made.last = beam.ys[:, -1]
        return extend(self, beam, *more)

    options = SearchOptions(size, cut_repetition=cut)
    ours = PromptBeamSearch(made, EOS, options)
    ours._extend = noting.__get__(ours)
    for search in (ours, ESPnetBeamSearch(Loop(), EOS, options, V)):
        (found,) = search(x, lengths, [ASR])
        for nbest, length in zip(found, lengths.tolist()):
            said = 3 if cut else length
            assert nbest[0].tokens == (9, *(10, 11) * length)[:said]
            assert len({found.tokens for found in nbest}) == len(nbest)
