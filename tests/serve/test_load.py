"""The load client measures, misbehaves on purpose, and searches for the limit."""

import asyncio
import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet_smoe.serve.client import talk
from espnet_smoe.serve.load import (
    Load,
    Spread,
    get_parser,
    main,
    run_load,
    search,
)
from espnet_smoe.serve.misbehave import GARBAGE, MISBEHAVIORS
from espnet_smoe.serve.own_server import CpuClock, own_server
from espnet_smoe.serve.upload import CUT, UPLOAD_MISBEHAVIOURS, upload
from tests.serve.fake import FakeRecognizer, running

ROOT = Path(__file__).parents[2]
WAVES = [np.full(8000, level, dtype=np.float32) for level in (0.25, 0.5)]


def measure(recognizer=None, sessions=6, limits=None, **options):
    # a busy machine, too, lets all of them in
    limits = {"lag": math.inf} | (limits or {})

    async def run():
        async with running(recognizer, **limits) as (_, url):
            return await run_load(url, WAVES, sessions, spread=0.1, **options)

    return asyncio.run(run())


def test_a_session_in_real_time_knows_when_things_happened():
    async def run():
        async with running() as (_, url):
            return await talk(url, WAVES[0])

    result = asyncio.run(run())
    assert result.complete
    assert [e["kind"] for e in result.events] == ["partial"] * 5 + ["final"]
    assert result.finals[0]["text"] == "2000.000"
    assert 0.1 <= result.first - result.begun < result.done - result.begun
    assert 0.5 <= result.ended - result.begun <= result.done - result.begun


def test_a_run_tells_latencies_and_that_all_are_served():
    load = measure(FakeRecognizer(seconds=0.02))
    assert (load.sessions, load.complete, load.same) == (6, 6, True)
    assert (load.wordless, load.audio_seconds) == (0, 3.0)
    assert load.final.p50 >= 0.02
    assert load.keeps_up(5.0) and not load.keeps_up(0.001)
    assert load.cpu_seconds is None and load.per_core is None


def test_recordings_and_streams_share_a_server_that_some_misuse():
    ways = [*MISBEHAVIORS, *UPLOAD_MISBEHAVIOURS]
    load = measure(
        sessions=50,
        misbehaving=10,
        recordings=25,
        realtime=False,
        ways=ways,
        limits={"frames": math.inf, "requests": 50},
    )
    assert (load.sessions, load.complete, load.same) == (40, 40, True)
    assert (load.misbehaving, load.closed) == (10, 10)
    assert load.final and load.answer


@pytest.mark.parametrize("how", UPLOAD_MISBEHAVIOURS)
def test_a_wrong_upload_gets_no_text_and_a_reason(how):
    async def run():
        async with running(frames=math.inf) as (server, url):
            result = await upload(url, WAVES[0], how)
            good = await upload(url, WAVES[0])
            return result, good

    result, good = asyncio.run(run())
    assert good.complete and good.finals[0]["text"] == "asr 0.25"
    assert not result.complete
    assert bool(result.error) == (how != CUT)


def test_misbehaving_sessions_do_not_count_as_served():
    count = len(MISBEHAVIORS)
    load = measure(sessions=count + 4, misbehaving=count, realtime=False)
    assert (load.sessions, load.complete, load.same) == (4, 4, True)
    assert (load.misbehaving, load.closed) == (count, count)


@pytest.mark.parametrize("how", GARBAGE)
def test_garbage_is_refused(how):
    async def run():
        async with running() as (_, url):
            return await talk(url, WAVES[0], False, how)

    result = asyncio.run(run())
    assert not result.complete
    assert result.code in (1003, 1009)


def test_a_refused_session_is_told():
    load = measure(sessions=4, limits={"sessions": 2})
    assert load.complete < 4
    assert load.errors == ["all 2 sessions are taken; try again later"]
    assert not load.keeps_up(60)


def test_no_server_is_an_error_and_no_crash():
    result = asyncio.run(talk("ws://127.0.0.1:9", WAVES[0]))
    assert not result.complete
    assert "ConnectionRefusedError" in result.error


@pytest.mark.parametrize("most", [0, 1, 7, 37, 64])
def test_the_search_ends_near_the_limit(most):
    spread = Spread(1, 1, 1)
    fine = Load(*(1, 1, 0, True, 0, 0, True, 1, 1, None, spread, None, None, None, []))

    async def run(sessions):
        final = Spread(0.1, 0.1 if sessions <= most else 9.0, 9.0)
        return replace(fine, sessions=sessions, complete=sessions, final=final)

    tried = asyncio.run(search(run, start=4, bound=1.0))
    best = max((load.sessions for load in tried if load.keeps_up(1.0)), default=0)
    assert best <= most <= best * 1.1 + 1
    assert len(tried) < 14


def test_more_misbehaving_ones_than_sessions_are_refused():
    with pytest.raises(ValueError, match="3 of 2 sessions cannot misbehave"):
        measure(sessions=2, misbehaving=3)


def test_the_clock_counts_this_process():
    clock = CpuClock(os.getpid())
    before = clock()
    sum(i * i for i in range(3_000_000))
    assert 0 < clock() - before < 30


def test_a_server_or_a_model_must_be_named():
    with pytest.raises(SystemExit):
        get_parser().parse_args(["a.wav"])


@pytest.fixture
def process(tmp_path):
    """The command's own loop in a process, with a fake in place of the model."""
    script = tmp_path / "serve.py"
    script.write_text(
        "import asyncio\n"
        "from espnet_smoe.serve.command import serve\n"
        "from espnet_smoe.serve.server import Server\n"
        "from tests.serve.fake import FakeRecognizer, model\n"
        "asyncio.run(serve(Server([model(FakeRecognizer())]), '127.0.0.1', 0))\n"
    )
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},  # where `tests` is
    ) as process:
        process.url = process.stdout.readline().split()[-1]
        yield process
        process.terminate()


def test_a_signal_ends_the_server_well(process):
    async def run():
        talking = asyncio.create_task(talk(process.url, np.tile(WAVES[0], 8)))
        await asyncio.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        return await talking

    result = asyncio.run(run())
    assert result.code == 1001
    assert "the server stops" in result.error
    assert len(result.finals) == 1
    assert process.wait(10) == 0


def test_the_command_prints_and_writes_what_it_measured(process, tmp_path, capsys):
    for name, wave in zip("ab", WAVES):
        soundfile.write(tmp_path / f"{name}.wav", wave, 16000)
    files = [str(tmp_path / "a.wav"), str(tmp_path / "b.wav")]
    options = ["--sessions", "6", "--misbehave", "2", "--json", str(tmp_path / "out")]
    assert main([*files, "--url", process.url, "--fast", *options]) == 0
    out = capsys.readouterr().out
    assert "4 of 4 sessions got their finals; 2 of 2 misbehaving ones were" in out
    assert "s of audio in" in out
    (load,) = json.loads((tmp_path / "out").read_text())
    assert (load["complete"], load["closed"]) == (4, 2)
    assert 2.0 < load["audio_seconds"] < 3.0  # the others left in the middle
    assert set(load["final"]) == {"p50", "p95", "max"}


def test_a_search_goes_on_below_the_number_of_misbehaving_ones(process, tmp_path):
    soundfile.write(tmp_path / "a.wav", WAVES[0], 16000)
    command = [str(tmp_path / "a.wav"), "--url", process.url, "--fast", "--search"]
    options = ["--sessions", "10", "--misbehave", "8", "--json", str(tmp_path / "out")]
    assert main([*command, *options, "--bound", "0"]) == 0  # no server is so quick
    loads = json.loads((tmp_path / "out").read_text())
    assert [load["misbehaving"] for load in loads] == [8, 4, 1, 0]
    assert [load["complete"] for load in loads] == [2, 1, 1, 1]


def test_a_server_that_does_not_start_is_told(tmp_path):
    with pytest.raises(ValueError, match="the server did not start; try it alone"):
        with own_server(str(tmp_path), ["--max-backlog", "0"]):
            pass
