"""An option that ESPnet has too has ESPnet's default, or one that is named here."""

import inspect

import pytest
from espnet2.asr.decoder.transformer_decoder import TransformerDecoder
from espnet2.asr.encoder.conformer_encoder import ConformerEncoder
from espnet2.asr.encoder.transformer_encoder import TransformerEncoder
from espnet2.asr.espnet_model import ESPnetASRModel

from espnet_smoe.decoder.bidirectional import U2PPTransformerDecoder
from espnet_smoe.decoder.transformer import SMoETransformerDecoder
from espnet_smoe.decoder.whisper import SMoEOpenAIDecoder
from espnet_smoe.encoder.conformer import U2PPConformerEncoder
from espnet_smoe.encoder.speech_moe import SpeechMoEEncoder
from espnet_smoe.encoder.transformer import SMoETransformerEncoder
from espnet_smoe.encoder.whisper import SMoEOpenAIEncoder
from espnet_smoe.model.smoe import ESPnetSMoEModel
from espnet_smoe.model.speech_moe import ESPnetSpeechMoEModel
from espnet_smoe.model.u2pp import ESPnetU2PPModel

# WeNet's, where the model is WeNet's; the paper's sizes in SpeechMoE
CONFORMER = {
    "activation_type": "swish",
    "macaron_style": True,
    "cnn_module_kernel": 15,
    "num_blocks": 12,
}
PAPER = {
    "output_size": 512,
    "attention_heads": 8,
    "linear_units": 1024,
    "num_blocks": 30,
    "use_sdpa": True,
}
U2PP = {"ctc_weight": 0.3, "lsm_weight": 0.1}
PAIRS = {
    "smoe_transformer encoder": (SMoETransformerEncoder, TransformerEncoder, {}),
    "u2pp_conformer": (U2PPConformerEncoder, ConformerEncoder, CONFORMER),
    "speech_moe encoder": (SpeechMoEEncoder, TransformerEncoder, PAPER),
    "smoe_transformer decoder": (SMoETransformerDecoder, TransformerDecoder, {}),
    "u2pp_transformer": (
        U2PPTransformerDecoder,
        TransformerDecoder,
        {"num_blocks": 3},
    ),
    "smoe": (ESPnetSMoEModel, ESPnetASRModel, {"ctc_weight": 0.3}),
    "speech_moe": (ESPnetSpeechMoEModel, ESPnetASRModel, {"ctc_weight": 1.0}),
    "u2pp": (ESPnetU2PPModel, ESPnetASRModel, U2PP),
}
NEW = {"moe": None, "gradient_checkpoint_layers": []}
OURS = {  # options that ESPnet's classes lack
    "smoe_transformer encoder": NEW | {"subsampling_channels": 1024},
    "u2pp_conformer": NEW
    | {
        "causal": True,
        "use_dynamic_chunk": True,
        "use_dynamic_left_chunk": False,
        "static_chunk_size": 0,
        "num_left_chunks": -1,
        "moe_every": 1,
        "norm_eps": 1e-12,  # what ESPnet's norms have
        "lookahead": False,
        "gate_padding": False,
    },
    "speech_moe encoder": {
        "moe": None,
        "embedding": None,
        "detach_embedding": True,
        "attention_every": 10,
        "attention_window": None,
        "look_back_order": 5,
        "look_back_stride": 2,
        "look_ahead_order": 1,
        "look_ahead_stride": 1,
        "layer_norm": True,
    },
    "smoe_transformer decoder": {"moe": None, "suppress_tokens": []},
    "u2pp_transformer": {"moe": None, "r_num_blocks": 3, "norm_eps": 1e-12},
    "smoe": {
        "tasks": None,
        "schedule": "joint",
        "ctc_task": "asr",
        "label_field": "bandwidth",
        "bf16_on_cpu": False,
        "sym_begin": "<beginning_of_sentence>",
    },
    "speech_moe": {"embedding_ctc_weight": 0.01, "bf16_on_cpu": False},
    "u2pp": {"reverse_weight": 0.3, "bf16_on_cpu": False},
}


def defaults(cls: type) -> dict:
    parameters = inspect.signature(cls.__init__).parameters.values()
    return {  # an empty tuple for an empty list: a default that cannot be changed
        p.name: [] if p.default == () else p.default
        for p in parameters
        if p.default is not p.empty
    }


@pytest.mark.parametrize("name", PAIRS)
def test_defaults_are_espnets_or_named(name):
    cls, espnets, named = PAIRS[name]
    ours, theirs = defaults(cls), defaults(espnets)
    differ = {k: v for k, v in ours.items() if k in theirs and v != theirs[k]}
    assert {k: v for k, v in named.items() if ours.get(k, v) != v} == {}
    assert set(differ) <= set(named), differ
    assert {k: v for k, v in ours.items() if k not in theirs} == OURS[name]


WHISPER_BASE = {  # Radford et al. 2022, Table 1; trained without dropout
    "attention_heads": 8,
    "linear_units": 2048,
    "num_blocks": 6,
    "dropout_rate": 0.0,
    "gradient_checkpoint_layers": [],
    "moe": None,
}


def test_whispers_classes_are_of_the_size_of_its_base_model():
    assert defaults(SMoEOpenAIEncoder) == WHISPER_BASE | {
        "output_size": 512,
        "attention_dropout_rate": 0.0,
    }
    assert defaults(SMoEOpenAIDecoder) == WHISPER_BASE | {
        "self_attention_dropout_rate": 0.0,
        "src_attention_dropout_rate": 0.0,
        "max_length": 448,
        "suppress_tokens": [],
        "begin_suppress_tokens": [],
    }
