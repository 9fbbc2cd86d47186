"""Decode a data directory with a CTC model (stage 12 of ctc.sh).

    python3 -m espnet_smoe.inference.decode.ctc --train-config exp/x/config.yaml \\
        --model-file exp/x/valid.loss_ctc.ave.pth --data dump/raw/test \\
        --config conf/decode.yaml --graph data/lang/graph --out exp/x/decode/test

Writes ``hyp.units``, the modelling units; with a graph ``hyp.words``, too; and
``decode.json``: ``audio_seconds``; ``compute_seconds`` of all processes, of which
``search_seconds`` in the search; ``rtf``, compute seconds a second of audio;
``wall_seconds`` from start to end; the options.
"""

import argparse
import logging
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch

from espnet_smoe.command import run_command
from espnet_smoe.config.options import make, options_of
from espnet_smoe.config.typed import Above0, Count, OneOf
from espnet_smoe.config.yaml_file import read_yaml
from espnet_smoe.fingerprints import fingerprint_file
from espnet_smoe.inference.batch_encoder import BatchEncoder
from espnet_smoe.inference.checkpoint import load_model, read_config
from espnet_smoe.inference.decode.journal import Journal, by_size
from espnet_smoe.inference.decode.parallel import (
    Share,
    described,
    read_utterance,
    run_jobs,
    utterances_of,
    write_results,
)
from espnet_smoe.inference.decode.provenance import decoding_inputs
from espnet_smoe.inference.search.ctc_prefix import greedy, prefix_beam
from espnet_smoe.inference.search.options import check_beam
from espnet_smoe.inference.speech_activity import speech_spans

SEARCHES = ("wfst", "prefix_beam", "greedy")

Found = tuple[Sequence[str], Sequence[str], bool]  # units, words, whether complete
NOTHING: Found = ([], [], False)


@options_of("")
@dataclass(frozen=True)
class CtcDecodeOptions:
    """What a decoding configuration of ctc.sh may hold.

    Attributes:
        search: ``wfst`` (words, by the graph), ``prefix_beam`` or ``greedy`` (units).
        beam_size: Prefixes kept by ``prefix_beam``.
        beam: Costs over the best that ``wfst`` keeps.
        max_active: States that ``wfst`` keeps.
        lattice_beam: Costs over the best that the lattice of ``wfst`` keeps.
        acoustic_scale: Weight of the acoustic log-probabilities against the graph's.
        batch_size: Utterances encoded together.
        detect_speech: Give an utterance in which nobody speaks an empty text.
    """

    search: Annotated[str, OneOf(SEARCHES)] = "wfst"
    beam_size: Count = 8
    beam: Above0 = 15.0
    max_active: Count = 7000
    lattice_beam: Above0 = 6.0
    acoustic_scale: Above0 = 1.0
    batch_size: Count = 16
    detect_speech: bool = True

    @classmethod
    def read(cls, path: str | Path) -> "CtcDecodeOptions":
        """Read a YAML file.

        Raises:
            ValueError: The file is missing, a key unknown or a value impossible.
        """
        return make(cls, read_yaml(path, empty=True), str(path))


@dataclass(frozen=True)
class _Job:
    """The utterances of one process: (name, audio file, unused label)."""

    train_config: str
    model_file: str
    graph: str | None
    options: CtcDecodeOptions
    utterances: list[tuple[str, str, str]]
    journal: Journal


def decode(args: argparse.Namespace) -> dict:
    """Decode a data directory and write the results.

    Args:
        args: Of `get_parser`.

    Returns:
        The content of ``decode.json``.

    Raises:
        ValueError: Something is missing or an utterance cannot be read; names it.
    """
    options = CtcDecodeOptions.read(args.config)
    if options.search == "wfst" and not args.graph:
        raise ValueError(
            f"{args.config}: search: wfst needs --graph (stage 8 makes it)"
        )
    utterances = utterances_of(Path(args.data))
    made_of = decoding_inputs(args.model_file, args.data)
    how = {**asdict(options), **made_of, "config": fingerprint_file(args.train_config)}
    journal = Journal.of(Path(args.out), how | {"graph": args.graph})
    to_do = journal.to_do(utterances)
    nj = max(1, min(args.nj, len(to_do)))
    model = args.train_config, args.model_file, args.graph, options
    jobs = [_Job(*model, to_do[i::nj], journal) for i in range(nj if to_do else 0)]
    begun = time.perf_counter()
    for _ in run_jobs(_decode_share, jobs):
        pass
    more = {
        "nj": nj,
        "wall_seconds": round(time.perf_counter() - begun, 3),
        **asdict(options),
        **made_of,
    }
    names = [name for name, _, _ in utterances]
    summary = write_results(Path(args.out), names, [journal.read()], more)
    journal.close()
    return summary


def _decode_share(job: _Job) -> None:
    # one thread a process: `nj` says how many cores are used
    torch.set_num_threads(1)
    options = job.options
    config = read_config(job.train_config)
    encoder = BatchEncoder(load_model(config, job.model_file))
    blank = encoder.model.blank_id
    search = make_search(options, config["token_list"], blank, job.graph)
    utterances = by_size(job.utterances)
    for start in range(0, len(utterances), options.batch_size):
        batch = [
            (name, read_utterance(name, path)[0])
            for name, path, _ in utterances[start : start + options.batch_size]
        ]
        share = Share({"words": {}, "units": {}})
        begun = time.perf_counter()
        log_probs = encoder.log_probs(*encoder([wave for _, wave in batch]))
        encoded = time.perf_counter()
        silent = {name for name, wave in batch if not speech_spans(wave)}
        for (name, _), of_one in zip(batch, log_probs):
            units, words, whole = search(of_one)
            if options.detect_speech and name in silent:
                units, words, whole = [], [], True
            if not whole:
                logging.warning(
                    "%s: no path reaches the end of the graph; its hypothesis, of %d "
                    "words, may lack some; try a larger beam",
                    name,
                    len(words),
                )
            share.texts["units"][name] = " ".join(units)
            share.texts["words"][name] = " ".join(words)
        done = time.perf_counter()
        share.seconds.update(compute=done - begun, search=done - encoded)
        share.add_audio([wave for _, wave in batch])
        if options.search != "wfst":
            del share.texts["words"]
        job.journal.add(share)


def make_search(
    options: CtcDecodeOptions, tokens: Sequence[str], blank: int, graph: str | None
) -> Callable[[np.ndarray], Found]:
    """What turns log-probabilities ``(T, V)`` into units and words.

    Args:
        options: Which search, and how wide.
        tokens: V units.
        blank: Id of the blank.
        graph: Folder of the decoding graph, for ``wfst``.
    """
    check_beam(options.beam_size, tokens)
    if options.search == "wfst":
        from espnet_smoe.inference.wfst.decoder import WfstDecoder

        decoder = WfstDecoder(
            graph,
            tokens=tokens,
            beam=options.beam,
            max_active=options.max_active,
            lattice_beam=options.lattice_beam,
            acoustic_scale=options.acoustic_scale,
        )

        def by_graph(log_probs: np.ndarray) -> Found:
            best = decoder.decode(log_probs)
            return (best[0].units, best[0].words, best[0].complete) if best else NOTHING

        return by_graph
    if options.search == "greedy":
        return lambda log_probs: (
            [tokens[i] for i in greedy(log_probs, blank)],
            [],
            True,
        )

    def by_prefix(log_probs: np.ndarray) -> Found:
        best = prefix_beam(log_probs, blank, options.beam_size)[0]
        return [tokens[i] for i in best.tokens], [], True

    return by_prefix


def get_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = argparse.ArgumentParser(
        prog="python3 -m espnet_smoe.inference.decode.ctc",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--train-config", required=True, help="config.yaml of the experiment")
    add("--model-file", required=True, help="checkpoint")
    add("--data", required=True, help="data directory")
    add("--out", required=True, help="folder to write")
    add("--config", required=True, help="YAML file, see CtcDecodeOptions")
    add("--graph", help="folder of the decoding graph, for 'search: wfst'")
    add("--nj", type=int, default=1, help="processes (default: %(default)s)")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the command."""
    args = get_parser().parse_args(argv)
    try:
        summary = decode(args)
    except ValueError as error:
        raise SystemExit(f"error: {error}") from error
    print(described(args.out, summary))


if __name__ == "__main__":
    sys.exit(run_command(main))
