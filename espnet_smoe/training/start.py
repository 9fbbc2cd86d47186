"""Checks of a training before it writes anything.

A checkpoint goes on only with the configuration, tokens and data that it was made
from; statistics serve only the features, tokens and data that they were made of.

    python3 -m espnet_smoe.training.start -m espnet2.bin.asr_train ...

does so for the training that ``python3 -m espnet_smoe`` with the same words starts.
"""

import argparse
import functools
import importlib
import os
import re
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from espnet_smoe.command import run_command
from espnet_smoe.compat import AbsTask, UnsafeLoadRefusedError
from espnet_smoe.data.speech.shard import KIND as SHARD
from espnet_smoe.data.speech.shard import check_shards
from espnet_smoe.fingerprints import count_lines
from espnet_smoe.input_files import (
    SAFETENSORS,
    check_finite,
    check_statistics_file,
    check_tokens,
    read_checkpoint,
)
from espnet_smoe.processes import hold, is_first, signals_passed_on
from espnet_smoe.registry import register
from espnet_smoe.training import provenance
from espnet_smoe.training.args import enough_for_each_process, training_args
from espnet_smoe.training.step_checkpoint import NAME as STEP
from espnet_smoe.training.step_checkpoint import check_step_file

ALLOW = "ESPNET_SMOE_ALLOW_CHANGES"  # the driver's --allow_changes
# What the checkpoint brings along: other values would be written and never used.
RESTORED = ("optim", "scheduler", "exclude_weight_decay")


def check_before_training() -> None:
    """Let every ESPnet task check and record what it trains from; idempotent."""
    start = AbsTask.__dict__["main"].__func__
    if getattr(start, "checks", False):
        return

    @functools.wraps(start)
    def checked(
        cls: type[AbsTask],
        args: argparse.Namespace | None = None,
        cmd: list[str] | None = None,
    ) -> Any:
        args = training_args(cls, args, cmd)
        if args.output_dir is not None and not (args.print_config or args.dry_run):
            try:
                begin(cls, args)
            except ValueError as error:
                _say(f"error: {error}")
                sys.exit(1)
        starts_others = args.ngpu > 1 and args.multiprocessing_distributed
        signals = (signal.SIGTERM, signal.SIGUSR1) if starts_others else ()
        try:
            with signals_passed_on(*signals):
                return start(cls, args=args)
        except (
            UnsafeLoadRefusedError
        ) as error:  # whose advice is to load it all the same
            named = re.search(r"'(.+?)'", str(error))
            place = named[1] if named else "a checkpoint"
            _say(f"error: {place} is damaged; remove it, or take another in its place")
            sys.exit(1)

    checked.checks = True
    AbsTask.main = classmethod(checked)
    build = AbsTask.__dict__["build_sequence_iter_factory"].__func__
    AbsTask.build_sequence_iter_factory = classmethod(enough_for_each_process(build))


def begin(task: type[AbsTask], args: argparse.Namespace) -> None:
    """Check a training, or a collection of statistics, and leave its record.

    Args:
        task: Class of the task.
        args: Its options.

    Raises:
        ValueError: As `check`, or another process trains in the folder.
    """
    folder = Path(args.output_dir)
    check_files(args)
    record = provenance.training_record(args)
    if args.collect_stats:
        provenance.write_record(folder, record)
        return
    if is_first():
        hold(folder)
    history = check(task, args, record)
    old = provenance.read_record(folder)
    if trained(folder) and old is not None and not history:
        return
    provenance.write_record(folder, record | ({"history": history} if history else {}))


def check_files(args: argparse.Namespace) -> None:
    """Refuse damaged files that a training reads; of a checkpoint also NaN.

    Raises:
        ValueError: Names the file, what is wrong with it and the cure.
    """
    tokens = getattr(args, "token_list", None)
    if tokens not in (None, "none"):
        check_tokens(tokens, getattr(args, "bpemodel", None))
    stats = (getattr(args, "normalize_conf", None) or {}).get("stats_file")
    if stats:
        check_statistics_file(stats)
    for path, _, kind in getattr(args, "train_data_path_and_name_and_type", None) or ():
        if kind == SHARD:
            check_shards(Path(path))
    for start in args.init_param or ():
        path = str(start).split(":")[0]
        if Path(path).suffix == SAFETENSORS:
            raise ValueError(
                f"--init_param {path}: ESPnet begins with a file of torch.save; "
                f"'espnet-smoe pack {Path(path).parent} --out model.zip' has one in "
                "it, model.pth"
            )
        cure = "take another with --pretrained_model (--init_param)"
        check_finite(read_checkpoint(path, cure), path, cure)
    path = Path(args.output_dir) / "checkpoint.pth"
    if args.resume and not args.collect_stats and path.is_file():
        cure = (
            f"remove it and start anew, or go on from the weights of an epoch: another "
            f"--asr_tag and --pretrained_model {path.parent}/Nepoch.pth"
        )
        states = read_checkpoint(path, cure)
        if not isinstance(states.get("model"), dict):
            raise ValueError(f"{path}: not a checkpoint of a training; {cure}")
        check_finite(states["model"], path, cure)
    if args.resume and not args.collect_stats:
        check_step_file(path.with_name(STEP))


def trained(folder: Path) -> bool:
    """Whether a folder holds a model or a checkpoint."""
    checkpoints = (folder / name for name in ("checkpoint.pth", STEP))
    return any(folder.glob("*epoch.pth")) or any(path.exists() for path in checkpoints)


def check(
    task: type[AbsTask], args: argparse.Namespace, record: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Hold a training against its statistics and its checkpoint; writes nothing.

    Args:
        task: Class of the task.
        args: Its options.
        record: Of the options, see `provenance.training_record`.

    Returns:
        The changes since the checkpoint was begun, the newest last.

    Raises:
        ValueError: The statistics or the checkpoint were made from something else.
    """
    check_statistics(args, record)
    folder = Path(args.output_dir)
    if not trained(folder):
        return []
    old = provenance.read_record(folder)
    config = folder / "config.yaml"
    if old is None:
        _say(f"{folder} has no {provenance.RECORD}: its data are taken for these")
        if not config.is_file():
            return []
        old = provenance.config_record(config)
    changes = [
        difference
        for part in ("config", "tokens", "data")
        for difference in provenance.differences(old, record, part)
    ]
    if changes:
        _refuse_or_allow(task, args, old, changes)
    newer = provenance.differences(old, record, "code")
    if newer:
        _say(f"{folder} was begun with other code:\n{provenance.listed(newer)}")
    _tell_how_far(folder, args.max_epoch)
    history = list(old.get("history", []))
    if changes or newer or old["data"] is None:
        changed = [str(difference) for difference in [*changes, *newer]]
        history.append({"date": record["date"], "changes": changed})
    return history if len(history) > len(old.get("history", [])) else []


def _refuse_or_allow(
    task: type[AbsTask],
    args: argparse.Namespace,
    old: Mapping[str, Any],
    changes: list[provenance.Difference],
) -> None:
    folder = args.output_dir
    allowed = os.environ.get(ALLOW, "").lower() in ("1", "true", "yes")
    restored = [c for c in changes if c.key.startswith(RESTORED)]
    ways = [
        "train it apart: another --asr_tag (--output_dir)",
        f"start anew: rm -r {folder}",
    ]
    if restored:
        ways.append(
            "go on from its weights alone: another --asr_tag and --pretrained_model "
            f"{folder}/MODEL.pth (--init_param); its checkpoint would bring optimizer "
            "and scheduler back"
        )
    else:
        ways.append(f"go on from its checkpoint: --allow_changes true ({ALLOW}=true)")
    if allowed and not restored:
        try:
            _check_shapes(task, args)
        except ValueError as error:
            raise ValueError(
                f"{folder} cannot go on with these changes; nothing was written\n"
                f"{provenance.listed(changes)}\n  {error}\n  * {ways[0]}"
            ) from None
        _say(f"{folder} goes on with changes:\n{provenance.listed(changes)}")
        return
    place = old.get("folder")
    moved = f" in {place}" if place not in (None, os.getcwd()) else ""
    raise ValueError(
        f"{folder} was trained{moved} from something else; nothing was written\n"
        f"{provenance.listed(changes)}\n" + "\n".join(f"  * {way}" for way in ways)
    )


def _check_shapes(task: type[AbsTask], args: argparse.Namespace) -> None:
    """Refuse changes of size before ESPnet replaces config.yaml."""
    import copy

    import torch

    from espnet_smoe.inference.checkpoint import check_weights

    path = Path(args.output_dir) / "checkpoint.pth"
    if not path.is_file():
        return
    with torch.device("meta"):
        model = task.build_model(copy.deepcopy(args))
    states = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    check_weights(model, states["model"], path)


def check_statistics(args: argparse.Namespace, record: Mapping[str, Any]) -> None:
    """Hold the statistics that a training uses against its data, tokens and features.

    Raises:
        ValueError: They were made of something else, or their tables are cut short.
    """
    shapes = [Path(path) for path in args.train_shape_file]
    if not shapes or not shapes[0].is_file():
        return
    folder = shapes[0].parent.parent
    places = [folder, folder / "logdir" / "stats.1"]
    old = next((r for r in map(provenance.read_record, places) if r is not None), None)
    if old is None:
        _say(f"{folder} has no {provenance.RECORD}: taken for statistics of these data")
        return
    old, new = provenance.features(old), provenance.features(record)
    changes = [
        difference
        for part in ("config", "tokens", "data")
        for difference in provenance.differences(old, new, part)
    ]
    cure = "make them again: stage 10 (--stage 10)"
    if changes:
        raise ValueError(
            f"{folder} holds statistics of something else; {cure}\n"
            f"{provenance.listed(changes)}"
        )
    for path in [*shapes, *map(Path, args.valid_shape_file)]:
        known = old["data"].get(f"{path.parent.name}.{path.stem.split('_shape')[0]}")
        lines = known and int(known.split()[0])
        if lines and count_lines(path) != lines:
            raise ValueError(
                f"{path} has {count_lines(path)} lines, its data {lines}: "
                f"cut short; {cure}"
            )


def _tell_how_far(folder: Path, last: int) -> None:
    numbers = [
        int(match[1])
        for path in folder.glob("*epoch.pth")
        if (match := re.fullmatch(r"(\d+)epoch\.pth", path.name))
    ]
    if numbers and max(numbers) >= last:
        _say(
            f"{folder} is trained already: epoch {max(numbers)} of {last}; for more, "
            "raise --max_epoch (--asr_args '--max_epoch N')"
        )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(argv: list[str] | None = None) -> None:
    """Check the training whose words are given."""
    argv = sys.argv[1:] if argv is None else argv
    if len(argv) < 2 or argv[0] != "-m":
        raise ValueError("usage: python3 -m espnet_smoe.training.start -m MODULE ...")
    register()
    module = importlib.import_module(argv[1])
    tasks = [t for t in vars(module).values() if isinstance(t, type)]
    task = next(t for t in tasks if issubclass(t, AbsTask))
    args = training_args(task, cmd=argv[2:])
    try:
        check_files(args)
        check(task, args, provenance.training_record(args))
    except ValueError as error:  # of several lines, each of which is one to read
        _say(f"error: {error}")
        sys.exit(1)


if __name__ == "__main__":
    sys.exit(run_command(main))
