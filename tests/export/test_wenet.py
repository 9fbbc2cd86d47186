"""A stream over WeNet's caches computes what the model does, in WeNet's own order."""

import numpy as np
import pytest
import torch

from espnet_smoe.cli import main
from espnet_smoe.export.graphs import CTCHead, encoder_chunk
from espnet_smoe.export.wenet import CacheOfWenet, WholeUtterance
from espnet_smoe.inference.checkpoint import load_model, read_config
from espnet_smoe.inference.search.rescoring import decoder_scores
from tests.inference.tiny_u2pp import TOKENS, save_tiny_u2pp, tiny_u2pp

CHUNK, LEFT, MEL = 3, 2, 20
SIZES = {"attention_heads": 2, "linear_units": 24, "num_blocks": 2}
MOE = {"moe": {"num_experts": 3}}
ENCODER = SIZES | MOE | {"output_size": 16, "cnn_module_kernel": 5}
KALDI = {"frontend": "kaldi_fbank", "frontend_conf": {"n_mels": MEL}}
CLOSE = {"atol": 1e-4, "rtol": 1e-4}
OF_WENET = {"pos_enc_layer_type": "wenet_rel_pos", "lookahead": True}
ENCODERS = {
    "relative": {},
    "rotary": {"pos_enc_layer_type": "rope"},
    "of WeNet": OF_WENET | {"gate_padding": True},
    "absolute": {"pos_enc_layer_type": "wenet_rel_pos"},
    "without convolutions": {"use_cnn_module": False},
    "a third of the frames": {"input_layer": "conv2d6"},
}


def tiny(encoder: dict) -> torch.nn.Module:
    decoder = SIZES | {"num_blocks": 1, "r_num_blocks": 1}
    conf = {"encoder_conf": ENCODER | encoder, "decoder_conf": decoder}
    return tiny_u2pp(**conf, **KALDI)


def some_features(frames: int, seed: int = 1) -> torch.Tensor:
    torch.manual_seed(seed)
    return 4 * torch.randn(1, frames, MEL)


def masked_pass(model, features: torch.Tensor) -> torch.Tensor:
    """What the chunks equal: ``(1, T', D)``."""
    lengths = torch.tensor([features.size(1)])
    with torch.no_grad():
        chunks = {"chunk_size": CHUNK, "left_chunks": LEFT}
        return model.encoder(features, lengths, **chunks)[0]


@pytest.mark.parametrize("kind", ENCODERS)
def test_chunks_over_two_caches_are_the_masked_pass(kind):
    model = tiny(ENCODERS[kind])
    step = CacheOfWenet(encoder_chunk(model, CHUNK, LEFT)).eval()
    shift, sizes = CHUNK * model.encoder.stride, step.metadata
    assert (
        step.window == (CHUNK - 1) * model.encoder.stride + sizes["right_context"] + 1
    )
    features = some_features(step.window + 6 * shift)
    _, offset, required, *caches, mask = step.example(step.window)
    encoded = []
    for start in range(0, 7 * shift, shift):
        window = features[:, start : start + step.window]
        with torch.no_grad():
            out, *caches = step(window, offset, required, *caches, mask)
        assert [c.shape for c in caches] == [c.shape for c in step.example(4)[3:5]]
        offset = offset + out.size(1)
        encoded.append(out)
    expected = masked_pass(model, features)
    torch.testing.assert_close(torch.cat(encoded, dim=1), expected, **CLOSE)


@pytest.mark.parametrize("kind", ["relative", "of WeNet"])
def test_whole_recordings_of_any_length_are_the_models(kind):
    model = tiny(ENCODERS[kind])
    graph = WholeUtterance(model).eval()
    head = CTCHead(model.ctc.ctc_lo)
    for frames in (1, 6, 7, 50):
        features = some_features(frames)
        with torch.no_grad():
            log_probs, lengths = graph(features, torch.tensor([frames]))
            expected, count, _ = model.encoder(features, torch.tensor([frames]))
            assert lengths.tolist() == count.tolist()
            n = int(count)
            expected = head(expected)[:, :n]
        torch.testing.assert_close(log_probs[:, :n], expected, **CLOSE)


class OfWenet:
    """WeNet's runtime as its source has it (runtime/core/decoder), in numpy."""

    def __init__(self, folder):
        import onnxruntime

        def session(name):
            path = folder / f"{name}.onnx"
            return onnxruntime.InferenceSession(
                path, providers=["CPUExecutionProvider"]
            )

        self.encoder, self.ctc = session("encoder"), session("ctc")
        self.decoder = session("decoder")
        read = self.encoder.get_modelmeta().custom_metadata_map
        names = "output_size", "num_blocks", "head", "cnn_module_kernel"
        names += "subsampling_rate", "right_context", "sos_symbol", "eos_symbol"
        names += "is_bidirectional_decoder", "chunk_size", "left_chunks"
        self.sizes = {name: int(read[name]) for name in names}
        names = [i.name for i in self.encoder.get_inputs()]
        assert (
            names
            == "chunk offset required_cache_size att_cache cnn_cache att_mask".split()
        )
        assert len(self.decoder.get_inputs()) == 3  # it binds the first three, by order

    def recognize(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """``(T', D)`` encoded, ``(T', V)`` log-probabilities."""
        s = self.sizes
        required = s["chunk_size"] * s["left_chunks"]
        width = s["output_size"] // s["head"] * 2
        att = np.zeros((s["num_blocks"], s["head"], required, width), np.float32)
        taps = s["cnn_module_kernel"] - 1
        cnn = np.zeros((s["num_blocks"], 1, s["output_size"], taps), np.float32)
        offset, kept, encoded, probs = required, features[:0], [], []
        context, stride = s["right_context"] + 1, s["subsampling_rate"]
        first = wanted = (s["chunk_size"] - 1) * stride + context
        while len(features):
            chunk = np.concatenate([kept, features[:wanted]])
            new, features = features[:wanted], features[wanted:]
            wanted = s["chunk_size"] * stride
            if len(chunk) < context:
                break
            assert len(chunk) <= first
            mask = np.ones((1, 1, required + s["chunk_size"]), bool)
            index = offset // s["chunk_size"] - s["left_chunks"]
            mask[..., : max(0, s["left_chunks"] - index) * s["chunk_size"]] = False
            given = chunk[None], np.array(offset), np.array(required), att, cnn, mask
            names = [i.name for i in self.encoder.get_inputs()]
            out, att, cnn = self.encoder.run(None, dict(zip(names, given)))
            offset += out.shape[1]
            encoded.append(out[0])
            probs.append(self.ctc.run(None, {"hidden": out})[0][0])
            cached = context - stride
            if len(new) >= cached:
                kept = new[len(new) - cached :]
        return np.concatenate(encoded), np.concatenate(probs)

    def rescore(self, encoded: np.ndarray, texts: list[list[int]]) -> list[tuple]:
        """Score from the left and from the right of each text."""
        sos, eos = self.sizes["sos_symbol"], self.sizes["eos_symbol"]
        longest = max(map(len, texts))
        hyps = [[sos, *text, *[0] * (longest - len(text))] for text in texts]
        lengths = np.array([len(text) + 1 for text in texts])
        given = np.array(hyps), lengths, encoded[None]
        names = [i.name for i in self.decoder.get_inputs()]
        outs = self.decoder.run(None, dict(zip(names, given)))

        def total(scores, text):
            return sum(row[t] for row, t in zip(scores, [*text, eos]))

        return [
            (total(left, text), total(right, text[::-1]))
            for left, right, text in zip(*outs, texts)
        ]


@pytest.mark.parametrize("kind", ["relative", "of WeNet"])
def test_wenets_runtime_gets_what_it_binds(tmp_path, kind):
    decoder = SIZES | {"num_blocks": 1, "r_num_blocks": 1}
    conf = {"encoder_conf": ENCODER | ENCODERS[kind], "decoder_conf": decoder}
    experiment = save_tiny_u2pp(tmp_path / "exp", **conf, **KALDI)
    out = tmp_path / "out"
    sizes = ["--chunk-size", str(CHUNK), "--left-chunks", str(LEFT)]
    argv = ["--model", str(experiment), "--out", str(out), *sizes]
    assert main(["export", *argv, "--format", "wenet"]) == 0
    lines = (out / "units.txt").read_text("utf-8").splitlines()
    assert lines == [f"{token} {number}" for number, token in enumerate(TOKENS)]
    config = read_config(experiment / "config.yaml")
    model = load_model(config, experiment / "model.pth")
    theirs = OfWenet(out)
    shift = CHUNK * model.encoder.stride
    for frames in (7, 5 * shift, 5 * shift + 9):
        features = some_features(frames, seed=frames)
        encoded, probs = theirs.recognize(features[0].numpy())
        expected = masked_pass(model, features)
        np.testing.assert_allclose(encoded, expected[0], **CLOSE)
        with torch.no_grad():
            log_probs = model.ctc.log_softmax(expected)[0]
        np.testing.assert_allclose(probs, log_probs, **CLOSE)
    texts = [[3, 4, 5], [6], [7, 7, 2, 9]]
    given = torch.from_numpy(encoded)[None], torch.tensor([len(encoded)])
    ends = model.sos, model.eos
    left = decoder_scores(model.decoder, *given, [texts], *ends)[0]
    mirrored = [text[::-1] for text in texts]
    right = decoder_scores(model.decoder.right, *given, [mirrored], *ends)[0]
    scores = theirs.rescore(encoded, texts)
    np.testing.assert_allclose(scores, np.stack([left, right], axis=1), **CLOSE)
