"""Decoder `smoe_whisper` before any training."""

import math

import pytest
import torch
from espnet2.torch_utils.initialize import initialize
from torch.nn import functional

from espnet_smoe.decoder.whisper import SMoEOpenAIDecoder

V, D = 400, 256


@pytest.mark.parametrize("init", [None, "xavier_uniform", "kaiming_normal"])
def test_a_model_from_nothing_begins_at_the_loss_of_chance(init):
    torch.manual_seed(1)
    decoder = SMoEOpenAIDecoder(V, D, 4, 512, 3)
    if init is not None:
        initialize(decoder, init)
    texts, lengths = torch.randint(V, (4, 21)), torch.full((4,), 20)
    memory = torch.randn(4, 30, D), torch.full((4,), 30)
    scores = decoder.eval()(*memory, texts[:, :-1], lengths)[0]  # (B, L, V)
    loss = functional.cross_entropy(scores.transpose(1, 2), texts[:, 1:])
    assert loss < math.log(V) + 0.5
    assert decoder.output_layer.weight is decoder.embed[0].weight
