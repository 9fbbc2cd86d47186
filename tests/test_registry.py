"""register() and the launcher: our classes in ESPnet's choices, wherever they run."""

import importlib
import subprocess

import pytest

from espnet_smoe import register
from espnet_smoe.decoder.transformer import SMoETransformerDecoder
from espnet_smoe.encoder.transformer import SMoETransformerEncoder
from espnet_smoe.registry import TASKS
from tests.warm_python import environment

OURS = {"encoder": "smoe_transformer", "decoder": "smoe_transformer"}
OURS |= {"model": "smoe", "preprocessor": "smoe"}


def choices(task: str, kind: str):
    module = importlib.import_module(f"espnet2.tasks.{task}")
    return getattr(module, f"{kind}_choices", None)


def snapshot() -> dict[tuple[str, str], dict[str, type]]:
    return {
        (task, kind): dict(choices(task, kind).classes)
        for task in TASKS
        for kind in OURS
        if choices(task, kind) is not None
    }


def launch(*argv: str, cwd=None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["python3", "-m", "espnet_smoe", *argv],
        env=environment(),
        capture_output=True,
        text=True,
        cwd=cwd,
    )


@pytest.mark.parametrize("task", ["asr", "st", "s2t", "mt"])
def test_every_task_has_our_encoder_and_decoder(task):
    register()
    encoder, decoder = choices(task, "encoder"), choices(task, "decoder")
    assert encoder.get_class("smoe_transformer") is SMoETransformerEncoder
    assert decoder.get_class("smoe_transformer") is SMoETransformerDecoder


def test_what_is_registered_has_the_type_that_the_task_wants():
    register()
    for task in TASKS:
        for kind, name in OURS.items():
            choice = choices(task, kind)
            if choice is not None and name in choice.classes:
                assert issubclass(choice.get_class(name), choice.base_type)


def test_registering_again_changes_nothing():
    register()
    once = snapshot()
    register()
    assert snapshot() == once


def test_espnets_own_classes_stay():
    register()
    assert (
        choices("asr", "encoder")
        .get_class("transformer")
        .__module__.startswith("espnet2.")
    )


def test_a_foreign_class_under_our_name_is_an_error(monkeypatch):
    class Foreign(SMoETransformerEncoder):
        pass

    register()
    monkeypatch.setitem(choices("st", "encoder").classes, "smoe_transformer", Foreign)
    with pytest.raises(ValueError, match="smoe_transformer of the st task .*Foreign"):
        register()


def test_the_launcher_passes_arguments_and_exit_status_on(tmp_path):
    (tmp_path / "show.py").write_text(
        "import sys\nprint(__name__, sys.argv[1:])\nsys.exit(7)\n"
    )
    shown = launch("-m", "show", "--config", "a b.yaml", "-m", cwd=tmp_path)
    assert shown.stdout.strip() == "__main__ ['--config', 'a b.yaml', '-m']"
    assert shown.returncode == 7


def test_espnets_training_knows_our_classes_when_launched():
    shown = launch("-m", "espnet2.bin.asr_train", "--help")
    assert shown.returncode == 0 and "smoe_transformer" in shown.stdout
