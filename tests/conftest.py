"""What all tests need."""

import os
import signal
import sys


def pytest_configure() -> None:
    """Let signals reach the programs under test, and none of them the network.

    A shell without job control starts what it puts in the background with SIGINT
    ignored, and nohup with SIGHUP; every process below inherits that.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    os.environ["HF_HUB_OFFLINE"] = "1"
    # ESPnet's tasks read the command line when they are asked for their defaults, and
    # take pytest's --ignore for one of their own options.
    del sys.argv[1:]


def pytest_addoption(parser) -> None:
    """The device that ``tests/gpu`` compares with the CPU."""
    parser.addoption("--device", default="cpu", help="device for tests/gpu")
