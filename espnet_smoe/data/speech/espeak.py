"""Synthetic speech from espeak-ng, for recipes that bring no recordings.

``pip install "espnet-smoe[espeak]"`` brings the library and its voices; nothing of
the system is used.
"""

import ctypes
import functools
import os
import warnings

import numpy as np

from espnet_smoe.plugins import import_extra

_SYNCHRONOUS = 2  # espeak_AUDIO_OUTPUT: the call returns when all is spoken
_RATE, _PITCH = 1, 3  # espeak_PARAMETER
_UTF8 = 1  # espeakCHARS_UTF8
_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


def speak(
    text: str,
    voice: str = "ko",
    words_per_minute: int = 200,
    pitch: int = 50,
    seed: int = 0,
) -> tuple[np.ndarray, int]:
    """Speak one text; the same arguments give the same samples.

    espeak-ng keeps noise and glottal state from one text to the next, and is not
    thread-safe. So each text is spoken by a forked process of its own (about 5 ms), as
    the first one after espeak-ng was started: what is heard never depends on what was
    said before.

    Args:
        text: What to say, in the voice's language.
        voice: Language, with a variant after a plus: ``ko+f2``.
        words_per_minute: Speed, 80 to 450.
        pitch: 0 to 99, 50 is the voice's own.
        seed: Of the noise in the voice.

    Returns:
        (T,) float32 waveform within [-1, 1], and its rate in Hz.

    Raises:
        ImportError: espeakng-loader is not installed.
        ValueError: The voice or its language is unknown, or nothing was spoken.
    """
    if not text.strip():
        raise ValueError(f"cannot speak {text!r} with voice {voice!r}: it is empty")
    loader = import_extra("espeakng_loader", "espeak", "synthetic speech")
    library, data = loader.get_library_path(), loader.get_data_path()
    espeak, rate = _initialized(str(library), str(data))
    request = (text, voice, words_per_minute, pitch, seed)
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # Python warns of forking beside threads; the child runs only espeak-ng.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            with os.fdopen(writer, "wb") as answer:
                answer.write(_spoken(espeak, request))
            os._exit(0)
        finally:
            os._exit(1)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        samples = answer.read()
    _, status = os.waitpid(child, 0)
    if status or not samples:
        raise ValueError(
            f"cannot speak {text!r} with voice {voice!r}: no such voice, or no sound; "
            "languages are named as in `ko+f2`"
        )
    return np.frombuffer(samples, np.int16).astype(np.float32) / 32768.0, rate


@functools.cache
def _initialized(library: str, data: str) -> tuple[ctypes.CDLL, int]:
    """espeak-ng as it is before its first text, and its rate in Hz."""
    espeak = ctypes.CDLL(library)
    rate = espeak.espeak_Initialize(_SYNCHRONOUS, 0, data.encode(), 0)
    if rate <= 0:
        raise ValueError(f"espeak-ng does not start with its data in {data}")
    return espeak, rate


def _spoken(espeak: ctypes.CDLL, request: tuple[str, str, int, int, int]) -> bytes:
    """Samples of 16 bits; none where the voice is unknown."""
    text, voice, words_per_minute, pitch, seed = request
    pieces: list[bytes] = []

    @_CALLBACK
    def collect(samples, count, events):  # noqa: ANN001, ANN202 (a C signature)
        if count > 0:
            pieces.append(ctypes.string_at(samples, 2 * count))
        return 0

    espeak.espeak_SetSynthCallback(collect)
    if espeak.espeak_SetVoiceByName(voice.encode()) != 0:
        return b""
    espeak.espeak_SetParameter(_RATE, words_per_minute, 0)
    espeak.espeak_SetParameter(_PITCH, pitch, 0)
    espeak.espeak_ng_SetRandSeed(ctypes.c_long(seed))
    encoded = text.encode() + b"\0"
    espeak.espeak_Synth(encoded, len(encoded), 0, 0, 0, _UTF8, None, None)
    return b"".join(pieces)
