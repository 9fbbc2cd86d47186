"""`espnet-smoe import wenet`: what WeNet computes, from a folder of its training."""

import json
from argparse import Namespace

import numpy as np
import pytest
import torch
import yaml

from espnet_smoe.importers.command import main
from espnet_smoe.inference.checkpoint import load_model, read_config
from espnet_smoe.inference.speech_to_text import SpeechToText
from espnet_smoe.inference.streaming.options import StreamOptions
from espnet_smoe.inference.streaming.recognizer import StreamingRecognizer
from tests.importers.tiny_wenet import (
    CONFIG,
    MELS,
    MOE,
    ROPE,
    TOKENS,
    config_with,
    make_wenet,
    speech,
)
from tests.importers.wenet_reference import Reference, kaldi_features

CLOSE = {"atol": 1e-4, "rtol": 1e-4}
KINDS = {
    "dense": config_with(),
    "experts": config_with(MOE, MOE),
    "even kernel": config_with({"cnn_module_kernel": 8, "input_layer": "conv2d6"}),
    "rotary": config_with({**ROPE, **MOE}),
    "eighth of the frames": config_with({"input_layer": "conv2d8"}),
    "one decoder": config_with(decoder={"r_num_blocks": 0}, decoder_kind="transformer"),
}
KINDS["one decoder"]["decoder"] = KINDS["one decoder"].pop("decoder_kind")


class Imported:
    """A folder of WeNet, the experiment made of it, and both models."""

    def __init__(self, folder, config):
        self.source, self.config = folder / "wenet", config
        self.state = make_wenet(self.source, config)
        self.path = folder / "exp"
        main(["wenet", str(self.source), "--out", str(self.path)])
        self.reference = Reference(config, self.state)

    def load(self, **options) -> SpeechToText:
        return SpeechToText.load(self.path, detect_speech=False, **options)


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """By kind, each made once."""
    made = {}

    def of_kind(kind: str) -> Imported:
        if kind not in made:
            folder = tmp_path_factory.mktemp("wenet")
            made[kind] = Imported(folder, KINDS[kind])
        return made[kind]

    return of_kind


def test_the_front_end_computes_kaldis_features():
    from espnet_smoe.layers.kaldi_fbank import KaldiFbank

    waves = [speech(5000, seed) for seed in (1, 2)] + [speech(399)]
    batch = torch.zeros(3, 5000)
    for row, wave in zip(batch, waves):
        row[: len(wave)] = torch.from_numpy(wave)
    feats, lengths = KaldiFbank(MELS)(batch, torch.tensor([5000, 4000, 399]))
    assert feats.shape == (3, 29, MELS) and lengths.tolist() == [29, 23, 0]
    for row, wave, count in zip(feats, (waves[0], waves[1][:4000]), (29, 23)):
        wanted = kaldi_features(wave, MELS).float()
        torch.testing.assert_close(row[:count], wanted, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chunks", [(0, -1), (3, -1), (4, 1)])
@torch.inference_mode()
def test_frames_and_log_probabilities_are_wenets(imported, kind, chunks):
    made = imported(kind)
    waves = [speech(24000), speech(15000, 2)]
    ours = made.load()
    encoded, lengths = ours.encoder(waves, chunk_size=chunks[0], left_chunks=chunks[1])
    log_probs = ours.model.ctc.log_softmax(encoded)
    for row, wave in enumerate(waves):
        wanted = made.reference.encode(kaldi_features(wave, MELS), *chunks)
        count = lengths[row]
        assert count == len(wanted) and wanted.std() > 0.1
        torch.testing.assert_close(encoded[row, :count], wanted.float(), **CLOSE)
        scores = made.reference.log_probs(wanted).float()
        torch.testing.assert_close(log_probs[row, :count], scores, **CLOSE)


@pytest.mark.parametrize("kind", ["dense", "experts", "one decoder"])
@torch.inference_mode()
def test_both_decoders_give_wenets_logits(imported, kind):
    made = imported(kind)
    model = made.load().model
    memory, tokens = torch.randn(1, 9, 16), [2, 5, 7, 11]
    lengths, ids = torch.tensor([9]), torch.tensor([tokens])
    sides = {"": model.decoder}
    if kind != "one decoder":
        sides = {"left": model.decoder, "right": model.decoder.right}
    else:
        assert model.decoder.right is None
    for side, decoder in sides.items():
        logits, _ = decoder(memory, lengths, ids, torch.tensor([4]))
        wanted = made.reference.decode(memory[0].double(), tokens, side)
        torch.testing.assert_close(logits[0], wanted.float(), **CLOSE)


@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_a_stream_gives_the_frames_of_the_whole_utterance_in_chunks(imported, kind):
    made = imported(kind)
    encoder = made.load().model.encoder
    feats = torch.randn(3, 130, MELS)
    ahead, stride = encoder.lookahead, encoder.stride
    for chunk, left in ((2, 1), (3, -1), (4, 0)):
        whole, lengths, _ = encoder(
            feats, torch.tensor([130] * 3), chunk_size=chunk, left_chunks=left
        )
        begun = [encoder.new_cache(1, chunk, left, f[None, :ahead]) for f in feats]
        caches, found = begun, [[], [], []]
        width = chunk * stride
        starts = [ahead, ahead, ahead]
        for step in range(8):  # the third stream begins two chunks later
            rows = [0, 1, 2] if step > 1 else [0, 1]
            rows = [r for r in rows if starts[r] + width <= 130]
            if not rows:
                continue
            pieces = [feats[r, starts[r] : starts[r] + width] for r in rows]
            stacked = type(caches[0]).stack([caches[r] for r in rows])
            out, _, after = encoder.forward_chunk(torch.stack(pieces), stacked)
            for r, piece, cache in zip(rows, out, after.split()):
                found[r].append(piece)
                caches[r], starts[r] = cache, starts[r] + width
        for row, pieces in enumerate(found):
            streamed = torch.cat(pieces)
            assert len(streamed) > 2
            wanted = whole[row, : len(streamed)]
            torch.testing.assert_close(streamed, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["dense", "experts", "rotary"])
def test_streamed_audio_gives_the_text_of_the_whole_recording(imported, kind):
    made = imported(kind)
    options = StreamOptions(
        chunk_size=3,
        left_chunks=2,
        silence_seconds=np.inf,
        start_seconds=np.inf,
        detect_speech=False,
    )
    recognizer = StreamingRecognizer.load(made.path, options)
    waves = [speech(24000), speech(15100, 2)]
    streams = [recognizer.create_stream() for _ in waves]
    texts = ["", ""]
    for start in range(0, 24000, 900):
        for stream, wave in zip(streams, waves):
            if start < len(wave):
                stream.accept_waveform(wave[start : start + 900])
            elif not stream.features.finished:
                stream.finish()
        while any(stream.ready for stream in streams):
            for row, events in enumerate(recognizer.decode_streams(streams)):
                texts[row] = events[-1].text if events else texts[row]
    streams[0].finish()
    while streams[0].ready:
        for event in recognizer.decode_streams(streams[:1])[0]:
            texts[0] = event.text
    whole = made.load(chunk_size=3, left_chunks=2)
    found = whole.recognize(waves, ["wb"] * 2, ["text"], ["a", "b"])
    wanted = [result["text"].text for result in found]
    assert texts == wanted and all(wanted)


def test_an_utterance_that_begins_within_a_stream_knows_the_frames_before(imported):
    made = imported("dense")
    options = StreamOptions(chunk_size=3, longest_seconds=0.3, detect_speech=False)
    recognizer = StreamingRecognizer.load(made.path, options)
    stream = recognizer.create_stream()
    stream.accept_waveform(speech(24000))
    spans = []
    while stream.ready:
        for event in recognizer.decode_streams([stream])[0]:
            if event.kind == "final":
                spans.append((event.start, event.end))
    feats = kaldi_features(speech(24000), MELS)
    assert len(spans) > 1
    begin = stream.utterance.begin * 4  # feature frame
    before = stream.utterance.cache.features[0].double()
    mean, istd = (made.state[f"encoder.global_cmvn.{k}"] for k in ("mean", "istd"))
    place = begin + stream.utterance.endpoint.frames * 4
    wanted = ((feats - mean) * istd)[place : place + 3]
    torch.testing.assert_close(before, wanted, atol=1e-3, rtol=1e-3)


def test_exported_graphs_compute_the_same(imported, tmp_path):
    from espnet_smoe.export.runner import OnnxModel
    from espnet_smoe.export.write import export_model

    made = imported("experts")
    model = made.load().model
    export_model(model, tmp_path, chunk_size=3, left_chunks=2)
    runner = OnnxModel(tmp_path)
    feats = kaldi_features(speech(24000), MELS).float()
    given = feats.clone()[None], torch.tensor([len(feats)])
    normalized, lengths = model.normalize(*given)
    with torch.inference_mode():
        encoded, count, _ = model.encoder(
            normalized, lengths, chunk_size=3, left_chunks=2
        )
    out = runner.encode(feats.numpy())
    assert len(out) == count
    np.testing.assert_allclose(out, encoded[0, : len(out)], atol=1e-4, rtol=1e-4)


def test_the_mixture_computes_at_first_what_the_dense_model_computes(
    imported, tmp_path
):
    from espnet_smoe.compat import ASRTask
    from espnet_smoe.upcycle import main as upcycle

    made = imported("dense")
    config = yaml.safe_load((made.path / "config.yaml").read_text())
    config["encoder_conf"]["moe"] = {"num_experts": 4, "top_k": 2}
    exp = tmp_path / "moe"
    exp.mkdir()
    for name in ("tokens.txt", "feats_stats.npz"):
        (exp / name).write_bytes((made.path / name).read_bytes())
    place = str(exp / "config.yaml")
    (exp / "config.yaml").write_text(yaml.safe_dump(config, allow_unicode=True))
    upcycle([str(made.path), "--config", place, "--out", str(exp / "init.pth")])
    mixture = ASRTask.build_model(Namespace(**read_config(place))).eval()
    mixture.load_state_dict(torch.load(exp / "init.pth"), strict=False)  # no routers
    assert len(mixture.encoder.encoders[0].feed_forward.experts) == 4
    wave, length = torch.from_numpy(speech())[None], torch.tensor([20000])
    dense = load_model(read_config(made.path / "config.yaml"), made.path / "model.pth")
    with torch.inference_mode():
        for a, b in zip(mixture.encode(wave, length), dense.encode(wave, length)):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_a_position_far_from_the_start_is_as_good_as_one_near_it(imported):
    made = imported("dense")
    encoder = made.load().model.encoder
    feats = torch.randn(1, 8, MELS)
    cache = encoder.new_cache(1, 2, 1)
    early, _, _ = encoder.forward_chunk(feats, cache)
    cache.num_frames = torch.tensor([6000])  # WeNet ends at 5000
    late, _, _ = encoder.forward_chunk(feats, cache)
    assert late.isfinite().all() and not torch.allclose(early, late, atol=1e-3)


def test_an_average_stands_in_for_the_final_weights(tmp_path):
    folder = tmp_path / "wenet"
    make_wenet(folder, CONFIG)
    (folder / "final.pt").rename(folder / "avg_30.pt")
    main(["wenet", str(folder), "--out", str(tmp_path / "a")])
    (folder / "avg_5.pt").write_bytes((folder / "avg_30.pt").read_bytes())
    command = ["wenet", str(folder), "--out", str(tmp_path / "b")]
    with pytest.raises(ValueError, match="avg_30.pt, avg_5.pt; choose one with --ch"):
        main(command)
    main([*command, "--checkpoint", "avg_5.pt"])
    names = {p.name for p in (tmp_path / "b").iterdir()}
    data = {"feats_stats.npz", "params.json", "tokens.txt"}
    assert names == {"config.yaml", "model.pth", *data}
    with pytest.raises(ValueError, match="b is there already"):
        main(command)


def test_a_configuration_of_an_older_wenet_is_read(tmp_path):
    config = config_with()
    for name in ("tokenizer", "tokenizer_conf", "cmvn", "cmvn_conf", "ctc", "model"):
        del config[name]
    config["cmvn_file"] = "data/train/global_cmvn"
    make_wenet(tmp_path / "wenet", config)
    units = tmp_path / "wenet/units.txt"
    tokens = [t for t in TOKENS if t != "<sos/eos>"] + ["<sos/eos>"]
    units.write_text("".join(f"{t} {i}\n" for i, t in enumerate(tokens)))
    main(["wenet", str(tmp_path / "wenet"), "--out", str(tmp_path / "exp")])
    model = SpeechToText.load(tmp_path / "exp").model
    assert (model.sos, model.eos, model.blank_id) == (11, 11, 0)
    assert model.token_list[2:4] == ["<space>", "a"]


def test_weights_in_bfloat16_are_read_beside_their_statistics(tmp_path):
    folder = tmp_path / "wenet"
    config = config_with({"concat_after": False})  # as older versions have it
    state = make_wenet(folder, config)
    rounded = {name: tensor.bfloat16() for name, tensor in state.items()}
    torch.save(rounded, folder / "final.pt")
    main(["wenet", str(folder), "--out", str(tmp_path / "exp")])
    weights = torch.load(tmp_path / "exp/model.pth")
    name = "ctc.ctc_lo.weight"
    assert torch.equal(weights[name], rounded[name].float())


def test_statistics_as_kaldi_writes_them_are_read(tmp_path):
    folder = tmp_path / "wenet"
    make_wenet(folder, CONFIG)
    read = json.loads((folder / "global_cmvn").read_text())
    mean, square = (" ".join(map(repr, read[f"{k}_stat"])) for k in ("mean", "var"))
    (folder / "global_cmvn").write_text(f" [\n {mean} 1000 \n {square} 0 ]\n")
    main(["wenet", str(folder), "--out", str(tmp_path / "exp")])
    found = np.load(tmp_path / "exp/feats_stats.npz")
    np.testing.assert_allclose(found["sum"], read["mean_stat"])
    np.testing.assert_allclose(found["sum_square"], read["var_stat"])
    assert found["count"] == 1000


def test_layers_without_biases_get_zeros(tmp_path):
    config = config_with({"key_bias": False, "conv_bias": False, "mlp_bias": False})
    folder = tmp_path / "wenet"
    state = make_wenet(folder, config)
    for name in list(state):
        if name.startswith("encoder.encoders") and name.endswith(
            (
                "linear_k.bias",
                "w_1.bias",
                "w_2.bias",
                "depthwise_conv.bias",
                "e_conv1.bias",
            )
            + ("e_conv2.bias",)
        ):
            del state[name]
    torch.save(state, folder / "final.pt")
    main(["wenet", str(folder), "--out", str(tmp_path / "exp")])
    weights = torch.load(tmp_path / "exp/model.pth")
    assert not weights["encoder.encoders.0.self_attn.linear_k.bias"].any()
    assert not weights["encoder.encoders.1.conv_module.depthwise_conv.bias"].any()
    assert weights["encoder.encoders.1.self_attn.linear_q.bias"].any()


def test_pieces_that_the_model_has_not_are_never_written(tmp_path):
    from sentencepiece import SentencePieceTrainer

    from espnet_smoe.data.text.tokenizer import load_tokenizer
    from espnet_smoe.input_files import check_tokens

    folder = tmp_path / "wenet"
    make_wenet(folder, config_with(tokenizer="bpe"))
    (tmp_path / "text").write_text("abc abd abe\n" * 20 + "fg hg ab abc\n" * 20)
    SentencePieceTrainer.train(
        input=str(tmp_path / "text"),
        model_prefix=str(folder / "tiny"),
        vocab_size=14,
        minloglevel=2,
    )
    pieces = load_tokenizer(folder / "tiny.model").encode("abc fg")
    assert "▁abc" in pieces
    units = ["<blank>", "<unk>", "<sos/eos>", "▁", *"abcdefgh"]
    lines = "".join(f"{token} {i}\n" for i, token in enumerate(units))
    (folder / "units.txt").write_text(lines)
    main(["wenet", str(folder), "--out", str(tmp_path / "exp")])
    tokenizer = load_tokenizer(tmp_path / "exp/bpe.model")
    assert tokenizer.encode("abc fg") == ["▁", "a", "b", "c", "▁", "f", "g"]
    assert tokenizer.decode(["▁", "a", "b", "c", "▁", "f", "g"]).strip() == "abc fg"
    check_tokens(tmp_path / "exp/tokens.txt", tmp_path / "exp/bpe.model")
    (folder / "tiny.model").unlink()
    with pytest.raises(ValueError, match="has no one sentencepiece model"):
        main(["wenet", str(folder), "--out", str(tmp_path / "other")])


def test_pieces_without_their_model_are_refused(tmp_path):
    folder = tmp_path / "wenet"
    make_wenet(folder, CONFIG)
    units = (folder / "units.txt").read_text().replace("a 4", "▁ab 4")
    (folder / "units.txt").write_text(units)
    with pytest.raises(ValueError, match="pieces such as ▁ab, but .* no sentencepiece"):
        main(["wenet", str(folder), "--out", str(tmp_path / "exp")])


def test_it_is_trained_further(imported):
    made = imported("experts")
    config = read_config(made.path / "config.yaml")
    model = load_model(config, made.path / "model.pth").train()
    wave = torch.from_numpy(np.stack([speech(), speech(seed=3)]))
    text = torch.tensor([[4, 5, 6], [7, 8, -1]])
    given = wave, torch.tensor([20000, 18000]), text, torch.tensor([3, 2])
    loss, stats, _ = model(*given)
    loss.backward()
    assert loss.isfinite() and model.encoder.use_dynamic_chunk
    grads = {n for n, p in model.named_parameters() if p.grad is None}
    assert not grads
