"""Encoder smoe_transformer: ESPnet's encoder, with experts."""

import pytest
import torch
from espnet2.asr.ctc import CTC
from espnet2.asr.encoder.transformer_encoder import TransformerEncoder

from espnet_smoe.encoder.transformer import SMoETransformerEncoder

SIZES = {"attention_heads": 2, "linear_units": 32, "num_blocks": 3}
TOKENS = ["<blank>", "<wb>", "<nb>", "<sos/eos>"]
WB, NB = 1, 2


def make(**options) -> SMoETransformerEncoder:
    torch.manual_seed(0)
    options = {"output_size": 16, "input_layer": "conv1d_glu", **SIZES, **options}
    encoder = SMoETransformerEncoder(20, **options).eval()
    if encoder.labels is not None:
        encoder.labels.bind(TOKENS)
    return encoder


def batch(*lengths: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.randn(len(lengths), max(lengths), 20), torch.tensor(lengths)


@pytest.mark.parametrize(
    "options",
    [
        {"input_layer": "conv2d"},
        {"input_layer": "linear"},
        {"input_layer": "conv1d2"},
        {"normalize_before": False},
        {"concat_after": True},
        {"pos_enc_layer_type": "conv", "input_layer": "linear"},
        {"qk_norm": True, "input_layer": "conv2d2"},
    ],
)
def test_with_the_same_weights_it_is_espnets_own_encoder(options):
    options = {"input_layer": "conv2d", **options}
    ours = make(**options)
    theirs = TransformerEncoder(20, output_size=16, **SIZES, **options).eval()
    theirs.load_state_dict(ours.state_dict())
    x, lengths = batch(40, 31)
    (out, n, _), (expected, m, _) = ours(x, lengths), theirs(x, lengths)
    assert n.tolist() == m.tolist()
    for row, k in enumerate(n):
        torch.testing.assert_close(
            out[row, :k], expected[row, :k], atol=1e-5, rtol=1e-5
        )


def test_one_expert_is_the_dense_encoder():
    dense, mixture = make(), make(moe={"labels": ["<wb>"]})
    weights = {
        k.replace("feed_forward.", "feed_forward.experts.0."): v
        for k, v in dense.state_dict().items()
    }
    mixture.load_state_dict(weights)
    x, lengths = batch(30, 24)
    out, _, _ = mixture(x, lengths, routing=mixture.route(torch.tensor([WB, WB])))
    torch.testing.assert_close(out, dense(x, lengths)[0], atol=1e-5, rtol=1e-5)


def test_a_mixed_batch_equals_each_utterance_alone():
    encoder = make(moe={})
    x, lengths = batch(40, 37, 40, 22)
    labels = torch.tensor([NB, WB, NB, WB])
    out, n, _ = encoder(x, lengths, routing=encoder.route(labels))
    for row in range(4):
        alone, k, _ = encoder(
            x[row : row + 1, : lengths[row]],
            lengths[row : row + 1],
            routing=encoder.route(labels[row : row + 1]),
        )
        assert n[row] == k[0]
        torch.testing.assert_close(out[row, : k[0]], alone[0], atol=1e-5, rtol=1e-5)


def test_the_other_label_takes_the_other_expert():
    encoder = make(moe={})
    x, lengths = batch(30)
    as_wb = encoder(x, lengths, routing=encoder.route(torch.tensor([WB])))[0]
    as_nb = encoder(x, lengths, routing=encoder.route(torch.tensor([NB])))[0]
    assert (as_wb - as_nb).abs().max() > 1e-3


def test_loads_count_frames_after_subsampling_without_padding():
    encoder = make(moe={})
    routing = encoder.route(torch.tensor([NB, WB, NB]))
    _, n, _ = encoder(*batch(40, 20, 9), routing=routing)
    assert n.tolist() == [10, 5, 3]
    assert [load.tolist() for load in routing.loads.values()] == [[5, 13]] * 3


def test_without_labels_the_error_names_them():
    with pytest.raises(ValueError, match="<wb>, <nb>"):
        make(moe={})(*batch(20))


def test_intermediate_outputs_come_back_in_the_callers_order():
    encoder = make(moe={}, interctc_layer_idx=[1, 2], interctc_use_conditioning=True)
    encoder.conditioning_layer = torch.nn.Linear(5, 16)
    ctc = CTC(5, 16).eval()
    x, lengths = batch(40, 40)
    swapped = torch.tensor([NB, WB])
    (_, hidden), _, _ = encoder(x, lengths, ctc=ctc, routing=encoder.route(swapped))
    flipped = encoder.route(swapped.flip(0))
    (_, mirror), _, _ = encoder(x.flip(0), lengths, ctc=ctc, routing=flipped)
    assert [layer for layer, _ in hidden] == [1, 2]
    for (_, a), (_, b) in zip(hidden, mirror):
        torch.testing.assert_close(a, b.flip(0), atol=1e-5, rtol=1e-5)


def test_activation_checkpointing_changes_no_gradient():
    x, lengths = batch(30, 30)
    grads = []
    for layers in ([], [1, 3]):
        encoder = make(
            moe={},
            gradient_checkpoint_layers=layers,
            dropout_rate=0.0,
            positional_dropout_rate=0.0,
        ).train()
        routing = encoder.route(torch.tensor([NB, WB]))
        encoder(x, lengths, routing=routing)[0].square().sum().backward()
        grads.append([p.grad for p in encoder.parameters()])
    for plain, recomputed in zip(*grads):
        torch.testing.assert_close(plain, recomputed)


def test_a_compiled_encoder_equals_the_eager_one():
    encoder = make(moe={})
    compiled = torch.compile(encoder, backend="aot_eager")
    x, lengths = batch(32, 32)
    for labels in ([NB, WB], [WB, WB]):
        routes = [encoder.route(torch.tensor(labels)) for _ in range(2)]
        torch.testing.assert_close(
            compiled(x, lengths, routing=routes[0])[0],
            encoder(x, lengths, routing=routes[1])[0],
            atol=1e-5,
            rtol=1e-5,
        )


def test_padding_reaches_no_frame_through_the_subsampler():
    encoder = make()
    x, lengths = batch(21)
    padded = torch.cat([x, torch.randn(1, 30, 20) * 100], dim=1)
    expected, n, _ = encoder(x, lengths)
    out, _, _ = encoder(padded, lengths)
    torch.testing.assert_close(out[:, : n[0]], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "options, message",
    [
        (
            {"linear_unit": 8},
            "encoder_conf: unknown key .* did you mean 'linear_units'",
        ),
        ({"interctc_layer_idx": [3]}, r"interctc_layer_idx: \[3\] is not in 1..2"),
        ({"subsampling_channels": 5}, "even"),
        ({"moe": {"labels": ["<wb>"], "num_experts": 2}}, "1 labels"),
    ],
)
def test_a_wrong_option_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)
