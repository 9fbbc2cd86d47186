"""The wheel of sherpa-onnx, as it is, writes the tokens that our models write."""

import json
from base64 import b64encode

import numpy as np
import pytest
import torch

from espnet_smoe.cli import main
from espnet_smoe.export.graphs import CTCHead
from espnet_smoe.inference import SpeechToText
from espnet_smoe.inference.checkpoint import load_model, read_config
from tests.export.tiny_smoe import MELS, save_smoe
from tests.inference.tiny_u2pp import babble, save_tiny_u2pp
from tests.tiny import talk

sherpa_onnx = pytest.importorskip(
    "sherpa_onnx", reason="sherpa-onnx is missing; the extra dev has it"
)

RATE, CHUNK, LEFT = 16000, 4, 2
SIZES = {"attention_heads": 2, "linear_units": 24, "num_blocks": 2}
SIZES["moe"] = {"num_experts": 3}
KALDI = {"n_mels": 20, "snip_edges": False, "high_freq": -400}
U2PP = {
    "encoder_conf": SIZES | {"output_size": 16, "cnn_module_kernel": 5},
    "decoder_conf": SIZES | {"num_blocks": 1, "r_num_blocks": 1},
    "frontend": "kaldi_fbank",
    "frontend_conf": KALDI,
}
TASKS = {"transcribe": "asr", "translate": "st"}


@pytest.fixture(scope="module")
def u2pp(tmp_path_factory):
    """A model that streams, and the folder that the command has written of it."""
    folder = tmp_path_factory.mktemp("u2pp")
    experiment = save_tiny_u2pp(folder / "exp", **U2PP)
    sizes = ["--chunk-size", str(CHUNK), "--left-chunks", str(LEFT)]
    argv = ["--model", str(experiment), "--out", str(folder / "out"), *sizes]
    assert main(["export", *argv, "--format", "sherpa-onnx", "--int8"]) == 0
    config = read_config(experiment / "config.yaml")
    return load_model(config, experiment / "model.pth"), folder / "out"


def collapsed(model, log_probs: torch.Tensor) -> list[str]:
    """The tokens of a greedy search of ``(T, V)``."""
    best = [int(t) for t in log_probs.argmax(dim=1).unique_consecutive()]
    return [model.token_list[t] for t in best if t != model.blank_id]


@torch.no_grad()
def ours(model, wave: np.ndarray, frames: int | None, **chunks: int) -> list[str]:
    """Of the first frames of a wave, all where None."""
    given = torch.from_numpy(wave)[None], torch.tensor([len(wave)])
    features = model.frontend(*given)[0][:, :frames]
    length = torch.tensor([features.size(1)])
    encoded = model.encoder(features, length, **chunks)[0]
    return collapsed(model, CTCHead(model.ctc.ctc_lo)(encoded)[0])


def streaming(folder, kind: str = "model-streaming.onnx"):
    return sherpa_onnx.OnlineRecognizer.from_wenet_ctc(
        tokens=str(folder / "tokens.txt"),
        model=str(folder / kind),
        chunk_size=CHUNK,
        num_left_chunks=LEFT,
        num_threads=1,
        feature_dim=KALDI["n_mels"],
    )


def streamed(recognizer, wave: np.ndarray) -> list[str]:
    """In blocks of 0.1 s."""
    stream = recognizer.create_stream()
    for start in range(0, len(wave), RATE // 10):
        stream.accept_waveform(RATE, wave[start : start + RATE // 10])
        while recognizer.is_ready(stream):
            recognizer.decode_stream(stream)
    stream.input_finished()
    while recognizer.is_ready(stream):
        recognizer.decode_stream(stream)
    return json.loads(recognizer.get_result_as_json_string(stream))["tokens"]


def test_streams_have_our_tokens(u2pp):
    model, folder = u2pp
    recognizer, width = streaming(folder), CHUNK * model.encoder.stride
    for seconds, seed in ((1.0, 1), (2.2, 2), (3.0, 3)):
        wave = babble(seconds, seed)
        frames = model.frontend.num_frames(len(wave))
        whole = (frames - 1) // width * width  # a chunk waits for a frame of the next
        chunks = {"chunk_size": CHUNK, "left_chunks": LEFT}
        expected = ours(model, wave, whole, **chunks)
        assert len({*expected}) > 1
        assert streamed(recognizer, wave) == expected


def test_streams_in_int8_run(u2pp):
    _, folder = u2pp
    small, large = (folder / f"model-streaming{end}" for end in (".int8.onnx", ".onnx"))
    assert small.stat().st_size < large.stat().st_size
    assert streamed(streaming(folder, small.name), talk(2.0, 2))


def test_whole_recordings_have_our_tokens(u2pp):
    """Within what sherpa-onnx's dither changes: one bit of loud speech, no token."""
    model, folder = u2pp
    recognizer = sherpa_onnx.OfflineRecognizer.from_wenet_ctc(
        tokens=str(folder / "tokens.txt"),
        model=str(folder / "model.onnx"),
        feature_dim=KALDI["n_mels"],
    )
    for seconds, seed in ((1.0, 1), (2.2, 2)):
        wave = talk(seconds, seed)
        stream = recognizer.create_stream()
        stream.accept_waveform(RATE, wave)
        recognizer.decode_stream(stream)
        expected = ours(model, wave, None)
        assert len({*expected}) > 1
        assert stream.result.tokens == expected


@pytest.mark.parametrize("kind", ["ours", "like Whisper"])
def test_transcripts_and_translations_have_our_tokens(tmp_path, kind, capfd):
    # as a Whisper, one is filled up with silence
    seconds = {
        "n_mels": MELS,
        "framing": "kaldi",
        "pad_seconds": 2.5 * (kind != "ours"),
    }
    experiment = save_smoe(tmp_path / "exp", kind, frontend_conf=seconds)
    out = tmp_path / "out"
    argv = ["--model", str(experiment), "--out", str(out), "--format", "sherpa-onnx"]
    assert main(["export", *argv]) == 0
    assert not capfd.readouterr().err  # recording a graph says nothing
    with_ids_as_texts(out / "tokens.txt")
    config, weights = experiment / "config.yaml", experiment / "model.pth"
    options = {"beam_size": 1, "ctc_weight": 0.0, "detect_speech": False}
    seen = set()
    for task, name in TASKS.items():
        recognizer = sherpa_onnx.OfflineRecognizer.from_whisper(
            encoder=str(out / "encoder.onnx"),
            decoder=str(out / "decoder.onnx"),
            tokens=str(out / "tokens.txt"),
            language="ko",
            task=task,
        )
        for seconds, seed in ((1.0, 1), (2.2, 2)):
            wave = talk(seconds, seed)
            limit = -int((len(wave) + 80) // 160 / 100 * 6)
            search = SpeechToText(config, weights, **options, maxlenratio=limit)
            stream = recognizer.create_stream()
            stream.accept_waveform(RATE, wave)
            recognizer.decode_stream(stream)
            result = search([wave], name, bandwidth="wb")[0][name]
            known = search.model.token_list
            assert stream.result.text.split() == [
                str(known.index(token)) for token in result.tokens
            ]
            seen.add(result.tokens)
    assert len(seen) >= 3


def with_ids_as_texts(path) -> None:
    """A random text is no text: let each token say its number."""
    numbers = [line.split()[1] for line in path.read_text().splitlines()]
    lines = [f"{b64encode(f'{n} '.encode()).decode()} {n}\n" for n in numbers]
    path.write_text("".join(lines))
