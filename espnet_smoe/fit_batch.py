"""`espnet-smoe fit-batch FILE --stats DIR`: the largest batch that a device trains.

ESPnet's `batch_type: numel` fills a batch up to ``batch_bins`` numbers, padding
included. How many fit is tried by real steps (forward, backward, clipping, optimizer)
of the model and optimizer of a YAML file, on batches of the corpus's longest, shortest
and middle utterances: attention over long ones and texts of many short ones need
memory in other places.
"""

from __future__ import annotations

import argparse
import gc
import math
import multiprocessing
import os
import re
import resource
import sys
from array import array
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espnet_smoe.check_config import add_training, read_training, tokens_of
from espnet_smoe.command import one_line, run_command

if TYPE_CHECKING:  # torch takes its time, and --help has none
    import torch

Shapes = dict[str, tuple[int, ...]]  # of the fields of an utterance
UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
PRECISION = 1.05  # the next larger batch that was tried, at most, over that which fits
NO_MEMORY = re.compile(  # in messages of PyTorch and its libraries
    "memory(?! access)|bad_alloc|alloc_failed|could not create a primitive", re.I
)


def get_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = argparse.ArgumentParser(
        prog="espnet-smoe fit-batch",
        description="Find the largest batch_bins (batch_type: numel) that a device "
        "trains, by real steps.",
    )
    add_training(parser)
    parser.add_argument(
        "--stats",
        required=True,
        help="statistics of stage 10, for the lengths of the corpus",
    )
    parser.add_argument("--device", help="such as cuda:0; a GPU where there is one")
    parser.add_argument(
        "--memory",
        type=size,
        help="how much may be used, such as 20G; on a CPU by the whole process, and "
        "needed there",
    )
    return parser


def size(text: str) -> int:
    """Bytes, of such as ``20G`` (GiB), as the ``type`` of an option."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)(?:i?B)?", text.strip(), re.I)
    found = int(float(match[1]) * UNITS[match[2].upper()]) if match else 0
    if found < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no size such as 500M or 20G")
    return found


def main(argv: list[str] | None = None) -> None:
    """Print ``batch_bins``."""
    args = get_parser().parse_args(argv)
    shapes = shapes_of(Path(args.stats))
    import torch

    from espnet_smoe.inference.runtime.device import check_device

    found = "cuda" if torch.cuda.is_available() else "cpu"
    device = check_device(args.device or found)
    if device.type == "cpu" and args.memory is None:
        raise ValueError("--memory: say how much a CPU may use, such as 8G")
    tokens = tokens_of(args.token_list)
    steps = Steps(args.config, tokens, args.vocab_size, device, args.memory)
    bins = largest(shapes, steps.fit)
    print(f"batch_type: numel\nbatch_bins: {bins}")


def shapes_of(stats: Path) -> list[Shapes]:
    """The longest, the shortest and a middle utterance of a corpus.

    Args:
        stats: Folder with ``train/speech_shape`` and others, such as ``text_shape``.

    Raises:
        ValueError: There is no such file, or a line of it has no shape.
    """
    import numpy as np

    speech = stats / "train" / "speech_shape"
    if not speech.is_file() or not speech.stat().st_size:
        raise ValueError(f"{stats}: no train/speech_shape; make it by stage 10")
    files = sorted(speech.parent.glob("*_shape"))
    # of millions of utterances perhaps
    lengths = array("q", (shapes["speech"][0] for shapes in _read_shapes(files)))
    order = np.argsort(np.frombuffer(lengths, np.int64), kind="stable")
    picked = dict.fromkeys(map(int, order[[-1, 0, len(order) // 2]]))
    at = {n: shapes for n, shapes in enumerate(_read_shapes(files)) if n in picked}
    return [at[n] for n in picked]


def _read_shapes(files: list[Path]) -> Iterator[Shapes]:
    """The shapes of each utterance; the tables of stage 10 have them in one order."""
    with ExitStack() as stack:
        tables = [stack.enter_context(open(file, encoding="utf-8")) for file in files]
        for lines in zip_longest(*tables):
            names, shapes = set(), {}
            for file, line in zip(files, lines):
                try:
                    name, shape = line.split() if line is not None else ("", "0")
                    field = file.name.removesuffix("_shape")
                    shapes[field] = tuple(map(int, shape.split(",")))
                except ValueError as error:
                    raise ValueError(
                        f"{file}: not a table of shapes ({error})"
                    ) from error
                names.add(name)
            if len(names) > 1:
                raise ValueError(
                    f"{file.parent}: {max(names)} is not in all of its tables, or they "
                    "have it in another order; make them again by stage 10"
                )
            yield shapes


def numbers(shapes: Shapes) -> int:
    """Of an utterance, as ESPnet counts them for ``batch_bins``."""
    return sum(map(math.prod, shapes.values()))


def largest(utterances: list[Shapes], fit: Callable[[Shapes, int], bool]) -> int:
    """The most numbers of a batch, padding included, of which all batches fit.

    Args:
        utterances: Of which a batch may be.
        fit: Whether a step with so many like this does.

    Raises:
        ValueError: Not even one utterance does.
    """

    def all_fit(bins: int) -> bool:
        return all(fit(one, max(1, bins // numbers(one))) for one in utterances)

    low = max(map(numbers, utterances))
    if not all_fit(low):
        raise ValueError(
            "not even the longest utterance fits; take more memory, leave long ones "
            "out, or recompute layers (gradient_checkpoint_layers)"
        )
    high = 2 * low
    while all_fit(high):
        low, high = high, 2 * high
    while high > low * PRECISION:
        middle = (low + high) // 2
        low, high = (middle, high) if all_fit(middle) else (low, middle)
    return low


class Steps:
    """Steps of a training on noise and random texts.

    Args:
        config: YAML file.
        tokens: The token list; placeholders where it is None.
        vocab_size: How many of these.
        device: Where.
        memory: Bytes that may be used; all of a GPU where it is None.

    Raises:
        ValueError: The file is wrong, or not of a model of speech to text.
    """

    def __init__(
        self,
        config: str,
        tokens: list[str] | None,
        vocab_size: int,
        device: torch.device,
        memory: int | None = None,
    ):
        import torch

        from espnet_smoe.data.text.tokenizer import is_special
        from espnet_smoe.training.options import build

        task, args = read_training(config, tokens, vocab_size)
        if task.__name__ != "ASRTask":
            raise ValueError(f"{config}: of {task.__name__}; only ASR's is known here")
        args.expert_parallel, args.fsdp = 1, False  # one process, which has it all
        self.model = build(task, args).to(device).train()
        self.optimizers = task.build_optimizers(args, self.model)
        self.device, self.args, self.memory = device, args, memory
        if memory is not None and device.type == "cuda":
            whole = torch.cuda.get_device_properties(device).total_memory
            share = min(1.0, memory / whole)
            torch.cuda.set_per_process_memory_fraction(share, device)
        words = [i for i, t in enumerate(self.model.token_list) if not is_special(t)]
        self.words = words or [1]

    def fit(self, shapes: Shapes, count: int) -> bool:
        """Whether updates on so many utterances do; says so on standard error."""
        on_gpu = self.device.type == "cuda"
        fits = self._fit(shapes, count) if on_gpu else self._fit_apart(shapes, count)
        said = " x ".join(map(str, (count, *shapes["speech"])))
        print(f"{said}: {'fits' if fits else 'no'}", file=sys.stderr, flush=True)
        return fits

    def _fit(self, shapes: Shapes, count: int) -> bool:
        """Whether updates do.

        Raises:
            ValueError: They fail for another reason than memory.
        """
        import torch

        try:
            # twice at least: the first makes what the optimizer keeps
            for _ in range(max(2, len(getattr(self.model, "tasks", ())))):
                self._update(self._batch(shapes, count))
            fits = True
        except Exception as error:
            if not (isinstance(error, MemoryError) or NO_MEMORY.search(str(error))):
                what = one_line(f"{type(error).__name__}: {error}")
                raise ValueError(f"a step fails: {what}") from error
            fits = False
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        if self.device.type == "cuda":
            gc.collect()
            torch.cuda.empty_cache()
        return fits

    def _fit_apart(self, shapes: Shapes, count: int) -> bool:
        """In a process of its own: libraries may end one that has no memory."""
        import torch

        context = multiprocessing.get_context("fork")
        receiver, sender = context.Pipe(duplex=False)

        def work() -> None:
            torch.set_num_threads(1)  # threads do not outlive a fork
            limit = resource.getrlimit(resource.RLIMIT_DATA)[1]
            resource.setrlimit(resource.RLIMIT_DATA, (self.memory, limit))
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            try:
                sender.send(self._fit(shapes, count))
            except ValueError as error:
                sender.send(str(error))

        process = context.Process(target=work)
        process.start()
        sender.close()
        try:
            answer = receiver.recv()
        except EOFError:
            answer = False
        process.join()
        if isinstance(answer, str):
            raise ValueError(answer)
        return answer

    def _batch(self, shapes: Shapes, count: int) -> dict[str, Any]:
        import torch

        from espnet_smoe.moe import label_ids

        model, words = self.model, torch.tensor(self.words)
        batch: dict[str, Any] = {
            "speech": torch.randn(count, *shapes["speech"]),
            "speech_lengths": torch.full((count,), shapes["speech"][0]),
        }
        tasks = getattr(model, "tasks", {})
        for field in {task.target for task in tasks.values()} or {"text"}:
            length = max(1, shapes.get(field, shapes.get("text", (1,)))[0])
            drawn = torch.randint(len(words), (count, length))
            batch[field] = words[drawn]
            batch[f"{field}_lengths"] = torch.full((count,), length)
        labels = getattr(model, "encoder_labels", None)
        if labels is not None:
            ids = label_ids(model.token_list)
            known = torch.tensor([ids[token] for token in labels.tokens])
            batch[model.label_field] = known[torch.arange(count) % len(known)][:, None]
        return {name: value.to(self.device) for name, value in batch.items()}

    def _update(self, batch: dict[str, Any]) -> None:
        """As ESPnet's trainer makes it."""
        import torch

        amp = self.args.use_amp and self.device.type == "cuda"
        dtype = torch.bfloat16 if amp and torch.cuda.is_bf16_supported() else None
        with torch.autocast(self.device.type, dtype, enabled=amp):
            loss = self.model(**batch)[0]
        loss.mean().backward()
        parameters = self.model.parameters()
        torch.nn.utils.clip_grad_norm_(parameters, self.args.grad_clip)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()


if __name__ == "__main__":
    sys.exit(run_command(main))
