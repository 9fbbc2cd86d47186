"""Attention with positions: beside ESPnet's, and beside the formula."""

import torch
from espnet2.legacy.nets.pytorch_backend.transformer.attention import (
    RelPositionMultiHeadedAttention,
)
from espnet2.legacy.nets.pytorch_backend.transformer.embedding import (
    RelPositionalEncoding,
)

from espnet_smoe.layers.causal_subsampling import CausalConv2dSubsampling
from espnet_smoe.layers.chunk_attention import RelativeAttention, RotaryAttention
from espnet_smoe.layers.chunk_cache import chunk_mask, mask_bias
from espnet_smoe.layers.conformer_layer import ConvolutionModule


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_relative_positions_are_those_of_espnet():
    torch.manual_seed(0)
    ours = RelativeAttention(2, 8, 0.0, qk_norm=False).eval()
    theirs = RelPositionMultiHeadedAttention(2, 8, 0.0).eval()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(3, 9, 8)
    mask = chunk_mask(9, 2, 1)[None].expand(3, 9, 9)
    table = ours.positions(9, 9, x)
    pos_emb = RelPositionalEncoding(8, 0.0)(x)[1]
    close(table[None], pos_emb)
    bias = mask_bias(mask[:, None], x.dtype)
    out, _ = ours.attend_chunk(x, None, bias, ours.project_positions(table))
    close(out, theirs(x, x, x, pos_emb, mask))


def test_rotary_positions_turn_pairs_by_their_distance():
    torch.manual_seed(0)
    attention = RotaryAttention(1, 4, 0.0, qk_norm=False).eval()
    x = torch.randn(1, 5, 4)
    q, k = attention.linear_q(x)[0], attention.linear_k(x)[0]  # (T, 4)
    rates = torch.tensor([1.0, 10000.0**-0.5])

    def complexes(v: torch.Tensor) -> torch.Tensor:
        return torch.complex(v[:, :2], v[:, 2:])

    places = torch.arange(5)
    away = places[:, None, None] - places[:, None]  # (T, T, 1)
    turn = torch.exp(1j * away * rates)
    product = complexes(q)[:, None] * complexes(k)[None].conj() * turn
    weights = (product.real.sum(dim=2) / 2).softmax(dim=1)
    expected = attention.linear_out(weights @ attention.linear_v(x)[0])
    prepared = attention.project_positions(attention.positions(5, 5, x))
    out, _ = attention.attend_chunk(x, None, torch.zeros(1, 1, 5, 5), prepared)
    close(out[0], expected)


def test_a_table_for_more_keys_serves_fewer():
    torch.manual_seed(0)
    x, past = torch.randn(1, 3, 8), torch.randn(1, 6, 8)
    for kind in (RelativeAttention, RotaryAttention):
        attention = kind(2, 8, 0.0, qk_norm=False).eval()
        kept = attention.keys_values(past)
        outputs = []
        for keys in (9, 40):
            prepared = attention.project_positions(attention.positions(3, keys, x))
            assert attention.max_keys(prepared, 3) == keys
            near = attention.slice_positions(prepared, 3, 9)
            given = x, kept, torch.zeros(1, 1, 1, 9), near
            outputs.append(attention.attend_chunk(*given)[0])
        close(*outputs)


def test_the_convolution_is_espnets_with_another_norm():
    from espnet2.legacy.nets.pytorch_backend.conformer.convolution import (
        ConvolutionModule as Theirs,
    )

    torch.manual_seed(0)
    ours = ConvolutionModule(6, 5, torch.nn.SiLU(), causal=False)
    theirs = Theirs(6, 5, torch.nn.SiLU())
    theirs.norm = torch.nn.Identity()
    ours.norm = torch.nn.Identity()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 7, 6)
    frames = torch.tensor([[True] * 7, [True] * 4 + [False] * 3])
    out, _ = ours(x, None, frames)
    close(out, theirs(x, mask_pad=frames[:, None]))


def test_the_subsampling_is_espnets_on_frames_with_zeros_before():
    from espnet2.legacy.nets.pytorch_backend.transformer.subsampling import (
        Conv2dSubsampling,
        Conv2dSubsampling2,
        Conv2dSubsampling6,
        Conv2dSubsampling8,
    )

    theirs_of = {
        "conv2d": Conv2dSubsampling,
        "conv2d2": Conv2dSubsampling2,
        "conv2d6": Conv2dSubsampling6,
        "conv2d8": Conv2dSubsampling8,
    }
    for name, kind in theirs_of.items():
        torch.manual_seed(0)
        ours = CausalConv2dSubsampling(20, 8, name)
        theirs = kind(20, 8, 0.0, torch.nn.Identity())
        theirs.load_state_dict(ours.state_dict())
        x = torch.randn(1, 45, 20)
        longer = torch.nn.functional.pad(x, (0, 0, ours.overlap, 0))
        out = ours(x)
        assert out.size(1) == 45 // ours.stride
        close(out, theirs(longer, None)[0])
