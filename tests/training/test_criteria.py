"""A criterion names what the model reports, or the training does not begin."""

import argparse

import pytest
import torch
from espnet2.tasks.asr import ASRTask

from espnet_smoe.training.criteria import STATISTICS, check_criteria
from tests.inference.tiny_u2pp import tiny_u2pp_config
from tests.tiny import tiny_config, tiny_ctc_config

ROUTED = {"gate": "topk", "num_experts": 2, "top_k": 1, "balance_weight": 0.1}


def configurations(folder) -> dict[str, dict]:
    quiet = {"report_cer": False, "report_wer": False}
    stock = {"model": "espnet", "model_conf": quiet}
    smoe = tiny_config(folder)
    smoe["decoder_conf"] |= {"moe": ROUTED}
    return {
        "smoe": smoe,
        "smoe without": tiny_config(
            folder, model_conf={"ctc_weight": 0.0, "report_cer": False}
        ),
        "speech_moe": tiny_ctc_config(["<blank>", "<unk>", "a", "b", "<sos/eos>"]),
        "u2pp": tiny_u2pp_config(),
        "u2pp one side": tiny_u2pp_config(
            model_conf={"reverse_weight": 0.0, "report_wer": False}
        ),
        "espnet": tiny_u2pp_config(
            **stock,
            encoder="smoe_transformer",
            encoder_conf={
                **{"attention_heads": 2, "linear_units": 24, "num_blocks": 2},
                **{"output_size": 16, "input_layer": "conv2d", "moe": ROUTED},
            },
            decoder="transformer",
            decoder_conf={"attention_heads": 2, "linear_units": 24, "num_blocks": 1},
        ),
    }


NAMES = ["smoe", "smoe without", "speech_moe", "u2pp", "u2pp one side", "espnet"]


def reported(model, phase: str) -> set[str]:
    """What a batch of speech with texts brings to the reporter."""
    torch.manual_seed(0)
    text = torch.tensor([[2, 3, 2], [3, 2, -1]])
    fields = {"text": text, "text_lengths": torch.tensor([3, 2])}
    fields |= {"text_st": text, "text_st_lengths": torch.tensor([3, 2])}
    if not hasattr(model, "tasks"):
        fields = {k: v for k, v in fields.items() if "_st" not in k}
    else:
        wide = model.token_list.index("<wb>")
        fields["bandwidth"] = torch.full((2, 1), wide)
        fields["bandwidth_lengths"] = torch.ones(2, dtype=torch.long)
    model.train(phase == "train")
    speech, lengths = torch.randn(2, 16000), torch.tensor([16000, 12000])
    _, stats, _ = model(speech=speech, speech_lengths=lengths, **fields)
    return {name for name, value in stats.items() if value is not None}


@pytest.mark.parametrize("phase", ["train", "valid"])
@pytest.mark.parametrize("kind", NAMES)
def test_what_a_model_reports_is_what_a_criterion_may_name(tmp_path, kind, phase):
    config = configurations(tmp_path)[kind]
    model = ASRTask.build_model(argparse.Namespace(**config))
    found = reported(model, phase)
    known = set(STATISTICS[type(model).__name__](config["model_conf"], phase))
    missing = {n for n in known - found if "transducer" not in n and "layer" not in n}
    assert not missing and "loss" in known
    for name in found:
        criteria = {"best_model_criterion": [[phase, name, "min"]]}
        check_criteria(type(model), config | criteria, {})


def test_the_nearest_name_is_told(tmp_path):
    from espnet_smoe.model.smoe import ESPnetSMoEModel

    given = {"best_model_criterion": [["valid", "los", "min"]]}
    with pytest.raises(ValueError, match="no 'los' in valid, did you mean 'loss'"):
        check_criteria(ESPnetSMoEModel, given, {})
    check_criteria(ESPnetSMoEModel, given, given)  # ESPnet's own
    check_criteria(object, given, {})
    timed = {"best_model_criterion": [["train", "grad_norm", "min"]]}
    check_criteria(ESPnetSMoEModel, timed, {})
