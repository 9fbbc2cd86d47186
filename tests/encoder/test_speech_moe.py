"""Encoder speech_moe: layers, embedding network, look-ahead, padding."""

import pytest
import torch

from espnet_smoe.encoder.speech_moe import SpeechMoEEncoder
from espnet_smoe.layers.memory_network import attention_mask
from espnet_smoe.moe import MoEFeedForward, Routing

SMALL = {
    "output_size": 8,
    "linear_units": 12,
    "num_blocks": 4,
    "attention_every": 2,
    "attention_heads": 2,
}
EMB = {"moe": {"num_experts": 3}, "embedding": {"num_blocks": 2}}
SYSTEMS = {
    "dense": {},
    "switch": {"moe": {"num_experts": 3}},
    "embedding": EMB,
    "window": EMB | {"attention_window": [3, 1]},
    "shared router": {"moe": {"num_experts": 3, "shared_router": True}},
    "no attention": {"attention_every": 0},
    "no norm": EMB | {"layer_norm": False, "use_sdpa": False},
}
every_system = pytest.mark.parametrize("options", SYSTEMS.values(), ids=SYSTEMS)


def make(**options) -> SpeechMoEEncoder:
    torch.manual_seed(0)
    return SpeechMoEEncoder(20, **SMALL | options).eval()


def batch(*lengths: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.randn(len(lengths), max(lengths), 20), torch.tensor(lengths)


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


# -- what it computes ---------------------------------------------------------------


def by_hand(encoder: SpeechMoEEncoder, x: torch.Tensor, norm: bool) -> torch.Tensor:
    """A dense network with new weights for one utterance, layer by layer."""
    every = encoder.backbone.options.attention_every
    frames = torch.ones(x.shape[:2], dtype=torch.bool)

    def normed(h: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.layer_norm(h, (h.size(-1),)) if norm else h

    for number, block in enumerate(encoder.backbone.blocks, 1):
        p = block.feed_forward(x if number == 1 else normed(x))
        m = block.memory(p, frames)
        x = m if number == 1 else x + m
        if number % every == 0:
            attention = encoder.backbone.attentions[number // every - 1].attention
            h = normed(x)
            x = x + attention(h, h, h, None)
    return normed(x)


@pytest.mark.parametrize("norm", [False, True])
def test_layers_follow_each_other_as_in_the_paper(norm):
    encoder = make(layer_norm=norm, num_blocks=5)
    x, lengths = batch(11)
    assert len(encoder.backbone.attentions) == 2
    close(encoder(x, lengths)[0], by_hand(encoder, x, norm))


def test_the_first_layer_takes_the_features_as_they_are():
    encoder = make(**EMB)
    for network in (encoder.backbone, encoder.embedding):
        assert not list(network.blocks[0].norm.parameters())
    first, second = (b.feed_forward for b in encoder.backbone.blocks[:2])
    assert first.experts[0].w_1.in_features == 20
    assert first.gate.router.in_features == 8 + 20  # Concat(e; o), Eq. 8
    assert second.gate.router.in_features == 8 + 8


def test_one_expert_is_the_dense_network():
    dense, mixture = make(), make(moe={"num_experts": 1})
    weights = {
        k.replace("feed_forward.", "feed_forward.experts.0."): v
        for k, v in dense.state_dict().items()
    }
    assert mixture.load_state_dict(weights, strict=False).missing_keys == [
        f"backbone.blocks.{i}.feed_forward.gate.router.weight" for i in range(4)
    ]
    x, lengths = batch(9, 6)
    out, expected = mixture(x, lengths)[0], dense(x, lengths)[0]
    for row, n in enumerate(lengths):
        close(out[row, :n], expected[row, :n])


def test_the_layers_of_equal_width_share_their_router():
    encoder = make(moe={"num_experts": 3, "shared_router": True})
    first, *others = [b.feed_forward.gate.router for b in encoder.backbone.blocks]
    assert all(router is others[0] for router in others)
    assert first is not others[0] and first.in_features == 20


# -- padding and batches ------------------------------------------------------------


@every_system
def test_an_utterance_is_the_same_in_any_batch(options):
    encoder = make(**options)
    x, lengths = batch(14, 5, 9, 1)
    for row, n in enumerate(lengths):
        x[row, n:] = 1e4  # what stands in the padding
    routing = Routing(lengths)
    out, n, _ = encoder(x, lengths, routing=routing)
    assert n.tolist() == lengths.tolist() and out.isfinite().all()
    order = torch.tensor([2, 0, 3, 1])
    mixed, _, _ = encoder(x[order], lengths[order])
    for row, n in enumerate(lengths):
        alone = encoder(x[row : row + 1, :n], lengths[row : row + 1])[0][0]
        close(out[row, :n], alone)
        close(mixed[(order == row).nonzero().item(), :n], alone)
    assert all(load.sum() == lengths.sum() for load in routing.loads.values())


@pytest.mark.parametrize("padded", [0, 7])
def test_auxiliary_losses_do_not_count_padding(padded):
    moe = {"num_experts": 3, "sparsity_weight": 0.1, "importance_weight": 0.1}
    encoder = make(**EMB | {"moe": moe}, dropout_rate=0.0).train()
    x, lengths = batch(9, 4)
    routings = [Routing(lengths), Routing(lengths)]
    encoder(x, lengths, routing=routings[0])
    more = torch.cat((x, torch.ones(2, padded, 20)), dim=1)
    encoder(more, lengths, routing=routings[1])
    assert encoder.loss_weights == {"sparsity": 0.1, "importance": 0.1}
    assert len(routings[0].losses) == 4
    for name, losses in routings[0].losses.items():
        assert set(losses) == set(encoder.loss_weights)
        for key, loss in losses.items():
            close(routings[1].losses[name][key], loss)


# -- the embedding network ----------------------------------------------------------


def gradients(detach: bool) -> tuple[SpeechMoEEncoder, Routing]:
    """After a backward pass of the encoder's output alone."""
    encoder = make(**EMB, detach_embedding=detach).train()
    x, lengths = batch(12, 7)
    routing = Routing(lengths)
    encoder(x, lengths, routing=routing)[0].square().sum().backward()
    return encoder, routing


@pytest.mark.parametrize("detach", [True, False])
def test_the_routers_teach_the_embedding_network_only_if_it_is_not_detached(detach):
    encoder, _ = gradients(detach)
    taught = [p.grad is not None for p in encoder.embedding.parameters()]
    assert not any(taught) if detach else all(taught)
    idle = [k for k, p in encoder.backbone.named_parameters() if p.grad is None]
    assert not [key for key in idle if ".experts." not in key]


def test_the_embedding_is_handed_on_with_its_gradient():
    encoder, routing = gradients(detach=True)
    e = routing.embedding_sequence
    assert e.shape == (2, 12, encoder.embedding_size)
    assert routing.embedding.shape == (12 + 7, encoder.embedding_size)
    assert torch.equal(routing.embedding, torch.cat((e[0], e[1, :7])))
    e.square().sum().backward()
    assert all(p.grad is not None for p in encoder.embedding.parameters())


def test_the_embedding_decides_who_takes_a_frame():
    encoder = make(**EMB, layer_norm=False)
    x, lengths = batch(200)
    routings = [Routing(lengths), Routing(lengths)]
    encoder(x, lengths, routing=routings[0])
    with torch.no_grad():
        encoder.embedding.blocks[0].feed_forward.w_1.weight.neg_()
    encoder(x, lengths, routing=routings[1])
    first, other = (routing.logits["1"].argmax(1) for routing in routings)
    assert (first != other).any()


def test_the_embedding_network_has_sizes_of_its_own_and_no_experts():
    encoder = make(
        moe={"num_experts": 3},
        embedding={"num_blocks": 3, "output_size": 6, "attention_every": 1},
    )
    assert encoder.embedding_size == 6 and encoder.output_size() == 8
    assert len(encoder.embedding.blocks) == len(encoder.embedding.attentions) == 3
    kinds = [type(module) for module in encoder.embedding.modules()]
    assert MoEFeedForward not in kinds
    x, lengths = batch(5)
    assert encoder(x, lengths)[0].shape == (1, 5, 8)


# -- look-ahead ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "ahead"),
    [
        ({"attention_every": 0}, 4),
        ({"attention_every": 0, "look_ahead_order": 2, "look_ahead_stride": 3}, 24),
        ({"attention_every": 0, "look_ahead_order": 0}, 0),
        ({"attention_window": [4, 2]}, 4 + 2 * 2),
        ({"attention_window": [4, 0], "look_ahead_order": 0}, 0),
        ({"attention_window": [4, 1], **EMB}, 4 + 2 + 2 + 1),
        ({"attention_every": 0, **EMB}, 4 + 2),
        ({}, None),
        (
            {
                "attention_window": [4, 0],
                **EMB,
                "embedding": {"attention_window": None},
            },
            None,
        ),
    ],
)
def test_a_frame_depends_on_as_many_later_ones_as_is_said(options, ahead):
    torch.manual_seed(0)
    encoder = make(**options).double()
    assert encoder.look_ahead == ahead
    x, lengths = batch(40)
    x, now = x.double(), 5
    out = encoder(x, lengths)[0]
    reach = 39 - now if ahead is None else ahead
    for distance, changes in ((reach, True), (reach + 1, False)):
        if now + distance >= 40:
            continue
        other = x.clone()
        other[0, now + distance] *= -1e3
        before, after = out[0, now], encoder(other, lengths)[0][0, now]
        # what lies in reach of an embedding alone may leave the expert as it is
        if not changes or "embedding" not in options:
            assert ((before - after).abs().max() > 1e-9) == changes


def test_a_window_masks_what_is_too_far_on_either_side():
    frames = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    mask = attention_mask(frames, [2, 1])
    for b, length in enumerate((5, 3)):
        for t in range(5):
            for s in range(5):
                near = -2 <= s - t <= 1 and s < length
                assert mask[b, t, s] == (near or s == t)


# -- wrong options ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_block": 3}, "unknown key 'num_block', did you mean 'num_blocks'"),
        ({"num_blocks": 0}, "encoder_conf.num_blocks: 0 is not .* at least 1"),
        ({"attention_heads": 3}, "attention_heads: 3 does not divide .* 8; 2 does"),
        ({"attention_window": 5 * [1]}, "attention_window: .* is not a list of 2"),
        ({"attention_window": [1, -1]}, "attention_window"),
        (EMB | {"embedding": {"blocks": 3}}, "encoder_conf.embedding: .* 'blocks'"),
        (EMB | {"embedding": {"look_back_stride": 0}}, "embedding.look_back_stride"),
        ({"moe": {"num_expert": 3}}, "did you mean 'num_experts'"),
        ({"moe": {"gate": "label"}}, "by frame, not by label"),
        ({"moe": {"num_experts": 2, "labels": ["<a>"]}}, "by frame, not by label"),
        (
            {"moe": {"gate": "shared_embedding", "num_experts": 2}},
            "add encoder_conf.embedding",
        ),
        ({"embedding": {}}, "no router reads the embedding network"),
        (
            {"moe": {"gate": "topk", "num_experts": 2}, "embedding": {}},
            "no router reads the embedding network",
        ),
    ],
)
def test_wrong_options_name_their_place_and_the_cure(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


# -- export -------------------------------------------------------------------------


def test_the_exported_encoder_takes_any_length():
    encoder = make(**EMB | {"num_blocks": 2, "attention_window": [3, 1]})
    frames = torch.export.Dim("frames", min=2, max=500)
    exported = torch.export.export(
        encoder,
        batch(17, 7),
        dynamic_shapes={"xs_pad": {1: frames}, "ilens": None},
        strict=False,
    ).module()
    for lengths in ((30, 4), (12, 12)):
        x, n = batch(*lengths)
        expected = encoder(x, n)[0]
        for row, k in enumerate(n):
            close(exported(x, n)[0][row, :k], expected[row, :k])
