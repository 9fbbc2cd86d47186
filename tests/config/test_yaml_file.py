"""YAML files as users write them: what is wrong with one is said in one line."""

import pytest

from espnet_smoe.config.yaml_file import read_yaml


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"encoder: [", "not YAML: line 1, column 1"),
        (b"a: 1\n b: 2\n", "not YAML: line 2"),
        (b"a: b: c\n", "not YAML: line 1, column 5"),
        (b"\tkey: 1\n", "not YAML: line 1"),
        (b"- a\n- b\n", "expected 'key: value' lines, found a list"),
        (b"just words\n", "expected 'key: value' lines, found a str"),
        (b"", "found nothing"),
        (b"# only a comment\n", "found nothing"),
        (b"\x00\x01\x02", "not YAML"),
        (b"a: \xff\xfe\n", "not utf-8 text: byte 0xff at 3"),
        (b"a: 1\nb: 2\na: 3\n", "line 3: key 'a' stands there twice"),
        (b"a: {b: 1, b: 2}\n", "line 1: key 'b' stands there twice"),
        (b"a: !!python/object/apply:os.system ['true']\n", "not YAML: line 1"),
        (b"a: *nowhere\n", "not YAML: line 1"),
        (b"a: " + 5000 * b"[", "not YAML"),
        (b"a: 2020-13-45\n", "month must be in 1..12"),
    ],
)
def test_what_is_wrong_is_one_line_that_names_the_file(tmp_path, content, said):
    path = tmp_path / "train.yaml"
    path.write_bytes(content)
    with pytest.raises(ValueError) as error:
        read_yaml(path)
    assert str(error.value).startswith(f"{path}: ") and said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_and_a_missing_file_are_said_as_such(tmp_path):
    with pytest.raises(ValueError, match=f"{tmp_path}: Is a directory"):
        read_yaml(tmp_path)
    with pytest.raises(ValueError, match="gone.yaml: no such file"):
        read_yaml(tmp_path / "gone.yaml")
    with pytest.raises(ValueError, match="Not a directory|no such file"):
        read_yaml(__file__ + "/x.yaml")


def test_an_empty_file_may_stand_for_the_defaults(tmp_path):
    path = tmp_path / "decode.yaml"
    path.write_text("# the defaults\n")
    assert read_yaml(path, empty=True) == {}


def test_a_byte_order_mark_anchors_and_merged_keys_are_read(tmp_path):
    path = tmp_path / "train.yaml"
    path.write_text("a: &x {b: 1}\nc: {<<: *x, b: 2}\n", encoding="utf-8-sig")
    assert read_yaml(path) == {"a": {"b": 1}, "c": {"b": 2}}
