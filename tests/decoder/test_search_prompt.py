"""Decoders of ESPnet's begin its search with the prompt of a task, or refuse it."""

import pytest
import torch
from espnet2.asr.decoder.rnn_decoder import RNNDecoder

from espnet_smoe.compat import TransformerDecoder
from espnet_smoe.decoder.search_prompt import take_prompt

V, D, SOS, PROMPT = 10, 8, 9, (3, 4)


def transformer():
    torch.manual_seed(0)
    return TransformerDecoder(V, D, attention_heads=2, linear_units=8, num_blocks=1)


@torch.no_grad()
def test_a_transformer_reads_the_prompt_in_place_of_sos():
    decoder, memory = transformer().eval(), torch.randn(2, 5, D)
    begun = torch.tensor([[SOS, 1], [SOS, 2]])
    prompted = torch.tensor([[*PROMPT, 1], [*PROMPT, 2]])
    expected, _ = decoder.batch_score(prompted, [None, None], memory)
    take_prompt(decoder, SOS, PROMPT)
    assert isinstance(decoder, TransformerDecoder)
    scores, _ = decoder.batch_score(begun, [None, None], memory)
    torch.testing.assert_close(scores, expected)
    one, _ = decoder.score(begun[0], None, memory[0])
    torch.testing.assert_close(one, expected[0])
    with pytest.raises(ValueError, match="--partial_ar"):
        decoder.batch_score_partially_AR(begun, [None, None], memory)


def test_a_decoder_that_sees_one_token_at_a_time_is_refused_by_name():
    decoder = RNNDecoder(V, D, num_layers=1, hidden_size=4)
    take_prompt(decoder, SOS, PROMPT)
    assert isinstance(decoder, RNNDecoder)
    for score in (decoder.score, decoder.batch_score):
        with pytest.raises(ValueError, match="RNNDecoder cannot be given the prompt"):
            score(torch.tensor([SOS]), None, torch.randn(5, D))


def test_a_second_prompt_takes_the_place_of_the_first():
    decoder = transformer()
    take_prompt(decoder, SOS, PROMPT)
    kind = type(decoder)
    take_prompt(decoder, SOS, (5,))
    assert type(decoder) is kind
    assert decoder.search_prompt == (SOS, (5,))
