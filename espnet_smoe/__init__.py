"""Mixtures of experts for speech inside ESPnet."""

import os
import tempfile
from pathlib import Path

from espnet_smoe.version import __version__

__all__ = ["__version__", "register"]


def _cache_without_home() -> None:
    """Let numba, which ESPnet needs, keep its cache where a user has no home."""
    if not os.access(os.path.expanduser("~"), os.W_OK):
        folder = Path(tempfile.gettempdir()) / f"numba_cache_{os.getuid()}"
        os.environ.setdefault("NUMBA_CACHE_DIR", str(folder))


_cache_without_home()


def register() -> None:
    """Add our encoders, decoders and models to ESPnet's tasks; idempotent."""
    from espnet_smoe.registry import register as add_choices

    add_choices()
