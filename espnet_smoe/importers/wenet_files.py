"""The folder of a model of WeNet: what is in it, whole or named with the cure."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from espnet_smoe.config.yaml_file import read_yaml
from espnet_smoe.input_files import read_checkpoint

CONFIG, WEIGHTS, UNITS, STATISTICS = (
    "train.yaml",
    "final.pt",
    "units.txt",
    "global_cmvn",
)
CURE = "fetch the model again"
ONE_MODEL = "take all files from one model"
LEAST_VARIANCE = 1e-20
TOLERANCE = 5e-3  # of statistics that were written as text, or kept in bfloat16


@dataclass
class Statistics:
    """Of the features of the training data.

    Attributes:
        count: Frames.
        sum: ``(F,)``.
        sum_square: ``(F,)``.
    """

    count: float
    sum: np.ndarray
    sum_square: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """``(F,)``."""
        return self.sum / self.count if self.count else self.sum * np.nan

    @property
    def deviation(self) -> np.ndarray:
        """``(F,)``."""
        variance = self.sum_square / (self.count or np.nan) - self.mean**2
        return np.sqrt(np.maximum(variance, LEAST_VARIANCE))

    def as_npz(self) -> bytes:
        """As ESPnet keeps them in ``feats_stats.npz``."""
        out = io.BytesIO()
        np.savez(out, count=self.count, sum=self.sum, sum_square=self.sum_square)
        return out.getvalue()

    def as_state(self) -> dict[str, torch.Tensor]:
        """As they stand in a checkpoint with ``normalize: global_mvn``."""
        values = {"mean": self.mean, "std": self.deviation}
        return {f"normalize.{k}": torch.from_numpy(v) for k, v in values.items()}


@dataclass
class WeNetFolder:
    """What was read.

    Attributes:
        path: The folder.
        config: Of ``train.yaml``.
        weights: By WeNet's names.
        checkpoint: Where they come from.
        statistics: None for a model without.
    """

    path: Path
    config: dict[str, Any]
    weights: dict[str, torch.Tensor]
    checkpoint: Path
    statistics: Statistics | None = None

    def section(self, *names: str) -> Mapping[str, Any]:
        """A section of the configuration, empty where there is none.

        Args:
            names: From the outermost.

        Raises:
            ValueError: It is no section.
        """
        found: Any = self.config
        for name in names:
            found = found.get(name) or {}
            if not isinstance(found, Mapping):
                raise ValueError(f"{self.path / CONFIG}: {name} is no section; {CURE}")
        return found

    def find(self, name: str, named: Any = None) -> Path:
        """A file of the folder.

        Args:
            name: As it is usually called.
            named: The path that the configuration has for it, whose last part is tried.

        Raises:
            ValueError: There is none.
        """
        names = [name, *([Path(str(named)).name] if named else [])]
        for path in (self.path / n for n in names):
            if path.is_file():
                return path
        raise ValueError(
            f"{self.path} has no {' or '.join(dict.fromkeys(names))}; copy it there "
            "from where the model was trained"
        )

    @property
    def vocab_size(self) -> int:
        """V, as the weights have it.

        Raises:
            ValueError: They have no CTC head.
        """
        head = self.weights.get("ctc.ctc_lo.weight")
        if head is None:
            raise ValueError(
                f"{self.checkpoint}: ctc.ctc_lo.weight is missing; the file is cut "
                "short, or no U2++ model of WeNet"
            )
        if head.dim() != 2:
            raise ValueError(
                f"{self.checkpoint}: ctc.ctc_lo.weight is no matrix; {CURE}"
            )
        return head.shape[0]


def read_folder(path: Path, checkpoint: str | None = None) -> WeNetFolder:
    """Read configuration, weights and statistics.

    Args:
        path: Folder.
        checkpoint: Name of the weights within it; None to look for them.

    Raises:
        ValueError: One is missing or damaged, or they do not go together.
    """
    if not path.is_dir():
        raise ValueError(f"{path} is no folder; name the one that holds {CONFIG}")
    if not (path / CONFIG).is_file():
        raise ValueError(
            f"{path} has no {CONFIG}; name the folder of the training, a model for "
            "WeNet's runtime (final.zip) cannot be carried"
        )
    place = _find_weights(path, checkpoint)
    weights = read_checkpoint(place, CURE)
    foreign = [k for k, v in weights.items() if not isinstance(v, torch.Tensor)]
    if foreign:
        raise ValueError(
            f"{place}: {foreign[0]} is no tensor; take a file of weights alone, as "
            "WeNet's training saves them"
        )
    folder = WeNetFolder(path, read_yaml(path / CONFIG), weights, place)
    folder.statistics = _read_statistics(folder)
    return folder


def _find_weights(path: Path, name: str | None) -> Path:
    averages = sorted(path.glob("avg_*.pt"))
    if name is None and (path / WEIGHTS).is_file():
        name = WEIGHTS
    elif name is None and len(averages) == 1:
        name = averages[0].name
    elif name is None and averages:
        names = ", ".join(file.name for file in averages)
        raise ValueError(f"{path} has {names}; choose one with --checkpoint")
    place = path / (name or WEIGHTS)
    if not place.is_file():
        raise ValueError(
            f"{path} has no {name or 'final.pt or avg_N.pt'}; copy it there, or name "
            "the file of the weights with --checkpoint"
        )
    return place


def _read_statistics(folder: WeNetFolder) -> Statistics | None:
    """Of ``global_cmvn``; the weights hold the same."""
    given, conf = folder.config, folder.section("cmvn_conf")
    named = conf.get("cmvn_file") or given.get("cmvn_file")
    buffer = folder.weights.get("encoder.global_cmvn.mean")
    if buffer is None and not named and given.get("cmvn") is None:
        return None
    place = folder.find(STATISTICS, named)
    try:
        statistics = _parsed(place.read_text(encoding="utf-8"))
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ValueError(
            f"{place} is damaged, or in Kaldi's binary form ({error}); {CURE}"
        ) from error
    both = np.concatenate((statistics.mean, statistics.deviation))
    if not statistics.count > 0 or not np.isfinite(both).all():
        raise ValueError(f"{place} counts no frames, or no numbers; {CURE}")
    if buffer is not None and (
        buffer.shape != statistics.mean.shape
        or not np.allclose(
            buffer.float().numpy(), statistics.mean, TOLERANCE, TOLERANCE
        )
    ):
        raise ValueError(
            f"{place}: its means are not those in {folder.checkpoint}; {ONE_MODEL}"
        )
    return statistics


def _parsed(text: str) -> Statistics:
    """Statistics in WeNet's JSON, or as Kaldi writes them as text."""
    if not text.lstrip().startswith("["):
        read = json.loads(text)
        return _checked(read["frame_num"], read["mean_stat"], read["var_stat"])
    numbers = [float(word) for word in text.replace("[", " ").replace("]", " ").split()]
    size = len(numbers) // 2 - 1
    return _checked(numbers[size], numbers[:size], numbers[size + 1 : -1])


def _checked(count: float, total: list[float], squares: list[float]) -> Statistics:
    values = [np.asarray(v, dtype=np.float64) for v in (total, squares)]
    if values[0].ndim != 1 or values[0].shape != values[1].shape or not len(values[0]):
        raise ValueError("sums and squares of different size")
    return Statistics(float(count), *values)
