"""How many sessions a server serves in time, and how soon it answers.

    python3 -m espnet_smoe.serve.load --model exp/u2pp --sessions 50 talk.wav call.wav
    python3 -m espnet_smoe.serve.load --model exp/u2pp --search talk.wav
    python3 -m espnet_smoe.serve.load --url ws://host:8765 --misbehave 10 talk.wav

With ``--model`` it starts a server on this machine and measures its processor time too.
Sessions take the files in turn and speak at the pace of real time. ``--recordings K``:
K of them send their file by HTTP instead, ``--spread`` seconds long one after another.
``--misbehave K``: K of all are cut off in the middle, send garbage, or flood the server
with frames that carry nothing (``--how`` names one way for all); the others must not
notice. The exit status is 1 where a session that behaved well did not get its finals.

At half, once and twice what a server bears (N sessions, as ``--search`` tells):

    for n in $((N / 2)) $N $((2 * N)); do
      python3 -m espnet_smoe.serve.load --model exp/u2pp --sessions $n talk.wav
    done

First partial: from the first audio sent to the first event. Final: from ``end`` sent to
``done``, thus all that the server was behind. Answer: from the last byte of a recording
to the end of its answer.
"""

import argparse
import asyncio
import json
import shlex
import sys
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from espnet_smoe.command import MODEL_HELP, new_parser, run_command
from espnet_smoe.inference.audio import SAMPLE_RATE, read_audio
from espnet_smoe.serve.client import Talk, talk
from espnet_smoe.serve.misbehave import MISBEHAVIORS
from espnet_smoe.serve.own_server import CpuClock, own_server
from espnet_smoe.serve.upload import UPLOAD_MISBEHAVIOURS, upload

FINE = 0.1  # of the number of sessions: how finely it is searched
LATE = 0.2  # seconds of a sender that is itself too busy


@dataclass(frozen=True)
class Spread:
    """Median, 95th percentile and maximum in seconds."""

    p50: float
    p95: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread | None":
        """Of one value or more; None of none.

        Example:
            >>> Spread.of([1.0, 2.0, 3.0])
            Spread(p50=2.0, p95=2.9, max=3.0)
        """
        if not values:
            return None
        p50, p95 = np.percentile(values, [50, 95])
        return cls(float(round(p50, 4)), float(round(p95, 4)), round(max(values), 4))


@dataclass(frozen=True)
class Load:
    """What one run has shown.

    Attributes:
        sessions: That behaved well.
        complete: Of them, those that got their finals and a good end.
        wordless: Of the complete ones, those without a final: nothing was said.
        same: Whether all sessions of a file got the same finals.
        misbehaving: Sessions that did not.
        closed: Of them, those that the server has closed, or that left by themselves.
        realtime: Whether they spoke at the pace of real time.
        audio_seconds: Sent by all.
        wall_seconds: From the first beginning to the last end.
        first_partial: Of the sessions that got an event.
        final: Of the complete ones.
        answer: Of the complete recordings.
        late: How late frames were sent, at most, a session.
        cpu_seconds: Of the server, where it is known.
        errors: Of sessions that behaved well, each once.
    """

    sessions: int
    complete: int
    wordless: int
    same: bool
    misbehaving: int
    closed: int
    realtime: bool
    audio_seconds: float
    wall_seconds: float
    first_partial: Spread | None
    final: Spread | None
    answer: Spread | None
    late: Spread | None
    cpu_seconds: float | None
    errors: list[str]

    @property
    def per_core(self) -> float | None:
        """Sessions at real time that one core could serve, by its time used."""
        if not self.cpu_seconds:
            return None
        return round(self.audio_seconds / self.cpu_seconds, 1)

    def keeps_up(self, bound: float) -> bool:
        """Whether all were served, 95 % of the finals within ``bound`` seconds."""
        told = [spread.p95 for spread in (self.final, self.answer) if spread]
        return self.complete == self.sessions and bool(told) and max(told) <= bound


async def run_load(
    url: str,
    waves: Sequence[np.ndarray],
    sessions: int,
    misbehaving: int = 0,
    realtime: bool = True,
    spread: float = 1.0,
    clock: CpuClock | None = None,
    ways: Sequence[str] = (),
    recordings: int = 0,
) -> Load:
    """Hold sessions at the same time.

    Args:
        url: Of the server.
        waves: ``(samples,)`` float32 at 16 kHz each, taken in turn.
        sessions: In all.
        misbehaving: So many of them.
        realtime: Pace; else as quick as the server takes it.
        spread: Seconds over which they begin, so that chunks do not fall together.
        clock: Of the server's processor time, if it runs here.
        ways: To misbehave, taken in turn; all there are when empty.
        recordings: So many send a recording by HTTP.

    Raises:
        ValueError: More misbehave, or send recordings, than there are sessions.
    """
    sent, how = _roles(sessions, misbehaving, recordings, ways)
    begun, used = time.perf_counter(), clock() if clock else 0.0

    async def one(number: int) -> Talk:
        await asyncio.sleep(number * spread / sessions)
        wave = waves[number % len(waves)]
        if number in sent:
            return await upload(url, wave, how.get(number))
        return await talk(url, wave, realtime, how.get(number))

    talks = await asyncio.gather(*map(one, range(sessions)))
    wall = time.perf_counter() - begun
    cpu = round(clock() - used, 2) if clock else None
    return _measured(talks, sent, how, len(waves), realtime, wall, cpu)


def _roles(
    sessions: int, misbehaving: int, recordings: int, ways: Sequence[str]
) -> tuple[set[int], dict[int, str]]:
    """Numbers of those that send a recording; number -> way of those that misbehave."""
    if not 0 <= misbehaving <= sessions:
        raise ValueError(f"{misbehaving} of {sessions} sessions cannot misbehave")
    if not 0 <= recordings <= sessions:
        raise ValueError(f"{recordings} of {sessions} sessions cannot be recordings")
    # the same of each kind, and the files in turn among both
    sent = {sessions - 1 - n * sessions // recordings for n in range(recordings)}
    bad = [n * sessions // misbehaving for n in range(misbehaving)]
    return sent, {
        n: _way(ways, UPLOAD_MISBEHAVIOURS if n in sent else MISBEHAVIORS, i)
        for i, n in enumerate(bad)
    }


def _measured(
    talks: Sequence[Talk],
    sent: Collection[int],
    how: Mapping[int, str],
    files: int,
    realtime: bool,
    wall: float,
    cpu: float | None,
) -> Load:
    """What `run_load` tells of the sessions."""
    good = {n: t for n, t in enumerate(talks) if n not in how}
    complete = {n: t for n, t in good.items() if t.complete}
    told = [t for n, t in good.items() if t.first and n not in sent]
    streamed = {n: t for n, t in complete.items() if n not in sent}
    answered = {n: t for n, t in complete.items() if n in sent}
    bad_ones = [talks[n] for n in how]
    return Load(
        sessions=len(good),
        complete=len(complete),
        wordless=sum(not t.finals for t in complete.values()),
        same=_same(streamed, files) and _same(answered, files),
        misbehaving=len(how),
        closed=sum(t.done is None and t.begun is not None for t in bad_ones),
        realtime=realtime,
        audio_seconds=round(sum(t.seconds for t in talks), 2),
        wall_seconds=round(wall, 2),
        first_partial=Spread.of([t.first - t.begun for t in told]),
        final=Spread.of([t.done - t.ended for t in streamed.values()]),
        answer=Spread.of([t.done - t.ended for t in answered.values()]),
        late=Spread.of([t.late for t in streamed.values()]) if realtime else None,
        cpu_seconds=cpu,
        errors=sorted({t.error for t in good.values() if t.error}),
    )


def _way(ways: Sequence[str], known: Sequence[str], number: int) -> str:
    """How the next one misbehaves: as it was asked for, where its kind can."""
    chosen = [way for way in ways if way in known] or known
    return chosen[number % len(chosen)]


def _same(talks: dict[int, Talk], files: int) -> bool:
    """Whether all that took the same file have got the same texts."""
    texts: dict[int, set[tuple[str, ...]]] = {}
    for number, one in talks.items():
        said = tuple(final["text"] for final in one.finals)
        texts.setdefault(number % files, set()).add(said)
    return all(len(of_file) == 1 for of_file in texts.values())


async def search(
    run: Callable[[int], Awaitable[Load]], start: int, bound: float
) -> list[Load]:
    """Look for the most sessions with which the server keeps up.

    Args:
        run: Runs so many.
        start: The first number to try; it is doubled while the server keeps up.
        bound: Seconds, see `Load.keeps_up`.

    Returns:
        All runs; the largest that keeps up is within a tenth of what is possible.
    """
    tried: list[Load] = []
    low, high = 0, None
    number = start
    while high is None or high - low > max(1, FINE * low):
        tried.append(await run(number))
        if tried[-1].keeps_up(bound):
            low = number
        else:
            high = number
        number = 2 * low if high is None else (low + high) // 2
        if number == 0:
            break
    return tried


# -- the command --------------------------------------------------------------------


def get_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = new_parser("python3 -m espnet_smoe.serve.load", __doc__)
    add = parser.add_argument
    add("files", nargs="+", help="recordings of any kind and rate, or .pcm")
    server = parser.add_mutually_exclusive_group(required=True)
    server.add_argument("--url", help="a server that runs, such as ws://host:8765")
    server.add_argument("--model", help=f"start one: {MODEL_HELP}")
    add("--server-options", default="", help="more of espnet-smoe serve, in quotes")
    add("--sessions", type=int, default=10, help="default: %(default)s")
    add(
        "--misbehave",
        type=int,
        default=0,
        metavar="K",
        help="so many of them; a search leaves one at least that behaves well",
    )
    add(
        "--recordings",
        type=int,
        default=0,
        metavar="K",
        help="so many send their file by HTTP",
    )
    ways = sorted({*MISBEHAVIORS, *UPLOAD_MISBEHAVIOURS})
    add("--how", choices=ways, help="they misbehave (default: in all ways)")
    add("--fast", action="store_true", help="not at the pace of real time")
    add("--seconds", type=float, help="use so much of each file")
    add(
        "--spread",
        type=float,
        default=1.0,
        help="seconds over which sessions begin (default: %(default)s)",
    )
    add("--search", action="store_true", help="more and more, until it is too much")
    add(
        "--bound",
        type=float,
        default=1.0,
        help="seconds for 95 %% of the finals to keep up (default: %(default)s)",
    )
    add("--json", type=Path, help="write the figures to this file")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command.

    Returns:
        0, or 1 where a session that behaved well did not get its finals.
    """
    args = get_parser().parse_args(argv)
    if args.sessions < 1:
        raise ValueError(f"--sessions must be at least 1, got {args.sessions}")
    waves = [read_audio(path)[0] for path in args.files]
    if args.seconds:
        waves = [wave[: round(args.seconds * SAMPLE_RATE)] for wave in waves]
    if args.url:
        loads = asyncio.run(_run(args, args.url, waves, None))
    else:
        with own_server(args.model, shlex.split(args.server_options)) as (url, clock):
            loads = asyncio.run(_run(args, url, waves, clock))
    if args.json:
        content = [{**asdict(load), "per_core": load.per_core} for load in loads]
        args.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if args.search:
        most = max((x.sessions for x in loads if x.keeps_up(args.bound)), default=0)
        print(f"most sessions with 95 % of the finals in {args.bound:g} s: {most}")
        return 0
    return 0 if loads[0].complete == loads[0].sessions else 1


async def _run(
    args: argparse.Namespace,
    url: str,
    waves: list[np.ndarray],
    clock: CpuClock | None,
) -> list[Load]:
    ways = [] if args.how is None else [args.how]

    async def run(sessions: int) -> Load:
        bad = args.misbehave
        if args.search:  # few sessions: one must be left to measure
            bad = min(bad, sessions - 1)
        sent = min(args.recordings, sessions)
        load = await run_load(
            url, waves, sessions, bad, not args.fast, args.spread, clock, ways, sent
        )
        _print(load, args.bound)
        return load

    if args.search:
        return await search(run, args.sessions, args.bound)
    return [await run(args.sessions)]


def _print(load: Load, bound: float) -> None:
    said = [f"{load.complete} of {load.sessions} sessions got their finals"]
    if load.wordless:
        said.append(f"{load.wordless} of them got no word")
    if not load.same:
        said.append("those of one file differ")
    if load.misbehaving:
        said.append(f"{load.closed} of {load.misbehaving} misbehaving ones were closed")
    print("; ".join(said))
    for name, spread in (
        ("first partial", load.first_partial),
        ("final after end", load.final),
        ("answer", load.answer),
        ("sender late", load.late),
    ):
        if spread:
            print(
                f"  {name:<16}p50 {spread.p50:7.3f} s   p95 {spread.p95:7.3f} s   "
                f"max {spread.max:7.3f} s"
            )
    if load.realtime:
        kept = "kept up" if load.keeps_up(bound) else "did not keep up"
        print(f"  the server {kept} (bound {bound:g} s)")
    else:
        rtf = load.wall_seconds / max(load.audio_seconds, 1e-9)
        print(
            f"  {load.audio_seconds} s of audio in {load.wall_seconds} s: RTF {rtf:.4f}"
        )
    if load.late and load.late.p95 > LATE:
        print("  this client was late itself: run it on another machine")
    if load.per_core:
        print(
            f"  {load.cpu_seconds} s of processor for {load.audio_seconds} s of audio: "
            f"{load.per_core} sessions a core at real time"
        )
    for error in load.errors:
        print(f"  error: {error}")


if __name__ == "__main__":
    sys.exit(run_command(main))
