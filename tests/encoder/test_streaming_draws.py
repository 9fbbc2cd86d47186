"""What a Conformer draws, drops, keeps and says, beside what it computes."""

import pytest
import torch
from torch import nn

from espnet_smoe.encoder.conformer import U2PPConformerEncoder
from espnet_smoe.layers.causal_subsampling import CausalConv2dSubsampling
from espnet_smoe.layers.chunk_attention import RelativeAttention, RotaryAttention
from espnet_smoe.layers.chunk_cache import sample_chunk_size
from tests.recomputed import runs_of

SMALL = {"output_size": 16, "attention_heads": 2, "linear_units": 24, "num_blocks": 3}


def make(**options) -> U2PPConformerEncoder:
    torch.manual_seed(0)
    return U2PPConformerEncoder(20, **SMALL | options).eval()


def batch(*lengths: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.randn(len(lengths), max(lengths), 20), torch.tensor(lengths)


@pytest.mark.parametrize(
    "length, chunks",
    [
        (2, {(2, 0)}),
        (4, {(0, -1), (2, 0), (2, 1), (3, 0), (3, 1)}),
        (5, {(0, -1), (2, 0), (2, 1), (2, 2), (3, 0), (3, 1)}),
    ],
)
def test_every_chunk_and_every_number_of_left_ones_is_drawn(length, chunks):
    """Above half of the frames it is the whole utterance (Zhang et al. 2020)."""
    torch.manual_seed(0)
    assert {sample_chunk_size(length, True) for _ in range(200)} == chunks


def test_left_chunks_are_drawn_where_asked():
    x, lengths = batch(160)
    encoder = make(use_dynamic_left_chunk=True).train()
    encoder.num_left_chunks = 99  # plays no part in what is drawn
    torch.manual_seed(0)
    drawn = {encoder._chunks(x, None, None)[1] for _ in range(50)}
    assert {0, 1, -1} <= drawn and 99 not in drawn


@pytest.mark.parametrize("training, dynamic", [(True, False), (False, True)])
def test_nothing_is_drawn_outside_of_dynamic_training(training, dynamic, monkeypatch):
    monkeypatch.setattr("espnet_smoe.encoder.conformer.sample_chunk_size", None)
    encoder = make(use_dynamic_chunk=dynamic).train(training)
    encoder(*batch(40))


@pytest.mark.parametrize("kind, tables", [("rel_pos", 1), ("rope", 0)])
def test_sinusoids_drop_out_and_places_do_not(kind, tables):
    encoder, dropped = make(pos_enc_layer_type=kind), []
    encoder.positional_dropout.register_forward_hook(
        lambda _, args, out: dropped.append(tuple(out.shape))
    )
    encoder(*batch(40))
    assert dropped == [(1, 10, 16)] + [(19, 16)] * tables


def test_only_the_layers_named_are_recomputed_and_only_in_training():
    encoder = make(gradient_checkpoint_layers=[1, 3])
    x, lengths = batch(40)

    def step() -> torch.Tensor:
        return encoder(x, lengths, chunk_size=4)[0]

    assert runs_of(encoder.encoders, step) == [1, 1, 1]
    encoder.train()
    assert runs_of(encoder.encoders, step) == [2, 1, 2]


def test_a_stream_begins_alone_with_chunks_of_16_and_forgets_nothing():
    cache = make().new_cache()
    assert cache.num_frames.tolist() == [0] and cache.length == 0
    assert (cache.chunk_size, cache.left_chunks) == (16, -1)


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("kind", ["rel_pos", "rope"])
def test_a_stream_of_bounded_memory_prepares_its_positions_once(kind, layers):
    encoder = make(pos_enc_layer_type=kind, num_blocks=layers)
    x, _ = batch(16)
    first = cache = encoder.new_cache(1, 4, 2)
    for _ in range(4):
        _, _, cache = encoder.forward_chunk(x, cache)
        assert cache.positions is first.positions


def test_padding_that_sees_nothing_reaches_no_frame():
    encoder = make()
    x, lengths = batch(90, 20)  # the second has 5 frames: chunks of padding follow
    out, n, _ = encoder(x, lengths, chunk_size=3, left_chunks=0)
    alone, _, _ = encoder(x[1:, :20], lengths[1:], chunk_size=3, left_chunks=0)
    assert out.isfinite().all()
    torch.testing.assert_close(out[1, :5], alone[0], atol=1e-5, rtol=1e-5)


def test_positions_begin_with_small_biases_and_add_no_buffer():
    torch.manual_seed(0)
    attention = RelativeAttention(4, 64, 0.0, qk_norm=False)
    bound = (6 / (4 + 16)) ** 0.5  # Glorot and Bengio 2010, Eq. 16
    for bias in (attention.pos_bias_u, attention.pos_bias_v):
        assert bias.abs().max() <= bound and bias.min() < 0 < bias.max()
        assert bias.std().item() == pytest.approx(bound / 3**0.5, rel=0.2)
    assert not torch.equal(attention.pos_bias_u, attention.pos_bias_v)
    relative = {key for key in attention.state_dict() if "pos" not in key}
    assert set(RotaryAttention(4, 64, 0.0, qk_norm=False).state_dict()) == relative


@pytest.mark.parametrize(
    "name, fewest", [("conv2d2", 7), ("conv2d", 7), ("conv2d6", 11), ("conv2d8", 15)]
)
def test_the_fewest_features_of_an_input_layer_are_taken(name, fewest):
    layer = CausalConv2dSubsampling(fewest, 4, name)
    assert layer(torch.zeros(1, layer.stride, fewest)).shape == (1, 1, 4)
    with pytest.raises(ValueError, match=f"{name} needs more than {fewest - 1} feat"):
        CausalConv2dSubsampling(fewest - 1, 4, name)


LEFT, EVERY = "use_dynamic_left_chunk: no effect", "moe_every: no effect"


@pytest.mark.parametrize(
    "options, said",
    [
        ({}, ""),
        ({"use_dynamic_left_chunk": True}, ""),
        ({"use_dynamic_left_chunk": True, "use_dynamic_chunk": False}, LEFT),
        ({"use_dynamic_chunk": False}, ""),
        ({"moe": {}, "moe_every": 2}, ""),
        ({"moe": {}}, ""),
        ({"moe_every": 2}, EVERY),
    ],
)
def test_an_option_without_effect_is_said(options, said, caplog):
    make(**options)
    assert said in caplog.text if said else not caplog.text


def test_one_router_serves_mixtures_of_both_halves():
    encoder = make(moe={"num_experts": 3, "shared_router": True})
    routers = [
        half.gate.router
        for layer in encoder.encoders
        for half in (layer.feed_forward, layer.feed_forward_macaron)
    ]
    assert len({id(router) for router in routers}) == 1
    assert isinstance(routers[0], nn.Linear)


def test_streams_that_went_together_are_taken_apart_one_by_one():
    encoder = make()
    _, _, cache = encoder.forward_chunk(batch(16, 16, 16)[0], encoder.new_cache(3, 4))
    for row, one in enumerate(cache.split()):
        assert one.num_frames.tolist() == [4] and one.features.size(0) == 1
        assert all(
            torch.equal(c, d[row : row + 1])
            for c, d in zip(one.convolution, cache.convolution)
        )
        k, v = one.keys_values[0]
        assert torch.equal(k, cache.keys_values[0][0][row : row + 1]) and len(v) == 1
