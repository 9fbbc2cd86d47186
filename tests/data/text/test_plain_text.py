"""Plain Mandarin text beside each transcript."""

import tracemalloc

import pytest

from espnet_smoe.data.data_dir import read_table, write_table
from espnet_smoe.data.text.plain_text import main


def test_each_directory_gets_its_texts_in_plain_characters(tmp_path):
    for name in ("train", "dev"):
        write_table(
            tmp_path / name / "text", {"b": "买 ＷＩＦＩ ，好吗？", "a": "12点"}
        )
    main([str(tmp_path / "train"), str(tmp_path / "dev")])
    for name in ("train", "dev"):
        plain = read_table(tmp_path / name / "text_plain", [])
        assert plain == {"b": "买 wifi 好吗", "a": "十二点"}


def test_readings_to_check_are_listed(tmp_path, capsys):
    write_table(tmp_path / "text", {"a": "营业24/7", "b": "好😀", "c": "3-5个"})
    main([str(tmp_path)])
    rows = (tmp_path / "text_plain_doubts.tsv").read_text(encoding="utf-8")
    assert rows == "a\t24/7\nb\t😀\n"
    assert "2 readings to check" in capsys.readouterr().out


def test_an_utterance_of_which_nothing_is_left_is_named(tmp_path):
    write_table(tmp_path / "text", {"a": "你好", "b": "！？"})
    with pytest.raises(ValueError, match="utterance b: nothing that is said"):
        main([str(tmp_path)])


def test_a_directory_without_text_names_the_stage(tmp_path):
    with pytest.raises(ValueError, match="stage 4 makes it"):
        main([str(tmp_path)])


def test_utterances_need_no_memory(tmp_path):
    """Of 3,000 utterances, whose texts would be 0.8 MB as dictionaries."""
    write_table(tmp_path / "text", {f"u{n:05}": "你好24/7" for n in range(3000)})
    tracemalloc.start()
    main([str(tmp_path)])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 300_000


def test_a_text_that_is_not_utf8_is_named_and_nothing_is_written(tmp_path):
    (tmp_path / "text").write_bytes("a 你好\nb ".encode() + b"\xff\n")
    with pytest.raises(ValueError, match="text:2: not UTF-8. Convert it with iconv"):
        main([str(tmp_path)])
    assert [path.name for path in tmp_path.iterdir()] == ["text"]
