"""Translations are found by id and by sentence, whatever file they come in."""

import csv
import json
import sys
import unicodedata

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from espnet_smoe.data.text.parallel_text import (
    COLUMN_PAIRS,
    Translations,
    encoding_of,
    sentence_key,
)

HEADER = ["SID", "분야", "원문", "번역문"]
ROWS = [
    ["S-1", "일상", "어디 가니?", "Where are you going?"],
    ["S-2", "일상", "비가 온다.", "It rains."],
    ["S-3", "일상", "", "No source."],
    ["S-4", "일상", "번역이 없다.", None],
]


def write_csv(path, rows, encoding="utf-8", delimiter=","):
    with open(path, "w", encoding=encoding, newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


def write_xlsx(path, *sheets):
    book = openpyxl.Workbook()
    book.remove(book.active)
    for rows in sheets:
        sheet = book.create_sheet()
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


def write_json(path, rows, encoding="utf-8", wrap=False):
    rows = [dict(zip(rows[0], row)) for row in rows[1:]]
    content = {"version": 1, "data": rows} if wrap else rows
    path.write_text(json.dumps(content, ensure_ascii=False), encoding=encoding)
    return path


WRITERS = {
    "utf8.csv": write_csv,
    "bom.csv": lambda path, rows: write_csv(path, rows, "utf-8-sig"),
    "korean_windows.csv": lambda path, rows: write_csv(path, rows, "cp949"),
    "excel_unicode.tsv": lambda path, rows: write_csv(path, rows, "utf-16", "\t"),
    "table.tsv": lambda path, rows: write_csv(path, rows, delimiter="\t"),
    "table.XLSX": lambda path, rows: write_xlsx(path, rows),
    "list.json": write_json,
    "dict.json": lambda path, rows: write_json(path, rows, "utf-8-sig", wrap=True),
    "korean_windows.json": lambda path, rows: write_json(path, rows, "cp949"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_kind_of_file_gives_the_same_translations(name, tmp_path):
    table = Translations.read([WRITERS[name](tmp_path / name, [HEADER, *ROWS])])
    assert table.find("어디 가니?") == "Where are you going?"
    assert table.find("다른 말", "S-2") == "It rains."
    assert table.find("다른 말", "S-4") is None
    assert table.find("다른 말") is None
    assert (table.skipped, table.conflicts, table.shared_ids) == (2, 0, 0)


@pytest.mark.parametrize("pair", COLUMN_PAIRS)
def test_column_pairs_of_the_corpora_are_known(pair, tmp_path):
    rows = [["번호", *pair], [1, "가", "a"]]
    table = Translations.read([write_csv(tmp_path / "a.csv", rows)])
    assert table.find("가") == "a"
    assert table.find("나", "1") is None  # a row number is no id


def test_the_final_translation_is_taken_where_there_are_two(tmp_path):
    rows = [["원문", "번역문", "최종번역문"], ["가", "draft", "final"]]
    path = write_csv(tmp_path / "a.csv", rows)
    assert Translations.read([path]).find("가") == "final"


def test_given_columns_are_used(tmp_path):
    rows = [["key", "source text", "english"], [7, "가", "a"]]
    columns = {"source": "source text", "target": "english", "id": "key"}
    table = Translations.read([write_xlsx(tmp_path / "a.xlsx", rows)], columns)
    assert table.find("가") == table.find("", "7") == "a"


def test_unknown_columns_are_named_with_the_file_and_the_way_out(tmp_path):
    path = write_csv(tmp_path / "a.csv", [["korean", "english"], ["가", "a"]])
    with pytest.raises(ValueError, match=r"a\.csv.*korean, english.*columns: {source"):
        Translations.read([path])
    with pytest.raises(ValueError, match=r"한글 with english.*korean, english"):
        Translations.read([path], {"source": "한글", "target": "english"})


@pytest.mark.parametrize("columns", [{}, {"source": "a"}, {"ko": "a", "en": "b"}])
def test_column_roles_are_checked(columns, tmp_path):
    with pytest.raises(ValueError, match="Name 'source' and 'target'"):
        Translations.read([], columns)


def test_sheets_without_the_columns_and_empty_rows_are_passed_over(tmp_path):
    notes = [["안내"], ["이 파일은"]]
    table = [[None], HEADER, [None, None], *ROWS, [None]]
    path = write_xlsx(
        tmp_path / "a.xlsx", notes, table, [HEADER, ["S-9", "", "나", "I"]]
    )
    translations = Translations.read([path])
    assert translations.find("비가 온다") == "It rains."
    assert translations.find("나") == "I"
    assert translations.skipped == 2


def test_sentences_are_compared_by_what_is_said(tmp_path):
    table = Translations()
    table.add("비가  온다.", " It\nrains. ")
    for same in (
        "비가 온다",
        "비가 온다!?",
        unicodedata.normalize("NFD", " 비가 온다 …"),
    ):
        assert table.find(same) == "It rains."
    assert table.find("비, 가 온다") is None


def test_of_two_translations_the_first_stays_and_the_other_is_counted():
    table = Translations()
    table.add("네.", "Yes.")
    table.add("네", "Yeah.")
    table.add("네!", "Yes.")
    assert table.find("네") == "Yes."
    assert table.conflicts == 1


def test_an_id_of_several_sentences_finds_nothing():
    table = Translations()
    for source, target in (("가", "a"), ("나", "b"), ("가", "a")):
        table.add(source, target, "1")
    assert table.find("다", "1") is None
    assert table.find("나", "1") == "b"
    assert table.shared_ids == 1


@pytest.mark.parametrize("name", ["a.xlsx", "a.json"])
def test_a_damaged_file_is_named(name, tmp_path):
    path = tmp_path / name
    WRITERS["table.XLSX" if name == "a.xlsx" else "list.json"](path, [HEADER, *ROWS])
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=f"{name}: damaged"):
        Translations.read([path])


def test_files_that_are_no_tables_are_named(tmp_path):
    (tmp_path / "a.json").write_text('{"rows": []}')
    (tmp_path / "a.csv").write_bytes(b"\x81\xff,\xff\n")
    (tmp_path / "a.hwp").write_text("")
    for name, cause in (
        ("a.json", "neither a list"),
        ("a.csv", "neither UTF-8 nor CP949"),
        ("a.hwp", "unknown kind"),
        ("b.csv", "does not exist"),
    ):
        with pytest.raises(ValueError, match=f"{name}.*{cause}"):
            Translations.read([tmp_path / name])


def test_xlsx_without_openpyxl_names_the_extra(tmp_path, monkeypatch):
    path = write_xlsx(tmp_path / "a.xlsx", [HEADER])
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(ImportError, match=r"a\.xlsx.*espnet_smoe\[corpora\]"):
        Translations.read([path])


def test_encoding_is_known_across_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("espnet_smoe.data.text.parallel_text.BLOCK", 3)
    path = tmp_path / "a.txt"
    for encoding in ("utf-8-sig", "cp949"):
        path.write_text("가나다라마바사" * 5, encoding=encoding)
        assert encoding_of(path) == encoding


@given(st.text())
def test_the_key_of_a_key_is_itself(text):
    assert sentence_key(sentence_key(text)) == sentence_key(text)
