"""Multiply-accumulates are those of the matrices that one frame meets."""

import pytest
import torch
from espnet2.asr.encoder.transformer_encoder import TransformerEncoder
from torch import nn

from espnet_smoe import check_config, cost
from espnet_smoe.compat import CTC, AbsEncoder
from espnet_smoe.cost import chunk_line, look_ahead_line, multiply_accumulates
from espnet_smoe.encoder.conformer import U2PPConformerEncoder
from espnet_smoe.encoder.speech_moe import SpeechMoEEncoder
from espnet_smoe.encoder.stacking import StackedDeltas
from espnet_smoe.encoder.transformer import SMoETransformerEncoder

T, D, F, INPUT = 50, 8, 12, 20
MEMORY = 12 * D  # taps from 10 frames before to 1 after, those between them zero
SIZES = {"output_size": D, "linear_units": F, "num_blocks": 3, "attention_heads": 2}
DENSE = (INPUT + D) * F + 2 * (D + D) * F + 3 * MEMORY  # per frame
ATTENTION = 4 * D * D + 2 * T * D  # four matrices; scores and their use


def encoder(**options) -> SpeechMoEEncoder:
    return SpeechMoEEncoder(INPUT, **SIZES | {"attention_every": 0} | options)


def count(encoder: AbsEncoder, **options) -> int:
    return multiply_accumulates(encoder, INPUT, T, **options)["encoder"]


def test_a_dense_network_costs_its_matrices():
    assert count(encoder()) == T * DENSE


@pytest.mark.parametrize("window", [None, [3, 1]])
@pytest.mark.parametrize("use_sdpa", [True, False])
def test_attention_costs_its_matrices_and_its_scores(use_sdpa, window):
    options = {"attention_every": 2, "attention_window": window, "use_sdpa": use_sdpa}
    assert count(encoder(**options)) == T * (DENSE + ATTENTION)


@pytest.mark.parametrize("experts", [2, 8])
@pytest.mark.parametrize("top_k", [1, 2])
def test_a_mixture_costs_its_router_and_the_experts_of_one_frame(experts, top_k):
    moe = {"num_experts": experts, "top_k": top_k}
    router = (INPUT + D + D) * experts
    expected = T * (3 * MEMORY + top_k * (DENSE - 3 * MEMORY) + router)
    assert count(encoder(moe=moe)) == expected


def test_an_embedding_network_costs_itself_and_wider_routers():
    moe = {"num_experts": 4}
    more = count(encoder(moe=moe, embedding={})) - count(encoder(moe=moe))
    assert more == T * (DENSE + 3 * D * 4)


def test_experts_of_labels_cost_what_the_dense_encoder_does():
    sizes = {**SIZES, "input_layer": "conv1d_glu", "subsampling_channels": 16}
    dense = SMoETransformerEncoder(INPUT, **sizes)
    ours = SMoETransformerEncoder(INPUT, **sizes, moe={})
    assert count(dense) == count(ours) > 0


def test_espnets_own_encoder_is_counted_too():
    with torch.device("meta"):
        theirs = TransformerEncoder(INPUT, **SIZES, input_layer="linear")
    # attention in every layer; its layers are as wide at both ends
    layers = 3 * (2 * D * F + ATTENTION)
    assert count(theirs) == T * (INPUT * D + layers)


def test_counting_leaves_the_model_as_it_is():
    model = encoder(moe={"num_experts": 2}, embedding={})
    before = {k: v.clone() for k, v in model.state_dict().items()}
    count(model)
    assert model.training
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], before[key]) for key in before)


def test_the_pre_encoder_shortens_what_the_encoder_and_ctc_see():
    pre = StackedDeltas(10, delta_order=0, stack=2, skip=2)
    counts = multiply_accumulates(encoder(), 10, 2 * T, pre, CTC(30, D))
    assert counts == {"preencoder": 0, "encoder": T * DENSE, "ctc": T * D * 30}


def test_an_encoder_that_reads_its_input_is_left_out():
    class Reads(AbsEncoder):
        def output_size(self) -> int:
            return D

        def forward(self, xs_pad, ilens, prev_states=None):
            return xs_pad[xs_pad > 0], ilens, None

    assert multiply_accumulates(Reads(), INPUT, T) == {}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "memory 0.09 s, attention 0.00 s; in all 0.20 s"),
        ({"attention_every": 1}, "memory 0.09 s, attention the whole utterance"),
        (
            {"attention_every": 1, "attention_window": [9, 5]},
            "memory 0.09 s, attention 0.45 s; in all 0.65 s",
        ),
        (
            {"moe": {"num_experts": 2}, "embedding": {"num_blocks": 7}},
            "memory 0.30 s, attention 0.00 s; in all 0.41 s",
        ),
    ],
)
def test_the_wait_for_later_speech_is_said_part_by_part(options, said):
    line = look_ahead_line(encoder(**options), StackedDeltas(INPUT), rate=100.0)
    assert line == f"look-ahead: pre-encoder 0.11 s, {said}"


def test_a_second_has_the_frames_of_the_front_end():
    from espnet2.asr.frontend.default import DefaultFrontend

    assert cost.frame_rate(DefaultFrontend(fs="16k", hop_length=160)) == 100
    assert cost.frame_rate(DefaultFrontend(fs=8000, hop_length=100)) == 80
    assert cost.frame_rate(nn.Identity()) == 100


def test_of_a_model_that_is_given_features_nothing_is_counted(tmp_path, capsys):
    path = tmp_path / "train.yaml"
    path.write_text(
        "model_conf: {ctc_weight: 1.0}\ninput_size: 20\nencoder: transformer\n"
        "encoder_conf: {output_size: 8, attention_heads: 2, num_blocks: 1}\n"
    )
    check_config.main([str(path), "--vocab-size", "50"])
    assert "multiply-accumulates" not in capsys.readouterr().out


def test_check_config_prints_the_cost_below_the_parameters(tmp_path, capsys):
    path = tmp_path / "train.yaml"
    path.write_text(
        "model: speech_moe\n"
        "frontend_conf: {n_fft: 512, hop_length: 160, n_mels: 40}\n"
        "preencoder: stacked_deltas\n"
        "encoder: speech_moe\n"
        "encoder_conf: {output_size: 64, num_blocks: 2, attention_window: [9, 1]}\n"
    )
    check_config.main([str(path), "--vocab-size", "500"])
    *_, macs, look_ahead = capsys.readouterr().out.splitlines()
    frames = 32  # of 100
    network = (960 + 64 + 64 + 64) * 1024 + 2 * 12 * 64
    million = [round(frames * n / 1e6) for n in (network + 64 * 500, network, 64 * 500)]
    assert macs == (
        "multiply-accumulates of one second: {} million (encoder {}, ctc {})"
    ).format(*million)
    assert look_ahead.endswith("memory 0.06 s, attention 0.00 s; in all 0.17 s")


def test_a_mixture_that_streams_costs_its_routers_more():
    sizes = {"output_size": 8, "attention_heads": 2, "linear_units": 16}
    costs = []
    for moe in (None, {"num_experts": 4, "top_k": 1}):
        streaming = U2PPConformerEncoder(20, **sizes, num_blocks=2, moe=moe)
        costs.append(multiply_accumulates(streaming, 20, frames=100)["encoder"])
    routers = 2 * 2 * 25 * 8 * 4  # layers, halves, frames, D, experts
    assert costs[1] - costs[0] == routers


def test_an_encoder_that_looks_ahead_is_said_not_to_stream():
    options = {"causal": False, "use_dynamic_chunk": False}
    ahead = U2PPConformerEncoder(20, 8, 1, 8, 1, **options)
    assert "cannot stream" in chunk_line(ahead, 100.0)


@pytest.mark.parametrize(
    "layer, seconds", [("conv2d", 0.03), ("conv2d6", 0.05), ("conv2d8", 0.07)]
)
def test_frames_that_stand_where_zeros_would_are_waited_for(layer, seconds):
    encoder = U2PPConformerEncoder(20, 8, 1, 8, 1, input_layer=layer, lookahead=True)
    assert chunk_line(encoder, 100.0).endswith(f"of speech; look-ahead {seconds} s")
