"""Audio that comes through a pipe."""

import io
import struct
import wave as wave_format

import numpy as np

UNKNOWN = 0xFFFFFFFF


class Pipe(io.BytesIO):
    """Standard input as another program's output: no seeking."""

    buffer = property(lambda self: self)

    def seek(self, *_):
        raise OSError("a pipe")

    tell = seek


def as_wav(samples, width=2, rate=16000, channels=1, length=UNKNOWN):
    """A WAV whose writer, on a pipe, could not know its length; None: it did."""
    scaled = np.repeat(samples[:, None], channels, axis=1) * 2 ** (8 * width - 1)
    whole = np.round(scaled).astype("<i4")
    if width == 1:
        data = (whole + 128).astype(np.uint8).tobytes()
    else:
        data = whole.view(np.uint8).reshape(-1, 4)[:, :width].tobytes()
    file = io.BytesIO()
    with wave_format.open(file, "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(width)
        out.setframerate(rate)
        out.writeframes(data)
    header = bytearray(file.getvalue())
    if length is not None:
        header[4:8] = struct.pack("<I", min(length + 36, UNKNOWN))
        header[40:44] = struct.pack("<I", length)
    return bytes(header)
