"""Searches, streams and `SpeechToText` on a device find what the CPU finds."""

import copy

import pytest
import torch

from espnet_smoe.benchmark import decode, rescore
from espnet_smoe.compat import CTC
from espnet_smoe.encoder.conformer import U2PPConformerEncoder
from espnet_smoe.inference.batch_encoder import BatchEncoder
from espnet_smoe.inference.recognizers.u2pp import U2PPDecodeOptions
from espnet_smoe.inference.search.beam_search import PromptBeamSearch, SearchOptions
from espnet_smoe.inference.search.ctc_prefix import prefix_beam
from espnet_smoe.inference.search.encoded_batch import EncodedBatch
from espnet_smoe.inference.search.rescoring import rescore as rescored
from espnet_smoe.inference.speech_to_text import SpeechToText
from espnet_smoe.inference.streaming.options import StreamOptions
from espnet_smoe.inference.streaming.recognizer import StreamingRecognizer
from espnet_smoe.layers.chunk_cache import EncoderCache
from tests.gpu.compare import assert_close
from tests.inference.tiny_u2pp import save_tiny_u2pp, tiny_u2pp
from tests.tiny import save_experiment, talk, tiny_config

SCORES = 2e-4  # relative error of scores in float32
LENGTHS = (100, 61, 83)  # feature frames
LABEL = {"gate": "label"}


def assert_same_nbests(got, wanted):
    """The same hypotheses with the same scores, utterance by utterance."""
    assert any(hypothesis.tokens for nbest in wanted for hypothesis in nbest)
    for number, nbests in enumerate(zip(got, wanted, strict=True)):
        ours, its = ([list(map(int, h.tokens)) for h in nbest] for nbest in nbests)
        assert ours == its, f"utterance {number}"
        scores = [torch.tensor([h.score for h in nbest]) for nbest in nbests]
        assert_close(f"utterance {number}, scores", *scores, SCORES)


@pytest.mark.parametrize(
    "ctc_weight, moe",
    [(0.0, LABEL), (0.3, LABEL), (0.0, None)],
    ids=["labels", "labels, CTC scores", "dense"],
)
def test_beam_search_of_two_tasks_in_one_batch(device, ctc_weight, moe):
    encoder, decoder = decode.model(decode.QUICK, moe)
    head = CTC(decode.QUICK.vocabulary, decode.QUICK.size).eval()
    torch.manual_seed(1)
    feats = torch.randn(len(LENGTHS), max(LENGTHS), decode.MEL)
    lengths = torch.tensor(LENGTHS)
    found = []
    for where in ("cpu", device):
        parts = (encoder, decoder, head)
        here, writer, ctc = (copy.deepcopy(p).to(where) for p in parts)
        options = SearchOptions(4, ctc_weight, maxlenratio=-8.0)
        search = PromptBeamSearch(writer, decode.QUICK.vocabulary - 1, options, ctc)
        encoded = decode.encode(here, feats.to(where), lengths.to(where))
        found.append(search(*encoded, [decode.ASR, decode.ST], ctc_prompt=0))
    for got, wanted in zip(found[1], found[0]):
        assert_same_nbests(got, wanted)


@pytest.mark.parametrize("search", ["greedy", "prefix_beam", "attention", "rescoring"])
def test_a_search_of_u2pp(device, search):
    model = tiny_u2pp()
    waves = [talk(s, seed) for seed, s in enumerate((2.0, 1.3, 0.4))]
    options = U2PPDecodeOptions(search=search, beam_size=4)
    found = []
    for where in ("cpu", device):
        encoder = BatchEncoder(copy.deepcopy(model).to(where))
        batch = EncodedBatch(encoder.model, *encoder(waves))
        found.append(options.build_search(encoder.model)(batch))
    assert_same_nbests(found[1], found[0])


def test_rescoring_of_hypotheses_of_different_lengths(device):
    model = tiny_u2pp()
    sizes = rescore.Sizes(
        vocabulary=13, utterances=3, hypotheses=5, tokens=6, seconds=2
    )
    nbests = [prefix_beam(p, beam=5) for p in rescore.posteriors(sizes)]
    torch.manual_seed(1)
    encoded, lengths = torch.randn(3, 50, 16), torch.tensor([50, 31, 44])
    found = []
    for where in ("cpu", device):
        decoder = copy.deepcopy(model.decoder).to(where)
        given = encoded.to(where), lengths.to(where)
        found.append(rescored(decoder, *given, nbests, 12, 12))
    assert_same_nbests(found[1], found[0])


@pytest.mark.parametrize("left", [2, -1])
@pytest.mark.parametrize("kind", ["rel_pos", "rope"])
def test_streams_in_chunks_equal_one_masked_pass(device, kind, left):
    torch.manual_seed(0)
    encoder = U2PPConformerEncoder(
        *(20, 32, 2, 64, 2),
        cnn_module_kernel=5,
        pos_enc_layer_type=kind,
        moe={"num_experts": 4, "top_k": 2},
    )
    encoder = encoder.to(device).eval()
    chunk, count = 4, 6
    width = chunk * encoder.stride
    feats = torch.randn(2, count * width, 20, device=device)
    lengths = torch.full((2,), count * width, device=device)
    with torch.inference_mode():
        given = {"chunk_size": chunk, "left_chunks": left}
        whole, _, _ = encoder(feats, lengths, **given)
        caches = encoder.new_cache(2, chunk, left).split()
        pieces = []
        for piece in feats.split(width, dim=1):
            y, _, cache = encoder.forward_chunk(piece, EncoderCache.stack(caches))
            pieces.append(y)
            caches = cache.split()
    assert_close("output", torch.cat(pieces, dim=1), whole, SCORES)


def test_events_of_two_streams(device):
    model = tiny_u2pp()
    options = StreamOptions(
        chunk_size=8, left_chunks=2, beam_size=4, detect_speech=False
    )
    found = []
    for where in ("cpu", device):
        part = copy.deepcopy(model).to(where)
        recognizer = StreamingRecognizer(part, options, "".join)
        streams = [recognizer.create_stream() for _ in range(2)]
        for stream, wave in zip(streams, (talk(2.1, 1), talk(1.2, 2))):
            stream.accept_waveform(wave)
            stream.finish()
        events = []
        while any(not stream.done for stream in streams):
            events += sum(recognizer.decode_streams(streams), [])
        found.append([(e.kind, e.text, round(e.start, 2)) for e in events])
    assert found[1] == found[0] and found[0]


@pytest.mark.parametrize("name", ["smoe", "u2pp"])
def test_speech_to_text_of_a_saved_model(device, name, tmp_path):
    options = {"detect_speech": False, "beam_size": 3}
    if name == "smoe":
        files = save_experiment(tmp_path, tiny_config(tmp_path))
        options |= {"maxlenratio": -8.0, "ctc_weight": 0.3}
    else:
        folder = save_tiny_u2pp(tmp_path)
        files = folder / "config.yaml", folder / "model.pth"
    waves = [talk(1.2, 3), talk(0.7, 4)]
    found = [
        SpeechToText(*map(str, files), device=where, **options)(waves)
        for where in ("cpu", str(device))
    ]
    for ours, its in zip(found[1], found[0]):
        for task, result in its.items():
            assert ours[task].tokens == result.tokens
            assert_close(f"{task} score", ours[task].score, result.score, SCORES)
