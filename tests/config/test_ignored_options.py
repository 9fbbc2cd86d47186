"""ESPnet's options that ours lack are refused with a reason, idle ones of ours said."""

import logging

import pytest

from espnet_smoe.encoder.conformer import U2PPConformerEncoder
from espnet_smoe.encoder.transformer import SMoETransformerEncoder
from espnet_smoe.model.parts import check_part

SIZES = {"attention_heads": 2, "linear_units": 12, "num_blocks": 1}


@pytest.mark.parametrize(
    "options, message",
    [
        ({"interctc_layer_idx": [1]}, "interctc_layer_idx'; ESPnet's .* one CTC head"),
        ({"stochastic_depth_rate": 0.1}, "stochastic_depth_rate'; ESPnet's .* dropout"),
        ({"rel_pos_type": "latest"}, "rel_pos_type'; .* pos_enc_layer_type alone"),
        ({"positionwise_layer_type": "linear"}, "two matrices, so that they can be"),
        (
            {"pos_enc_layer_type": "abs_pos"},
            "'abs_pos' is not one of rel_pos, rope, .*; E",
        ),
        ({"pos_enc_layer_type": "legacy_rel_pos"}, "what an utterance shares a batch"),
        (
            {"input_layer": "linear"},
            "'linear' is not one of conv2d2.*; ESPnet's opt",
        ),
        ({"input_layer": "embed"}, "shortens the features by convolutions"),
        ({"input_layer": "conv2d1"}, "shortens the features by convolutions"),
        ({"input_layer": "conv2d5"}, "'conv2d5' is not one of conv2d2"),
        ({"cnn_module_kernl": 7}, "did you mean 'cnn_module_kernel'"),
    ],
)
def test_an_option_of_espnet_s_conformer_is_refused_with_a_reason(options, message):
    with pytest.raises(ValueError, match=message):
        U2PPConformerEncoder(20, output_size=8, **SIZES, **options)


def test_the_transformer_has_ctc_inside_and_says_what_it_lacks():
    SMoETransformerEncoder(20, 8, **SIZES | {"num_blocks": 2}, interctc_layer_idx=[1])
    with pytest.raises(ValueError, match="layer_drop_rate'; .* its experts' frames"):
        SMoETransformerEncoder(20, 8, **SIZES, layer_drop_rate=0.1)


@pytest.mark.parametrize(
    "options, message",
    [
        (
            {"use_dynamic_chunk": False, "use_dynamic_left_chunk": True},
            "use_dynamic_left_chunk: no effect",
        ),
        ({"moe_every": 2}, "moe_every: no effect without moe"),
        ({"moe_every": 2, "moe": {}}, ""),
    ],
)
def test_an_option_that_another_switches_off_is_said(options, message, caplog):
    with caplog.at_level(logging.WARNING):
        encoder = U2PPConformerEncoder(20, output_size=8, **SIZES, **options)
        check_part("encoder", encoder, encoder)
    assert message in caplog.text and bool(message) == bool(caplog.text)
