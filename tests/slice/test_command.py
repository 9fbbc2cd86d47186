"""`espnet-smoe slice`: labels that choose experts, and those that choose none."""

import re
import shutil

import pytest
import torch
import yaml

from espnet_smoe.inference.speech_to_text import SpeechToText
from espnet_smoe.pack.zip_file import write_zip
from espnet_smoe.slice.command import main
from tests.tiny import save_experiment, talk, tiny_config, tiny_ctc_config

LABEL = {"gate": "label"}
GROUPS = {"gate": "label_topk", "num_experts": 4, "labels": ["<translate>"]}
GROUPS["labels"] = ["<translate>", "<transcribe>"]
TOP_2 = {"gate": "topk", "num_experts": 3, "top_k": 2}


def experiment(folder, encoder, decoder):
    config = tiny_config(folder, moe=False)
    for part, moe in (("encoder", encoder), ("decoder", decoder)):
        if moe is not None:
            config[f"{part}_conf"] = config[f"{part}_conf"] | {"moe": moe}
    return save_experiment(folder / "exp", config)[0].parent


@pytest.fixture(scope="module")
def mixture(tmp_path_factory):
    return experiment(tmp_path_factory.mktemp("mixture"), LABEL, LABEL)


def results(exp, task, bandwidth):
    options = {"beam_size": 3, "ctc_weight": 0.0, "detect_speech": False}
    waves = [talk(0.8, 1), talk(0.6, 2)]
    found = SpeechToText.load(exp, **options)(waves, task, bandwidth)
    return [(r[task].text, r[task].score) for r in found]


@pytest.mark.parametrize(
    "task, label", [("asr", "<transcribe>"), ("st", "<translate>")]
)
def test_a_dense_experiment_writes_what_the_mixture_wrote(
    mixture, tmp_path, task, label, capsys
):
    out = tmp_path / "a" / "slice"
    words = ["--model", str(mixture), "--format", "smoe", "--out", str(out)]
    main([*words, "--label", "<nb>", label])
    assert f"{task}: {label}" in capsys.readouterr().out
    assert not any(".experts." in name for name in torch.load(out / "model.pth"))
    dense, whole = results(out, task, "nb"), results(mixture, task, "nb")
    for (text, score), (wanted, wanted_score) in zip(dense, whole):
        assert text == wanted and score == pytest.approx(wanted_score, abs=1e-4)
    assert SpeechToText.load(out).tasks == (task,)
    assert [path.name for path in out.parent.iterdir()] == ["slice"]


def test_a_slice_decodes_as_the_mixture_does(mixture, tmp_path):
    exp = tmp_path / "exp"
    shutil.copytree(mixture, exp)
    own = {"beam_size": 2, "maxlenratio": -3, "ctc_weight": 0.3, "tasks": ["st", "asr"]}
    (exp / "decode.yaml").write_text(yaml.safe_dump(own))
    waves = [talk(0.8, 1)]
    for label, task in (("<translate>", "st"), ("<transcribe>", "asr")):
        words = ["--model", str(exp), "--format", "smoe", "--label", label]
        main([*words, "--out", str(tmp_path / task)])
        (found,) = SpeechToText.load(tmp_path / task)(waves)
        (wanted,) = SpeechToText.load(exp)(waves)
        assert list(found) == [task]
        assert found[task].text == wanted[task].text
        assert len(found[task].tokens) == 3


def test_an_encoder_that_reads_the_ctc_head_keeps_it(tmp_path):
    config = tiny_config(tmp_path)
    conditioned = {"interctc_layer_idx": [1], "interctc_use_conditioning": True}
    config["encoder_conf"] = config["encoder_conf"] | conditioned
    save_experiment(tmp_path / "exp", config)
    words = ["--model", str(tmp_path / "exp"), "--format", "smoe", "--out"]
    with pytest.raises(ValueError, match="the encoder reads the CTC head, which spel"):
        main([*words, str(tmp_path / "st"), "--label", "<translate>", "<wb>"])
    assert not (tmp_path / "st").exists()
    main([*words, str(tmp_path / "asr"), "--label", "<transcribe>", "<wb>"])
    found, wanted = (
        results(tmp_path / name, "asr", "wb")[0][0] for name in ("asr", "exp")
    )
    assert found == wanted


def test_a_part_without_a_label_stays_a_mixture_there(mixture, tmp_path, capsys):
    out = tmp_path / "slice"
    words = ["--model", str(mixture), "--format", "smoe", "--out", str(out)]
    main([*words, "--label", "<translate>"])
    assert "the encoder is still a mixture" in capsys.readouterr().out
    for bandwidth in ("nb", "wb"):
        assert [t for t, _ in results(out, "st", bandwidth)] == [
            t for t, _ in results(mixture, "st", bandwidth)
        ]


def test_a_packed_model_is_sliced_as_well(mixture, tmp_path):
    write_zip(mixture / "config.yaml", mixture / "model.pth", tmp_path / "model.zip")
    for name, model in (("zip", tmp_path / "model.zip"), ("exp", mixture)):
        words = ["--model", str(model), "--format", "smoe", "--label", "<nb>"]
        main([*words, "--out", str(tmp_path / name)])
    of_zip, of_exp = (torch.load(tmp_path / n / "model.pth") for n in ("zip", "exp"))
    assert of_zip.keys() == of_exp.keys()
    assert all(torch.equal(of_zip[name], of_exp[name]) for name in of_exp)


REFUSED = {
    "a label of no gate": (
        (LABEL, LABEL, ["<translat>"]),
        "no gate reads it, did you mean '<translate>'",
    ),
    "a language": (
        (LABEL, LABEL, ["<ko>", "<wb>"]),
        "--label <ko>: no gate reads it",
    ),
    "two tasks": (
        (LABEL, LABEL, ["<translate>", "<transcribe>"]),
        "both are of the decoder; make a slice for each",
    ),
    "the encoder's is missing": (
        (LABEL, LABEL, ["<translate>"]),
        "encoder is still a mixture: name one of its labels with --label, too: <wb>, ",
    ),
    "learned": ((TOP_2, TOP_2, ["<nb>"]), "routers choose the experts of encoder and"),
    "a learned encoder": (
        (TOP_2, LABEL, ["<translate>"]),
        "encoder is a mixture whose experts routers choose, by no label",
    ),
    "a group": (
        (None, GROUPS, ["<translate>"]),
        "a router chooses among the 2 experts of <translate>, frame by frame",
    ),
    "dense": ((None, None, ["<nb>"]), "is of a dense model: there is nothing to slice"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_sliced_is_said_in_one_line(tmp_path, name):
    (encoder, decoder, labels), message = REFUSED[name]
    exp = experiment(tmp_path, encoder, decoder)
    words = ["--model", str(exp), "--out", str(tmp_path / "out"), "--label"]
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        main([*words, *labels])
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_a_model_of_learned_experts_without_labels_says_so(tmp_path):
    config = tiny_ctc_config(["<blank>", "a", "b", "<sos/eos>"])
    exp = save_experiment(tmp_path / "exp", config)[0].parent
    words = ["--model", str(exp), "--label", "<wb>", "--out", str(tmp_path / "out")]
    with pytest.raises(ValueError, match="by no label; such a model cannot be sliced"):
        main(words)


def test_nothing_is_written_where_something_is(mixture, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.txt").write_text("a")
    (tmp_path / "file").write_text("a")
    for out in ("full", "file"):
        words = ["--model", str(mixture), "--label", "<nb>", "--out"]
        with pytest.raises(ValueError, match=f"{out} is there already; name a new fo"):
            main([*words, str(tmp_path / out)])
    assert (tmp_path / "full" / "a.txt").read_text() == "a"


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda path: path.write_bytes(path.read_bytes()[:2000]), "or a damaged one"),
        (lambda path: path.unlink(), "holds none of model.safetensors, model.pth"),
        (lambda path: torch.save({"a": torch.zeros(1)}, path), "foreign: a"),
    ],
    ids=["cut", "gone", "another"],
)
def test_a_damaged_checkpoint_is_named(tmp_path, damage, message):
    exp = experiment(tmp_path, LABEL, LABEL)
    damage(exp / "model.pth")
    words = ["--model", str(exp), "--label", "<nb>", "--out", str(tmp_path / "out")]
    with pytest.raises(ValueError, match=message):
        main(words)
    assert not (tmp_path / "out").exists()


def test_a_disk_that_takes_no_more_leaves_nothing(mixture, tmp_path, monkeypatch):
    def full(state, path):
        path.write_bytes(b"half")
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos")

    monkeypatch.setattr(torch, "save", full)
    words = ["--model", str(mixture), "--label", "<nb>", "--format", "smoe", "--out"]
    with pytest.raises(OSError, match="No space left on device"):
        main([*words, str(tmp_path / "out")])
    assert not list(tmp_path.iterdir())


def test_of_a_spoken_language_the_prompt_names_that_language(tmp_path):
    config = tiny_config(tmp_path, moe=False)
    prompt = ["<transcribe>", "<ko>"]
    row = {"target": "text", "prompt": prompt, "language": "ko", "spoken": "ko"}
    config["model_conf"]["tasks"] = {"asr": row}
    moe = {"gate": "label", "labels": ["<ko>", "<en>"]}
    config["decoder_conf"] = config["decoder_conf"] | {"moe": moe}
    exp = save_experiment(tmp_path / "exp", config)[0].parent
    words = ["--model", str(exp), "--format", "smoe", "--label", "<en>"]
    main([*words, "--out", str(tmp_path / "out")])
    task = SpeechToText.load(tmp_path / "out").model.task_table["asr"]
    assert [*task.prompt] == ["<transcribe>", "<en>"] and task.language == "en"
    assert not task.spoken
