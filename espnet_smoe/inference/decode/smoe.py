"""Decode a data directory (stage 12).

    python3 -m espnet_smoe.inference.decode.smoe --train-config exp/x/config.yaml \\
        --model-file exp/x/valid.acc.ave.pth --data dump/raw/test \\
        --out exp/x/decode_default/test --config conf/decode.yaml --nj 2

Writes ``hyp.<task>`` of each task (``hyp.asr``, ``hyp.st``) and ``decode.json``:
``task_table``, which says what they are and what scores them; ``audio_seconds``;
``compute_seconds``, the time that all processes together spent on encoding and
searching; ``rtf``, compute seconds a second of audio, thus of one process with one
thread; ``wall_seconds`` from start to end; beam size and the other options. A run that
was ended goes on where it was. ``details.<task>.jsonl`` has the confidence of each text
and, with ``nbest`` over 1, its rivals.
"""

import argparse
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from espnet_smoe.command import run_command
from espnet_smoe.config.options import make, options_of
from espnet_smoe.config.typed import Count, Finite, Rate
from espnet_smoe.config.yaml_file import read_yaml
from espnet_smoe.data.task_table import as_plain, load_task_table
from espnet_smoe.fingerprints import fingerprint_file
from espnet_smoe.inference.audio import bandwidth_of
from espnet_smoe.inference.decode.journal import Journal
from espnet_smoe.inference.decode.parallel import (
    Share,
    described,
    read_utterance,
    run_jobs,
    utterances_of,
    write_results,
)
from espnet_smoe.inference.decode.provenance import decoding_inputs
from espnet_smoe.inference.long_audio import decode_long
from espnet_smoe.inference.result import join_results
from espnet_smoe.inference.speech_to_text import AUTO, SpeechToText

GROUP = 8  # batches read together: enough to find utterances of like length


@options_of("")
@dataclass(frozen=True)
class DecodeOptions:
    """What ``conf/decode.yaml`` may hold.

    Attributes:
        beam_size: Hypotheses kept.
        ctc_weight: Weight of CTC scores in the task that has a CTC head.
        maxlenratio: Longest output over encoder frames; 0 detects the end.
        minlenratio: Shortest output over encoder frames.
        batch_size: Utterances decoded together.
        tasks: Names; None for all that the model knows.
        bandwidth: For utterances without a line in ``utt2bandwidth``.
        nbest: Hypotheses in ``nbest.<task>``, at most the beam size; 1 writes none.
        detect_speech: Give an utterance in which nobody speaks an empty text.
    """

    beam_size: Count = 5
    ctc_weight: Rate = 0.0
    maxlenratio: Finite = 0.0
    minlenratio: Finite = 0.0
    batch_size: Count = 8
    tasks: list[str] | None = None
    bandwidth: str = AUTO
    nbest: Count = 1
    detect_speech: bool = True

    @classmethod
    def read(cls, path: str | None) -> "DecodeOptions":
        """Read a YAML file; the defaults where there is none.

        Raises:
            ValueError: The file is missing, a key unknown or a value impossible.
        """
        if path is None:
            return cls()
        return make(cls, read_yaml(path, empty=True), str(path))


@dataclass(frozen=True)
class _Job:
    """The utterances of one process: (name, audio file, bandwidth)."""

    train_config: str
    model_file: str
    device: str
    options: DecodeOptions
    utterances: list[tuple[str, str, str]]
    journal: Journal


def decode(args: argparse.Namespace) -> dict:
    """Decode a data directory and write the results.

    Args:
        args: Of `get_parser`.

    Returns:
        The content of ``decode.json``.

    Raises:
        ValueError: Something is missing or an utterance cannot be decoded; names it.
    """
    options = DecodeOptions.read(args.config)
    utterances = utterances_of(Path(args.data), options.bandwidth)
    made_of = decoding_inputs(args.model_file, args.data)
    how = {**asdict(options), **made_of, "config": fingerprint_file(args.train_config)}
    journal = Journal.of(Path(args.out), how)
    to_do = journal.to_do(utterances)
    nj = max(1, min(args.nj, len(to_do)))
    model = args.train_config, args.model_file, args.device
    jobs = [_Job(*model, options, to_do[i::nj], journal) for i in range(nj)]
    jobs = jobs if to_do else []
    begun = time.perf_counter()
    for _ in run_jobs(_decode_share, jobs):
        pass
    more = {
        "nj": nj,
        "wall_seconds": round(time.perf_counter() - begun, 3),
        **asdict(options),
        **made_of,
        "task_table": as_plain(load_task_table(args.train_config)),
    }
    names = [name for name, _, _ in utterances]
    summary = write_results(Path(args.out), names, [journal.read()], more)
    journal.close()
    return summary


def _decode_share(job: _Job) -> None:
    import torch
    from tqdm import tqdm

    # one thread a process: `nj` says how many cores are used
    torch.set_num_threads(1)
    options = job.options
    speech_to_text = SpeechToText(
        job.train_config,
        job.model_file,
        device=job.device,
        beam_size=options.beam_size,
        ctc_weight=options.ctc_weight,
        maxlenratio=options.maxlenratio,
        minlenratio=options.minlenratio,
        batch_size=options.batch_size,
        nbest=options.nbest,
        detect_speech=options.detect_speech,
    )
    tasks = speech_to_text.check_tasks(options.tasks)
    group_size = GROUP * options.batch_size
    groups = range(0, len(job.utterances), group_size)
    for start in tqdm(groups, unit="group", mininterval=10):
        group = job.utterances[start : start + group_size]
        read = [read_utterance(name, path) for name, path, _ in group]
        waves = [wave for wave, _ in read]
        names = [name for name, _, _ in group]
        labels = _labels(speech_to_text, group, read)
        share = Share({task: {} for task in tasks})
        begun = time.perf_counter()
        results = decode_long(speech_to_text, waves, tasks, labels, names, True)
        share.seconds["compute"] += time.perf_counter() - begun
        share.add_audio(waves)
        for name, pieces in zip(names, results):
            for task in tasks:
                of_task = [piece.results[task] for piece in pieces]
                found = join_results(of_task, [piece.start for piece in pieces])
                share.texts[task][name] = found.text
                share.add_details(task, name, found, options.nbest)
        job.journal.add(share)


def _labels(
    speech_to_text: SpeechToText,
    group: list[tuple[str, str, str]],
    read: list,
) -> list[str]:
    """Bandwidths; ``auto`` is decided by the rate of the file, before resampling."""
    labels = []
    for (name, _, label), (wave, rate) in zip(group, read):
        try:
            speech_to_text.check_bandwidth(label)
        except ValueError as error:
            raise ValueError(f"utterance {name}: {error}") from error
        labels.append(bandwidth_of(wave, rate) if label == AUTO else label)
    return labels


def get_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = argparse.ArgumentParser(
        prog="python3 -m espnet_smoe.inference.decode.smoe",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--train-config", required=True, help="config.yaml of the experiment")
    add("--model-file", required=True, help="checkpoint")
    add("--data", required=True, help="data directory")
    add("--out", required=True, help="folder to write")
    add("--config", help="YAML file, see DecodeOptions (default: its defaults)")
    add("--nj", type=int, default=1, help="processes (default: %(default)s)")
    add("--device", default="cpu", help="such as cuda (default: %(default)s)")
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
