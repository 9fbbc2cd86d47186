"""The U2++ recipes: sizes as they say, systems that differ in their experts alone."""

from pathlib import Path

import pytest

from espnet_smoe.check_config import build_model, count_parameters
from espnet_smoe.config.yaml_file import read_yaml

EGS2 = Path(__file__).resolve().parents[2] / "egs2"
AISHELL = EGS2 / "aishell/u2pp1/conf"
MINI = EGS2 / "mini_cmn/u2pp1/conf"
AN4 = EGS2 / "mini_an4/asr1/conf"
MIXTURES = {f"moe{e}k{k}": (e, k) for e in (2, 4, 8) for k in (1, 2)}
CHARACTERS = 4233  # of AISHELL-1's training set, as in WeNet's recipe
# the paper's names; from the first to the second 4.68 times
LARGE = {
    "dense_225m": {"total": 224_406_080, "active": 224_406_080},
    "moe_1b": {"total": 1_051_150_400, "active": 342_670_400},
    "dense_1b": {"total": 1_042_189_760, "active": 1_042_189_760},
}


def counts(path: Path, vocabulary: int) -> dict[str, int]:
    return count_parameters(build_model(path, vocab_size=vocabulary))


def said(total: int, active: int, vocabulary: int) -> str:
    """The second line of a file of the recipe aishell."""
    part = f" {active / 1e6:,.1f}M active," if active != total else ""
    return f"# {total / 1e6:,.1f}M parameters,{part} at V = {vocabulary:,}.".replace(
        "parameters, at", "parameters at"
    )


@pytest.mark.parametrize("name", LARGE)
def test_the_large_models_have_the_sizes_that_the_paper_names(name):
    path = AISHELL / f"tuning/train_{name}.yaml"
    assert counts(path, 8000) == LARGE[name]
    second = path.read_text().splitlines()[1]
    assert second == said(**LARGE[name], vocabulary=8000)


def test_the_mixture_is_4_68_times_the_dense_model():
    assert LARGE["moe_1b"]["total"] / LARGE["dense_225m"]["total"] == pytest.approx(
        4.68, abs=0.005
    )


@pytest.mark.parametrize("name", ["dense", *MIXTURES])
def test_the_usual_sizes_are_as_said(name):
    path = AISHELL / f"tuning/train_{name}.yaml"
    found = counts(path, CHARACTERS)
    assert path.read_text().splitlines()[1] == said(**found, vocabulary=CHARACTERS)


def test_with_one_expert_at_work_a_mixture_is_as_large_as_the_dense_model():
    dense = counts(MINI / "tuning/train_dense.yaml", 400)["total"]
    for name, (experts, k) in MIXTURES.items():
        found = counts(MINI / f"tuning/train_{name}.yaml", 400)
        gates = found["active"] - dense
        if k == 1:  # beside the router's weights there is nothing more
            assert 0 < gates < 0.03 * dense, name
        else:
            assert gates > 0.3 * dense, name
        assert found["total"] > (1 + 0.3 * (experts - 1)) * dense


@pytest.mark.parametrize(("name", "size"), [("dense2", "active"), ("dense8", "total")])
def test_wider_dense_models_have_the_active_and_the_total_size_of_the_mixture(
    name, size
):
    path = MINI / f"tuning/train_{name}.yaml"
    mixture = counts(MINI / "tuning/train_moe8k2.yaml", 569)[size]
    assert counts(path, 569)["total"] == pytest.approx(mixture, rel=0.02)
    wide, dense = read_yaml(path), read_yaml(MINI / "tuning/train_dense.yaml")
    for part in ("encoder_conf", "decoder_conf"):
        del wide[part]["linear_units"], dense[part]["linear_units"]
    assert wide == dense


@pytest.mark.parametrize("folder", [AISHELL, MINI], ids=["aishell", "mini_cmn"])
def test_the_systems_differ_in_their_experts_alone(folder):
    dense = read_yaml(folder / "tuning/train_dense.yaml")
    for name, (experts, k) in MIXTURES.items():
        mixture = read_yaml(folder / f"tuning/train_{name}.yaml")
        for part in ("encoder_conf", "decoder_conf"):
            moe = mixture[part].pop("moe")
            assert moe == {"gate": "topk", "num_experts": experts, "top_k": k}
        mixture.pop("unused_parameters", None)  # what an idle expert needs
        assert mixture == dense


@pytest.mark.parametrize("folder", [AISHELL, MINI], ids=["aishell", "mini_cmn"])
def test_the_default_has_eight_experts_of_which_two_work(folder):
    assert (folder / "train.yaml").resolve() == folder / "tuning/train_moe8k2.yaml"


@pytest.mark.parametrize("folder", [AISHELL, MINI], ids=["aishell", "mini_cmn"])
def test_both_decoders_are_as_deep(folder):
    for path in folder.glob("tuning/*.yaml"):
        decoder = read_yaml(path)["decoder_conf"]
        assert decoder["num_blocks"] == decoder["r_num_blocks"]


def test_the_pair_of_mini_an4_differs_in_its_experts_alone():
    mixture = read_yaml(AN4 / "train_u2pp.yaml")
    for part in ("encoder_conf", "decoder_conf"):
        assert mixture[part].pop("moe")
    assert mixture == read_yaml(AN4 / "train_u2pp_dense.yaml")
