"""Clients that no server likes, to try one with.

They leave in the middle of a word, send something else than the protocol says, or send
as many frames as the network takes, each of which carries nothing.
"""

import asyncio
import json
import os
import struct
from typing import TYPE_CHECKING

from espnet_smoe.serve.protocol import LARGEST_FRAME

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

END = json.dumps({"type": "end"})
GARBAGE: dict[str, str | bytes] = {
    "odd bytes": b"\0" * 321,
    "no JSON": "hello?",
    "unknown type": json.dumps({"type": "stop"}),
    "lone surrogate": '{"type": "start", "\\ud800": "\\udfff"}',
    "new line in a key": json.dumps({"type": "start", "a\nb\x1b[2J": 1}),
    "text as audio": END.encode(),
    "too large": b"\0" * (LARGEST_FRAME + 2),
    "far too large": b"\0" * (8 * LARGEST_FRAME),
}
CONTINUATION, BINARY, PING, FINAL = 0x0, 0x2, 0x9, 0x80


def raw_frame(opcode: int, payload: bytes = b"") -> bytes:
    """A frame as it is on the wire, masked with zeros.

    Args:
        opcode: With `FINAL` for the last of a message.
        payload: Up to 125 bytes.
    """
    return struct.pack("!BB4x", opcode, 0x80 | len(payload)) + payload


FLOODS: dict[str, bytes] = {
    "empty frames": raw_frame(BINARY | FINAL),
    "one-sample frames": raw_frame(BINARY | FINAL, b"\0\0"),
    "pings": raw_frame(PING | FINAL),
    "long pings": raw_frame(PING | FINAL, b"x" * 125),
    "fragments": raw_frame(CONTINUATION),
}
FIRST = {"fragments": raw_frame(BINARY)}  # of a message that is never whole
MISBEHAVIORS = ("cut off", *GARBAGE, "no frames", *FLOODS)
AT_ONCE = 1000  # frames of a flood in a write
MOST_WAITING = 2**16  # bytes that the network has not taken yet
FLOOD_FRAMES = 20_000  # of a flood that does not last for a time


async def misbehave(
    client: "ClientConnection", how: str, seconds: float | None = None
) -> None:
    """Do what no client should.

    Args:
        client: In the middle of a session.
        how: One of `MISBEHAVIORS`.
        seconds: That a flood lasts, before it is cut off; None for a short one.
    """
    if how == "cut off":
        client.transport.abort()
    elif how == "no frames":
        client.transport.write(b"\xff" + os.urandom(1000))
    elif how in FLOODS:
        client.transport.write(FIRST.get(how, b""))
        await _flood(client, FLOODS[how], seconds)
    else:
        await client.send(GARBAGE[how])


async def _flood(
    client: "ClientConnection", frame: bytes, seconds: float | None
) -> None:
    transport = client.transport
    clock = asyncio.get_running_loop().time
    until = clock() + (seconds or 0.0)
    written = 0
    while not transport.is_closing():
        if written >= FLOOD_FRAMES if seconds is None else clock() >= until:
            break
        if transport.get_write_buffer_size() <= MOST_WAITING:
            transport.write(frame * AT_ONCE)
            written += AT_ONCE
        await asyncio.sleep(0.001)
    transport.abort()
