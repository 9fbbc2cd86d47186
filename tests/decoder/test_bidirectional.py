"""Decoder u2pp_transformer: two decoders, the first of which searches."""

import pytest
import torch

from espnet_smoe.decoder.bidirectional import U2PPTransformerDecoder
from espnet_smoe.decoder.transformer import SMoETransformerDecoder
from espnet_smoe.moe import MoEFeedForward

SMALL = {"attention_heads": 2, "linear_units": 24, "num_blocks": 2, "r_num_blocks": 1}


def make(**options) -> U2PPTransformerDecoder:
    torch.manual_seed(0)
    return U2PPTransformerDecoder(11, 16, **SMALL | options).eval()


def given() -> tuple[torch.Tensor, ...]:
    torch.manual_seed(1)
    memory, tokens = torch.randn(2, 9, 16), torch.randint(1, 10, (2, 5))
    return memory, torch.tensor([9, 6]), tokens, torch.tensor([5, 3])


def test_without_the_second_it_is_the_decoder_that_there_was():
    decoder = make(r_num_blocks=0)
    assert decoder.right is None
    plain = SMoETransformerDecoder(11, 16, 2, 24, 2).eval()
    plain.load_state_dict(decoder.state_dict())
    assert torch.equal(decoder(*given())[0], plain(*given())[0])


def test_the_two_share_no_weights():
    decoder = make(moe={})
    left = {id(p) for n, p in decoder.named_parameters() if not n.startswith("right.")}
    assert not left & {id(p) for p in decoder.right.parameters()}
    assert len(decoder.decoders) == 2 and len(decoder.right.decoders) == 1
    assert not torch.allclose(decoder(*given())[0], decoder.right(*given())[0])


def test_both_are_mixtures_of_eight_by_default():
    mixtures = [m for m in make(moe={}).modules() if isinstance(m, MoEFeedForward)]
    assert [(len(m.experts), m.gate.top_k) for m in mixtures] == [(8, 2)] * 3


def test_padding_plays_no_part():
    decoder = make(moe={"num_experts": 4})
    memory, lengths, tokens, counts = given()
    for side in (decoder, decoder.right):
        out, _ = side(memory, lengths, tokens, counts)
        alone, _ = side(memory[1:, :6], lengths[1:], tokens[1:, :3], counts[1:])
        torch.testing.assert_close(out[1:, :3], alone, atol=1e-5, rtol=1e-5)


def test_a_search_sees_what_training_saw():
    decoder = make(moe={"num_experts": 4})
    memory, lengths, tokens, _ = given()
    out, _ = decoder(memory, lengths, tokens, torch.tensor([5, 5]))
    state = decoder.batch_init_state(memory, lengths)
    for n in range(1, 6):
        scores, state = decoder.batch_score(tokens[:, :n], state, memory)
        torch.testing.assert_close(
            scores, out[:, n - 1].log_softmax(dim=1), atol=1e-5, rtol=1e-5
        )


def test_a_wrong_option_names_the_cure():
    with pytest.raises(ValueError, match="did you mean 'r_num_blocks'"):
        make(r_num_block=1)
    with pytest.raises(ValueError, match="decoder_conf.moe.*'gate: topk'"):
        make(moe={"gate": "label"})
