"""Sound that soundfile does not read, converted by FFmpeg."""

import logging
import math
import os
import re
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from tempfile import NamedTemporaryFile, TemporaryFile
from typing import BinaryIO

from espnet_smoe.data.speech.riff import find_data
from espnet_smoe.data.speech.sniff import Kind

# what it says of a file that ends too early or is damaged, and still converts
CUT_OFF = re.compile(
    r"partial file|prematurely|truncat|end of file|decoding error|corrupt input packet",
    re.IGNORECASE,
)
CHAT = re.compile(r"\[(info|warning|verbose|debug)\]")
ERROR = re.compile(r"\[(error|fatal|panic)\] ")
DURATION = re.compile(r"Duration: (\d+):(\d+):([\d.]+)")
ESTIMATED = "Estimating duration"  # from the bit rate of the beginning
CODEC = re.compile(r"Stream #0:\d+.*?: Audio: (\w+)")
INPUT_STREAM = re.compile(r"^\[info\]\s+Stream #0:\d+", re.MULTILINE)
MOST, MOST_SECONDS = 0.05, 0.3  # of the length, and seconds, by which codecs differ
BYTE_RATE_AT = 28  # in the header of a WAV
MOST_SAID = 2**18  # bytes of the beginning and of the end of what FFmpeg says
# Formats of one file. Those that name others, such as DASH and ffconcat, let whoever
# made the file choose what is read of this machine and its network: DASH heeds no
# -protocol_whitelist.
FORMATS = (
    *("3dostr", "aac", "ac3", "ac4", "act", "adx", "aea", "aiff", "amr", "amrnb"),
    *("amrwb", "apac", "ape", "aptx", "aptx_hd", "asf", "asf_o", "ast", "au", "avi"),
    *("avr", "bonk", "caf", "codec2", "dhav", "dsf", "dss", "dts", "dtshd", "dv"),
    *("eac3", "flac", "flv", "g722", "g723_1", "g729", "gsm", "gxf", "iff", "ilbc"),
    *("ircam", "ivr", "loas", "matroska", "mlp", "mmf", "mov", "mp3", "mpc", "mpc8"),
    *("mpeg", "mpegts", "mxf", "nistsphere", "nsv", "nut", "nuv", "ogg", "oma", "osq"),
    *("paf", "pva", "pvf", "qcp", "qoa", "rka", "rm", "sbc", "shn", "sln", "smjpeg"),
    *("sol", "sox", "spdif", "tak", "truehd", "tta", "ty", "voc", "vqf", "w64", "wav"),
    *("wavarc", "wsd", "wtv", "wv", "wve", "xa", "xwma"),
)
_longest: ContextVar[float] = ContextVar("seconds that are converted", default=math.inf)


@contextmanager
def converting_at_most(seconds: float) -> Iterator[None]:
    """Within the block, convert little more of a file than so many seconds.

    A few bytes may hold hours of silence; what is longer is to be refused by whoever
    reads it.
    """
    before = _longest.set(seconds)
    try:
        yield
    finally:
        _longest.reset(before)


def convert(
    file: BinaryIO,
    name: str,
    path: bytes | None,
    kind: Kind | None,
    reason: str,
    strict: bool = True,
    trust_length: bool = True,
) -> BinaryIO:
    """Convert the first sound of a file to WAV.

    Args:
        file: Seekable.
        name: For error messages.
        path: Of the file, if it has one.
        kind: What it is, if its content tells.
        reason: Why soundfile does not read it.
        strict: What is cut off is an error, not a warning.
        trust_length: Whether the length that the file tells of has to be its own.

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
        return _run(ffmpeg, path, name, kind, reason, strict, trust_length)
    with NamedTemporaryFile() as named:  # some formats are read to and fro
        file.seek(0)
        shutil.copyfileobj(file, named, 2**20)
        named.flush()
        return _run(
            ffmpeg, os.fsencode(named.name), name, kind, reason, strict, trust_length
        )


@dataclass(frozen=True)
class _Decoded:
    """What FFmpeg made of a file.

    Attributes:
        wav: 32-bit samples; the length in the header is unknown.
        status: Of the process.
        errors: What it says of faults.
        codec: Of the sound.
        claimed: Seconds that the container claims; None where it does not.
        alone: There is nothing but the sound in it.
    """

    wav: BinaryIO
    status: int
    errors: list[str]
    codec: str
    claimed: float | None
    alone: bool

    @property
    def seconds(self) -> float:
        """How long the sound is."""
        data = find_data(self.wav)
        self.wav.seek(BYTE_RATE_AT)
        field = self.wav.read(4)
        self.wav.seek(0)
        rate = struct.unpack("<I", field)[0] if len(field) == 4 else 0
        return data.there / rate if data and rate else 0.0


def _decode(ffmpeg: str, path: bytes, *decoder: str) -> _Decoded:
    wav, log = TemporaryFile(), TemporaryFile()
    options = ["-nostdin", "-hide_banner", "-nostats"]
    options += ["-loglevel", "repeat+level+info"]
    # only this file: it must not open others, nor the network
    source = ["-protocol_whitelist", "file,pipe", "-format_whitelist"]
    source += [",".join(FORMATS), *decoder, "-i", b"file:" + path]
    if math.isfinite(longest := _longest.get()):
        source = ["-t", str(longest + 1), *source]
    target = ["-map", "0:a:0", "-vn", "-c:a", "pcm_f32le", "-f", "wav", "pipe:1"]
    done = subprocess.run(
        [ffmpeg, *options, *source, *target],
        stdin=subprocess.DEVNULL,
        stdout=wav,
        stderr=log,
        check=False,
    )
    stderr = _said(log)
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [ERROR.sub("", line) for line in lines if not CHAT.search(line)]
    codec = CODEC.search(stderr)
    found = None if ESTIMATED in stderr else DURATION.search(stderr)
    claimed = None
    if found:
        hours, minutes, seconds = map(float, found.groups())
        claimed = 3600 * hours + 60 * minutes + seconds or None
    alone = len(INPUT_STREAM.findall(stderr.partition("Stream mapping")[0])) == 1
    return _Decoded(
        wav, done.returncode, errors, codec[1] if codec else "", claimed, alone
    )


def _said(log: BinaryIO) -> str:
    """What FFmpeg says; of a damaged file, something of each of its packets."""
    with log:
        size = log.seek(0, os.SEEK_END)
        log.seek(0)
        head = log.read(MOST_SAID)
        log.seek(max(len(head), size - MOST_SAID))
        return (head + log.read()).decode(errors="replace")


def _run(
    ffmpeg: str,
    path: bytes,
    name: str,
    kind: Kind | None,
    reason: str,
    strict: bool,
    trust_length: bool,
) -> BinaryIO:
    done = _decode(ffmpeg, path)
    if done.codec == "speex" and _differs(done) > 0:
        # FFmpeg 7's own decoder fills each frame of wideband up with zeros
        done = _decode(ffmpeg, path, "-c:a", "libspeex")
    errors, wav = done.errors, done.wav
    last = errors[-1] if errors else ""
    if "matches no streams" in " ".join(errors):
        raise ValueError(
            f"{name} cannot be read as audio: it is {kind.name if kind else 'a file'} "
            "without sound. Give a recording."
        )
    if done.status != 0 or not os.fstat(wav.fileno()).st_size:
        crash = f"it crashed (signal {-done.status})"
        found = f"{kind.name + ': ' if kind else ''}{reason}; FFmpeg: "
        found += last or (crash if done.status < 0 else "no sound")
        fix = "Copy it again"
        if kind is None or done.status < 0:
            fix = "Convert it to WAV or FLAC"
        raise ValueError(f"{name} cannot be read as audio ({found}). {fix}.")
    fault = next((line for line in errors[::-1] if CUT_OFF.search(line)), "")
    if fault and kind is None:  # random bytes resemble some rare format
        raise ValueError(
            f"{name} cannot be read as audio ({reason}; FFmpeg: {fault}). Convert it "
            "to WAV or FLAC."
        )
    more = 0.0
    if trust_length and done.seconds <= _longest.get():
        more = _differs(done)
    if not fault and more:
        fault = (
            f"FFmpeg decodes {done.seconds:.1f} s, its header claims {done.claimed} s"
        )
    if fault and strict:
        raise ValueError(
            f"{name} is cut off or damaged ({fault}). Copy or download it again; to "
            "keep the rest: ffmpeg -i FILE NEW.wav."
        )
    if fault:
        rest = "all of it" if more > 0 else "only the rest"
        logging.warning(
            "%s is cut off or damaged (%s); %s is decoded", name, fault, rest
        )
    elif last:
        logging.warning("%s may be damaged: FFmpeg says '%s'", name, last)
    return wav


def _differs(done: _Decoded) -> float:
    """Seconds that are decoded beyond those claimed, or less; 0 where about equal."""
    if done.status or done.claimed is None:
        return 0.0
    more = done.seconds - done.claimed
    # a film may go on when its sound has ended
    if abs(more) <= max(MOST_SECONDS, MOST * done.claimed) or (
        more < 0 and not done.alone
    ):
        return 0.0
    return more
