"""Encoder u2pp_conformer: chunk by chunk equals the masked pass, padding, training."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_smoe.encoder.conformer import U2PPConformerEncoder
from espnet_smoe.layers.chunk_cache import EncoderCache, chunk_mask, sample_chunk_size
from espnet_smoe.moe import MoEFeedForward, Routing

FEATURES = 20
SMALL = {
    "output_size": 16,
    "attention_heads": 2,
    "linear_units": 24,
    "num_blocks": 3,
    "cnn_module_kernel": 5,
}
SYSTEMS = {
    "dense": {},
    "mixture": {"moe": {"num_experts": 4}},
    "rotary": {"moe": {"num_experts": 4}, "pos_enc_layer_type": "rope"},
    "every other layer": {"moe": {"num_experts": 3, "top_k": 1}, "moe_every": 2},
    "no macaron": {"moe": {"num_experts": 3}, "macaron_style": False},
    "no convolution": {"use_cnn_module": False, "qk_norm": True},
    "shared router": {"moe": {"num_experts": 3, "shared_router": True}},
    "sixth of the frames": {"moe": {}, "input_layer": "conv2d6"},
    "half of the frames": {"input_layer": "conv2d2"},
}
every_system = pytest.mark.parametrize("options", SYSTEMS.values(), ids=SYSTEMS)


def make(**options) -> U2PPConformerEncoder:
    torch.manual_seed(0)
    return U2PPConformerEncoder(FEATURES, **SMALL | options).eval()


def batch(*lengths: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.randn(len(lengths), max(lengths), FEATURES), torch.tensor(lengths)


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def stream(
    encoder: U2PPConformerEncoder, x: torch.Tensor, size: int, left: int
) -> tuple[torch.Tensor, list[Routing]]:
    """One utterance ``(1, T, F)`` chunk by chunk."""
    cache, step = encoder.new_cache(1, size, left), size * encoder.stride
    outputs, routings = [], []
    for piece in x.split(step, dim=1):
        n = torch.tensor([piece.size(1)])
        piece = torch.nn.functional.pad(piece, (0, 0, 0, step - piece.size(1)), value=9)
        routings.append(Routing(n))
        out, lengths, cache = encoder.forward_chunk(piece, cache, n, routings[-1])
        outputs.append(out[:, : lengths[0]])
    return torch.cat(outputs, dim=1), routings


# -- chunk by chunk -------------------------------------------------------------------


@every_system
@settings(max_examples=8, deadline=None)
@given(
    frames=st.integers(6, 150),
    size=st.integers(1, 12),
    left=st.integers(-1, 4),
)
def test_chunk_by_chunk_is_the_masked_pass(options, frames, size, left):
    # in float64, where rounding does not decide between experts that are as good
    encoder = make(**options).double()
    x, lengths = batch(frames)
    x, routing = x.double(), Routing(lengths)
    with torch.no_grad():
        whole, n, _ = encoder(
            x, lengths, routing=routing, chunk_size=size, left_chunks=left
        )
    chunks, routings = stream(encoder, x, size, left)
    assert whole.shape[:2] == (1, frames // encoder.stride) == (1, int(n))
    torch.testing.assert_close(chunks, whole, atol=1e-10, rtol=1e-10)
    for name, load in routing.loads.items():  # the routers decided alike
        assert torch.equal(sum(r.loads[name] for r in routings), load)
        logits = torch.cat([r.logits[name] for r in routings])
        torch.testing.assert_close(logits, routing.logits[name], atol=1e-9, rtol=1e-9)
        k = 1 if options["moe"].get("top_k") == 1 else 2
        same = logits.topk(k).indices == routing.logits[name].topk(k).indices
        assert same.all()


@every_system
@pytest.mark.parametrize("size, left", [(1, -1), (7, 2), (16, 0)])
def test_in_float32_it_is_so_within_rounding(options, size, left):
    encoder = make(**options)
    x, lengths = batch(150)
    with torch.no_grad():
        whole, _, _ = encoder(x, lengths, chunk_size=size, left_chunks=left)
    close(stream(encoder, x, size, left)[0], whole)


@pytest.mark.parametrize("options", [SYSTEMS["mixture"], SYSTEMS["rotary"]])
def test_streams_of_any_age_go_side_by_side(options):
    encoder, size, left = make(**options), 4, 2
    step = size * encoder.stride
    x, _ = batch(5 * step, 5 * step)
    alone = [stream(encoder, row[None], size, left)[0] for row in x]
    cache = encoder.new_cache(1, size, left)
    for piece in x[:1].split(step, dim=1)[:3]:  # the first is three chunks ahead
        _, _, cache = encoder.forward_chunk(piece, cache)
    both = EncoderCache.stack([cache, encoder.new_cache(1, size, left)])
    pieces = torch.cat([x[:1, 3 * step : 4 * step], x[1:, :step]])
    out, _, both = encoder.forward_chunk(pieces, both)
    close(out[0], alone[0][0, 3 * size : 4 * size])
    close(out[1], alone[1][0, :size])
    _, second = both.split()
    out, _, _ = encoder.forward_chunk(x[1:, step : 2 * step], second)
    close(out[0], alone[1][0, size : 2 * size])


def test_streams_that_remember_everything_go_side_by_side():
    encoder, size = make(), 3
    step = size * encoder.stride
    x, _ = batch(4 * step, 4 * step)
    alone = [stream(encoder, row[None], size, -1)[0] for row in x]
    old = encoder.new_cache(1, size)
    for piece in x[:1].split(step, dim=1)[:3]:
        _, _, old = encoder.forward_chunk(piece, old)
    assert old.length == 3 * size
    pieces = torch.cat([x[:1, 3 * step :], x[1:, :step]])
    both = EncoderCache.stack([encoder.new_cache(1, size), old])
    out, _, _ = encoder.forward_chunk(pieces.flip(0), both)
    close(out[1], alone[0][0, 3 * size :])
    close(out[0], alone[1][0, :size])


def test_a_cache_is_not_changed_and_does_not_grow():
    encoder = make(**SYSTEMS["mixture"])
    cache = encoder.new_cache(2, 4, 2)
    x, _ = batch(16, 16)
    sizes = set()
    for _ in range(5):
        before = [t.clone() for kv in cache.keys_values for t in kv]
        _, _, after = encoder.forward_chunk(x, cache)
        now = [t for kv in cache.keys_values for t in kv]
        assert all(torch.equal(a, b) for a, b in zip(before, now))
        cache = after
        sizes.add(tuple(t.numel() for kv in cache.keys_values for t in kv))
    assert len(sizes) == 1
    assert cache.num_frames.tolist() == [20, 20]


def test_caches_that_do_not_go_together_are_refused():
    encoder = make()
    with pytest.raises(ValueError, match="different chunk sizes or left chunks"):
        EncoderCache.stack([encoder.new_cache(1, 4, 2), encoder.new_cache(1, 8, 2)])


def test_a_chunk_has_to_be_whole():
    encoder = make()
    with pytest.raises(ValueError, match="takes 32 feature frames, got 30"):
        encoder.forward_chunk(torch.zeros(1, 30, FEATURES), encoder.new_cache(1, 8))
    with pytest.raises(ValueError, match="at least 1, got 0"):
        encoder.new_cache(chunk_size=0)


def test_nothing_sees_beyond_its_chunk():
    encoder = make()
    x, lengths = batch(64)
    changed = x.clone()
    changed[:, 32:] += 1.0  # from the third chunk on
    first, second = (encoder(v, lengths, chunk_size=4)[0] for v in (x, changed))
    assert torch.equal(first[:, :8], second[:, :8])
    assert not torch.allclose(first[:, 8:], second[:, 8:])
    whole = [encoder(v, lengths, chunk_size=0)[0] for v in (x, changed)]
    assert not torch.allclose(whole[0][:, :8], whole[1][:, :8])


# -- batches --------------------------------------------------------------------------


@every_system
@pytest.mark.parametrize("size", [0, 3])
def test_padding_plays_no_part(options, size):
    encoder = make(**options)
    x, lengths = batch(90, 41, 60)
    routing = Routing(lengths)
    out, n, _ = encoder(x, lengths, routing=routing, chunk_size=size)
    assert n.tolist() == [t // encoder.stride for t in (90, 41, 60)]
    for row, t in enumerate(lengths.tolist()):
        alone, _, _ = encoder(
            x[row : row + 1, :t], lengths[row : row + 1], chunk_size=size
        )
        close(out[row, : n[row]], alone[0])
    k = (options.get("moe") or {}).get("top_k", 2)
    for load in routing.loads.values():
        assert int(load.sum()) == int(n.sum()) * k


def test_what_is_too_short_for_one_frame_has_none():
    out, lengths, _ = make()(*batch(3))
    assert out.shape[1] == 1 and not lengths.any()


# -- which blocks are mixtures --------------------------------------------------------


def test_both_halves_of_every_layer_are_mixtures():
    encoder = make(moe={})
    mixtures = [m for m in encoder.modules() if isinstance(m, MoEFeedForward)]
    assert [m.name for m in mixtures] == [
        f"{n}{half}" for n in range(3) for half in ("", ".macaron")
    ]
    assert {(len(m.experts), m.gate.top_k) for m in mixtures} == {(8, 2)}


def test_every_second_layer_has_mixtures():
    encoder = make(moe={}, moe_every=2)
    names = [m.name for m in encoder.modules() if isinstance(m, MoEFeedForward)]
    assert names == ["1", "1.macaron"]


def test_one_expert_is_the_dense_encoder():
    dense, mixture = make(), make(moe={"num_experts": 1, "top_k": 1})
    weights = {
        name.replace(".experts.0", ""): w
        for name, w in mixture.state_dict().items()
        if "gate" not in name
    }
    dense.load_state_dict(weights)
    x, lengths = batch(50)
    close(mixture(x, lengths)[0], dense(x, lengths)[0])


# -- training -------------------------------------------------------------------------


def test_training_draws_chunks_and_validation_does_not():
    encoder = make(dropout_rate=0.0, positional_dropout_rate=0.0)
    x, lengths = batch(200)
    encoder.train()
    torch.manual_seed(3)
    drawn = [encoder(x, lengths)[0] for _ in range(8)]
    full = encoder(x, lengths, chunk_size=0)[0]
    same = [torch.allclose(out, full, atol=1e-5) for out in drawn]
    assert any(same) and not all(same)
    encoder.eval()
    close(encoder(x, lengths)[0], full)


def test_a_negative_chunk_size_is_refused():
    with pytest.raises(ValueError, match="static_chunk_size: -1 is not a whole number"):
        make(static_chunk_size=-1)
    features, lengths = torch.randn(1, 16, 20), torch.tensor([16])
    with pytest.raises(ValueError, match="chunk_size: write 0 for the whole"):
        make()(features, lengths, chunk_size=-1)


def test_a_static_chunk_size_is_what_decoding_uses():
    encoder = make(use_dynamic_chunk=False, static_chunk_size=4, num_left_chunks=1)
    x, lengths = batch(120)
    close(encoder(x, lengths)[0], encoder(x, lengths, chunk_size=4, left_chunks=1)[0])


def test_drawn_chunks_are_whole_utterances_or_at_most_25_frames():
    torch.manual_seed(0)
    drawn = [sample_chunk_size(200, True) for _ in range(500)]
    sizes = {size for size, _ in drawn}
    assert sizes == {0, *range(1, 26)}
    full = sum(size == 0 for size, _ in drawn) / len(drawn)
    assert 0.4 < full < 0.6
    assert all(left == -1 for size, left in drawn if not size)
    assert all(0 <= left <= 199 // size for size, left in drawn if size)
    assert {left for _, left in (sample_chunk_size(50, False) for _ in range(50))} == {
        -1
    }
    assert sample_chunk_size(1, True) == (0, -1)


@pytest.mark.parametrize("input_layer, most", [("conv2d", 25), ("conv2d6", 16)])
def test_a_chunk_that_is_drawn_lasts_at_most_a_second(input_layer, most, monkeypatch):
    torch.manual_seed(0)
    sizes = {sample_chunk_size(400, False, most)[0] for _ in range(4000)}
    assert sizes == set(range(most + 1))
    asked = []
    monkeypatch.setattr(
        "espnet_smoe.encoder.conformer.sample_chunk_size",
        lambda *given: asked.append(given) or (0, -1),
    )
    encoder = make(input_layer=input_layer).train()
    encoder(torch.randn(1, 10 * encoder.stride, FEATURES), torch.tensor([9]))
    assert asked == [(10, False, most)]


def test_a_recomputed_layer_has_the_same_gradient():
    x, lengths = batch(60)
    gradients = []
    for layers in ((), (1, 3)):
        encoder = make(
            moe={"balance_weight": 0.1},
            dropout_rate=0.0,
            positional_dropout_rate=0.0,
            gradient_checkpoint_layers=layers,
        ).train()
        encoder(x, lengths, chunk_size=4)[0].square().sum().backward()
        gradients.append(encoder.encoders[0].norm_ff.weight.grad)
    close(*gradients)


def test_gradients_in_float64():
    encoder = make(
        num_blocks=1, output_size=4, linear_units=4, moe={"num_experts": 3}
    ).double()
    x, lengths = torch.randn(1, 24, FEATURES, dtype=torch.float64), torch.tensor([24])
    x.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda v: encoder(v, lengths, chunk_size=2)[0], (x,), eps=1e-7, atol=1e-5
    )


# -- options --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, message",
    [
        ({"pos_enc_layer_type": "rope_"}, "did you mean 'rope'"),
        ({"activation_type": "swash"}, "did you mean 'swish'"),
        ({"input_layer": "linear"}, "is not one of conv2d2, conv2d"),
        ({"causal": False}, "cannot stream"),
        (
            {"cnn_module_kernel": 4, "causal": False, "use_dynamic_chunk": False},
            "must be odd where 'causal' is false, got 4",
        ),
        ({"moe_every": 0}, "moe_every: 0 is not a whole number of at least 1"),
        ({"moe": {"gate": "label"}}, "'gate: topk'"),
        ({"moe": {"top_k": 9}}, "top_k is 9; choose 1 to 8"),
        ({"moe": {"expert": 2}}, "unknown key 'expert'"),
        ({"attention_head": 2}, "did you mean 'attention_heads'"),
        (
            {"pos_enc_layer_type": "rope", "output_size": 18, "attention_heads": 6},
            "even",
        ),
    ],
)
def test_a_wrong_option_names_the_cure(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_an_encoder_that_looks_ahead_does_not_stream():
    encoder = make(causal=False, use_dynamic_chunk=False)
    x, lengths = batch(40)
    encoder(x, lengths)
    for work in (
        encoder.new_cache,
        lambda: encoder(x, lengths, chunk_size=4),
    ):
        with pytest.raises(ValueError, match="causal: false"):
            work()


def test_chunk_mask_counts_chunks():
    mask = chunk_mask(7, 2, 1).int().tolist()
    assert mask[0] == [1, 1, 0, 0, 0, 0, 0]
    assert mask[3] == [1, 1, 1, 1, 0, 0, 0]
    assert mask[6] == [0, 0, 0, 0, 1, 1, 1]
    assert chunk_mask(3, 0, -1).all()


def test_frames_of_one_stride_are_encoded_and_fewer_are_padding():
    encoder = make()
    x = torch.randn(1, encoder.stride, FEATURES)
    one, lengths, _ = encoder(x, torch.tensor([encoder.stride]))
    assert lengths.tolist() == [1]
    other, _, _ = encoder(2 * x, torch.tensor([encoder.stride]))
    assert not torch.allclose(one, other)
    none, lengths, _ = encoder(x[:, 1:], torch.tensor([encoder.stride - 1]))
    assert none.shape == one.shape and lengths.tolist() == [0]
