"""Sound that soundfile does not read, converted by FFmpeg."""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
from tempfile import NamedTemporaryFile, TemporaryFile
from typing import BinaryIO

from espnet_smoe.data.speech.sniff import Kind

# what it says of a file that ends too early or is damaged, and still converts
CUT_OFF = re.compile(
    r"partial file|prematurely|truncat|end of file|decoding error|corrupt input packet",
    re.IGNORECASE,
)


def convert(
    file: BinaryIO,
    name: str,
    path: bytes | None,
    kind: Kind | None,
    reason: str,
    strict: bool = True,
) -> BinaryIO:
    """Convert the first sound of a file to WAV.

    Args:
        file: Seekable.
        name: For error messages.
        path: Of the file, if it has one.
        kind: What it is, if its content tells.
        reason: Why soundfile does not read it.
        strict: What is cut off is an error, not a warning.

    Raises:
        ValueError: FFmpeg is not there or does not read it, or it holds no sound.
    """
    from espnet_smoe.data.speech.codec import ffmpeg_path

    what = f"{kind.name}, which" if kind else "of a kind that"
    try:
        ffmpeg = ffmpeg_path()
    except ImportError:
        raise ValueError(
            f"{name} cannot be read as audio ({reason}): it is {what} soundfile does "
            'not read. Install FFmpeg (pip install "espnet-smoe[codec]") or convert it '
            "to WAV or FLAC."
        ) from None
    if path is not None:
        return _run(ffmpeg, path, name, kind, reason, strict)
    with NamedTemporaryFile() as named:  # some formats are read to and fro
        file.seek(0)
        shutil.copyfileobj(file, named, 2**20)
        named.flush()
        return _run(ffmpeg, os.fsencode(named.name), name, kind, reason, strict)


def _run(
    ffmpeg: str,
    path: bytes,
    name: str,
    kind: Kind | None,
    reason: str,
    strict: bool,
) -> BinaryIO:
    wav = TemporaryFile()
    options = ["-nostdin", "-hide_banner", "-loglevel", "error"]
    # only this file: a playlist must not open others, nor the network
    source = ["-protocol_whitelist", "file,pipe", "-i", b"file:" + path]
    target = ["-map", "0:a:0", "-vn", "-c:a", "pcm_f32le", "-f", "wav", "pipe:1"]
    done = subprocess.run(
        [ffmpeg, *options, *source, *target],
        stdin=subprocess.DEVNULL,
        stdout=wav,
        stderr=subprocess.PIPE,
        check=False,
    )
    said = done.stderr.decode(errors="replace")
    if "matches no streams" in said:
        raise ValueError(
            f"{name} cannot be read as audio: it is {kind.name if kind else 'a file'} "
            "without sound. Give a recording."
        )
    if done.returncode != 0 or not os.fstat(wav.fileno()).st_size:
        lines = said.strip().splitlines()
        found = f"{kind.name + ': ' if kind else ''}{reason}; FFmpeg: "
        crash = f"it crashed (signal {-done.returncode})"
        found += lines[-1] if lines else crash if done.returncode < 0 else "no sound"
        cure = "Convert it to WAV or FLAC" if kind is None else "Copy it again"
        raise ValueError(f"{name} cannot be read as audio ({found}). {cure}.")
    if CUT_OFF.search(said):
        last = said.strip().splitlines()[-1]
        if kind is None:  # random bytes resemble some rare format
            raise ValueError(
                f"{name} cannot be read as audio ({reason}; FFmpeg: {last}). Convert "
                "it to WAV or FLAC."
            )
        if strict:
            raise ValueError(
                f"{name} is cut off or damaged ({last}). Copy or download it again; to "
                "keep the rest: ffmpeg -i FILE NEW.wav."
            )
        logging.warning(
            "%s is cut off or damaged (%s); only the rest is heard", name, last
        )
    elif said.strip():
        last = said.strip().splitlines()[-1]
        logging.warning("%s may be damaged: FFmpeg says '%s'", name, last)
    return wav
