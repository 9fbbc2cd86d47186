"""Exported graphs compute what the model does, whichever experts the data choose."""

import argparse
import json
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from espnet_smoe.cli import main
from espnet_smoe.compat import GlobalMVN
from espnet_smoe.export.command import frontend_of
from espnet_smoe.export.graphs import CACHE, EncoderChunk, graphs_of
from espnet_smoe.export.runner import OnnxModel
from espnet_smoe.export.write import export_model
from espnet_smoe.inference.checkpoint import load_model, read_config
from espnet_smoe.inference.search.hypothesis import Hypothesis
from espnet_smoe.inference.search.rescoring import decoder_scores, rescore
from espnet_smoe.moe import Routing
from tests.inference.tiny_u2pp import (
    TOKENS,
    save_tiny_u2pp,
    tiny_u2pp,
    tiny_u2pp_config,
)

CHUNK, LEFT, STRIDE, MEL = 3, 2, 4, 20
WIDTH = CHUNK * STRIDE
EXPERTS = 3
MOE = {"num_experts": EXPERTS}
SIZES = {"attention_heads": 2, "linear_units": 24, "num_blocks": 1, "moe": MOE}
ENCODER = SIZES | {"output_size": 16, "cnn_module_kernel": 5}
CLOSE = {"atol": 1e-4, "rtol": 1e-4}


def parts(encoder: dict | None = None) -> dict:
    """A model small enough to be exported in seconds."""
    return {
        "encoder_conf": ENCODER | (encoder or {}),
        "decoder_conf": SIZES | {"r_num_blocks": 1},
    }


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The model of an experiment, and what the command makes of it."""
    folder = tmp_path_factory.mktemp("export")
    stats = folder / "stats.npz"
    mean, spread = np.linspace(-2, 2, MEL), np.linspace(0.5, 2, MEL)
    sums = {"sum": 100 * mean, "sum_square": 100 * (spread**2 + mean**2)}
    np.savez(stats, count=np.array(100), **sums)
    normalize = {
        "normalize": "global_mvn",
        "normalize_conf": {"stats_file": str(stats)},
    }
    experiment = save_tiny_u2pp(folder / "exp", **parts(), **normalize)
    sizes = ["--chunk-size", str(CHUNK), "--left-chunks", str(LEFT)]
    argv = ["--model", str(experiment), "--out", str(folder / "out"), *sizes]
    assert main(["export", *argv]) == 0
    config = read_config(experiment / "config.yaml")
    model = load_model(config, experiment / "model.pth")
    assert isinstance(model.normalize, GlobalMVN)
    return model, OnnxModel(folder / "out", threads=1)


def streams(batch: int, chunks: int) -> torch.Tensor:
    """Features ``(batch, chunks * WIDTH, MEL)``: now and then silence, else noise."""
    torch.manual_seed(batch)
    noise = 4 * torch.randn(batch, chunks, WIDTH, MEL)
    silent = torch.arange(chunks) // 3 % 2 == 1
    return noise.masked_fill(silent[:, None, None], 0.0).flatten(1, 2)


def eager_chunks(model, features, **options) -> torch.Tensor:
    """The masked whole pass, which the chunks equal."""
    feats = (features - model.normalize.mean) / model.normalize.std
    lengths = torch.full((len(feats),), feats.size(1))
    with torch.no_grad():
        return model.encoder(feats.float(), lengths, chunk_size=CHUNK, **options)[0]


@pytest.mark.parametrize("batch", [1, 3])
def test_chunks_whose_caches_are_fed_back_are_the_masked_pass(exported, batch):
    model, graphs = exported
    features = streams(batch, chunks=8)
    cache, encoded = graphs.new_cache(batch), []
    for piece in features.split(WIDTH, dim=1):
        out, lengths, cache = graphs.encode_chunk(piece.numpy(), cache)
        assert lengths.tolist() == batch * [CHUNK]
        encoded.append(out)
    assert cache["frames"].tolist() == batch * [8 * CHUNK]
    expected = eager_chunks(model, features, left_chunks=LEFT)
    np.testing.assert_allclose(np.concatenate(encoded, axis=1), expected, **CLOSE)


def test_routes_change_with_the_data(exported):
    """Few experts, then all: what the comparisons above go through."""
    model, _ = exported
    taken = []
    for features in (torch.zeros(1, WIDTH, MEL), streams(3, chunks=3)):
        routing = Routing(torch.zeros(0))
        eager_chunks(model, features, left_chunks=LEFT, routing=routing)
        taken.append([int((n > 0).sum()) for n in routing.loads.values()])
    assert min(taken[0]) == 2 and set(taken[1]) == {EXPERTS}


@pytest.mark.parametrize("favoured", range(EXPERTS))
def test_one_expert_may_take_all(tmp_path, favoured):
    """TorchScript of a top-1 mixture; the graph is recorded while all are in use."""
    moe = MOE | {"top_k": 1}
    model = tiny_u2pp(**parts({"moe": moe}))
    export_model(model, tmp_path, "torchscript", CHUNK, LEFT)
    graph = jit_load(tmp_path / "encoder_chunk.pt")
    step = EncoderChunk(model.encoder, None, CHUNK, LEFT)
    features = one_sided(model.encoder, favoured)
    given = features, torch.full((1,), WIDTH), *step.new_cache(1)
    routing = Routing(torch.zeros(0))
    cache = model.encoder.new_cache(1, CHUNK, LEFT)
    with torch.no_grad():
        model.encoder.forward_chunk(features, cache, routing=routing)
        pairs = list(zip(graph(*given), step(*given), strict=True))
    assert routing.loads["0.macaron"].tolist() == [
        CHUNK * (expert == favoured) for expert in range(EXPERTS)
    ]
    for ours, expected in pairs:
        torch.testing.assert_close(ours, expected, **CLOSE)


def one_sided(encoder: nn.Module, favoured: int) -> torch.Tensor:
    """Features ``(1, WIDTH, MEL)`` all of whose frames one expert takes first."""
    for seed in range(1000):
        torch.manual_seed(seed)
        features = torch.randn(1, 1, MEL).expand(1, WIDTH, MEL) * 5
        cache, routing = encoder.new_cache(1, CHUNK, LEFT), Routing(torch.zeros(0))
        with torch.no_grad():
            encoder.forward_chunk(features, cache, routing=routing)
        if routing.loads["0.macaron"][favoured] == CHUNK:
            return features
    raise AssertionError(f"expert {favoured} never takes all")


@pytest.mark.parametrize("positions", ["rel_pos", "rope"])
def test_torchscript_computes_the_same_over_a_stream(tmp_path, positions):
    model = tiny_u2pp(**parts({"pos_enc_layer_type": positions}))
    export_model(model, tmp_path, "torchscript", CHUNK, LEFT)
    graph, head = (jit_load(tmp_path / f"{n}.pt") for n in ("encoder_chunk", "ctc"))
    features = streams(3, chunks=7)
    cache = EncoderChunk(model.encoder, None, CHUNK, LEFT).new_cache(3)
    encoded = []
    for piece in features.split(WIDTH, dim=1):
        out, _, *cache = graph(piece, torch.full((3,), WIDTH), *cache)
        encoded.append(out)
    encoded = torch.cat(encoded, dim=1)
    with torch.no_grad():
        lengths = torch.full((3,), features.size(1))
        chunks = {"chunk_size": CHUNK, "left_chunks": LEFT}
        expected = model.encoder(features, lengths, **chunks)[0]
        torch.testing.assert_close(encoded, expected, **CLOSE)
        log_probs = model.ctc.log_softmax(expected)
        torch.testing.assert_close(head(encoded), log_probs, **CLOSE)


def test_a_whole_utterance_of_any_length(exported):
    model, graphs = exported
    for frames in (STRIDE, WIDTH, 5 * WIDTH + 2 * STRIDE + 3):
        features = streams(1, chunks=6)[:, :frames]
        expected = eager_chunks(model, features, left_chunks=LEFT)
        encoded = graphs.encode(features[0].numpy())
        np.testing.assert_allclose(encoded, expected[0], **CLOSE)
        ours = graphs.log_probs(encoded[None])
        with torch.no_grad():
            np.testing.assert_allclose(ours, model.ctc.log_softmax(expected), **CLOSE)


def test_nothing_gives_nothing(exported):
    _, graphs = exported
    encoded = graphs.encode(np.zeros((0, MEL), np.float32))
    assert encoded.shape == (0, 16) and encoded.dtype == np.float32
    scores = graphs.rescore(np.zeros((3, 16), np.float32), [])
    assert {name: s.shape for name, s in scores.items()} == {
        "left_to_right": (0,),
        "right_to_left": (0,),
    }


def test_streams_of_different_age_share_a_batch(exported):
    _, graphs = exported
    features = streams(2, chunks=4).numpy()
    caches, alone = [], []
    for feats, age in zip(features, (1, 3)):
        cache = graphs.new_cache()
        for start in range(0, age * WIDTH, WIDTH):
            chunk = feats[None, start : start + WIDTH]
            _, _, cache = graphs.encode_chunk(chunk, cache)
        caches.append(cache)
        following = feats[None, age * WIDTH : (age + 1) * WIDTH]
        alone.append((following, graphs.encode_chunk(following, cache)[0]))
    stacked = {name: np.concatenate([c[name] for c in caches]) for name in CACHE}
    following, expected = (np.concatenate(x) for x in zip(*alone))
    together = graphs.encode_chunk(following, stacked)[0]
    np.testing.assert_allclose(together, expected, **CLOSE)


@pytest.mark.parametrize("texts", [[(3, 4, 5), (3,), ()], [(7, 7, 2, 9, 4, 6, 3, 8)]])
def test_rescoring_gives_the_scores_of_both_decoders(exported, texts):
    model, graphs = exported
    encoded = streams(1, chunks=5)[0, :17, :16]
    ours = graphs.rescore(encoded.numpy(), texts)
    given = encoded[None], torch.tensor([17])
    ends = model.sos, model.eos
    left = decoder_scores(model.decoder, *given, [texts], *ends)[0]
    mirrored = [text[::-1] for text in texts]
    right = decoder_scores(model.decoder.right, *given, [mirrored], *ends)[0]
    np.testing.assert_allclose(ours["left_to_right"], left, **CLOSE)
    np.testing.assert_allclose(ours["right_to_left"], right, **CLOSE)
    share = graphs.config["reverse_weight"]
    both = (1 - share) * ours["left_to_right"] + share * ours["right_to_left"]
    best = rescore(model.decoder, *given, [[Hypothesis(t, 0.0) for t in texts]], *ends)[
        0
    ][0]
    assert texts[int(both.argmax())] == best.tokens


def test_padded_rows_are_scored_like_rows_of_their_own(exported):
    _, graphs = exported
    encoded = streams(2, chunks=5)[:, :11, :16].numpy()
    texts = np.array([[[3, 4, -1], [5, -1, -1]], [[6, 7, 8], [-1, -1, -1]]])
    lengths = np.array([11, 6])
    session = graphs._sessions["rescorer"]
    given = {
        "encoded": encoded,
        "lengths": lengths,
        "tokens": texts,
        "token_lengths": (texts >= 0).sum(axis=2),
    }
    together = session.run(["right_to_left"], given)[0]
    for row, length, of_row, scores in zip(encoded, lengths, texts, together):
        alone = graphs.rescore(row[:length], [[t for t in x if t >= 0] for x in of_row])
        np.testing.assert_allclose(scores, alone["right_to_left"], **CLOSE)


def test_the_description_tells_what_goes_in(exported):
    _, graphs = exported
    config = json.loads(json.dumps(graphs.config))
    chunk = config["graphs"]["encoder_chunk"]["inputs"]["chunk"]
    assert chunk == {"type": "float32", "shape": ["batch", WIDTH, MEL]}
    assert graphs.tokens == TOKENS
    assert config["frontend"]["hop_length"] == 160
    assert config["eos"] == len(TOKENS) - 1


def test_the_description_tells_what_is_switched_off():
    conf = {"center": False, "fmin": 0, "fmax": None, "n_fft": 400}
    described = frontend_of({"frontend": "default", "frontend_conf": conf})
    assert described == {"name": "default", "center": False, "fmin": 0, "n_fft": 400}
    assert frontend_of({"frontend": None}) == {"name": None}


@pytest.mark.parametrize(
    "change, options, said",
    [
        ({}, {"left_chunks": -1}, "fixed size"),
        ({}, {"chunk_size": 0}, "at least 1"),
        ({"normalize": "utterance_mvn"}, {}, "global_mvn"),
        ({"model": "espnet"}, {}, "ESPnetASRModel cannot .* only 'model: u2pp' can"),
    ],
)
def test_what_cannot_be_exported_is_refused(change, options, said):
    model = tiny_u2pp_untaught(**parts() | change)
    with pytest.raises(ValueError, match=said):
        graphs_of(model, **options)


def tiny_u2pp_untaught(**changes):
    """Build it as training starts."""
    from espnet2.tasks.asr import ASRTask

    return ASRTask.build_model(argparse.Namespace(**tiny_u2pp_config(**changes)))


def test_an_export_of_another_format_is_not_mixed_with(tmp_path):
    model = tiny_u2pp(**parts())
    export_model(model, tmp_path, "torchscript", CHUNK, LEFT)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match=r"holds ctc\.pt of another export"):
        export_model(model, tmp_path, "onnx", CHUNK, LEFT)
    assert before == {path: path.read_bytes() for path in tmp_path.iterdir()}
    export_model(model, tmp_path, "torchscript", CHUNK, LEFT)  # its own is replaced


def test_a_torchscript_export_is_no_onnx(tmp_path):
    (tmp_path / "config.json").write_text('{"format": "torchscript"}')
    with pytest.raises(ValueError, match="--format onnx"):
        OnnxModel(tmp_path)
    with pytest.raises(ValueError, match="espnet-smoe export"):
        OnnxModel(tmp_path / "nothing")


def jit_load(path):
    """`torch.jit.load`, which says that it is deprecated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.load(path)
