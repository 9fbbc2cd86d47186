"""Encoder smoe_transformer: outputs of its layers, beside ESPnet's."""

import pytest
import torch
from espnet2.asr.ctc import CTC
from espnet2.asr.encoder.transformer_encoder import TransformerEncoder
from espnet2.legacy.nets.pytorch_backend.transformer.subsampling import TooShortUttError

from espnet_smoe.encoder.transformer import SMoETransformerEncoder
from tests.recomputed import runs_of

SIZES = {"attention_heads": 2, "linear_units": 32, "num_blocks": 3, "output_size": 16}
TOKENS = ["<blank>", "<wb>", "<nb>", "<sos/eos>"]


def make(**options) -> SMoETransformerEncoder:
    torch.manual_seed(0)
    encoder = SMoETransformerEncoder(
        20, **{**SIZES, "input_layer": "linear", **options}
    )
    if encoder.labels is not None:
        encoder.labels.bind(TOKENS)
    return encoder.eval()


def batch(*lengths: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.randn(len(lengths), max(lengths), 20), torch.tensor(lengths)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("conditioned", [True, False])
def test_ctc_inside_the_encoder_is_espnets(before, conditioned):
    options = {
        "interctc_layer_idx": [1, 2],
        "interctc_use_conditioning": conditioned,
        "normalize_before": before,
    }
    ours = make(**options)
    theirs = TransformerEncoder(20, input_layer="linear", **SIZES, **options).eval()
    ctc = None
    if conditioned:
        ctc = CTC(5, 16).eval()
        ours.conditioning_layer = theirs.conditioning_layer = torch.nn.Linear(5, 16)
    theirs.load_state_dict(ours.state_dict())
    x, lengths = batch(9, 7)
    (out, hidden), n, _ = ours(x, lengths, ctc=ctc)
    (expected, inner), m, _ = theirs(x, lengths, ctc=ctc)
    assert n.tolist() == m.tolist()
    assert [layer for layer, _ in hidden] == [layer for layer, _ in inner] == [1, 2]
    pairs = [(out, expected), *((a, b) for (_, a), (_, b) in zip(hidden, inner))]
    for a, b in pairs:
        torch.testing.assert_close(a[0], b[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(a[1, :7], b[1, :7], atol=1e-5, rtol=1e-5)


def test_every_layer_can_be_seen_in_the_callers_order():
    encoder = make(moe={})
    x, lengths = batch(9, 9)
    labels = torch.tensor([2, 1])
    (out, hidden), _, _ = encoder(
        x, lengths, routing=encoder.route(labels), return_all_hs=True
    )
    plain, _, _ = encoder(x, lengths, routing=encoder.route(labels))
    assert len(hidden) == 3
    torch.testing.assert_close(out, plain)
    torch.testing.assert_close(encoder.after_norm(hidden[-1]), out)
    assert not torch.allclose(hidden[0], hidden[1])


def test_only_the_layers_named_are_recomputed_and_only_in_training():
    encoder = make(gradient_checkpoint_layers=[1, 3])
    x, lengths = batch(9)

    def step() -> torch.Tensor:
        return encoder(x, lengths)[0]

    assert runs_of(encoder.encoders, step) == [1, 1, 1]
    encoder.train()
    assert runs_of(encoder.encoders, step) == [2, 1, 2]


def test_what_is_too_short_for_the_subsampling_says_so():
    encoder = make(input_layer="conv2d")
    encoder(*batch(7))
    with pytest.raises(TooShortUttError, match="6 frames are too few"):
        encoder(*batch(6))


def test_a_size_that_the_heads_do_not_divide_is_refused():
    with pytest.raises(ValueError, match="encoder_conf.*attention_heads: 3 does not"):
        make(attention_heads=3)


def test_layers_share_a_router_where_asked():
    encoder = make(moe={"gate": "topk", "num_experts": 3, "shared_router": True})
    routers = {id(layer.feed_forward.gate.router) for layer in encoder.encoders}
    assert len(routers) == 1


def test_the_subsampler_is_two_gated_convolutions_of_five_frames():
    encoder = make(input_layer="conv1d_glu", subsampling_channels=6)
    x, lengths = batch(11)
    expected = x[0].T  # (F, T)
    for conv in encoder.embed.convs:
        length = (expected.size(1) + 1) // 2
        padded = torch.zeros(expected.size(0), expected.size(1) + 4)
        padded[:, 2:-2] = expected
        frames = [
            (conv.weight * padded[:, 2 * t : 2 * t + 5]).sum(dim=(1, 2)) + conv.bias
            for t in range(length)
        ]
        value, gate = torch.stack(frames, dim=1).chunk(2)
        expected = value * gate.sigmoid()
    encoder.embed.pos_enc = torch.nn.Identity()
    mask = torch.ones(1, 1, 11, dtype=torch.bool)
    out, mask = encoder.embed(x, mask)
    assert mask.shape == (1, 1, 3) and mask.all()
    torch.testing.assert_close(out[0], expected.T, atol=1e-5, rtol=1e-5)
