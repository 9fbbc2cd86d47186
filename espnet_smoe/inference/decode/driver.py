"""Decode data directories with a model of any kind (stage 12 of the recipes).

    python3 -m espnet_smoe.inference.decode --train-config exp/x/config.yaml \\
        --model-file exp/x/valid.acc.ave.pth --data dump/raw/test \\
        --config conf/decode.yaml --out exp/x/decode_default/test --nj 2
    python3 -m espnet_smoe.inference.decode --train-config exp/x/config.yaml \\
        --model-file exp/x/valid.acc.ave.pth --data dump/raw/test dump/raw/test_nbwb \\
        --config conf/decode_greedy.yaml conf/decode_rescoring.yaml \\
        --chunk-size 0 16 --out "exp/x/decode_{decoding}/{set}"

Several data directories, configurations, and chunk sizes of a U2++ model share one
loaded model. In --out, ``{set}`` is replaced by the name of each directory, and
``{decoding}`` by that of each decoding: ``greedy`` for conf/decode_greedy.yaml,
``default`` for conf/decode.yaml, and of a U2++ model ``greedy_chunk16``, or
``greedy_full`` without chunks.

Further options, such as ``--beam_size 3``, take precedence over what --config says.

Writes ``hyp.<task>`` of each task: ``hyp.asr`` and ``hyp.st`` of S-MoE, ``hyp.units``
and with a graph ``hyp.words`` of SpeechMoE, else ``hyp.asr``, or as --task says;
``details.<task>.jsonl``: the confidence of each text and, with ``nbest`` over 1, its
alternatives; and ``decode.json``: ``task_table``, which says what the tasks of S-MoE
are and what scores them; ``audio_seconds``; ``compute_seconds``, the time that all
processes together spent on encoding and searching, of which ``search_seconds``;
``rtf``, compute seconds a second of audio, thus of one process with one thread;
``wall_seconds`` from start to end; the options. A run that was ended goes on where it
was.

Of a U2++ model ``decode.json`` has ``chunk_seconds``, the speech in a chunk, and
``latency_seconds``, from the end of an utterance to its text, median and 95th
percentile. Texts are those of batches in which a chunk is a mask over the whole
utterance, which gives what a stream would give; latencies are those of up to fifty
utterances, each alone and chunk by chunk, one thread a process.
"""

import argparse
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from espnet_smoe.command import new_parser, positive
from espnet_smoe.data.task_table import as_plain, load_task_table, spoken_of
from espnet_smoe.fingerprints import fingerprint_file
from espnet_smoe.inference.decode.decodings import (
    decodings_of,
    folders_of,
    read_overrides,
)
from espnet_smoe.inference.decode.journal import Journal, Utterance, by_size
from espnet_smoe.inference.decode.latency import (
    UTTERANCES,
    latencies,
    stream_frontend,
)
from espnet_smoe.inference.decode.parallel import (
    DecodedPart,
    languages_of,
    read_utterance,
    run_jobs,
    summary_line,
    utterances_of,
    write_results,
)
from espnet_smoe.inference.decode.provenance import decoding_inputs
from espnet_smoe.inference.search.options import AUTO, DecodeOptions
from espnet_smoe.inference.speech_to_text import SpeechToText, speech_to_text_class

TASKS = ("asr", "words", "units")
GROUP = 8  # batches read together: enough to find utterances of like length


@dataclass(frozen=True)
class _Decoding:
    """One way to decode utterances of a data directory, and what of it is done.

    `languages` has the spoken language of those that name it.
    """

    options: DecodeOptions
    journal: Journal
    utterances: list[Utterance]
    languages: Mapping[str, str]
    made_of: Mapping[str, Any]

    def part(self, i: int, nj: int) -> "_Decoding":
        """What process `i` of `nj` does."""
        return replace(self, utterances=self.utterances[i::nj])


@dataclass(frozen=True)
class _Job:
    """The decodings of one process; of `measured` utterances of each the latency is
    measured, where the model can stream."""

    train_config: str
    model_file: str
    device: str
    task: str | None
    decodings: list[_Decoding]
    measured: int


@dataclass(frozen=True)
class _Done:
    """What else one process has found.

    Attributes:
        frame_seconds: Of an encoder frame of U2++.
        latencies: Folder -> seconds of each utterance measured.
    """

    frame_seconds: float | None = None
    latencies: dict[Path, list[float]] = field(default_factory=dict)


def decode(args: argparse.Namespace) -> dict[Path, dict[str, Any]]:
    """Decode data directories and write the results.

    Args:
        args: Of `get_parser`.

    Returns:
        Folder -> content of its ``decode.json``.

    Raises:
        ValueError: Something is missing or an utterance cannot be decoded; names it.
    """
    begun = time.perf_counter()
    kind = speech_to_text_class(args.train_config)
    chosen = decodings_of(
        kind, args.config, args.chunk_size, args.graph, **(args.overrides or {})
    )
    folders = folders_of(args.out, list(chosen), args.data)
    table = load_task_table(args.train_config) if kind.Options.model == "smoe" else {}
    decodings = [
        decoding
        for data in args.data
        for decoding in _decodings_of_set(args, Path(data), chosen, folders, table)
    ]
    nj = max(1, min(args.nj, max(len(d.utterances) for d in decodings)))
    model = args.train_config, args.model_file, args.device, args.task
    measured = -(-UTTERANCES // nj)
    jobs = [
        _Job(*model, [d.part(i, nj) for d in decodings], measured) for i in range(nj)
    ]
    done = list(run_jobs(_decode_part, jobs))
    more: dict[str, Any] = {"nj": nj}
    if len(decodings) == 1:
        more["wall_seconds"] = round(time.perf_counter() - begun, 3)
    if table:
        more["task_table"] = as_plain(table)
    summaries = {}
    for decoding in decodings:
        folder = decoding.journal.out
        of_this = {**more, **decoding.options.as_dict(), **decoding.made_of}
        of_this |= _latency(folder, decoding.options, done)
        names = [name for name, _, _ in decoding.utterances]
        part = decoding.journal.read()
        summaries[folder] = write_results(folder, names, part, of_this)
    for decoding in decodings:
        decoding.journal.close()
    return summaries


def _decodings_of_set(
    args: argparse.Namespace,
    data: Path,
    chosen: Mapping[str, DecodeOptions],
    folders: Mapping[tuple[str, str], Path],
    table: Mapping[str, Any],
) -> list[_Decoding]:
    """All ways to decode one data directory."""
    languages = languages_of(data) if spoken_of(table) else {}
    made_of = decoding_inputs(args.model_file, str(data))
    how = {**made_of, "config": fingerprint_file(args.train_config), "task": args.task}
    how |= {"languages": languages} if languages else {}
    decodings = []
    for name, options in chosen.items():
        utterances = utterances_of(data, getattr(options, "bandwidth", AUTO))
        journal = Journal.of(folders[data.name, name], options.as_dict() | how)
        given = options, journal, utterances, languages, made_of
        decodings.append(_Decoding(*given))
    return decodings


def _decode_part(job: _Job) -> _Done:
    # one thread a process: `nj` says how many cores are used
    torch.set_num_threads(1)
    kind = speech_to_text_class(job.train_config)
    loaded: dict[tuple, SpeechToText] = {}
    done = _Done()
    for decoding in job.decodings:
        options, utterances = decoding.options, by_size(decoding.utterances)
        key = kind.loaded_with(options)
        if key not in loaded:
            files = job.train_config, job.model_file, job.device
            loaded[key] = kind(*files, options=options)
        recognizer = loaded[key].with_options(options)
        spoken = _by_language(decoding.journal.to_do(utterances), decoding.languages)
        for language, of_one in spoken.items():
            speaking = recognizer.in_language(language) if language else recognizer
            _decode_all(speaking, decoding.journal, of_one, job.task)
        if hasattr(options, "chunk_size"):
            measured = _measured(recognizer, utterances, job.measured)
            done.latencies[decoding.journal.out] = measured
            frame_seconds = recognizer.encoder.frame_seconds
            done = replace(done, frame_seconds=frame_seconds)
    return done


def _by_language(
    utterances: Sequence[Utterance], languages: Mapping[str, str]
) -> dict[str, list[Utterance]]:
    """Utterances by the language that is spoken; '' where it is not told."""
    spoken: dict[str, list[Utterance]] = {}
    for utterance in utterances:
        spoken.setdefault(languages.get(utterance[0], ""), []).append(utterance)
    return spoken


def _decode_all(
    recognizer: SpeechToText,
    journal: Journal,
    to_do: Sequence[Utterance],
    task: str | None,
) -> None:
    """Decode group by group."""
    from tqdm import tqdm

    options = recognizer.options
    tasks = recognizer.check_tasks(None)
    written = {t: task if task and len(tasks) == 1 else t for t in tasks}
    group_size = GROUP * options.batch_size
    for start in tqdm(range(0, len(to_do), group_size), unit="group", mininterval=10):
        group = to_do[start : start + group_size]
        names = [name for name, _, _ in group]
        read = [read_utterance(name, path) for name, path, _ in group]
        waves, rates = [wave for wave, _ in read], [rate for _, rate in read]
        called = [f"utterance {name}" for name in names]
        given = [label for _, _, label in group]
        labels = recognizer.bandwidths_of(waves, rates, given, called)
        if not start:  # the first call is slow
            recognizer.recognize(waves[:1], labels[:1], tasks, called[:1])
        recognizer.seconds = Counter()
        found = recognizer.recognize_long(waves, labels, tasks, called, True)
        part = DecodedPart({written[t]: {} for t in tasks}, recognizer.seconds)
        part.add_audio(waves)
        for name, results in zip(names, found):
            for t in tasks:
                part.texts[written[t]][name] = results[t].text
                part.add_details(written[t], name, results[t], options.nbest)
        journal.add(part)


def _measured(
    recognizer: SpeechToText, utterances: Sequence[Utterance], most: int
) -> list[float]:
    """Latencies of some utterances of all lengths; none where it cannot stream."""
    places = np.linspace(0, len(utterances) - 1, min(most, len(utterances)))
    chosen = [utterances[i] for i in places.round().astype(int)]
    waves = sorted((read_utterance(n, path)[0] for n, path, _ in chosen), key=len)
    frontend = None
    if recognizer.options.chunk_size:
        try:
            frontend = stream_frontend(recognizer.encoder)
        except ValueError as error:
            print(f"no latency in chunks: {error}")
            return []
    return latencies(recognizer.encoder, frontend, waves, recognizer.options, most)


def _latency(
    folder: Path, options: DecodeOptions, done: Sequence[_Done]
) -> dict[str, Any]:
    """Seconds of a chunk; median and 95th percentile of the latencies."""
    if done[0].frame_seconds is None:
        return {}
    seconds = [s for of_one in done for s in of_one.latencies[folder]]
    spread = None
    if seconds:
        p50, p95 = (round(float(x), 4) for x in np.percentile(seconds, [50, 95]))
        spread = {"p50": p50, "p95": p95, "utterances": len(seconds)}
    chunk = round(options.chunk_size * done[0].frame_seconds, 3)
    return {"chunk_seconds": chunk, "latency_seconds": spread}


def get_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = new_parser("python3 -m espnet_smoe.inference.decode", __doc__)
    parser.set_defaults(overrides=None)
    add = parser.add_argument
    add("--train-config", required=True, help="config.yaml of the experiment")
    add("--model-file", required=True, help="checkpoint")
    add("--data", required=True, nargs="+", help="data directories")
    add("--out", required=True, help="folder to write; may hold {decoding} and {set}")
    add("--config", nargs="+", help="decoding YAML files (default: the defaults)")
    add(
        "--chunk-size",
        type=int,
        nargs="+",
        help="of a U2++ model: encoder frames, 0 for the whole utterance (default: as "
        "in --config)",
    )
    add("--graph", help="folder of the decoding graph, for 'search: wfst'")
    add(
        "--task",
        choices=TASKS,
        help="of a model with one task, how to score: asr, WER and CER; words, CER of "
        "Mandarin in plain characters; units, SER of its syllables (default: the task)",
    )
    add("--nj", type=positive, default=1, help="processes (default: %(default)s)")
    add("--device", default="cpu", help="such as cuda (default: %(default)s)")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the command."""
    args, words = get_parser().parse_known_args(argv)
    args.overrides = read_overrides(words)
    for out, summary in decode(args).items():
        print(summary_line(out, summary))
