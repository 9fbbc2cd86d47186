"""Which fonts write texts of any script."""

import pytest
from matplotlib import font_manager

from espnet_smoe.report import fonts

SANS, SERIF = map(font_manager.findfont, (fonts.ALWAYS, "DejaVu Serif"))


@pytest.fixture
def installed(monkeypatch):
    """Fonts of a machine; what this one has is forgotten, and known again after."""

    def entry(name, path=SERIF, style="normal", weight=400):
        return font_manager.FontEntry(fname=path, name=name, style=style, weight=weight)

    entries = [entry("Serif"), entry("Italic", style="italic"), entry("B", weight=700)]
    entries += [entry("Last Resort High"), entry(fonts.ALWAYS, SANS)]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", entries)
    fonts._fonts.cache_clear()
    yield
    fonts._fonts.cache_clear()


def test_upright_fonts_of_usual_weight_are_known_and_no_boxes(installed):
    known = fonts._fonts()
    assert list(known) == [fonts.ALWAYS, "Serif"] and known["Serif"] == SERIF


def test_another_font_comes_in_where_the_first_lacks_a_character(
    installed, monkeypatch
):
    has = {SERIF: frozenset("a가")}
    monkeypatch.setattr(fonts, "_characters", lambda path: has.get(path, {"a", "U"}))
    assert fonts.families_for(["a"]) == [fonts.ALWAYS]
    assert fonts.families_for(["a", "가"]) == [fonts.ALWAYS, "Serif"]
    assert fonts.drawable("가a나") == "가aU+B098"
