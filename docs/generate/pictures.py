"""Draws the pictures of the site: boxes, arrows and words.

python3 docs/generate/pictures.py    # writes docs/pictures/*.svg
"""

from collections.abc import Callable
from pathlib import Path
from xml.sax.saxutils import escape

FOLDER = Path(__file__).resolve().parents[1] / "pictures"
WIDTH = 540
PLAIN, EXPERT, CHOSEN, GATE, TEXT = (
    "#f1f3f8",
    "#e3e8f7",
    "#9fb4ee",
    "#fde9c4",
    "#dff0e2",
)
LINE, INK, FAINT = "#51597a", "#1c2033", "#6b7291"


class Drawing:
    """An SVG picture on a white ground, `WIDTH` wide."""

    def __init__(self, height: int):
        self.height = height
        self.parts: list[str] = []

    def box(
        self, x: float, y: float, w: float, h: float, text: str, fill: str = PLAIN
    ) -> None:
        """A box with lines of text in its middle."""
        self.parts.append(
            f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="6" fill="{fill}" '
            f'stroke="{LINE}"/>'
        )
        lines = text.split("\n")
        first = y + h / 2 - 9 * (len(lines) - 1) + 5
        for number, line in enumerate(lines):
            self.text(x + w / 2, first + 18 * number, line)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        anchor: str = "middle",
        faint: bool = False,
        bold: bool = False,
    ) -> None:
        """A line of text, its base line at `y`."""
        self.parts.append(
            f'<text x="{x}" y="{y}" text-anchor="{anchor}" '
            f'fill="{FAINT if faint else INK}"'
            f"{' font-weight="bold"' if bold else ''}>{escape(text)}</text>"
        )

    def arrow(
        self, x1: float, y1: float, x2: float, y2: float, dashed: bool = False
    ) -> None:
        """A straight arrow."""
        self.parts.append(
            f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{LINE}" '
            f'stroke-width="1.5" marker-end="url(#head)"'
            f"{' stroke-dasharray="5 4"' if dashed else ''}/>"
        )

    def cell(self, x: float, y: float, w: float, h: float, fill: str) -> None:
        """A small box without a word."""
        self.parts.append(
            f'<rect x="{x}" y="{y}" width="{w}" height="{h}" fill="{fill}" '
            f'stroke="{LINE}" stroke-width="0.7"/>'
        )

    def svg(self) -> str:
        """The file's content."""
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} '
                f'{self.height}" font-family="Helvetica, Arial, sans-serif" '
                'font-size="14">',
                '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" '
                'markerWidth="8" markerHeight="8" orient="auto">'
                f'<path d="M0 0L10 5L0 10z" fill="{LINE}"/></marker></defs>',
                f'<rect width="{WIDTH}" height="{self.height}" rx="8" fill="#ffffff"/>',
                *self.parts,
                "</svg>\n",
            ]
        )


def data_flow() -> Drawing:
    """From audio to texts, and what chooses experts on the way."""
    d = Drawing(470)
    d.box(140, 16, 220, 34, "audio, any format and rate")
    d.arrow(250, 50, 250, 72)
    d.box(140, 72, 220, 34, "log-mel features, 16 kHz")
    d.arrow(250, 106, 250, 128)
    d.box(20, 128, 500, 112, "")
    d.text(34, 150, "encoder, each layer", "start", bold=True)
    d.box(34, 164, 130, 58, "self-attention,\nconvolution")
    d.arrow(164, 193, 186, 193)
    d.box(186, 164, 84, 58, "gate", GATE)
    for n, fill in enumerate((CHOSEN, EXPERT, EXPERT)):
        d.box(308 + 68 * n, 164, 60, 58, f"expert\n{n}", fill)
    d.arrow(270, 193, 308, 193)
    d.text(520, 122, "label (bandwidth) or learned router", "end", faint=True)
    d.arrow(160, 240, 130, 272)
    d.arrow(270, 240, 300, 272)
    d.box(20, 272, 170, 96, "CTC\n(SpeechMoE, U2++,\nfirst pass of streams)")
    d.box(216, 272, 304, 96, "")
    d.text(230, 294, "decoder, each layer", "start", bold=True)
    d.box(230, 308, 86, 46, "attention")
    d.arrow(316, 331, 334, 331)
    d.box(334, 308, 50, 46, "gate", GATE)
    d.arrow(384, 331, 402, 331)
    d.box(402, 308, 50, 46, "0", EXPERT)
    d.box(458, 308, 50, 46, "1", CHOSEN)
    d.text(520, 262, "task in the prompt, or router", "end", faint=True)
    d.arrow(105, 368, 105, 400)
    d.arrow(300, 368, 280, 400)
    d.arrow(436, 368, 446, 400)
    d.box(20, 400, 170, 50, "text while it is spoken,\nwords by a graph", TEXT)
    d.box(216, 400, 130, 50, "<transcribe>\ntranscript", TEXT)
    d.box(380, 400, 140, 50, "<translate>\ntranslation", TEXT)
    return d


def experts() -> Drawing:
    """A dense block, one chosen by a label, one by a router."""
    d = Drawing(330)
    heads = ("dense", "by label", "by router")
    for column, head in enumerate(heads):
        d.text(94 + 176 * column, 26, head, bold=True)
    d.arrow(94, 290, 94, 186)
    d.box(24, 140, 140, 46, "feed-forward")
    d.arrow(94, 140, 94, 60)
    d.text(94, 310, "frames", faint=True)
    for column, gate, chosen in ((1, "label", 0), (2, "router", 1)):
        x = 176 * column
        d.arrow(x + 94, 290, x + 94, 262)
        d.text(
            x + 94,
            310,
            "an utterance" if column == 1 else "a frame",
            faint=True,
        )
        d.box(x + 34, 222, 120, 40, f"gate: {gate}", GATE)
        for n in range(2 if column == 1 else 3):
            w = 66 if column == 1 else 44
            left = x + 24 + (w + 8) * n
            d.box(left, 130, w, 50, f"E{n}", CHOSEN if n == chosen else EXPERT)
            if n == chosen:
                d.arrow(x + 94, 222, left + w / 2, 180)
                d.arrow(left + w / 2, 130, x + 94, 60)
    d.text(456, 76, "× probability", "start", faint=True)
    d.text(236, 210, "<wb>", "end", faint=True)
    return d


def tasks() -> Drawing:
    """Two prompts, rows of one batch over one encoder pass."""
    d = Drawing(330)
    d.box(170, 16, 200, 36, "encoder, once")
    d.arrow(230, 52, 230, 92)
    d.arrow(310, 52, 310, 92)
    rows = (
        ("<transcribe>", "<ko>", "오늘 날씨가 …", "E1"),
        ("<translate>", "<en>", "the weather …", "E0"),
    )
    d.box(16, 92, 508, 148, "")
    d.text(30, 114, "decoder: one batch", "start", bold=True)
    for n, (task, language, text, expert) in enumerate(rows):
        y = 126 + 54 * n
        d.box(30, y, 110, 40, task, GATE)
        d.box(146, y, 54, 40, language)
        d.box(206, y, 44, 40, "<bos>")
        d.box(256, y, 140, 40, text, TEXT)
        d.arrow(396, y + 20, 424, y + 20)
        d.box(424, y, 88, 40, f"expert {expert}", CHOSEN)
    d.arrow(85, 272, 85, 240)
    d.text(
        16, 290, "the first token of the prompt names the task:", "start", faint=True
    )
    d.text(16, 310, "the label gate of every layer reads it", "start", faint=True)
    d.text(326, 270, "<bos>: <beginning_of_sentence>", "start", faint=True)
    return d


def bandwidth() -> Drawing:
    """How a recording gets its label, in training and afterwards."""
    d = Drawing(330)
    d.text(134, 26, "training", bold=True)
    d.text(406, 26, "recognition", bold=True)
    d.box(34, 42, 200, 36, "recording and its label")
    d.arrow(134, 78, 134, 104)
    d.box(34, 104, 200, 58, "channel, by chance:\nnb, G.711, AMR, wb", GATE)
    d.arrow(134, 162, 134, 206)
    d.box(306, 42, 200, 36, "recording")
    d.arrow(406, 78, 406, 104)
    d.box(306, 104, 200, 58, "label given, or\nrate and spectrum", GATE)
    d.arrow(406, 162, 406, 206)
    d.text(148, 190, "16 kHz audio and label", "start", faint=True)
    d.box(34, 206, 472, 64, "")
    d.text(48, 230, "encoder:", "start", bold=True)
    d.text(48, 252, "feed-forward blocks", "start")
    d.box(212, 216, 136, 44, "E0: <wb>", CHOSEN)
    d.box(358, 216, 136, 44, "E1: <nb>", EXPERT)
    d.text(270, 302, "everything else is shared", faint=True)
    return d


def streaming() -> Drawing:
    """Which frames a chunk sees, and when its text comes."""
    d = Drawing(370)
    chunks, size, left, top = 7, 34, 190, 56
    d.text(left + chunks * size / 2, 24, "sees the chunks", bold=True)
    for n in range(chunks):
        d.text(left + size * (n + 0.5), 48, str(n + 1), faint=True)
        d.text(left - 12, top + size * (n + 0.65), f"chunk {n + 1}", "end")
        for m in range(chunks):
            fill = CHOSEN if m == n else EXPERT if n - 4 <= m < n else "#ffffff"
            d.cell(left + size * m, top + size * n, size, size, fill)
    for n, fill in enumerate((CHOSEN, EXPERT, "#ffffff")):
        y = 66 + 44 * n
        d.cell(442, y, 18, 18, fill)
    for y, words in ((80, "itself"), (124, "4 to its left"), (168, "not seen")):
        d.text(466, y, words, "start")
    d.box(16, 318, 160, 36, "CTC prefix beam")
    d.arrow(176, 336, 200, 336)
    d.box(200, 318, 130, 36, "partial words", TEXT)
    d.arrow(330, 336, 354, 336)
    d.box(354, 318, 170, 36, "both decoders: final", TEXT)
    d.text(442, 236, "a chunk:", "start", faint=True)
    d.text(442, 256, "16 frames", "start", faint=True)
    d.text(442, 276, "of 40 ms", "start", faint=True)
    return d


def upcycling() -> Drawing:
    """A dense block is copied to every expert, the rest is taken as it is."""
    d = Drawing(300)
    d.text(120, 26, "trained dense model", bold=True)
    d.text(410, 26, "beginning of the mixture", bold=True)
    d.box(30, 44, 180, 46, "attention, norms, …")
    d.box(300, 44, 220, 46, "attention, norms, …")
    d.arrow(210, 67, 300, 67)
    d.text(255, 58, "as it is", faint=True)
    d.box(30, 140, 180, 58, "feed-forward", CHOSEN)
    for n in range(3):
        d.box(300 + 76 * n, 140, 68, 58, f"E{n}", CHOSEN)
    d.arrow(210, 169, 300, 169)
    d.text(255, 160, "copies", faint=True)
    d.box(300, 234, 220, 44, "router, where there is one", GATE)
    d.text(286, 260, "new", "end", faint=True)
    return d


PICTURES: dict[str, Callable[[], Drawing]] = {
    "data_flow": data_flow,
    "experts": experts,
    "tasks": tasks,
    "bandwidth": bandwidth,
    "streaming": streaming,
    "upcycling": upcycling,
}


def main() -> None:
    """Write all of them."""
    FOLDER.mkdir(exist_ok=True)
    for name, draw in PICTURES.items():
        (FOLDER / f"{name}.svg").write_text(draw().svg(), encoding="utf-8")


if __name__ == "__main__":
    main()
