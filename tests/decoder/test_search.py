"""Decoders in a search, and what their options change: beside the whole prefix."""

from dataclasses import replace

import pytest
import torch
from espnet2.asr.decoder.transformer_decoder import TransformerDecoder
from espnet2.legacy.nets.pytorch_backend.transformer.embedding import (
    ScaledPositionalEncoding,
)

from espnet_smoe.decoder.cache import DecoderCache, gather
from espnet_smoe.decoder.transformer import SMoETransformerDecoder
from tests.recomputed import runs_of

VOCABULARY, SOS, D = 12, 11, 16
SIZES = {"attention_heads": 2, "linear_units": 32, "num_blocks": 3}


def make(**options) -> SMoETransformerDecoder:
    torch.manual_seed(0)
    return SMoETransformerDecoder(VOCABULARY, D, **SIZES | options).eval()


def given(*lengths: int, tokens: int = 5) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(1)
    ys = torch.randint(1, 11, (len(lengths), tokens))
    memory = torch.randn(len(lengths), max(lengths), D)
    return memory, torch.tensor(lengths), ys, torch.full((len(lengths),), tokens)


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def scaled(decoder: SMoETransformerDecoder) -> SMoETransformerDecoder:
    """Positions with a learned factor that has learned something."""
    if isinstance(decoder.embed[-1], ScaledPositionalEncoding):
        decoder.embed[-1].alpha.data.fill_(2.0)
    return decoder


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"normalize_before": False},
        {"concat_after": True},
        {"qk_norm": True},
        {"pos_enc_class": ScaledPositionalEncoding},
        {"num_blocks": 1},
    ],
)
@pytest.mark.parametrize("begin", [1, 2])
def test_a_search_sees_what_training_saw(options, begin):
    decoder = scaled(make(**options))
    memory, lengths, ys, n = given(20, 18)  # more frames than features
    whole = decoder(memory, lengths, ys, n)[0].log_softmax(-1)
    state = decoder.batch_init_state(memory, lengths)
    for length in range(begin, 6):
        scores, state = decoder.batch_score(ys[:, :length], state, memory)
        close(scores, whole[:, length - 1])


def test_positions_beyond_the_table_are_added_to_it():
    decoder = make()
    memory, lengths, ys, n = given(6, tokens=9)
    whole = decoder(memory, lengths, ys, n)[0].log_softmax(-1)
    positions = decoder.embed[-1]
    positions.pe = positions.pe[:, :4]
    scores, _ = decoder.batch_score(ys, decoder.batch_init_state(memory), memory)
    close(scores, whole[:, -1])


def test_without_an_output_layer_the_hidden_layer_is_what_there_is():
    decoder = make(use_output_layer=False)
    memory, lengths, ys, n = given(6, 6)
    whole, _ = decoder(memory, lengths, ys, n)
    assert whole.shape == (2, 5, D)
    scores, _ = decoder.batch_score(ys, decoder.batch_init_state(memory), memory)
    close(scores, whole[:, -1].log_softmax(-1))


def test_hidden_layers_come_back_where_asked():
    decoder = make(moe={})
    decoder.labels.bind(["<translate>", "<transcribe>", *"abcdefghi", "<sos/eos>"])
    memory, lengths, ys, n = given(6, 6)
    ys[:, 0] = torch.tensor([1, 0])  # the rows are sorted by task, and back
    out, m = decoder(memory, lengths, ys, n)
    (same, last), _ = decoder(memory, lengths, ys, n, return_hs=True)
    (too, every), _ = decoder(memory, lengths, ys, n, return_all_hs=True)
    assert torch.equal(out, same) and torch.equal(out, too) and torch.equal(m, n)
    close(decoder.output_layer(last), out)
    assert len(every) == 3
    close(decoder.after_norm(every[-1]), last)
    state = decoder.batch_init_state(memory)
    (scores, hidden), _ = decoder.batch_score(ys, state, memory, return_hs=True)
    close(hidden, last[:, -1])
    close(scores, out[:, -1].log_softmax(-1))


def test_an_utterance_of_one_frame_sees_that_one():
    decoder = make()
    memory, lengths, ys, n = given(7, 1)
    out, _ = decoder(memory, lengths, ys, n)
    alone, _ = decoder(memory[1:, :1], lengths[1:], ys[1:], n[1:])
    close(out[1:], alone)
    state = decoder.batch_init_state(memory, lengths)
    scores, _ = decoder.batch_score(ys, state, memory)
    close(scores[1:], alone[:, -1].log_softmax(-1))


def test_an_utterance_without_a_frame_is_finite():
    decoder = make()
    memory, _, ys, n = given(7, 3)
    lengths = torch.tensor([7, 0])
    assert decoder(memory, lengths, ys, n)[0].isfinite().all()
    state = decoder.batch_init_state(memory, lengths)
    assert decoder.batch_score(ys, state, memory)[0].isfinite().all()


def test_vectors_are_read_as_espnets_decoder_reads_them():
    ours = make(input_layer="linear")
    theirs = TransformerDecoder(VOCABULARY, D, **SIZES, input_layer="linear").eval()
    theirs.load_state_dict(ours.state_dict())
    memory, lengths, _, n = given(7, 4)
    vectors = torch.randn(2, 5, VOCABULARY)
    close(ours(memory, lengths, vectors, n)[0], theirs(memory, lengths, vectors, n)[0])


def test_espnets_sos_stands_for_the_prompt():
    decoder = make()
    memory, lengths, ys, _ = given(7, 7)
    decoder.search_prompt = SOS, (3, 4, 5)
    begun = torch.cat((torch.full((2, 1), SOS), ys), dim=1)
    prompted = torch.cat((torch.tensor([[3, 4, 5]] * 2), ys), dim=1)
    fresh = decoder.batch_init_state(memory)
    scores, state = decoder.batch_score(begun, fresh, memory)
    expected, _ = decoder.batch_score(prompted, fresh, memory)
    close(scores, expected)
    assert state.length == 3 + 5
    decoder.search_prompt = None
    assert not torch.allclose(decoder.batch_score(begun, fresh, memory)[0], expected)


@pytest.mark.parametrize("layers", [1, 3])
def test_rows_of_several_prompts_see_their_own_utterance(layers):
    """Rows stand as (prompts, utterances, hypotheses of each)."""
    decoder, prompts, hypotheses = make(num_blocks=layers), 2, 3
    memory, lengths, _, _ = given(7, 5)
    torch.manual_seed(2)
    ys = torch.randint(1, 11, (prompts * 2 * hypotheses, 4))
    cache = replace(decoder.batch_init_state(memory, lengths), prompts=prompts)
    _, cache = decoder.advance(ys[:, :3], cache)
    hidden, cache = decoder.advance(ys, cache)
    for row, tokens in enumerate(ys):
        utterance = row // hypotheses % 2
        one = memory[utterance : utterance + 1, : lengths[utterance]]
        alone, _ = decoder.advance(tokens[None], decoder.batch_init_state(one))
        close(hidden[row], alone[0])
    assert (cache.utterances, cache.length, cache.prompts) == (2, 4, prompts)


@pytest.mark.parametrize("layers", [1, 3])
def test_the_best_hypotheses_of_each_utterance_are_its_own(layers):
    decoder = make(num_blocks=layers)
    memory, lengths, _, _ = given(7, 6, 5)
    torch.manual_seed(2)
    ys = torch.randint(1, 11, (3 * 2, 4))  # two hypotheses an utterance
    _, state = decoder.batch_score(ys, decoder.batch_init_state(memory), memory)
    chosen = torch.tensor([[1, 0, 1, 1], [0, 0, 0, 1], [1, 1, 0, 0]])  # four of them
    kept = decoder.batch_select_state(state, chosen * VOCABULARY + 7)
    rows = (chosen + torch.tensor([[0], [2], [4]])).flatten()
    for (k, v), (new_k, new_v) in zip(state.keys_values, kept.keys_values):
        assert torch.equal(new_k, k[rows]) and torch.equal(new_v, v[rows])


@pytest.mark.parametrize("layers", [1, 3])
def test_some_rows_of_a_cache_are_taken_out_of_it(layers):
    decoder = make(num_blocks=layers)
    memory, lengths, ys, _ = given(6, 6, 6, 6)
    _, state = decoder.batch_score(ys, decoder.batch_init_state(memory), memory)
    for rows in ([0, 1], [3, 1], [1, 0, 2, 3]):
        taken = gather([(state, row) for row in rows])
        for (k, v), (new_k, new_v) in zip(state.keys_values, taken.keys_values):
            assert torch.equal(new_k, k[rows]) and torch.equal(new_v, v[rows])


@pytest.mark.parametrize("layers", [1, 3])
def test_a_cache_hears_the_frames_that_a_stream_has_brought(layers):
    decoder = make(num_blocks=layers)
    memory, _, _, _ = given(7)
    cache = decoder.batch_init_state(memory[:, :4])
    assert cache.with_frames(None, decoder.decoders) is cache
    assert cache.with_frames(memory[:, :4], decoder.decoders) is cache
    whole = decoder.batch_init_state(memory)
    for frames in (memory, memory[0]):
        for mine, its in zip(
            cache.with_frames(frames, decoder.decoders).memory, whole.memory
        ):
            close(mine[0], its[0])
            close(mine[1], its[1])
    several = decoder.batch_init_state(memory[:, :4].expand(2, -1, -1))
    assert several.with_frames(memory, decoder.decoders) is several


@pytest.mark.parametrize("layers", [1, 3])
def test_utterances_that_are_done_are_forgotten(layers):
    decoder = make(num_blocks=layers)
    memory, lengths, _, _ = given(7, 6, 4)
    cache = decoder.batch_init_state(memory, lengths)
    kept = cache.keep_utterances(torch.tensor([2, 0]))
    assert cache.utterances == 3 and kept.utterances == 2
    fresh = decoder.batch_init_state(memory[[2, 0]], lengths[[2, 0]])
    assert torch.equal(kept.memory_mask, fresh.memory_mask)
    for (k, v), (new_k, new_v) in zip(fresh.memory, kept.memory):
        close(new_k, k)
        close(new_v, v)
    whole = decoder.batch_init_state(memory).keep_utterances(torch.tensor([1]))
    assert whole.memory_mask is None
    assert DecoderCache(whole.memory, None).length == 0


def test_only_the_layers_named_are_recomputed_and_only_in_training():
    decoder = make(gradient_checkpoint_layers=[1, 3])

    def step() -> torch.Tensor:
        return decoder(*given(7, 5))[0]

    assert runs_of(decoder.decoders, step) == [1, 1, 1]
    decoder.train()
    assert runs_of(decoder.decoders, step) == [2, 1, 2]


def test_layers_share_a_router_where_asked():
    decoder = make(moe={"gate": "topk", "num_experts": 3, "shared_router": True})
    routers = {id(layer.feed_forward.gate.router) for layer in decoder.decoders}
    assert len(routers) == 1


def test_a_size_that_the_heads_do_not_divide_is_refused():
    message = "decoder_conf.*attention_heads: 3 does not divide the encoder's output"
    with pytest.raises(ValueError, match=message):
        SMoETransformerDecoder(VOCABULARY, D, attention_heads=3)
