"""Restore the state of streams when a step raises: then fewer of them may do."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import replace

from espnet_smoe.inference.streaming.state import Stream


@contextmanager
def rollback_on_error(streams: Sequence[Stream]) -> Iterator[None]:
    """Where an error ends the block, leave the streams as they were before it.

    No audio may come to them within the block.

    Args:
        streams: Those that the block changes.
    """
    before = [_state(stream) for stream in streams]
    try:
        yield
    except BaseException:
        for stream, state in zip(streams, before):
            vars(stream).update(state)
        raise


def _state(stream: Stream) -> dict:
    """What a step changes, copied as deep as it changes it: no array is copied."""
    utterance = stream.utterance
    return vars(stream) | {
        "features": copy(stream.features),
        "utterance": replace(
            utterance,
            search=copy(utterance.search),  # its tree of prefixes only grows
            endpoint=copy(utterance.endpoint),
            encoded=list(utterance.encoded),
        ),
    }
