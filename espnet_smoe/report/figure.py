"""Colors, charts and sheets measured in inches, for the figures of all reports."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Sizes in inches.
WIDTH = 10.0
MARGIN = 0.4
TITLE = 0.5
LINE = 0.21  # of the sentences below the title

INK, QUIET, RULE, BAND = "#1f2933", "#66727f", "#c9d1d9", "#f4f6f8"
# The first system is the grey reference; the rest are Okabe and Ito's colors,
# which stay apart for color-blind readers.
REFERENCE = "#6b7280"
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
UNBROKEN = "\N{NO-BREAK SPACE}"


@dataclass
class Sheet:
    """A figure measured in inches from its top left corner.

    Attributes:
        figure: Of matplotlib.
        height: In all.
        top: Where title and sentences end.
    """

    figure: "Figure"
    height: float
    top: float

    @classmethod
    def begin(
        cls, title: str, sentences: Sequence[str], columns: int, height: float
    ) -> "Sheet":
        """A sheet with a title and a list of sentences.

        Args:
            title: Heading.
            sentences: Below it.
            columns: Characters of a line.
            height: Of what is drawn below.
        """
        from matplotlib.figure import Figure

        indents = dict(initial_indent="•  ", subsequent_indent="    ")
        lines = [
            line
            for sentence in sentences
            for line in textwrap.wrap(
                sentence.replace(" %", UNBROKEN + "%"), columns, **indents
            )
        ]
        top = MARGIN + TITLE + LINE * len(lines)
        total = top + height + MARGIN
        sheet = cls(
            Figure(figsize=(WIDTH, total), dpi=160, facecolor="white"), total, top
        )
        sheet.write(MARGIN, title, fontsize=15, fontweight="bold", color=INK)
        text = "\n".join(lines)
        sheet.write(MARGIN + 0.42, text, fontsize=9, color=INK, linespacing=1.5)
        return sheet

    def write(self, y: float, text: str, **style: object) -> None:
        """Text at the left margin."""
        place = MARGIN / WIDTH, 1 - y / self.height
        self.figure.text(*place, text, va="top", **style)

    def heading(self, y: float, text: str) -> None:
        """The heading of a row of charts."""
        self.write(y, text, fontsize=11, fontweight="bold", color=INK)

    def axes(self, left: float, top: float, width: float, height: float) -> "Axes":
        """A chart."""
        bottom = 1 - (top + height) / self.height
        box = left / WIDTH, bottom, width / WIDTH, height / self.height
        return self.figure.add_axes(box)

    def legend(
        self, x: float, y: float, charts: Sequence["Axes"], columns: int = 8
    ) -> None:
        """The colors and marks of some charts, each once, at ``x``."""
        keys: dict = {}  # label -> what is drawn so
        for axes in charts:
            handles, labels = axes.get_legend_handles_labels()
            keys |= dict(zip(labels, handles))
        self.figure.legend(
            keys.values(),
            keys.keys(),
            loc="upper left",
            bbox_to_anchor=(x / WIDTH, 1 - y / self.height),
            ncols=columns,
            fontsize=8.5,
            frameon=False,
            labelcolor=QUIET,
            borderaxespad=0,
            borderpad=0.2,
            handlelength=1.6,
            columnspacing=1.2,
        )

    def save(self, path: Path) -> None:
        """Write a PNG file, the same each time."""
        self.figure.savefig(path, metadata={"Software": None})


def tidy(axes: "Axes") -> None:
    """Small gray numbers, and no frame but the x axis."""
    axes.tick_params(length=0, labelsize=8.5, labelcolor=QUIET)
    axes.grid(axis="y", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(RULE)


def head(axes: "Axes", text: str) -> None:
    """The title of a chart."""
    axes.set_title(text, fontsize=9.5, color=INK, loc="left", pad=6)
