"""Models of ESPnet and OWSM, imported or as they are, become mixtures."""

import argparse
import contextlib
from pathlib import Path

import pytest
import torch
import yaml
from espnet2.tasks.s2t import S2TTask

from espnet_smoe.inference.speech_to_text import SpeechToText
from espnet_smoe.upcycle import main as upcycle_main
from tests.importers.tiny_espnet import DECODER, imported, make_espnet, wave


def upcycled(folder: Path, config: dict, tmp_path: Path) -> dict[str, torch.Tensor]:
    """First weights of a mixture, by the command."""
    path = tmp_path / "mixture.yaml"
    path.write_text(yaml.safe_dump(config))
    command = [str(folder), "--config", str(path), "--out", str(tmp_path / "init.pth")]
    upcycle_main(command)
    return torch.load(tmp_path / "init.pth")


def test_a_trained_owsm_becomes_a_mixture_in_its_own_task(tmp_path):
    folder = make_espnet(tmp_path / "recipe", "s2t", "e_branchformer")
    kept = ("encoder", "encoder_conf", "frontend_conf", "model_conf", "preprocessor")
    kept += ("preprocessor_conf", "normalize", "normalize_conf")
    trained = yaml.safe_load((folder / "config.yaml").read_text())
    config = {name: trained[name] for name in kept}
    moe = {"gate": "label", "labels": ["<asr>", "<st_*>"]}
    decoder = {**DECODER, "moe": moe}
    config |= {"decoder": "smoe_transformer", "decoder_conf": decoder}
    state = upcycled(folder, config, tmp_path)
    with contextlib.chdir(tmp_path / "recipe"):
        dense, mixture = (
            S2TTask.build_model(argparse.Namespace(**trained | changes)).eval()
            for changes in ({}, config)
        )
    dense.load_state_dict(torch.load(folder / "valid.acc.ave.pth"))
    mixture.load_state_dict(state)
    tokens = trained["token_list"]
    rows = [
        ["<kor>", verb, "<notimestamps>", "가", "늘"] for verb in ("<asr>", "<st_jpn>")
    ]
    text = torch.tensor([[tokens.index(token) for token in row] for row in rows])
    batch = {
        "speech": torch.randn(2, 16000),
        "speech_lengths": torch.tensor([16000] * 2),
    }
    for name, value in {
        "text": text,
        "text_prev": text[:, 3:],
        "text_ctc": text,
    }.items():
        batch |= {name: value, f"{name}_lengths": torch.tensor([value.size(1)] * 2)}
    losses = [
        model(**{k: v.clone() for k, v in batch.items()})[0]
        for model in (dense, mixture)
    ]
    # the same products; how they are summed up depends on the CPU
    torch.testing.assert_close(*losses, check_stride=False)


@pytest.mark.parametrize("encoder", ["conformer", "e_branchformer"])
def test_an_imported_encoder_is_upcycled_to_experts(encoder, tmp_path):
    folder = make_espnet(tmp_path / "recipe", "asr", encoder)
    out = imported(folder, tmp_path / "dense")
    config = yaml.safe_load((out / "config.yaml").read_text())
    config["encoder_conf"]["moe"] = {"gate": "topk", "num_experts": 2, "top_k": 2}
    given = {k: v for k, v in config.items() if k not in ("token_list", "bpemodel")}
    state = upcycled(out, given, tmp_path)
    (tmp_path / "mixture").mkdir()
    for path in out.iterdir():
        (tmp_path / "mixture" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "mixture/config.yaml").write_text(yaml.safe_dump(config))
    routers = {
        f"encoder.encoders.{n}.{block}.gate.router.weight": torch.zeros(2, 16)
        for n in range(2)
        for block in ("feed_forward", "feed_forward_macaron")
    }
    torch.save(state | routers, tmp_path / "mixture/model.pth")
    with torch.inference_mode():
        encoded = [
            SpeechToText.load(exp).encoder([wave(1), wave(2, 0.6)])[0]
            for exp in (out, tmp_path / "mixture")
        ]
    torch.testing.assert_close(*encoded, atol=1e-5, rtol=1e-5)
