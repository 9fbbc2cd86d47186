"""Signals reach what a process has started."""

import multiprocessing
import os
import signal

import pytest

from espnet_smoe.processes import signals_passed_on

BOTH = (signal.SIGUSR1, signal.SIGTERM)


def work(ready, answer) -> None:
    """Tell which signals come."""
    signal.pthread_sigmask(signal.SIG_BLOCK, BOTH)
    ready.set()
    answer.put([signal.sigwait(BOTH) for _ in BOTH])


def test_signals_are_passed_on_and_sigterm_is_the_status_of_what_fails_then():
    fork = multiprocessing.get_context("fork")
    ready, answer = fork.Event(), fork.SimpleQueue()
    child = fork.Process(target=work, args=(ready, answer))
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        with signals_passed_on(*BOTH):
            child.start()
            ready.wait(30)
            os.kill(os.getpid(), signal.SIGUSR1)
            os.kill(os.getpid(), signal.SIGTERM)
            assert sorted(answer.get()) == sorted(BOTH)
            child.join()
            raise RuntimeError("a process ended with status 143")
    assert ended.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == before


def test_what_fails_without_a_signal_is_told():
    with pytest.raises(RuntimeError, match="its own"):
        with signals_passed_on(signal.SIGTERM):
            raise RuntimeError("its own")
