"""espnet-smoe check-config: what is wrong with a file, and how large its model is."""

from pathlib import Path

import pytest
import yaml

from espnet_smoe import check_config, cli
from tests.tiny import save_experiment, tiny_config

CONF = Path(__file__).parents[1] / "egs2"
MINI = CONF / "mini_koen/smoe1/conf/train.yaml"
PAPER = CONF / "aihub_koen/smoe1/conf/tuning"


def changed(tmp_path: Path, section: str, **changes) -> Path:
    """The mini recipe's file with a section changed; 'a.b' is b within a."""
    options = yaml.safe_load(MINI.read_text(encoding="utf-8"))
    place = options
    for name in filter(None, section.split(".")):
        place = place[name]
    place |= changes
    path = tmp_path / "train.yaml"
    path.write_text(yaml.safe_dump(options), encoding="utf-8")
    return path


def check(path: Path) -> None:
    check_config.main([str(path), "--vocab-size", "300"])


@pytest.mark.parametrize(
    ("section", "wrong", "right"),
    [
        ("", "max_epochs", "max_epoch"),
        ("encoder_conf", "num_block", "num_blocks"),
        ("decoder_conf", "linear_unit", "linear_units"),
        ("model_conf", "ctc_wieght", "ctc_weight"),
        ("encoder_conf.moe", "num_expert", "num_experts"),
        ("decoder_conf.moe", "lables", "labels"),
        ("model_conf.tasks.st", "promt", "prompt"),
        ("frontend_conf", "n_mel", "n_mels"),
        ("specaug_conf", "apply_timewarp", "apply_time_warp"),
        ("preprocessor_conf.channel", "condition", "conditions"),
    ],
)
def test_a_misspelt_key_names_its_place_and_the_nearest(
    tmp_path, section, wrong, right
):
    place = (section or "configuration").replace(".", r"\.")
    message = f"{place}: unknown key '{wrong}', did you mean '{right}'"
    with pytest.raises(ValueError, match=message):
        check(changed(tmp_path, section, **{wrong: 1}))


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        (
            "",
            "encoder",
            "smoe_tranformer",
            "encoder: .*did you mean 'smoe_transformer'",
        ),
        ("", "model", "moe", "model: 'moe' is not one of .*smoe"),
        ("encoder_conf.moe", "gate", "lable", "did you mean 'label'"),
        ("encoder_conf.moe", "num_experts", 3, "num_experts is 3, but .* 2 labels"),
    ],
)
def test_an_unknown_class_or_value_names_the_known_ones(
    tmp_path, section, key, value, message
):
    with pytest.raises(ValueError, match=message):
        check(changed(tmp_path, section, **{key: value}))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("encoder: [", "not YAML"),
        ("just words", "expected 'key: value' lines"),
        (None, "no such file"),
    ],
)
def test_what_is_no_configuration_is_said_in_one_line(
    tmp_path, capsys, content, message
):
    path = tmp_path / "train.yaml"
    if content is not None:
        path.write_text(content)
    assert cli.main(["check-config", str(path)]) == 1
    said = capsys.readouterr().err
    assert str(path) in said and message in said and "Traceback" not in said


def test_the_command_ends_with_the_error_on_its_own_line(tmp_path, capsys):
    path = changed(tmp_path, "encoder_conf", num_block=2)
    assert cli.main(["check-config", str(path)]) == 1
    assert "did you mean 'num_blocks'" in capsys.readouterr().err


def rows(shown: str) -> dict[str, tuple[int, int]]:
    """Module -> parameters in all, active; the lines after the sum left out."""
    table = {}
    for line in shown.splitlines()[1:]:
        name, total, active = line.replace(",", "").split()
        table[name] = (int(total), int(active))
        if name == "sum":
            break
    return table


@pytest.mark.parametrize(
    ("system", "total"), [("base", 107_087_936), ("encdecsmoe", 144_882_752)]
)
def test_the_table_sums_what_is_there_and_what_is_active(capsys, system, total):
    assert cli.main(["check-config", str(PAPER / f"train_{system}.yaml")]) == 0
    table = rows(capsys.readouterr().out)
    assert table.pop("sum") == (total, 107_087_936)
    assert sum(t for t, _ in table.values()) == total
    assert sum(a for _, a in table.values()) == 107_087_936


def test_the_vocabulary_is_that_of_the_token_list(tmp_path, capsys):
    tokens = ["<blank>", "<unk>", "<transcribe>", "<translate>", "<ko>", "<en>"]
    tokens += ["<wb>", "<nb>", "<beginning_of_sentence>", *"abc", "<sos/eos>"]
    path = tmp_path / "tokens.txt"
    path.write_text("\n".join(tokens) + "\n")
    check_config.main([str(MINI), "--token-list", str(path)])
    few = rows(capsys.readouterr().out)["sum"][0]
    check_config.main([str(MINI), "--vocab-size", str(len(tokens))])
    assert rows(capsys.readouterr().out)["sum"][0] == few


@pytest.mark.parametrize(
    ("content", "said"),
    [("", "tokens.txt is empty"), ("<blank>\n<unk>\na\n", "was cut short to 3 tokens")],
)
def test_a_token_list_that_lost_its_tokens_is_refused(tmp_path, content, said):
    path = tmp_path / "tokens.txt"
    path.write_text(content)
    with pytest.raises(ValueError, match=said):
        check_config.main([str(MINI), "--token-list", str(path)])


def test_a_vocabulary_without_room_for_the_special_tokens_is_refused():
    with pytest.raises(ValueError, match="--vocab-size 9: the special tokens alone"):
        check_config.main([str(MINI), "--vocab-size", "9"])


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_a_label_gate_in_a_model_without_labels_is_refused(part, tmp_path):
    config = {
        "encoder": "smoe_transformer",
        "decoder": "smoe_transformer",
        "model_conf": {"report_cer": False, "report_wer": False},
        f"{part}_conf": {"moe": {"gate": "label"}},
    }
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(ValueError, match=f"{part}_conf.moe: its gates read a label"):
        check_config.build_model(tmp_path / "train.yaml", vocab_size=50)
    config |= {"model": "smoe", "model_conf": {}}
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(config))
    check_config.build_model(tmp_path / "train.yaml", vocab_size=50)


@pytest.mark.parametrize("command", ["check-config", "fit-batch", "upcycle"])
def test_what_a_training_has_written_is_named_as_such(tmp_path, capsys, command):
    config, _ = save_experiment(tmp_path, tiny_config(tmp_path))
    (tmp_path / "stats/train").mkdir(parents=True)
    (tmp_path / "stats/train/speech_shape").write_text("a 16000\n")
    words = {
        "check-config": [str(config)],
        "fit-batch": [str(config), "--stats", f"{tmp_path}/stats", "--memory", "3G"],
        "upcycle": [str(tmp_path), "--config", str(config), "--out", f"{tmp_path}/x"],
    }
    assert cli.main([command, *words[command]]) == 1
    said = capsys.readouterr().err
    assert "config.yaml is what a training has written" in said
    assert "conf/train.yaml" in said
