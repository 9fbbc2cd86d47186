"""Plain Mandarin text beside each transcript."""

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
