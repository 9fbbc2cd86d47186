"""The progress of a job, read from its log while it runs.

    python3 -m espnet_smoe.training.progress exp/train/train.log

`run_job` shows this of every job. On a terminal the last line is rewritten; elsewhere
each epoch is a line, and a job without epochs says every few minutes where it is. The
log's own time stamps tell the time left, so a training that was resumed, or one on
another machine, is judged by its own pace. Needs nothing but Python.
"""

import os
import re
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TextIO

from espnet_smoe.command import new_parser

POLL_SECONDS = 1.0
QUIET_SECONDS = 300.0  # between two lines about the same epoch, away from a terminal
MOST_RATES = 2  # error rates in an epoch's line, which is to fit 80 columns
STAMP = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),(\d{3}) \(")
BATCHES = re.compile(r"\[train\] Batch sampler: \w+\(N-batch=(\d+)")
STARTED = re.compile(r"INFO: (\d+)/(\d+)epoch started")
STEP = re.compile(r"INFO: (\d+)epoch:train:\d+-(\d+)batch: (.*)")
RESULTS = re.compile(r"INFO: (\d+)epoch results: \[train\] (.*?), \[valid\] (.*)")
# ESPnet leaves the comma between two values out at times: 'load=0.554loss=100.8'
VALUE = re.compile(r"([A-Za-z_]\w*)=(-?[\d.]+(?:e[-+]\d+)?|-?inf|nan)")
STATISTICS = re.compile(r"INFO: Niter: (\d+)")
BAR = re.compile(r"\d+%\|.*?\| *([\d.]+\w*/[\d.]+\w*) \[[^<]*<([\d:?]+)")  # of tqdm
ENDED = re.compile(r"# ended with status \d+")


@dataclass
class Progress:
    """The state of a job, as far as its log says.

    Attributes:
        epoch: That is running, from 1.
        epochs: In all; 0 before the first.
        batch: The last that the log names, of this epoch.
        batches: Of an epoch; 0 where the log does not say.
        loss: Of the last batches.
        work: How far a job without epochs is.
        ended: Whether the job has.
    """

    epoch: int = 0
    epochs: int = 0
    batch: int = 0
    batches: int = 0
    loss: str = ""
    work: str = ""
    ended: bool = False
    _first: int = 0
    _begun: float = 0.0
    _now: float = 0.0
    _last: bool = False  # the last epoch is done

    def read(self, line: str) -> str:
        """Take the next line of the log.

        Args:
            line: Without its end.

        Returns:
            A line to keep on the screen: the results of an epoch; else an empty one.
        """
        if stamp := STAMP.search(line):
            moment = datetime.fromisoformat(stamp[1]).timestamp()
            self._now = moment + int(stamp[2]) / 1000
        if match := STEP.search(line):
            self.batch = int(match[2])
            self.loss = dict(VALUE.findall(match[3])).get("loss", "")
        elif match := STARTED.search(line):
            self._start(int(match[1]), int(match[2]))
        elif match := RESULTS.search(line):
            return self._results(match[2], match[3])
        elif match := BATCHES.search(line):
            self.batches = self.batches or int(match[1])
        elif match := STATISTICS.search(line):
            self.work = f"{match[1]} batches"
        elif match := BAR.search(line):
            self.work = f"{match[1]}, {match[2]} left"
        elif ENDED.match(line):
            self.ended = True
        return ""

    @property
    def status(self) -> str:
        """One line about now; empty where nothing is known."""
        if not self.epochs or self._last:
            return self.work
        parts = [f"epoch {self.epoch}/{self.epochs}"]
        if self.batch:
            of = f"/{self.batches}" if self.batches else ""
            parts[0] += f", batch {self.batch}{of}"
        if self.loss:
            parts.append(f"loss {self.loss}")
        part = min(1.0, self.batch / self.batches) if self.batches else 0.0
        return "  ".join([*parts, *self._left(part)])

    def _start(self, epoch: int, epochs: int) -> None:
        if not self.epochs:
            self._first, self._begun = epoch, self._now
        self.epoch, self.epochs = epoch, epochs
        self.batch, self.loss = 0, ""

    def _results(self, train: str, valid: str) -> str:
        self._last = self.epoch == self.epochs
        train_values, valid_values = (
            dict(VALUE.findall(train)),
            dict(VALUE.findall(valid)),
        )
        parts = [f"epoch {self.epoch}/{self.epochs}"]
        if "loss" in train_values:
            parts.append(f"loss {_short(train_values['loss'])}")
        if "loss" in valid_values:
            parts.append(f"valid {_short(valid_values['loss'])}")
        rates = error_rates(valid_values)
        for name in rates:
            parts.append(f"{name} {100 * float(valid_values[name]):.1f} %")
        if not rates and "acc" in valid_values:
            parts.append(f"acc {100 * float(valid_values['acc']):.1f} %")
        return "  ".join([*parts, *self._left(1.0)])

    def _left(self, part: float) -> list[str]:
        """Time left at the pace so far, where it is known.

        Args:
            part: Of the epoch that is done.
        """
        done = self.epoch - self._first + part  # epochs of this run
        rest = self.epochs - self._first + 1 - done
        spent = self._now - self._begun
        if done <= 0 or spent <= 0:
            return []
        if rest <= 0:
            return [f"after {duration(spent)}"]
        return [f"{duration(spent * rest / done)} left"]


def error_rates(values: dict[str, str]) -> list[str]:
    """Names of the error rates to show: of words, else of characters or units.

    Args:
        values: Name -> value of a validation.

    Example:
        >>> error_rates({"loss": "2", "cer_asr": "0.2", "wer_asr": "0.4"})
        ['wer_asr']
    """
    rates = [name for name in values if re.match("[wcs]er(_|$)", name)]
    rates.sort(key=lambda name: "ctc" in name)  # the decoder's before the CTC head's
    for kind in ("wer", "cer", "ser"):
        of_kind = [name for name in rates if name.startswith(kind)]
        plain = [name for name in of_kind if "ctc" not in name]
        if of_kind:
            return (plain or of_kind)[:MOST_RATES]
    return []


def duration(seconds: float) -> str:
    """As short as an estimate is exact.

    Example:
        >>> duration(45), duration(200), duration(7500)
        ('45 s', '3 min', '2 h 05 min')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def _short(value: str) -> str:
    return f"{float(value):.4g}"


class Display:
    """Lines that stay and one that changes.

    Args:
        stream: To write to.
    """

    def __init__(self, stream: TextIO):
        self._stream, self._terminal = stream, stream.isatty()
        self._status, self._shown_at = "", time.monotonic()

    def keep(self, text: str) -> None:
        """Show a line for good."""
        self.clear()
        self._write(f"  {text}\n")

    def change(self, text: str) -> None:
        """Show where the job is."""
        if not text or text == self._status:
            return
        if self._terminal:
            width = shutil.get_terminal_size().columns - 1
            self._write("\r" + f"  {text}"[:width] + "\x1b[K")
            self._status = text
        elif time.monotonic() - self._shown_at >= QUIET_SECONDS:
            self._write(f"  {text}\n")
            self._status = text

    def clear(self) -> None:
        """Take the changing line away."""
        if self._terminal and self._status:
            self._write("\r\x1b[K")
        self._status = ""

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:  # the terminal is closed
            pass
        self._shown_at = time.monotonic()


class Watch:
    """Reads what is appended to the logs of a job.

    Args:
        logs: One of each process of the job; they need not exist yet.
        display: Where to show it.
        old: Whether a log that exists now is that of an earlier job, to be moved away.
    """

    def __init__(self, logs: Sequence[Path], display: Display, old: bool = True):
        self.progress = {log: Progress() for log in logs}
        self._display = display
        self._old = {log: _identity(log) if old else None for log in logs}
        self._read = dict.fromkeys(logs, 0)  # bytes

    @property
    def ended(self) -> bool:
        """Whether every process has."""
        return all(progress.ended for progress in self.progress.values())

    def look(self) -> None:
        """Show what has come since the last look."""
        for log, progress in self.progress.items():
            for line in self._new_lines(log):
                if message := progress.read(line):
                    self._display.keep(message)
        self._display.change(self._status())

    def _new_lines(self, log: Path) -> list[str]:
        try:
            identity = _identity(log)
            if identity is None or identity == self._old[log]:
                return []
            self._old[log] = None  # a file system may use its number again
            with open(log, "rb") as file:
                if os.fstat(file.fileno()).st_size < self._read[log]:
                    self._read[log] = 0  # begun anew
                file.seek(self._read[log])
                new = file.read()
        except OSError:  # moved away in this moment, or a disk that is slow to show it
            return []
        whole = new[: max(new.rfind(b"\n"), new.rfind(b"\r")) + 1]
        self._read[log] += len(whole)
        return whole.decode(errors="replace").replace("\r", "\n").split("\n")

    def _status(self) -> str:
        if len(self.progress) == 1:
            return next(iter(self.progress.values())).status
        ended = sum(progress.ended for progress in self.progress.values())
        return f"{ended} of {len(self.progress)} processes done"

    def run(self, stop: threading.Event) -> None:
        """Look again and again until stopped, and once more."""
        while not stop.wait(POLL_SECONDS):
            self.look()
        self.look()
        self._display.clear()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


@contextmanager
def shown(logs: Sequence[Path], stream: TextIO | None = None) -> Iterator[None]:
    """Show how far a job is that runs in this block.

    Args:
        logs: Of its processes; older ones under these names do not count.
        stream: To write to; standard error when None.
    """
    watch = Watch(logs, Display(stream or sys.stderr))
    stop = threading.Event()
    thread = threading.Thread(target=watch.run, args=(stop,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def main(argv: list[str] | None = None) -> None:
    """Follow a log that is there until its job has ended, or Ctrl-C."""
    parser = new_parser("python3 -m espnet_smoe.training.progress", __doc__)
    parser.add_argument("log", type=Path, help="such as exp/<asr_tag>/train.log")
    args = parser.parse_args(argv)
    if not args.log.is_file():
        raise ValueError(f"{args.log} does not exist")
    watch = Watch([args.log], Display(sys.stdout), old=False)
    pause = threading.Event()
    try:
        watch.look()
        while not watch.ended:
            pause.wait(POLL_SECONDS)
            watch.look()
    except KeyboardInterrupt:
        pass
    print()


if __name__ == "__main__":
    main()
