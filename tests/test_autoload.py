"""ESPnet's loaders learn of our classes when a configuration names one."""

import sys
from types import SimpleNamespace

import pytest

from espnet_smoe import autoload, registry


@pytest.fixture
def task(monkeypatch):
    """A task of ESPnet that has not heard of us; `registered` counts."""

    class Task:
        class_choices_list = [
            SimpleNamespace(name="encoder", classes={"conformer": object}),
            SimpleNamespace(name="decoder", classes={"transformer": object}),
        ]
        registered = 0

        @classmethod
        def build_model_from_file(cls, config_file, model_file, device):
            return cls.registered, (config_file, model_file, device)

    def register():
        Task.registered += 1

    monkeypatch.setattr(registry, "register", register)
    autoload._load_ours(Task)
    autoload._load_ours(Task)  # again changes nothing
    return Task


@pytest.mark.parametrize(
    ("content", "registered"),
    [
        ("encoder: conformer\ndecoder: null\nbpemodel: bpe.model\n", 0),
        ("encoder: conformer\nencoder_conf:\n    decoder: smoe_transformer\n", 0),
        ("encoder: smoe_transformer\ndecoder: transformer\n", 1),
        ("encoder: conformer\nbpemodel: data/bpe.json\n", 1),
    ],
)
def test_they_are_added_when_a_model_needs_them(task, tmp_path, content, registered):
    config = tmp_path / "config.yaml"
    config.write_text(content)
    built, given = task.build_model_from_file(config, "model.pth")
    assert (built, given) == (registered, (config, "model.pth", "cpu"))


def test_the_configuration_beside_the_checkpoint_counts(task, tmp_path):
    (tmp_path / "config.yaml").write_text("encoder: smoe_transformer\n")
    built, given = task.build_model_from_file(model_file=tmp_path / "model.pth")
    assert built == 1 and given[0] == tmp_path / "config.yaml"


def test_pytorch_may_call_it_again(monkeypatch):
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.delitem(sys.modules, autoload.BASE, raising=False)
    before = len(sys.meta_path)
    autoload.install()
    autoload.install()
    assert len(sys.meta_path) <= before + 1
