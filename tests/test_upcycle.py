"""`espnet-smoe upcycle`: from an experiment to a checkpoint to train from."""

import argparse
from pathlib import Path

import pytest
import torch
import yaml

from espnet_smoe.upcycle import main
from tests.tiny import save_experiment, talk, tiny_config, tiny_ctc_config

NOT_OF_A_YAML = ("token_list", "bpemodel", "token_type", "normalize", "normalize_conf")


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    """A trained dense model: its folder and configuration."""
    folder = tmp_path_factory.mktemp("dense")
    config = tiny_config(folder, moe=False)
    _, checkpoint = save_experiment(folder, config)
    checkpoint.rename(folder / "valid.acc.ave.pth")
    return folder, config


def yaml_of(config: dict, folder, **decoder) -> str:
    """The training configuration of a mixture with the sizes of ``config``."""
    keys = ("model", "model_conf", "frontend_conf", "encoder", "decoder")
    chosen = {k: config[k] for k in (*keys, "preprocessor")}
    moe = {"moe": {"gate": "label"}}
    chosen["encoder_conf"] = config["encoder_conf"] | moe
    chosen["decoder_conf"] = config["decoder_conf"] | moe | decoder
    path = folder / "mixture.yaml"
    path.write_text(yaml.safe_dump(chosen))
    return str(path)


def test_the_mixture_computes_at_first_what_the_dense_model_did(
    dense, tmp_path, capsys
):
    from espnet2.tasks.asr import ASRTask
    from espnet2.torch_utils.load_pretrained_model import load_pretrained_model

    folder, config = dense
    out = tmp_path / "init" / "mixture.pth"
    main([str(folder), "--config", yaml_of(config, tmp_path), "--out", str(out)])
    said = capsys.readouterr().out
    assert "encoder.encoders.1.feed_forward -> experts 0, 1" in said
    moe = {"moe": {"gate": "label"}}
    mixture = ASRTask.build_model(
        argparse.Namespace(
            **config
            | {"encoder_conf": config["encoder_conf"] | moe}
            | {"decoder_conf": config["decoder_conf"] | moe}
        )
    ).eval()
    load_pretrained_model(str(out), mixture, ignore_init_mismatch=False)
    plain = ASRTask.build_model(argparse.Namespace(**config)).eval()
    plain.load_state_dict(torch.load(folder / "valid.acc.ave.pth"))
    tokens = config["token_list"]
    speech, lengths = torch.randn(2, 8000) / 10, torch.tensor([8000, 6000])
    labels = torch.tensor([tokens.index("<nb>"), tokens.index("<wb>")])
    torch.testing.assert_close(
        mixture.encode(speech, lengths, labels), plain.encode(speech, lengths)
    )


def test_a_narrower_model_is_refused_and_nothing_is_written(dense, tmp_path):
    folder, config = dense
    out = tmp_path / "mixture.pth"
    narrow = yaml_of(config, tmp_path, linear_units=24)
    with pytest.raises(ValueError, match=r"valid.acc.ave.pth and (.|\n)*\(24, 16\)"):
        main([str(folder), "--config", narrow, "--out", str(out)])
    assert not out.exists()


@pytest.mark.parametrize(
    "damage, message",
    [
        ({"decoder.after_norm.bias": 5}, "decoder.after_norm.bias is no tensor; "),
        ({"decoder.after_norm.bias": torch.full((16,), torch.nan)}, "NaN or infinite"),
    ],
)
def test_what_is_no_weight_is_named(dense, tmp_path, damage, message):
    folder, config = dense
    state = torch.load(folder / "valid.acc.ave.pth") | damage
    for path in folder.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "valid.acc.ave.pth").unlink()
    torch.save(state, tmp_path / "valid.acc.ave.pth")
    out = tmp_path / "mixture.pth"
    with pytest.raises(ValueError, match=f"valid.acc.ave.pth.*{message}"):
        main([str(tmp_path), "--config", yaml_of(config, tmp_path), "--out", str(out)])
    assert not out.exists()


def test_a_disk_that_takes_no_more_is_told_and_nothing_is_left(
    dense, tmp_path, monkeypatch
):
    folder, config = dense

    def full(state, path):
        path.write_bytes(b"half")
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos")

    monkeypatch.setattr(torch, "save", full)
    words = ["--config", yaml_of(config, tmp_path), "--out", str(tmp_path / "x.pth")]
    with pytest.raises(OSError, match="No space left on device: .*x.pth"):
        main([str(folder), *words])
    assert not list(tmp_path.glob("x.pth*"))


def test_an_untrained_experiment_names_the_stage(tmp_path):
    with pytest.raises(ValueError, match="stage 11"):
        main([str(tmp_path), "--config", "c.yaml", "--out", "x.pth"])


# -- whole models: the output before training is that of the trained model -----------

LABEL = {"gate": "label"}
TOP_1 = {"gate": "topk", "num_experts": 3}
TOP_2 = {"gate": "topk", "num_experts": 4, "top_k": 2}
GROUPS = {"gate": "label_topk", "num_experts": 4}
MIXTURES = {
    "by label": (LABEL, LABEL),
    "learned, top 1": (TOP_1, TOP_1),
    "learned, top 2": (TOP_2, TOP_2),
    "groups": (
        GROUPS | {"labels": ["<wb>", "<nb>"]},
        GROUPS | {"labels": ["<translate>", "<transcribe>"], "top_k": 2},
    ),
    "encoder alone": (LABEL, None),
    "decoder alone": (None, TOP_1),
}


def config_of(source: str, folder: Path) -> dict:
    """Configuration of a trained dense model, ours or ESPnet's own."""
    config = tiny_config(folder, moe=False)
    config["encoder_conf"]["input_layer"] = "conv2d"
    config["encoder_conf"].pop("subsampling_channels")
    if source == "ESPnet":
        config |= {"model": "espnet", "encoder": "transformer"}
        config |= {"decoder": "transformer", "preprocessor": "default"}
        config["model_conf"] = {"ctc_weight": 0.3, "report_wer": False}
    return config


def build(config: dict, state: dict | None = None):
    from espnet2.tasks.asr import ASRTask

    model = ASRTask.build_model(argparse.Namespace(**config)).eval()
    if state is not None:
        model.load_state_dict(state)
    return model


def logits_of(model, config: dict) -> torch.Tensor:
    """What the decoder says to two prompts about two recordings, ``(2, L, V)``."""
    torch.manual_seed(4)
    ids = config["token_list"].index
    speech = torch.stack([torch.from_numpy(talk(2.0, seed)) for seed in range(2)])
    lengths = torch.tensor([32000, 20000])
    labels = torch.tensor([ids("<nb>"), ids("<wb>")])
    given = (labels,) if hasattr(model, "tasks") else ()
    encoded, frames = model.encode(speech, lengths, *given)
    prompts = torch.tensor([[ids("<translate>")], [ids("<transcribe>")]])
    tokens = torch.cat([prompts, torch.randint(20, 200, (2, 30))], 1)
    return model.decoder(encoded, frames, tokens, torch.tensor([31, 31]))[0]


def mixture_yaml(config: dict, folder: Path, encoder, decoder, **more: int) -> Path:
    """The training configuration of a mixture of a dense model's sizes."""
    chosen = {k: config[k] for k in ("frontend_conf", "normalize")}
    chosen |= {"model": "smoe", "model_conf": {"ctc_weight": 0.3}}
    for part, moe in (("encoder", encoder), ("decoder", decoder)):
        section = config[f"{part}_conf"] | more
        chosen[part] = "smoe_transformer"
        chosen[f"{part}_conf"] = section | ({"moe": moe} if moe else {})
    path = folder / "mixture.yaml"
    path.write_text(yaml.safe_dump(chosen))
    return path


@pytest.fixture(scope="module", params=["ours", "ESPnet"])
def trained(request, tmp_path_factory):
    """A trained dense model: folder, configuration, its output."""
    folder = tmp_path_factory.mktemp("trained")
    config = config_of(request.param, folder)
    _, checkpoint = save_experiment(folder, config)
    with torch.inference_mode():
        output = logits_of(build(config, torch.load(checkpoint)), config)
    return folder, config, output


@pytest.mark.parametrize("name", MIXTURES)
def test_every_mixture_begins_with_the_output_of_the_trained_model(
    trained, tmp_path, name
):
    folder, config, output = trained
    path = mixture_yaml(config, tmp_path, *MIXTURES[name])
    out = tmp_path / "init.pth"
    main([str(folder), "--config", str(path), "--out", str(out)])
    mixture = build(config | yaml.safe_load(path.read_text()))
    missing, foreign = mixture.load_state_dict(torch.load(out), strict=False)
    assert not foreign and all(".gate." in name for name in missing)
    logits = logits_of(mixture, config)
    torch.testing.assert_close(logits, output, atol=1e-4, rtol=1e-4)
    logits.logsumexp(-1).sum().backward()
    experts = [p.grad for n, p in mixture.named_parameters() if ".experts." in n]
    reached = [grad is not None and bool(grad.any()) for grad in experts]
    # routers may send the few frames of a random model to some experts alone
    assert all(reached) if MIXTURES[name][0] == LABEL else any(reached)


def test_a_wider_model_begins_with_the_same_output(trained, tmp_path, capsys):
    folder, config, output = trained
    path = mixture_yaml(config, tmp_path, None, LABEL, linear_units=64)
    out = tmp_path / "init.pth"
    main([str(folder), "--config", str(path), "--out", str(out)])
    assert "made wider: encoder.encoders.0.feed_forward" in capsys.readouterr().out
    mixture = build(config | yaml.safe_load(path.read_text()), torch.load(out))
    logits = logits_of(mixture, config)
    torch.testing.assert_close(logits, output, atol=1e-4, rtol=1e-4)


def test_options_that_change_the_output_are_told(dense, tmp_path, capsys):
    folder, config = dense
    words = [str(folder), "--out", str(tmp_path / "init.pth"), "--config"]
    main([*words, yaml_of(config, tmp_path)])
    assert "options differ" not in capsys.readouterr().out
    path = Path(yaml_of(config, tmp_path, attention_heads=4, dropout_rate=0.3))
    given = yaml.safe_load(path.read_text())
    del given["frontend_conf"]["hop_length"]
    path.write_text(yaml.safe_dump(given))
    main([*words, str(path)])
    said = capsys.readouterr().out
    assert "decoder_conf.attention_heads 4 (trained: 2)" in said
    assert "frontend_conf.hop_length 128 (trained: 160)" in said
    assert "dropout" not in said and "encoder_conf.moe" not in said


def test_speechmoe_begins_with_the_output_of_its_static_model(tmp_path):
    config = tiny_ctc_config(["<blank>", "a", "b", "<sos/eos>"])
    mixture_conf = config["encoder_conf"]
    static = {k: v for k, v in mixture_conf.items() if k not in ("moe", "embedding")}
    dense = config | {"encoder_conf": static}
    _, checkpoint = save_experiment(tmp_path, dense)
    keys = ("model", "frontend_conf", "normalize", "preencoder", "preencoder_conf")
    chosen = {k: config[k] for k in (*keys, "encoder", "encoder_conf")}
    (tmp_path / "mixture.yaml").write_text(yaml.safe_dump(chosen))
    words = ["--config", str(tmp_path / "mixture.yaml"), "--out"]
    main([str(tmp_path), *words, str(tmp_path / "init.pth")])
    mixture = build(config)
    missing, _ = mixture.load_state_dict(
        torch.load(tmp_path / "init.pth"), strict=False
    )
    assert all(n.startswith(("encoder.embedding.", "embedding_ctc.")) for n in missing)
    speech, lengths = torch.randn(2, 16000) / 10, torch.tensor([16000, 9000])
    with torch.inference_mode():
        wanted = build(dense, torch.load(checkpoint)).encode(speech, lengths)
        found = mixture.encode(speech, lengths)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


def test_what_is_shared_is_frozen_by_espnets_own_option(dense, tmp_path, capsys):
    from espnet2.tasks.asr import ASRTask

    from espnet_smoe.training.options import check_training

    folder, config = dense
    out, path = tmp_path / "exp" / "init.pth", Path(yaml_of(config, tmp_path))
    given = yaml.safe_load(path.read_text()) | {"freeze_param": ["frontend"]}
    path.write_text(yaml.safe_dump(given))
    main([str(folder), "--config", str(path), "--out", str(out), "--freeze"])
    said = f"{out.with_suffix('.yaml')}: frozen are frontend "
    assert said in capsys.readouterr().out
    written = yaml.safe_load(out.with_suffix(".yaml").read_text())
    assert {k: v for k, v in written.items() if k != "freeze_param"} == {
        k: v for k, v in given.items() if k != "freeze_param"
    }
    frozen = check_training(ASRTask, written)["freeze_param"]
    mixture = build(config | given)
    learning = {
        name
        for name, _ in mixture.named_parameters()
        if not any(name == f or name.startswith(f"{f}.") for f in frozen)
    }
    assert learning == {n for n, _ in mixture.named_parameters() if ".experts." in n}


def test_nothing_that_is_read_is_written_over(dense, tmp_path):
    folder, config = dense
    path = Path(yaml_of(config, tmp_path))
    content, weights = path.read_text(), folder / "valid.acc.ave.pth"
    words = [str(folder), "--config", str(path), "--out"]
    with pytest.raises(ValueError, match="valid.acc.ave.pth is what is read; name an"):
        main([*words, str(weights)])
    with pytest.raises(ValueError, match="mixture.yaml is what is read; name another"):
        main([*words, str(path.with_suffix(".pth")), "--freeze"])
    assert path.read_text() == content and not path.with_suffix(".pth").exists()


def test_to_freeze_all_is_refused(dense, tmp_path):
    folder, config = dense
    chosen = {k: config[k] for k in ("model", "frontend_conf", "preprocessor")}
    for part in ("encoder", "decoder"):
        chosen |= {part: config[part], f"{part}_conf": config[f"{part}_conf"]}
    (tmp_path / "same.yaml").write_text(yaml.safe_dump(chosen))
    words = ["--config", str(tmp_path / "same.yaml"), "--out", str(tmp_path / "x.pth")]
    with pytest.raises(ValueError, match="--freeze would leave nothing to train"):
        main([str(folder), *words, "--freeze"])
    assert not (tmp_path / "x.pth").exists()


@pytest.mark.parametrize("noise", ["-1", "x", "nan", "inf"])
def test_noise_that_is_no_share_is_refused(noise, capsys):
    with pytest.raises(SystemExit):
        main(["exp", "--config", "c", "--out", "o", "--noise", noise])
    assert f"'{noise}' is no number of 0 or more" in capsys.readouterr().err
