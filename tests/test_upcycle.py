"""`espnet-smoe upcycle`: from an experiment to a checkpoint to train from."""

import argparse

import pytest
import torch
import yaml

from espnet_smoe.upcycle import main
from tests.tiny import save_experiment, tiny_config

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


def test_a_model_of_another_width_is_refused_and_nothing_is_written(dense, tmp_path):
    folder, config = dense
    out = tmp_path / "mixture.pth"
    wide = yaml_of(config, tmp_path, linear_units=64)
    with pytest.raises(ValueError, match=r"valid.acc.ave.pth and (.|\n)*\(64, 16\)"):
        main([str(folder), "--config", wide, "--out", str(out)])
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
