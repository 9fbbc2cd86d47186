"""The last page of a recipe for a browser: scores, curves, sentences that play."""

import difflib
import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

STYLE = """
:root { color-scheme: light dark; --soft: #8884; --wrong: #e5484d33; --blue: #3b7dd8; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: right; padding: .25rem .6rem; border-bottom: 1px solid var(--soft);
  font-variant-numeric: tabular-nums; }
th:first-child, td:first-child { text-align: left; }
td.part { padding-left: 1.8rem; } small, .soft { opacity: .65; }
.sentence { border: 1px solid var(--soft); border-radius: .6rem; padding: .8rem 1rem;
  margin: .8rem 0; }
.sentence audio { width: 100%; height: 2.2rem; margin-bottom: .4rem; }
.sentence dl { display: grid; grid-template-columns: 8rem 1fr; margin: 0; }
dt { opacity: .65; } dd { margin: 0; }
mark { background: var(--wrong); color: inherit; }
svg text { fill: currentColor; font-size: 11px; } pre { white-space: pre-wrap; }
figure { margin: 0; display: inline-block; }
pre, code, .path { font-family: ui-monospace, monospace; font-size: .85rem;
  overflow-wrap: anywhere; }
"""

Pair = tuple[str, str, str]  # what it is, what was recognised, what is true
WIDTH, HEIGHT, EDGE = 300, 150, 30  # of a curve, pixels


def page(title: str, about: str, sections: Mapping[str, str]) -> str:
    """A whole HTML page.

    Args:
        title: Of the experiment.
        about: A line below it, as text.
        sections: Heading -> HTML; those without content are left out.
    """
    body = [f"<h1>{escape(title)}</h1>\n<p class=soft>{escape(about)}</p>"]
    body += [f"<h2>{escape(h)}</h2>\n{of}" for h, of in sections.items() if of]
    return (
        '<!doctype html>\n<html lang="en"><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n"
        + "\n".join(body)
        + "\n</html>\n"
    )


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], note: str) -> str:
    """An HTML table; a first cell that begins with a space is part of the row above."""
    lines = ["<tr>" + "".join(f"<th>{escape(head)}</th>" for head in heads) + "</tr>"]
    for first, *others in rows:
        part = " class=part" if first.startswith(" ") else ""
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in others)
        lines.append(f"<tr><td{part}>{escape(first.strip())}</td>{cells}</tr>")
    rows_of_it = "\n".join(lines)
    return f"<table>\n{rows_of_it}\n</table>\n<p><small>{escape(note)}</small></p>"


def sentence(wave: Path, pairs: Sequence[Pair], folder: Path) -> str:
    """One example, whose audio is found from the page's folder."""
    source = quote(os.path.relpath(wave, folder.absolute()))
    lines = []
    for what, found, true in pairs:
        lines.append(f"<dt>{escape(what)}</dt><dd>{marked(found, true)}</dd>")
        lines.append(f"<dt>true</dt><dd class=soft>{marked(true, found)}</dd>")
    return (
        f'<div class=sentence>\n<audio controls preload=none src="{source}"></audio>\n'
        f"<dl>{''.join(lines)}</dl>\n<small class=path>{escape(str(wave))}</small>\n"
        "</div>"
    )


def marked(found: str, true: str) -> str:
    """A text as HTML, the words marked that are not those of the truth.

    Example:
        >>> marked("that meat is delicio", "that meat is so delicious")
        'that meat is <mark>delicio</mark>'
    """
    words = found.split()
    matcher = difflib.SequenceMatcher(None, words, true.split(), autojunk=False)
    parts = []
    for kind, begin, end, _, _ in matcher.get_opcodes():
        if text := escape(" ".join(words[begin:end])):
            parts.append(text if kind == "equal" else f"<mark>{text}</mark>")
    return " ".join(parts)


def curve(name: str, values: Mapping[int, float]) -> str:
    """A statistic of each epoch as an SVG picture."""
    known = {e: v for e, v in values.items() if v == v and abs(v) != float("inf")}
    if len(known) < 2:
        return ""
    top = max(known.values()) or 1.0
    first, last = min(known), max(known)
    wide, high = WIDTH - 2 * EDGE, HEIGHT - 2 * EDGE

    def x(epoch: int) -> float:
        return EDGE + wide * (epoch - first) / (last - first)

    def y(value: float) -> float:
        return EDGE + high * (1 - value / top)

    points = " ".join(f"{x(e):.1f},{y(v):.1f}" for e, v in known.items())
    return (
        f"<figure><svg width={WIDTH} height={HEIGHT} role=img "
        f'aria-label="{escape(name)}">'
        f"<text x={EDGE} y=14>{escape(name)}</text>"
        f'<line x1={EDGE} y1={y(0)} x2={WIDTH - EDGE} y2={y(0)} stroke="var(--soft)"/>'
        f'<polyline points="{points}" fill=none stroke="var(--blue)" stroke-width=2 />'
        f"<text x={EDGE} y={HEIGHT - 12}>epoch {first}</text>"
        f"<text x={WIDTH - EDGE} y={HEIGHT - 12} text-anchor=end>{last}</text>"
        f"<text x={WIDTH - EDGE} y={y(known[last]) - 6} text-anchor=end>"
        f"{known[last]:.3g}</text></svg></figure>"
    )
