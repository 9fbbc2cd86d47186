"""ESPnet's Conformer and E-Branchformer, whose feed-forward blocks are experts."""

import pytest
import torch
from espnet2.asr.encoder.conformer_encoder import ConformerEncoder
from espnet2.asr.encoder.e_branchformer_encoder import EBranchformerEncoder

from espnet_smoe.encoder.with_experts import (
    SMoEConformerEncoder,
    SMoEEBranchformerEncoder,
)
from espnet_smoe.moe import Routing
from espnet_smoe.moe.upcycle import upcycle

SIZES = {"output_size": 16, "attention_heads": 2, "linear_units": 24, "num_blocks": 2}
CONFORMER = {"macaron_style": True, "cnn_module_kernel": 7, "rel_pos_type": "latest"}
BRANCHES = {"use_ffn": True, "macaron_ffn": True, "cgmlp_linear_units": 16}
BRANCHES |= {"cgmlp_conv_kernel": 7}
PAIRS = {
    "conformer": (ConformerEncoder, SMoEConformerEncoder, SIZES | CONFORMER),
    "e_branchformer": (
        EBranchformerEncoder,
        SMoEEBranchformerEncoder,
        SIZES | BRANCHES,
    ),
}
TOKENS = ["<blank>", "<wb>", "<nb>"]
TOPK = {"gate": "topk", "num_experts": 4, "top_k": 2, "balance_weight": 0.1}
pairs = pytest.mark.parametrize("name", PAIRS)


def make(name: str, moe: dict | None = None, **more) -> tuple:
    """ESPnet's encoder, and ours with the same weights."""
    theirs, ours, sizes = PAIRS[name]
    torch.manual_seed(0)
    dense = theirs(20, **sizes, **more).eval()
    mixture = ours(20, moe, **sizes, **more).eval()
    state = upcycle(dense.state_dict(), mixture.state_dict()).state
    mixture.load_state_dict(state, strict=False)  # a router is left as it is
    return dense, mixture


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(3, 60, 20), torch.tensor([60, 47, 31])


def labeled(encoder) -> Routing:
    encoder.labels.bind(TOKENS)
    return encoder.route(torch.tensor([2, 1, 2]))


@pairs
def test_without_moe_it_is_espnets_encoder(name):
    dense, ours = make(name)
    assert ours.state_dict().keys() == dense.state_dict().keys()
    for one, other in zip(dense(*batch())[:2], ours(*batch())[:2]):
        assert one.shape == other.shape
    x, lengths = batch()
    assert torch.equal(dense(x, lengths)[0], ours(x, lengths)[0])


@pairs
def test_upcycled_experts_compute_what_the_dense_encoder_computes(name):
    dense, mixture = make(name, {"gate": "label"})
    x, lengths = batch()
    expected = dense(x, lengths)
    got = mixture(x, lengths, routing=labeled(mixture))
    assert torch.equal(got[1], expected[1])
    for row, frames in enumerate(expected[1].tolist()):
        torch.testing.assert_close(got[0][row, :frames], expected[0][row, :frames])


@pairs
def test_each_utterance_goes_through_the_experts_of_its_label(name):
    _, mixture = make(name, {"gate": "label"})
    x, lengths = batch()
    routing = labeled(mixture)
    before, frames, _ = mixture(x, lengths, routing=routing)
    for layer in ("0", "1", "0.macaron", "1.macaron"):
        assert routing.loads[layer].tolist() == [
            int(frames[1]),
            int(frames[[0, 2]].sum()),
        ]
    for layer in mixture.encoders:
        torch.nn.init.zeros_(layer.feed_forward.experts[1].w_2.weight)
    after, *_ = mixture(x, lengths, routing=labeled(mixture))
    same = [torch.equal(a, b) for a, b in zip(before, after)]
    assert same == [False, True, False]


@pairs
def test_routers_see_the_frames_that_are_not_padding(name):
    mixture = make(name, TOPK)[1].train()
    x, lengths = batch()
    routing = Routing(lengths)
    y, frames, _ = mixture(x, lengths, routing=routing)
    assert all(
        int(load.sum()) == 2 * int(frames.sum()) for load in routing.loads.values()
    )
    loss = sum(one["balance"] for one in routing.losses.values()) + y.sum()
    loss.backward()
    routers = [p for n, p in mixture.named_parameters() if "router" in n]
    assert len(routers) == 4 and all(p.grad.abs().sum() > 0 for p in routers)


@pairs
def test_an_utterance_is_the_same_alone_and_beside_longer_ones(name):
    mixture = make(name, {"gate": "topk", "num_experts": 4, "top_k": 2})[1]
    x, lengths = batch()
    together, frames, _ = mixture(x, lengths)
    alone, n, _ = mixture(x[2:, :31], lengths[2:])
    assert frames[2] == n[0]
    torch.testing.assert_close(together[2, : n[0]], alone[0], rtol=1e-4, atol=1e-5)


def test_labels_that_are_missing_are_named():
    mixture = make("conformer", {"gate": "label"})[1]
    with pytest.raises(ValueError, match="give one of <wb>, <nb>"):
        mixture(*batch())


@pytest.mark.parametrize(
    "name, more, said",
    [
        (
            "conformer",
            {"stochastic_depth_rate": 0.1},
            "stochastic_depth_rate: 0.1 does",
        ),
        ("conformer", {"positionwise_layer_type": "conv1d"}, "'linear' can be experts"),
        (
            "e_branchformer",
            {"layer_drop_rate": 0.1},
            "layer_drop_rate: 0.1 does not go",
        ),
        ("e_branchformer", {"use_ffn": False, "macaron_ffn": False}, "'use_ffn: true'"),
        ("e_branchformer", {"gradient_checkpoint_layers": [1]}, "gradient_checkpoint"),
    ],
)
def test_what_does_not_go_with_experts_is_refused(name, more, said):
    _, ours, sizes = PAIRS[name]
    with pytest.raises(ValueError, match=f"encoder_conf.*{said}"):
        ours(20, {"gate": "topk", "num_experts": 2}, **sizes | more)
