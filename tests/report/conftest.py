"""A data directory and experiments as stages 1 to 12 leave them."""

import itertools
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib import rcParams
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

CONDITIONS = ("nb", "g711_nb", "wb", "amr_wb")
KOREAN = "오늘 날씨 정말 좋네요 내일 아침 일찍 만나요 커피를 마시고 싶어요".split()
ENGLISH = "today the weather is nice and we will meet for coffee .".split()
TRAIN_LOG = (
    "[h] 2026-01-01 10:00:00,123 (trainer:358) INFO: {epoch}epoch results: "
    "[train] iter_time=1.2e-04, train_time=0.412, loss=2.301, time={time}, "
    "total_count=55, gpu_max_cached_mem_GB=0.000, [valid] loss=1.1, "
    "time=2.5 seconds, total_count=3\n"
)


def write_table(path: Path, table: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (f"{utt} {value}".rstrip() + "\n" for utt, value in table.items())
    path.write_text("".join(lines), encoding="utf-8")


class Recipe:
    """A recipe's directory with a test set and experiments of chosen quality."""

    def __init__(self, root: Path, utterances: int = 60):
        rng = random.Random(0)
        self.root = root
        self.data = root / "data" / "test"
        utts = [f"utt{i:03d}" for i in range(utterances)]
        self.text = {u: rng.choices(KOREAN, k=rng.randint(4, 8)) for u in utts}
        self.text_st = {u: rng.choices(ENGLISH, k=rng.randint(5, 9)) for u in utts}
        self.condition = {u: CONDITIONS[i % 4] for i, u in enumerate(utts)}
        bandwidth = {u: c[-2:] for u, c in self.condition.items()}
        for name in ("text", "text_st"):
            words = getattr(self, name)
            write_table(self.data / name, {u: " ".join(w) for u, w in words.items()})
        write_table(self.data / "utt2condition", self.condition)
        write_table(self.data / "utt2bandwidth", bandwidth)

    def experiment(self, tag: str, error: float, seed: int = 0) -> Path:
        """Make an experiment that spoils each word with probability ``error``."""
        rng = random.Random(seed)
        decode = self.decode(tag)
        for task, texts in (("asr", self.text), ("st", self.text_st)):
            spoilt = {
                u: " ".join("x" if rng.random() < error else w for w in words)
                for u, words in texts.items()
            }
            write_table(decode / f"hyp.{task}", spoilt)
        info = {"rtf": 0.125, "beam_size": 5, "tasks": ["asr", "st"]}
        (decode / "decode.json").write_text(json.dumps(info))
        directory = self.root / "exp" / tag
        (directory / "params.json").write_text('{"total": 3200000, "active": 2400000}')
        epochs = ((1, "57.5 seconds"), (2, "1 minute and 2 seconds"))
        log = "".join(TRAIN_LOG.format(epoch=e, time=t) for e, t in epochs)
        (directory / "train.log").write_text(log)
        return directory

    def decode(self, tag: str) -> Path:
        return self.root / "exp" / tag / "decode_beam5" / "test"


def figure_of(draw: Callable, *arguments: object) -> Figure:
    """What a function draws, instead of the file that it would write."""
    figures = []
    with pytest.MonkeyPatch.context() as patch:
        save = lambda figure, *_, **__: figures.append(figure)  # noqa: E731
        patch.setattr(Figure, "savefig", save)
        draw(*arguments)
    (figure,) = figures
    return figure


def check_room(figure: Figure, crowded: str = "\n") -> None:
    """Everything is on the sheet, charts are apart, and no text covers another.

    Args:
        figure: Which was not saved.
        crowded: Texts that begin so may touch each other.
    """
    FigureCanvasAgg(figure).draw()
    sheet = figure.bbox.padded(1)
    charts = [axes.get_window_extent() for axes in figure.axes]
    texts = [text for text in figure.findobj(Text) if text.get_text().strip()]
    texts = [text for text in texts if not text.get_text().startswith(crowded)]
    boxes = [text.get_window_extent() for text in texts if text.get_visible()]
    for box in (*charts, *boxes):
        assert box.width > 0 and box.height > 0
        assert sheet.x0 <= box.x0 <= box.x1 <= sheet.x1
        assert sheet.y0 <= box.y0 <= box.y1 <= sheet.y1
    for some in (charts, boxes):
        for one, other in itertools.combinations(some, 2):
            assert not one.padded(-2).overlaps(other.padded(-2)), (one, other)


def texts_of(figure: Figure) -> list[str]:
    """What is written, without the numbers along axes."""
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch):
    """Few pixels: what is drawn is looked at before it is saved."""
    monkeypatch.setitem(rcParams, "savefig.dpi", 20)


@pytest.fixture
def recipe(tmp_path) -> Recipe:
    return Recipe(tmp_path)
