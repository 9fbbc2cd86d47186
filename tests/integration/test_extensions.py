"""Gates and encoders of somebody else's, as the documentation adds them."""

import argparse
import importlib
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from espnet_smoe import register
from espnet_smoe.check_config import build_model
from espnet_smoe.moe import GATES, Gate, MoEOptions, register_gate, register_loss
from espnet_smoe.moe.loss import LOSSES
from espnet_smoe.plugins import KINDS, REGISTERED, load_plugins, register_class
from espnet_smoe.registry import TASKS
from tests.tiny import tiny_config
from tests.warm_python import environment

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = {"my_gates": "extend_gate.md", "my_encoders": "extend_encoder.md"}


def block(page: str, language: str) -> str:
    text = (DOCS / page).read_text(encoding="utf-8")
    [found] = re.findall(rf"```{language}\n(.*?)```", text, re.S)
    return found


def tables() -> list[dict]:
    """What a plugin adds something to."""
    tasks = [importlib.import_module(f"espnet2.tasks.{task}") for task in TASKS]
    choices = [
        getattr(task, f"{kind}_choices", None) for task in tasks for kind in KINDS
    ]
    classes = [choice.classes for choice in choices if choice is not None]
    return [GATES, LOSSES, REGISTERED, *classes]


@pytest.fixture
def plugged(tmp_path, monkeypatch):
    """The modules of the pages, named in the environment; forgotten afterwards."""
    register()
    before = [(table, dict(table)) for table in tables()]
    for module, page in PAGES.items():
        (tmp_path / f"{module}.py").write_text(block(page, "python"), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("ESPNET_SMOE_PLUGINS", ", ".join(PAGES))
    register()
    yield tmp_path
    for table, content in before:
        table.clear()
        table.update(content)
    for module in PAGES:
        del sys.modules[module]


def batch(model) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    words = [i for i, t in enumerate(model.token_list) if t[:1] != "<"][:3]
    text = torch.tensor([words, [*words[:2], -1]])
    bandwidth = [[model.token_list.index(label)] for label in ("<nb>", "<wb>")]
    return {
        "speech": torch.randn(2, 8000),
        "speech_lengths": torch.tensor([8000, 6000]),
        "text": text,
        "text_lengths": torch.tensor([3, 2]),
        "text_st": text,
        "bandwidth": torch.tensor(bandwidth),
    }


def built(folder: Path, **changes) -> torch.nn.Module:
    from espnet2.tasks.asr import ASRTask

    torch.manual_seed(0)
    config = tiny_config(folder, **changes)
    return ASRTask.build_model(argparse.Namespace(**config))


def checked(folder: Path, section: str, **changes) -> torch.nn.Module:
    """A YAML file that has the section of a page, through `check-config`."""
    config = tiny_config(folder) | yaml.safe_load(section)
    keys = ("model", "encoder", "encoder_conf", "decoder", "decoder_conf")
    content = {key: config[key] for key in keys}
    content["encoder_conf"] = content["encoder_conf"] | changes
    path = folder / "train.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return build_model(path, config["token_list"])


def test_a_gate_from_outside_is_known_by_its_name_and_trains(plugged):
    moe = yaml.safe_load(block("extend_gate.md", "text"))["encoder_conf"]["moe"]
    sizes = tiny_config(plugged)["encoder_conf"] | {"moe": moe}
    model = built(plugged, encoder_conf=sizes)
    gate = model.encoder.encoders[0].feed_forward.gate
    assert (gate.noise, gate.top_k) == (0.5, 2)
    loss, stats, _ = model(**batch(model))
    loss.backward()
    assert gate.router.weight.grad.abs().sum() > 0
    # between none and that of a uniform choice, in each of two layers
    assert 0 < stats["encoder_doubt"] < 2 * math.log(4)
    moe["doubt_weight"] = 0.0
    without = built(plugged, encoder_conf=sizes)(**batch(model))
    assert "encoder_doubt" not in without[1]
    torch.manual_seed(0)


def test_the_loss_of_a_gate_from_outside_has_its_weight(plugged):
    moe = {"gate": "noisy_topk", "num_experts": 4, "noise": 0.0}
    losses = {}
    for weight in (0.5, 1.5):
        sizes = tiny_config(plugged)["encoder_conf"]
        sizes |= {"moe": {**moe, "doubt_weight": weight}, "dropout_rate": 0.0}
        sizes |= {"positional_dropout_rate": 0.0}
        model = built(plugged, encoder_conf=sizes)
        model.decoder.eval()
        loss, stats, _ = model(**batch(model))
        losses[weight] = loss.detach()
    torch.testing.assert_close(losses[1.5] - losses[0.5], stats["encoder_doubt"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nois": 1}, r"encoder_conf.moe: unknown key 'nois', did you mean 'noise'"),
        ({"noise": -1}, r"encoder_conf.moe.noise: -1 is not a number .* at least 0"),
        ({"gate": "topk"}, "noise belongs to the gates noisy_topk"),
        ({"gate": "noisy"}, "'noisy' is not one of label, topk, .*noisy_topk"),
        ({"num_experts": 1}, "top_k is 2; choose 1 to 1"),
    ],
)
def test_options_of_a_gate_from_outside_are_checked(plugged, options, message):
    moe = {"gate": "noisy_topk", "num_experts": 4, "top_k": 2, "noise": 0.5}
    with pytest.raises(ValueError, match=message):
        checked(plugged, "{}", moe=moe | options)
    assert checked(plugged, "{}", moe=moe).encoder.encoders[0].feed_forward.gate.noise


@pytest.mark.parametrize("name", ["u2pp_conformer", "speech_moe"])
def test_a_gate_from_outside_serves_the_encoders_without_labels(plugged, name):
    from espnet2.tasks.asr import encoder_choices

    moe = {"gate": "noisy_topk", "noise": 0.1, "num_experts": 3}
    sizes = {"output_size": 16, "linear_units": 32, "num_blocks": 2}
    encoder = encoder_choices.get_class(name)(20, attention_heads=2, moe=moe, **sizes)
    assert all(
        m.noise == 0.1 and m.num_experts == 3
        for m in encoder.modules()
        if isinstance(m, Gate)
    )
    with pytest.raises(ValueError, match="by frame, not by label"):
        moe = {**moe, "label_embedding": True, "labels": ["<wb>"]}
        encoder_choices.get_class(name)(20, attention_heads=2, moe=moe, **sizes)


def test_an_encoder_from_outside_is_known_by_its_name_and_trains(plugged):
    section = block("extend_encoder.md", "text")
    found = yaml.safe_load(section)
    model = built(plugged, **found)
    assert type(model.encoder).__name__ == "GRUEncoder"
    loss, stats, _ = model(**batch(model))
    loss.backward()
    gate = model.encoder.blocks[0].gate
    assert gate.router.weight.grad.abs().sum() > 0
    assert stats["encoder_balance"] >= 2  # 1 or more in each of two layers
    assert sum(stats[f"encoder_load_{e}"] for e in range(4)) == pytest.approx(1)
    model.eval()
    assert "encoder_layer1_load_3" in model(**batch(model))[1]


def test_an_encoder_from_outside_may_be_routed_by_label(plugged):
    found = {"encoder": "gru_moe", "encoder_conf": {"output_size": 16, "moe": {}}}
    model = built(plugged, **found).eval()
    stats = model(**batch(model))[1]
    # the narrowband utterance has more frames
    assert 0.5 < stats["encoder_load_1"] < 0.7
    with torch.no_grad():
        given = torch.randn(2, 8000), torch.tensor([8000, 8000])
        ids = torch.tensor([model.token_list.index(t) for t in ("<nb>", "<wb>")])
        both, _ = model.encode(*given, ids)
        alone, _ = model.encode(given[0][:1], given[1][:1], ids[:1])
    torch.testing.assert_close(both[:1], alone, atol=1e-5, rtol=1e-4)


def test_options_of_an_encoder_from_outside_are_checked(plugged):
    section = block("extend_encoder.md", "text")
    given = dict.fromkeys(tiny_config(plugged)["encoder_conf"])
    config = yaml.safe_load(section)
    path = plugged / "train.yaml"
    given = {"model": "smoe", "decoder": "smoe_transformer"} | config
    for wrong, message in (
        (
            {"output": 3},
            "encoder_conf: unknown key 'output', did you mean 'output_size'",
        ),
        (
            {"moe": {"gate": "topk", "expert": 3}},
            "encoder_conf.moe: unknown key 'expert'",
        ),
    ):
        broken = given | {"encoder_conf": config["encoder_conf"] | wrong}
        path.write_text(yaml.safe_dump(broken), encoding="utf-8")
        with pytest.raises(ValueError, match=message):
            build_model(path)
    path.write_text(yaml.safe_dump(given), encoding="utf-8")
    assert type(build_model(path).encoder).__name__ == "GRUEncoder"


def test_an_encoder_from_outside_trains_its_routers_in_espnets_own_model(plugged):
    found = yaml.safe_load(block("extend_encoder.md", "text"))
    parts = {"model": "espnet", "model_conf": {}, "decoder": "transformer"}
    parts |= {"decoder_conf": {"attention_heads": 2, "num_blocks": 1}}
    model = built(plugged, **found, **parts)
    given = {k: v for k, v in batch(model).items() if k.startswith(("speech", "text"))}
    given.pop("text_st")
    loss, stats, _ = model(**given)
    loss.backward()
    assert stats["encoder_balance"] >= 2
    assert model.encoder.blocks[1].gate.router.weight.grad.abs().sum() > 0


def test_an_encoder_with_mixtures_that_takes_no_routing_is_refused(plugged):
    class Deaf(REGISTERED["encoder"]["gru_moe"]):
        def forward(self, xs_pad, ilens, prev_states=None, ctc=None):
            return super().forward(xs_pad, ilens)

    REGISTERED["encoder"]["deaf"] = Deaf
    register()
    moe = {"gate": "topk", "num_experts": 2}
    with pytest.raises(ValueError, match="encoder: Deaf has mixtures, .* 'routing'"):
        built(plugged, encoder="deaf", encoder_conf={"output_size": 16, "moe": moe})


def test_a_name_that_is_taken_is_refused(plugged):
    class Other(Gate):
        pass

    for name in ("topk", "noisy_topk"):
        with pytest.raises(ValueError, match=f"the gate '{name}' is already .*Gate"):
            register_gate(name)(Other)
    for name in ("z", "doubt"):
        with pytest.raises(ValueError, match=f"there is a loss '{name}' already"):
            register_loss(name, LOSSES["balance"])
    for name in ("entropy", "dead", "load_0"):
        with pytest.raises(ValueError, match="is a statistic"):
            register_loss(name, LOSSES["balance"])
    with pytest.raises(ValueError, match="encoder 'gru_moe' is already .*GRUEncoder"):
        register_class("encoder", "gru_moe")(Other)
    with pytest.raises(ValueError, match="'gate' is not one of encoder, decoder"):
        register_class("gate", "other")
    register_class("encoder", "speech_moe")(Other)  # ours, which is added later
    with pytest.raises(ValueError, match="--encoder speech_moe is already .*SpeechMoE"):
        register()


def test_gates_of_the_package_stay_as_they_are_beside_others(plugged):
    for name in ("label", "topk", "shared_embedding", "label_topk"):
        assert GATES[name].__module__.startswith("espnet_smoe.moe.")
        assert not hasattr(MoEOptions(name, num_experts=2, labels=["<a>"]), "noise")


def test_a_plugin_that_cannot_be_imported_names_its_place(monkeypatch):
    monkeypatch.setenv("ESPNET_SMOE_PLUGINS", "no_such_module")
    with pytest.raises(ValueError, match="ESPNET_SMOE_PLUGINS: no_such_module cannot"):
        register()
    monkeypatch.setenv("ESPNET_SMOE_PLUGINS", " ")
    load_plugins()


def test_an_installed_package_names_its_plugin_as_an_entry_point(plugged, monkeypatch):
    monkeypatch.delenv("ESPNET_SMOE_PLUGINS")
    info = plugged / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n"
    )
    lines = "[espnet_smoe.plugins]\nany = their_module\n"
    (info / "entry_points.txt").write_text(lines)
    with pytest.raises(ValueError, match="entry point any .* cannot be imported"):
        load_plugins()
    (plugged / "their_module.py").write_text("SEEN = True\n")
    importlib.invalidate_caches()
    load_plugins()
    assert sys.modules.pop("their_module").SEEN


def test_commands_read_the_environment(plugged):
    config = {"encoder": "gru_moe", "model": "smoe", "decoder": "smoe_transformer"}
    config["encoder_conf"] = {"output_size": 16, "moe": {"gate": "noisy_topk"}}
    path = plugged / "train.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    done = subprocess.run(
        ["python3", "-m", "espnet_smoe", "check-config", str(path)],
        capture_output=True,
        text=True,
        env=environment(PYTHONPATH=f"{plugged}:{DOCS.parent}"),
    )
    assert done.returncode != 0
    assert "encoder_conf.moe: 'gate: noisy_topk' needs num_experts" in done.stderr
