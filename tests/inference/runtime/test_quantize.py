"""int8 layers: where they are put, and that mixtures work on them as before."""

import numpy as np
import pytest
import torch
from torch import nn

from espnet_smoe.inference.runtime.mkldnn_linear import MKLDNNLinear, convert_to_mkldnn
from espnet_smoe.inference.runtime.quantize import Int8Linear, quantize
from espnet_smoe.inference.streaming.recognizer import (
    StreamingRecognizer,
    StreamOptions,
)
from espnet_smoe.moe import FeedForward, MoEFeedForward, MoEOptions, Routing, build_gate
from espnet_smoe.moe.router import Router
from tests.inference.tiny_u2pp import babble, tiny_u2pp

SIZES = {"attention_heads": 2, "linear_units": 24, "num_blocks": 2, "moe": {}}
ENCODER = SIZES | {"output_size": 16, "cnn_module_kernel": 5}


def model_with(positions: str = "rel_pos") -> nn.Module:
    return tiny_u2pp(encoder_conf=ENCODER | {"pos_enc_layer_type": positions})


def is_int8(layer: nn.Module) -> bool:
    return type(layer) is Int8Linear


def test_all_linear_layers_become_int8_but_routers():
    model = model_with()
    wanted = {n for n, layer in model.named_modules() if type(layer) is nn.Linear}
    wanted |= {
        f"{name}.linear"
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Conv1d) and layer.kernel_size == (1,)
    }
    routers = [n for n, layer in model.named_modules() if type(layer) is Router]
    quantize(model)
    names = {name for name, layer in model.named_modules() if is_int8(layer)}
    assert names == wanted and len(wanted) > 100 and len(routers) == 6
    assert all(type(model.get_submodule(name)) is Router for name in routers)
    for part in ("self_attn.linear_pos", "conv_module.pointwise_conv1.linear"):
        assert f"encoder.encoders.0.{part}" in names
    assert {"ctc.ctc_lo", "decoder.right.output_layer"} < names


def packed(module: nn.Module) -> nn.Module:
    return convert_to_mkldnn(module, least_weights=0)


@pytest.mark.parametrize("convert", [packed, quantize])
def test_a_convolution_of_one_tap_is_a_linear_layer_of_each_frame(convert):
    layers = nn.Conv1d(6, 8, 1), nn.Conv1d(8, 5, 1, bias=False), nn.Conv1d(5, 5, 3)
    model = nn.Sequential(*layers, FeedForward(2, 2))
    x = torch.randn(3, 6, 4)
    wanted = model(x)
    found = convert(model)(x)
    assert [type(m) is nn.Conv1d for m in model] == [False, False, True, False]
    torch.testing.assert_close(model[0].bias, layers[0].bias)
    assert (found - wanted).abs().max() < 0.1 * wanted.abs().max()


def test_a_dense_block_becomes_int8_too():
    model = quantize(tiny_u2pp(encoder_conf=ENCODER | {"moe": None}))
    assert is_int8(model.encoder.encoders[0].feed_forward_macaron.w_1)


@pytest.mark.parametrize("top_k", [1, 2])
@torch.inference_mode()
def test_a_mixture_takes_the_same_routes_to_nearly_the_same_place(top_k):
    torch.manual_seed(0)
    gate = build_gate(MoEOptions("topk", num_experts=3, top_k=top_k), 16)
    mixture = MoEFeedForward(gate, lambda: FeedForward(16, 64), "0").eval()
    x, lengths = torch.randn(4, 9, 16), torch.tensor([9, 3, 1, 0])
    exact = Routing(lengths)
    expected = mixture(x, exact)
    rounded = Routing(lengths)
    found = quantize(mixture)(x, rounded)
    assert rounded.loads["0"].tolist() == exact.loads["0"].tolist()
    assert 0 < (found - expected).abs().max() < 0.05 * expected.abs().max()
    assert not found[3].any()


@pytest.mark.parametrize("bias", [True, False])
@torch.inference_mode()
def test_each_row_is_rounded_by_its_own_size(bias):
    torch.manual_seed(0)
    layer = nn.Linear(64, 48, bias=bias)
    x = torch.randn(2, 5, 64) * torch.tensor([1.0, 500.0, 1e-3, 30.0, 0.0])[:, None]
    wanted = layer(x)
    off = (Int8Linear(layer)(x) - wanted).norm(dim=-1) / wanted.norm(dim=-1)
    assert off[:, :4].max() < 0.03
    torch.testing.assert_close(Int8Linear(layer)(x)[:, 4], wanted[:, 4])


@torch.inference_mode()
def test_a_batch_of_padding_alone_is_zero():
    gate = build_gate(MoEOptions("topk", num_experts=2, top_k=1), 8)
    mixture = quantize(MoEFeedForward(gate, lambda: FeedForward(8, 8), "0").eval())
    nobody = Routing(torch.tensor([0, 0]))
    assert not mixture(torch.randn(2, 3, 8), nobody).any()


@pytest.mark.parametrize("positions", ["rel_pos", "rope"])
@torch.inference_mode()
def test_encoder_and_decoders_stay_close(positions):
    exact, model = model_with(positions), model_with(positions)
    quantize(model)
    feats, lengths = torch.randn(2, 48, 20), torch.tensor([48, 40])
    cache = model.encoder.new_cache(2, 4, 2)
    chunks = []
    for piece in feats.split(16, dim=1):
        out, _, cache = model.encoder.forward_chunk(piece, cache)
        chunks.append(out)
    whole = exact.encoder(feats, lengths, chunk_size=4, left_chunks=2)[0]
    off = (torch.cat(chunks, dim=1) - whole)[0].abs().mean()
    assert 0 < off < 0.1 * whole.abs().mean()
    texts, counts = torch.tensor([[12, 3, 4], [12, 5, 6]]), torch.tensor([3, 3])
    given = whole, lengths // 4, texts, counts
    expected = exact.decoder(*given)[0]
    off = (model.decoder(*given)[0] - expected).abs().mean()
    assert 0 < off < 0.1 * expected.abs().mean()


def test_a_stream_of_an_int8_model_says_nearly_the_same():
    wave = babble(3.0)
    heard = []
    for model in (model_with(), quantize(model_with())):
        recognizer = StreamingRecognizer(
            model, StreamOptions(rescore=False, detect_speech=False), "".join
        )
        stream = recognizer.create_stream()
        stream.accept_waveform(wave.astype(np.float32))
        stream.finish()
        events = []
        while not stream.done:
            events += recognizer.decode_streams([stream])[0]
        heard.append([e.text for e in events if e.kind == "final"])
    exact, rounded = ("".join(texts) for texts in heard)
    assert exact and abs(len(exact) - len(rounded)) <= 0.3 * len(exact)


def test_what_is_packed_stays_and_the_rest_is_packed_no_more():
    float32 = packed(nn.Sequential(FeedForward(8, 8)))
    if isinstance(float32[0].w_1, MKLDNNLinear):
        assert isinstance(quantize(float32)[0].w_1, MKLDNNLinear)
    int8 = quantize(nn.Sequential(FeedForward(8, 8)))
    assert is_int8(packed(int8)[0].w_1)


def test_a_small_layer_is_not_packed():
    model = nn.Sequential(nn.Linear(256, 256), nn.Linear(255, 256))
    convert_to_mkldnn(model)
    assert type(model[1]) is nn.Linear and type(model[0]) is not nn.Linear


def test_other_numbers_than_float32_are_refused():
    with pytest.raises(ValueError, match="float32 on the CPU"):
        quantize(nn.Sequential(FeedForward(8, 8)).to(torch.bfloat16))
