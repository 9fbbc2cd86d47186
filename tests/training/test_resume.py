"""A kill while ESPnet saves breaks no training."""

import pytest
import torch
from espnet2.main_funcs import average_nbest_models
from espnet2.train import trainer
from espnet2.train.reporter import Reporter
from espnet2.train.trainer import Trainer

from espnet_smoe.training.resume import protect_checkpoints

SAVE = torch.save


@pytest.fixture(autouse=True)
def protected(monkeypatch):
    monkeypatch.setattr(trainer, "torch", torch)
    monkeypatch.setattr(average_nbest_models, "torch", torch)
    monkeypatch.setattr(Trainer, "resume", staticmethod(Trainer.resume))
    protect_checkpoints()


class Killed:
    """Something whose pickling ends as a killed process does: half-way."""

    def __reduce__(self):
        raise KeyboardInterrupt


@pytest.mark.parametrize("module", [trainer, average_nbest_models])
def test_a_save_of_espnet_that_is_cut_short_leaves_the_file_of_before(module, tmp_path):
    save, path = module.torch.save, tmp_path / "checkpoint.pth"
    save({"epoch": torch.tensor(1)}, path)
    with pytest.raises(KeyboardInterrupt):
        save({"epoch": torch.tensor(2), "more": Killed()}, path)
    assert torch.load(path)["epoch"] == 1
    save({"epoch": torch.tensor(3)}, path)
    assert torch.load(path)["epoch"] == 3
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pth"]


def test_the_rest_of_the_process_saves_as_it_did():
    assert torch.save is SAVE
    assert trainer.torch.nn is torch.nn


def test_protecting_again_changes_nothing():
    ours, resume = trainer.torch, Trainer.resume
    protect_checkpoints()
    assert trainer.torch is ours and Trainer.resume is resume


def resumed(folder, model) -> None:
    reporter = Reporter()
    reporter.set_epoch(2)
    states = {"model": model.state_dict(), "reporter": reporter.state_dict()}
    torch.save(
        {**states, "optimizers": [], "schedulers": []}, folder / "checkpoint.pth"
    )
    Trainer.resume(
        checkpoint=folder / "checkpoint.pth",
        model=torch.nn.Linear(2, 2),
        optimizers=[],
        schedulers=[],
        reporter=Reporter(),
        scaler=None,
    )


def test_the_model_that_a_checkpoint_is_ahead_of_is_written_again(tmp_path):
    model = torch.nn.Linear(2, 2)
    resumed(tmp_path, model)
    written = torch.load(tmp_path / "2epoch.pth")
    assert all(torch.equal(written[k], v) for k, v in model.state_dict().items())


def test_a_model_that_is_there_stays(tmp_path):
    torch.save({"kept": torch.ones(1)}, tmp_path / "2epoch.pth")
    resumed(tmp_path, torch.nn.Linear(2, 2))
    assert "kept" in torch.load(tmp_path / "2epoch.pth")
