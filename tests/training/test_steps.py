"""A training that is killed in the middle of an epoch ends as if it had not been."""

import multiprocessing
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from espnet2.iterators.abs_iter_factory import AbsIterFactory
from espnet2.iterators.sequence_iter_factory import SequenceIterFactory
from espnet2.schedulers.warmup_lr import WarmupLR
from espnet2.train.abs_espnet_model import AbsESPnetModel
from espnet2.train.trainer import Trainer
from torch.utils.data import Dataset

from espnet_smoe.training.step_checkpoint import NAME
from espnet_smoe.training.steps import save_steps
from tests.gloo import in_two_processes
from tests.training.runs import distributed, options

BATCHES, ROWS, EPOCHS = 7, 2, 3  # an epoch leaves a minibatch over, with ACCUM_GRAD
ACCUM_GRAD, EVERY = 2, 1
SEED = 3


class Speech(Dataset):
    """Utterances that are changed at random when they are read; notes which were."""

    def __init__(self, notes: Path):
        self._read, self.preprocess = notes, self.augment
        draw = np.random.RandomState(0)
        self._data = draw.randn(BATCHES * ROWS, 4).astype(np.float32)

    @staticmethod
    def augment(utterance: str, data: dict) -> dict:
        noise = np.random.randn() + random.random() + torch.rand(()).item()
        return {"x": data["x"] + np.float32(noise)}

    def __getitem__(self, utterance: int) -> tuple[str, dict]:
        with open(self._read, "a") as out:
            out.write(f"{utterance}\n")
        data = {"x": self._data[utterance]}
        return str(utterance), self.preprocess(str(utterance), data)


def collate(batch: list) -> tuple[list[str], dict]:
    names, data = zip(*batch)
    return list(names), {"x": torch.tensor(np.stack([d["x"] for d in data]))}


class Model(AbsESPnetModel):
    """A regression with dropout; calls `at` with each minibatch's number."""

    def __init__(self, at: Callable[[str, int], None]):
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(4, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1)
        )
        self._at, self._count = at, {"train": 0, "valid": 0}

    def forward(self, x: torch.Tensor, utt_id: list[str]) -> tuple:
        phase = "train" if self.training else "valid"
        self._count[phase] += 1
        self._at(phase, self._count[phase])
        loss = self.layers(x).pow(2).mean()[None]
        return loss, {"loss": loss.detach()}, torch.tensor([len(x)])

    def collect_feats(self, **batch: torch.Tensor) -> dict:
        return {}


def train(
    folder: Path,
    at: Callable[[str, int], None] = lambda phase, number: None,
    every: int = EVERY,
    workers: int = 0,
    seed: int = SEED,
    process: tuple[int, int] = (0, 1),
    notes: str = "read",
    train_iter: AbsIterFactory | None = None,
) -> None:
    """All epochs, or those that are left, in a folder of their own."""
    save_steps()
    torch.set_num_threads(1)
    rank, processes = process
    model = Model(at)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    given = options(
        accum_grad=ACCUM_GRAD, output_dir=folder, max_epoch=EPOCHS, log_interval=2
    )
    given.save_every_steps = every
    utterances = range(BATCHES * ROWS)
    batches = [list(utterances[i::BATCHES])[rank::processes] for i in range(BATCHES)]
    data = Speech(folder / notes)
    factory = {"collate_fn": collate, "seed": seed, "num_workers": workers}
    Trainer.run(
        model=model,
        optimizers=[optimizer],
        schedulers=[WarmupLR(optimizer, warmup_steps=5)],
        train_iter_factory=train_iter
        or SequenceIterFactory(data, batches, shuffle=True, **factory),
        valid_iter_factory=SequenceIterFactory(data, batches[:1], **factory),
        plot_attention_iter_factory=None,
        trainer_options=given,
        distributed_option=distributed(rank, processes),
    )


def status_of(work: Callable[[], None]) -> int:
    """How a process of its own ends."""
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(60)
    return process.exitcode


def on(phase: str, number: int, what: signal.Signals) -> Callable[[str, int], None]:
    """Sends the process a signal in the forward pass of a minibatch."""

    def at(*now: object) -> None:
        if now == (phase, number):
            os.kill(os.getpid(), what)

    return at


def new(folder: Path) -> Path:
    folder.mkdir()
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / f"{EPOCHS}epoch.pth")


def assert_equal(folder: Path, unbroken: Path) -> None:
    expected = weights(unbroken)
    for key, value in weights(folder).items():
        assert torch.equal(value, expected[key]), key
    paths = [each / "checkpoint.pth" for each in (folder, unbroken)]
    reports = [torch.load(path)["reporter"]["stats"] for path in paths]
    for epoch in range(1, EPOCHS + 1):
        for part in ("train", "valid"):
            mine, theirs = (report[epoch][part] for report in reports)
            for key in ("loss", "total_count"):
                assert mine[key] == theirs[key], (epoch, part, key)
    assert not (folder / NAME).exists()


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory) -> dict[int, Path]:
    """The folders of a training without workers of loaders and of one with two."""
    folders = {workers: tmp_path_factory.mktemp("unbroken") for workers in (0, 2)}
    for workers, folder in folders.items():
        assert status_of(lambda: train(folder, workers=workers)) == 0
    return folders


@pytest.mark.parametrize(
    ("phase", "number", "workers"),
    [
        ("train", 4, 0),  # before there is a model
        ("train", BATCHES + 2, 0),  # an epoch's rest is not yet in an update
        ("train", BATCHES + 6, 0),
        ("train", BATCHES + 6, 2),
        ("valid", 2, 0),
    ],
)
def test_a_killed_training_goes_on_and_ends_as_one_that_was_not(
    unbroken, phase, number, workers, tmp_path
):
    killer = on(phase, number, signal.SIGKILL)
    killed = status_of(lambda: train(tmp_path, killer, workers=workers))
    assert killed == -signal.SIGKILL
    goes_on = status_of(lambda: train(tmp_path, workers=workers, notes="read_again"))
    assert goes_on == 0
    assert_equal(tmp_path, unbroken[workers])
    in_epoch = (number - 1) % BATCHES if phase == "train" else BATCHES
    updates = in_epoch // ACCUM_GRAD * ACCUM_GRAD if phase == "train" else BATCHES
    done = (number - 1) // BATCHES if phase == "train" else number - 1
    left = (EPOCHS - done) * BATCHES - updates + (EPOCHS - done)  # one for validation
    assert len((tmp_path / "read_again").read_text().split()) == left * ROWS


def test_two_killed_processes_go_on_and_end_as_if_they_had_not_been(tmp_path):
    unbroken, folder = new(tmp_path / "unbroken"), new(tmp_path / "killed")
    meet = [new(tmp_path / f"meet{i}") for i in range(3)]
    in_two_processes(meet[0], lambda rank: train(unbroken, process=(rank, 2)))
    killer = on("train", BATCHES + 6, signal.SIGKILL)
    with pytest.raises(FileNotFoundError):
        in_two_processes(meet[1], lambda rank: train(folder, killer, process=(rank, 2)))
    assert torch.load(folder / NAME)["batches"] == 4
    in_two_processes(meet[2], lambda rank: train(folder, process=(rank, 2)))
    assert_equal(folder, unbroken)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("when", "saved"),
    [(("train", BATCHES + 3), (2, 4)), (("valid", 2), (2, BATCHES))],
    ids=["in training", "in validation"],
)
def test_sigterm_saves_the_step_and_ends_the_training(
    unbroken, workers, when, saved, tmp_path
):
    def at(*now: object) -> None:
        if now == when:  # as Slurm does, also to workers
            others = [child.pid for child in multiprocessing.active_children()]
            for number in (*others, os.getpid()):
                os.kill(number, signal.SIGTERM)

    status = status_of(lambda: train(tmp_path, at, every=0, workers=workers))
    assert status == 128 + signal.SIGTERM
    step = torch.load(tmp_path / NAME)
    assert (step["epoch"], step["batches"]) == saved
    assert status_of(lambda: train(tmp_path, workers=workers)) == 0
    assert_equal(tmp_path, unbroken[workers])


@pytest.mark.parametrize("phase", ["train", "valid"])
def test_sigusr1_saves_a_step_and_the_training_goes_on(phase, tmp_path):
    seen = []

    def at(now: str, number: int) -> None:
        on(phase, 1, signal.SIGUSR1)(now, number)
        if (now, number) == ("train", BATCHES + 5):
            seen.append(torch.load(tmp_path / NAME))
            os._exit(seen[0]["epoch"] * 10 + seen[0]["batches"])

    wanted = {"train": 12, "valid": 17}[phase]
    assert status_of(lambda: train(tmp_path, at, every=0)) == wanted


@pytest.fixture
def interrupted(tmp_path) -> Path:
    """A folder with a step of epoch 2."""
    killer = on("train", BATCHES + 4, signal.SIGKILL)
    assert status_of(lambda: train(tmp_path, killer)) == -signal.SIGKILL
    return tmp_path


def change(path: Path, **values: object) -> None:
    torch.save(torch.load(path) | values, path)


def test_a_step_of_another_number_of_processes_is_named(interrupted):
    step = interrupted / NAME
    change(step, processes=torch.load(step)["processes"] * 2)
    with pytest.raises(ValueError, match="by 2 processes, and 1 would go on.*remove"):
        train(interrupted)


def test_a_step_of_other_minibatches_is_named(interrupted):
    with pytest.raises(ValueError, match="minibatches of epoch 2 are others now"):
        train(interrupted, seed=SEED + 1)


def test_a_step_without_the_epoch_before_it_is_named(interrupted):
    (interrupted / "checkpoint.pth").unlink()
    with pytest.raises(ValueError, match="of epoch 2, and the last .* is 0.*remove it"):
        train(interrupted)


def test_a_step_of_another_model_is_named(interrupted):
    change(interrupted / NAME, model={"other": torch.ones(1)})
    with pytest.raises(ValueError, match="of another model .*remove it"):
        train(interrupted)


def test_a_damaged_step_is_named(interrupted):
    step = interrupted / NAME
    step.write_bytes(step.read_bytes()[:1000])
    with pytest.raises(ValueError, match=f"{NAME}.*damaged.*remove it"):
        train(interrupted)


def test_what_an_older_step_says_does_not_count(interrupted):
    before = (interrupted / NAME).read_bytes()
    train(interrupted)
    unbroken = weights(interrupted)
    (interrupted / NAME).write_bytes(before)
    train(interrupted)
    assert not (interrupted / NAME).exists()
    assert all(torch.equal(v, unbroken[k]) for k, v in weights(interrupted).items())


def test_sigterm_ends_a_trainer_of_another_kind_at_once(tmp_path, monkeypatch):
    class Other(Trainer):  # such as ESPnet's of GANs
        @classmethod
        def train_one_epoch(cls, **given: object) -> bool:
            os.kill(os.getpid(), signal.SIGTERM)
            return False

    monkeypatch.setitem(globals(), "Trainer", Other)
    assert status_of(lambda: train(tmp_path)) == -signal.SIGTERM
