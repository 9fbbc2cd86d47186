"""Searches, streams and `SpeechToText` on a device find what the CPU finds."""

import copy
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from espnet_smoe.benchmark import decode, rescore
from espnet_smoe.benchmark.gpu import models
from espnet_smoe.benchmark.gpu.guard import Check, Compared, Site
from espnet_smoe.compat import CTC
from espnet_smoe.encoder.conformer import U2PPConformerEncoder
from espnet_smoe.inference.batch_encoder import BatchEncoder
from espnet_smoe.inference.recognizers.u2pp import U2PPDecodeOptions
from espnet_smoe.inference.search.beam_search import PromptBeamSearch, SearchOptions
from espnet_smoe.inference.search.ctc_prefix import prefix_beam
from espnet_smoe.inference.search.encoded_batch import EncodedBatch
from espnet_smoe.inference.search.hypothesis import Hypothesis
from espnet_smoe.inference.search.rescoring import rescore as rescored
from espnet_smoe.inference.speech_to_text import SpeechToText
from espnet_smoe.inference.streaming.options import StreamOptions
from espnet_smoe.inference.streaming.recognizer import StreamingRecognizer
from espnet_smoe.layers.chunk_cache import EncoderCache

SCORES = 2e-4  # relative error of scores in float32
LENGTHS = (100, 61, 83)  # feature frames
SEARCHES = ("greedy", "prefix_beam", "attention", "rescoring")


def beam_search(ctc_weight: float, moe: dict[str, Any] | None) -> Check:
    """Both tasks of three utterances in one batch."""

    def check(site: Site, compared: Compared) -> None:
        encoder, decoder = decode.model(decode.QUICK, moe)
        head = CTC(decode.QUICK.vocabulary, decode.QUICK.size).eval()
        torch.manual_seed(1)
        feats = torch.randn(len(LENGTHS), max(LENGTHS), decode.MEL)
        lengths = torch.tensor(LENGTHS)
        found = []
        for device in ("cpu", site.device):
            parts = (copy.deepcopy(p).to(device) for p in (encoder, decoder, head))
            listener, writer, ctc = parts
            options = SearchOptions(4, ctc_weight, maxlenratio=-8.0)
            search = PromptBeamSearch(writer, decode.QUICK.vocabulary - 1, options, ctc)
            given = feats.to(device), lengths.to(device)
            heard = decode.encode(listener, *given)
            found.append(search(*heard, [decode.ASR, decode.ST], ctc_prompt=0))
        for nbests in zip(*found):
            same_nbests(compared, nbests[1], nbests[0])

    return check


def u2pp_search(search: str) -> Check:
    """A way to decode a `u2pp` model, from what the encoder has made."""

    def check(site: Site, compared: Compared) -> None:
        model = models.sure_of_tokens(models.build(models.u2pp()).eval())
        waves = [models.talk(s, seed) for seed, s in enumerate((2.0, 1.3, 0.4))]
        found = []
        for device in ("cpu", site.device):
            encoder = BatchEncoder(copy.deepcopy(model).to(device))
            options = U2PPDecodeOptions(search=search, beam_size=4)
            batch = EncodedBatch(encoder.model, *encoder(waves))
            found.append(options.build_search(encoder.model)(batch))
        same_nbests(compared, found[1], found[0])

    return check


def rescoring(site: Site, compared: Compared) -> None:
    """Two decoders over hypotheses of different lengths, in one batch."""
    model = models.build(models.u2pp()).eval()
    sizes = rescore.Sizes(
        vocabulary=13, utterances=3, hypotheses=5, tokens=6, seconds=2
    )
    nbests = [prefix_beam(p, beam=5) for p in rescore.posteriors(sizes)]
    torch.manual_seed(1)
    heard, lengths = torch.randn(3, 50, 16), torch.tensor([50, 31, 44])
    found = []
    for device in ("cpu", site.device):
        decoder = copy.deepcopy(model.decoder).to(device)
        given = heard.to(device), lengths.to(device)
        found.append(rescored(decoder, *given, nbests, 12, 12))
    same_nbests(compared, found[1], found[0])


def chunk_by_chunk(kind: str, left: int) -> Check:
    """Streams side by side equal one masked pass over the whole, on the device."""

    def check(site: Site, compared: Compared) -> None:
        torch.manual_seed(0)
        encoder = U2PPConformerEncoder(
            *(20, 32, 2, 64, 2),
            cnn_module_kernel=5,
            pos_enc_layer_type=kind,
            moe={"num_experts": 4, "top_k": 2},
        )
        encoder = encoder.to(site.device).eval()
        chunk, count = 4, 6
        width = chunk * encoder.stride
        feats = torch.randn(2, count * width, 20, device=site.device)
        lengths = torch.full((2,), count * width, device=site.device)
        with torch.inference_mode():
            given = {"chunk_size": chunk, "left_chunks": left}
            whole, _, _ = encoder(feats, lengths, **given)
            caches = encoder.new_cache(2, chunk, left).split()
            pieces = []
            for piece in feats.split(width, dim=1):
                cache = EncoderCache.stack(caches)
                y, _, cache = encoder.forward_chunk(piece, cache)
                pieces.append(y)
                caches = cache.split()
        compared.close("output", torch.cat(pieces, dim=1), whole, SCORES)

    return check


def streams(site: Site, compared: Compared) -> None:
    """Events of two streams, from the samples on."""
    model = models.sure_of_tokens(models.build(models.u2pp()).eval())
    waves = [models.talk(2.1, 1), models.talk(1.2, 2)]
    options = StreamOptions(
        chunk_size=8, left_chunks=2, beam_size=4, detect_speech=False
    )
    found = []
    for device in ("cpu", site.device):
        part = copy.deepcopy(model).to(device)
        recognizer = StreamingRecognizer(part, options, "".join)
        opened = [recognizer.create_stream() for _ in waves]
        events: list[Any] = []
        for stream, wave in zip(opened, waves):
            stream.accept_waveform(wave)
            stream.finish()
        while any(not stream.done for stream in opened):
            events += [
                e for of_one in recognizer.decode_streams(opened) for e in of_one
            ]
        found.append([(e.kind, e.text, round(e.start, 2)) for e in events])
    compared.same("events", found[1], found[0])
    compared.same("that there are events", bool(found[0]), True)


def speech_to_text(name: str) -> Check:
    """A saved model, loaded and asked as a user does."""

    def check(site: Site, compared: Compared) -> None:
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made)
            config = models.smoe(folder) if name == "smoe" else models.u2pp()
            model = models.build(config).eval()
            if name == "u2pp":
                models.sure_of_tokens(model)
            files = models.save(folder, config, model)
            waves = [models.talk(1.2, 3), models.talk(0.7, 4)]
            options: dict[str, Any] = {"detect_speech": False, "beam_size": 3}
            if name == "smoe":
                options |= {"maxlenratio": -8.0, "ctc_weight": 0.3}
            found = [
                SpeechToText(*files, device=device, **options)(waves)
                for device in ("cpu", str(site.device))
            ]
        for ours, its in zip(found[1], found[0]):
            for task, result in its.items():
                compared.same(f"{task} tokens", ours[task].tokens, result.tokens)
                compared.close(f"{task} score", ours[task].score, result.score, SCORES)

    return check


def same_nbests(
    compared: Compared,
    got: Sequence[Sequence[Hypothesis]],
    wanted: Sequence[Sequence[Hypothesis]],
) -> None:
    """The same hypotheses with the same scores, utterance by utterance."""
    said = any(hypothesis.tokens for nbest in wanted for hypothesis in nbest)
    compared.same("that something is said", said, True)
    for number, (ours, its) in enumerate(zip(got, wanted, strict=True)):
        name = f"utterance {number}"
        told = [[list(map(int, h.tokens)) for h in nbest] for nbest in (ours, its)]
        compared.same(f"{name}, hypotheses", *told)
        scores = [torch.tensor([h.score for h in nbest]) for nbest in (ours, its)]
        compared.close(f"{name}, scores", *scores, SCORES)


LABEL = {"gate": "label"}
CHECKS: dict[str, Check] = {
    "beam search, two tasks, labels": beam_search(0.0, LABEL),
    "beam search, two tasks, labels, CTC scores": beam_search(0.3, LABEL),
    "beam search, two tasks, dense": beam_search(0.0, None),
    **{f"u2pp search, {search}": u2pp_search(search) for search in SEARCHES},
    "rescoring": rescoring,
    **{
        f"chunk by chunk, {kind}, {left} on the left": chunk_by_chunk(kind, left)
        for kind in ("rel_pos", "rope")
        for left in (2, -1)
    },
    "streams": streams,
    "SpeechToText, smoe": speech_to_text("smoe"),
    "SpeechToText, u2pp": speech_to_text("u2pp"),
}
