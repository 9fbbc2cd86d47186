"""aishell: the systems of SpeechMoE's Tables 1 to 3, at the paper's sizes."""

from pathlib import Path

import pytest

from espnet_smoe.check_config import build_model, count_parameters
from espnet_smoe.config.yaml_file import read_yaml
from espnet_smoe.cost import multiply_accumulates

CONF = Path(__file__).resolve().parents[2] / "egs2" / "aishell" / "ctc1" / "conf"
TUNING = CONF / "tuning"
VOCABULARY = 1394 + 39 + 1  # syllables, English phones, blank
PARAMETERS = {  # millions, Tables 1 to 3
    **{"b1": 71, "b2": 134, "moe_l1": 134, "emb": 170},
    **{"2e": 105, "4e": 170, "8e": 297},
}
# the table has 2.3 for all; B2 and MoE-L1 as described are half of the others
COST = dict.fromkeys(PARAMETERS, 2.3) | {"b2": 1.15, "moe_l1": 1.15}
MOE = "encoder_conf.moe"
DIFFERENCES = {
    ("b1", "b2"): {"encoder_conf.num_blocks", MOE},
    ("b2", "moe_l1"): {MOE},
    ("moe_l1", "emb"): {MOE, "encoder_conf.embedding"},
    ("emb", "4e"): {MOE},
    ("2e", "4e"): {MOE},
    ("4e", "8e"): {MOE},
}


def config(system: str) -> dict:
    """Keys and values, those of a section as ``section.key``."""
    flat = {}
    for key, value in read_yaml(TUNING / f"train_{system}.yaml").items():
        if isinstance(value, dict):
            flat |= {f"{key}.{name}": inner for name, inner in value.items()}
        else:
            flat[key] = value
    return flat


@pytest.mark.parametrize("system", PARAMETERS)
def test_size_and_cost_are_the_papers_within_3_percent(system):
    path = TUNING / f"train_{system}.yaml"
    model = build_model(path, vocab_size=VOCABULARY)
    ours = count_parameters(model)["total"] / 1e6
    assert ours == pytest.approx(PARAMETERS[system], rel=0.03)
    counts = multiply_accumulates(model.encoder, 40, 100, model.preencoder, model.ctc)
    billion = sum(counts.values()) / 1e9
    assert billion == pytest.approx(COST[system], rel=0.03)
    said = path.read_text().splitlines()[1]
    assert said == (
        f"# {ours:.1f}M parameters at V = 1,434 (paper: {PARAMETERS[system]}M), "
        f"{billion:.2f}G multiply-accumulates per second."
    )


def test_every_system_of_the_tables_has_its_file():
    files = {path.stem.removeprefix("train_") for path in TUNING.glob("*.yaml")}
    assert files == set(PARAMETERS) == {name for pair in DIFFERENCES for name in pair}


@pytest.mark.parametrize(("one", "other"), DIFFERENCES)
def test_a_pair_differs_in_what_it_is_named_after(one, other):
    a, b = config(one), config(other)
    differ = {key for key in a | b if a.get(key) != b.get(key)}
    assert differ == DIFFERENCES[one, other]


def test_the_default_is_the_papers_model_of_four_experts():
    assert (CONF / "train.yaml").resolve() == TUNING / "train_4e.yaml"
