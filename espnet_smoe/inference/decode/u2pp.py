"""Decode a data directory with a U2++ model (stage 12 of u2pp.sh).

    python3 -m espnet_smoe.inference.decode.u2pp --train-config exp/x/config.yaml \\
        --model-file exp/x/valid.acc.ave.pth --data dump/raw/test --out exp/x \\
        --config conf/decode_greedy.yaml conf/decode_rescoring.yaml --chunk-size 0 16

Decodes with each configuration at each chunk size. The results of
``conf/decode_greedy.yaml`` with chunks of 16 frames go to
``exp/x/decode_greedy_chunk16/test``, those without chunks to
``exp/x/decode_greedy_full/test``: ``hyp.asr``, or as ``--task`` says; ``decode.json``:
``audio_seconds``; ``compute_seconds`` of all processes, of which ``search_seconds``
in the search; ``rtf``, compute seconds a second of audio; ``chunk_seconds``, the speech
in a chunk; ``latency_seconds``, from the end of an utterance to its text, median and
95th percentile; the options. Texts are those of batches in which a chunk is a mask over
the whole utterance, which gives what a stream would give; latencies are those of up to
fifty utterances, each alone and heard chunk by chunk, one thread a process.
"""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from espnet_smoe.command import run_command
from espnet_smoe.fingerprints import fingerprint_file
from espnet_smoe.inference.audio import SAMPLE_RATE
from espnet_smoe.inference.batch_encoder import BatchEncoder
from espnet_smoe.inference.checkpoint import load_model, read_config
from espnet_smoe.inference.decode.journal import Journal, by_size
from espnet_smoe.inference.decode.latency import UTTERANCES, latencies, stream_frontend
from espnet_smoe.inference.decode.parallel import (
    Share,
    described,
    read_utterance,
    run_jobs,
    utterances_of,
    write_results,
)
from espnet_smoe.inference.decode.provenance import decoding_inputs
from espnet_smoe.inference.search.options import check_beam
from espnet_smoe.inference.search.u2pp import U2PPDecodeOptions, two_pass
from espnet_smoe.inference.speech_activity import speech_spans
from espnet_smoe.inference.streaming.features import StreamFrontend

TASKS = ("asr", "words", "units")


@dataclass(frozen=True)
class _Job:
    """The utterances of one process: (name, audio file, unused label).

    Of `measured` of them it measures the latency.
    """

    train_config: str
    model_file: str
    device: str
    task: str
    decodings: Mapping[str, U2PPDecodeOptions]
    utterances: list[tuple[str, str, str]]
    measured: int
    journals: Mapping[str, Journal]


@dataclass(frozen=True)
class _Done:
    """Of one process: seconds of a frame; waits of each decoding."""

    frame_seconds: float
    waits: dict[str, list[float]]


def decode(args: argparse.Namespace) -> dict[Path, dict[str, Any]]:
    """Decode a data directory and write the results.

    Args:
        args: Of `get_parser`.

    Returns:
        Folder -> content of its ``decode.json``.

    Raises:
        ValueError: Something is missing or an utterance cannot be read; names it.
    """
    decodings = decodings_of(args.config, args.chunk_size)
    utterances = utterances_of(Path(args.data))
    made_of = decoding_inputs(args.model_file, args.data)
    model = args.train_config, args.model_file, args.device
    journals = {}
    for name, options in decodings.items():
        out = Path(args.out) / f"decode_{name}" / Path(args.data).name
        made = {
            **made_of,
            "config": fingerprint_file(args.train_config),
            "task": args.task,
        }
        journals[name] = Journal.of(out, {**asdict(options), **made})
    nj = max(1, min(args.nj, len(utterances)))
    how = *model, args.task, decodings
    jobs = [
        _Job(*how, utterances[i::nj], -(-UTTERANCES // nj), journals) for i in range(nj)
    ]
    done = list(run_jobs(_decode_share, jobs))
    names = [name for name, _, _ in utterances]
    summaries = {}
    for name, options in decodings.items():
        out = journals[name].out
        more = {
            "nj": nj,
            "chunk_seconds": round(options.chunk_size * done[0].frame_seconds, 3),
            "latency_seconds": _spread([s for d in done for s in d.waits[name]]),
            **asdict(options),
            **made_of,
        }
        summaries[out] = write_results(out, names, [journals[name].read()], more)
    for journal in journals.values():
        journal.close()
    return summaries


def decodings_of(
    configs: Sequence[str], chunk_sizes: Sequence[int] | None = None
) -> dict[str, U2PPDecodeOptions]:
    """Each configuration at each chunk size.

    Args:
        configs: YAML files.
        chunk_sizes: In encoder frames; None for the configuration's own.

    Returns:
        Name, such as ``greedy_chunk16`` -> options.

    Raises:
        ValueError: A file or size is wrong, or two files have the same name.
    """
    decodings: dict[str, U2PPDecodeOptions] = {}
    for config in configs:
        options = U2PPDecodeOptions.read(config)
        sizes = [options.chunk_size] if chunk_sizes is None else chunk_sizes
        for size in dict.fromkeys(sizes):
            try:
                sized = replace(options, chunk_size=size)
            except ValueError as error:
                raise ValueError(f"--chunk-size: {error}") from error
            name = decoding_name(config, size)
            if name in decodings:
                raise ValueError(
                    f"{config}: another configuration decodes as '{name}', too, and "
                    "their results would go to the same folder; rename one"
                )
            decodings[name] = sized
    return decodings


def decoding_name(config: str | Path, chunk_size: int) -> str:
    """What follows ``decode_`` in the name of the results' folder.

    Example:
        >>> decoding_name("conf/decode_greedy.yaml", 16)
        'greedy_chunk16'
        >>> decoding_name("conf/decode.yaml", 0)
        'default_full'
    """
    stem = Path(config).stem.removeprefix("decode").removeprefix("_") or "default"
    return f"{stem}_{f'chunk{chunk_size}' if chunk_size else 'full'}"


def _spread(seconds: Sequence[float]) -> dict[str, float] | None:
    """Median and 95th percentile of so many utterances; None of none."""
    if not seconds:
        return None
    p50, p95 = (round(float(x), 4) for x in np.percentile(seconds, [50, 95]))
    return {"p50": p50, "p95": p95, "utterances": len(seconds)}


def _decode_share(job: _Job) -> _Done:
    from espnet_smoe.inference.detokenizer import joiner

    # one thread a process: `nj` says how many cores are used
    torch.set_num_threads(1)
    config = read_config(job.train_config)
    text_of, token_list = joiner(config), config["token_list"]
    for options in job.decodings.values():
        check_beam(options.beam_size, token_list)
    model = partial(load_model, config, job.model_file, job.device)
    encoders = {
        int8: BatchEncoder(model(int8=int8))
        for int8 in {options.int8 for options in job.decodings.values()}
    }
    frontends = {int8: _stream_frontend(encoder) for int8, encoder in encoders.items()}
    utterances = by_size(job.utterances)  # little padding in a batch
    places = np.linspace(0, len(utterances) - 1, min(job.measured, len(utterances)))
    measured = [
        read_utterance(*utterances[i][:2])[0] for i in places.round().astype(int)
    ]
    measured.sort(key=len)
    waits = {}
    for decoding, options in job.decodings.items():
        encoder, journal = encoders[options.int8], job.journals[decoding]
        two_pass(encoder, *encoder([measured[-1]]), options)  # the first call is slow
        to_do = journal.to_do(utterances)
        for start in range(0, len(to_do), options.batch_size):
            share = Share({job.task: {}})
            batch = {
                name: read_utterance(name, path)[0]
                for name, path, _ in to_do[start : start + options.batch_size]
            }
            _check_lengths(batch, options)
            begun = time.perf_counter()
            encoded = encoder(
                list(batch.values()),
                chunk_size=options.chunk_size,
                left_chunks=options.left_chunks,
            )
            searching = time.perf_counter()
            found = two_pass(encoder, *encoded, options)
            done = time.perf_counter()
            share.seconds.update(compute=done - begun, search=done - searching)
            share.add_audio(list(batch.values()))
            for (name, wave), nbest in zip(batch.items(), found):
                text = text_of([token_list[token] for token in nbest[0].tokens])
                if options.detect_speech and not speech_spans(wave):
                    text = ""
                share.texts[job.task][name] = text
            journal.add(share)
        frontend = frontends[options.int8]
        known = frontend or not options.chunk_size
        how = encoder, frontend, measured, options, job.measured
        waits[decoding] = latencies(*how) if known else []
    return _Done(encoder.frame_seconds, waits)


def _check_lengths(batch: Mapping[str, np.ndarray], options: U2PPDecodeOptions) -> None:
    for name, wave in batch.items():
        seconds = len(wave) / SAMPLE_RATE
        if seconds > options.longest_seconds:
            raise ValueError(
                f"utterance {name}: {seconds:.0f} s; attention to all of it needs "
                "memory that grows with the square of its length. Cut it (segments), "
                "decode it with 'espnet-smoe stream' (in chunks) or 'transcribe' (in "
                f"its pauses), or raise longest_seconds ({options.longest_seconds:g})"
            )


def _stream_frontend(encoder: BatchEncoder) -> StreamFrontend | None:
    """None, and the reason is told, where the model cannot stream."""
    try:
        return stream_frontend(encoder)
    except ValueError as error:
        print(f"no latency in chunks: {error}")
        return None


def get_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = argparse.ArgumentParser(
        prog="python3 -m espnet_smoe.inference.decode.u2pp",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--train-config", required=True, help="config.yaml of the experiment")
    add("--model-file", required=True, help="checkpoint")
    add("--data", required=True, help="data directory")
    add("--out", required=True, help="folder of the experiment")
    add("--config", required=True, nargs="+", help="YAML files, see U2PPDecodeOptions")
    add(
        "--chunk-size",
        type=int,
        nargs="+",
        help="in encoder frames, 0 for the whole utterance (default: as in --config)",
    )
    add(
        "--task",
        choices=TASKS,
        default="asr",
        help="how to score: asr, WER and CER; words, CER of Mandarin in plain "
        "characters; units, SER of its syllables (default: %(default)s)",
    )
    add("--nj", type=int, default=1, help="processes (default: %(default)s)")
    add("--device", default="cpu", help="such as cuda (default: %(default)s)")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the command."""
    args = get_parser().parse_args(argv)
    try:
        summaries = decode(args)
    except ValueError as error:
        raise SystemExit(f"error: {error}") from error
    for out, summary in summaries.items():
        print(described(out, summary))


if __name__ == "__main__":
    sys.exit(run_command(main))
