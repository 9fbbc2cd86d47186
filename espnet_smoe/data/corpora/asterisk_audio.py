"""Recordings of Asterisk's prompts: headerless GSM 6.10 and G.722 to WAV."""

import io
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

import numpy as np
import soundfile

from espnet_smoe.data.corpora.debian_package import read_package
from espnet_smoe.data.speech.codec import ffmpeg_path
from espnet_smoe.data.speech.container import Sound

CODECS = {"gsm": 8000, "g722": 16000}  # Hz
SOUNDS = "usr/share/asterisk/sounds/"  # behind it the voice, then the prompt
TOGETHER = 50  # files that FFmpeg decodes at once: it takes long to start
GAP = 0.1  # seconds between recordings that are put together


def decode_package(package: Path, codec: str, folder: Path) -> dict[str, Path]:
    """Decode the recordings of a package, unless it has been done.

    Args:
        package: Holds ``VOICE/PROMPT.CODEC`` under Asterisk's folder of sounds.
        codec: Of `CODECS`.
        folder: Receives a folder of the package's name.

    Returns:
        Prompt in small letters -> its WAV.

    Raises:
        ValueError: The package is damaged or holds no such recording, FFmpeg is missing
            or fails.
    """
    out = folder / package.stem
    if not out.is_dir():
        found = _recordings(package, codec)
        partial = folder / f"{package.stem}.part"
        shutil.rmtree(partial, ignore_errors=True)
        for name in found:
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
        decode = _decode_gsm if codec == "gsm" else _decode_g722
        decode({partial / f"{name}.wav": data for name, data in found.items()}, package)
        os.replace(partial, out)
    return {
        path.relative_to(out).with_suffix("").as_posix(): path.absolute()
        for path in sorted(out.rglob("*.wav"))
    }


def _recordings(package: Path, codec: str) -> dict[str, bytes]:
    """Prompt in small letters -> what is recorded."""
    found = {}
    for name, content in read_package(package):
        path = PurePosixPath(name)
        if name.startswith(SOUNDS) and path.suffix == f".{codec}" and content:
            _, *parts = PurePosixPath(name.removeprefix(SOUNDS)).with_suffix("").parts
            if parts:
                found["/".join(parts).lower()] = content
    if not found:
        raise ValueError(
            f"{package} holds no recording VOICE/PROMPT.{codec} under {SOUNDS}. Give "
            "the package of asterisk-core-sounds of that codec"
        )
    return found


def _decode_gsm(files: Mapping[Path, bytes], package: Path) -> None:
    how = {"format": "RAW", "subtype": "GSM610", "channels": 1}
    for wav, data in files.items():
        with Sound(
            io.BytesIO(data), str(package), samplerate=CODECS["gsm"], **how
        ) as sound:
            soundfile.write(wav, sound.read()[:, 0], sound.rate, "PCM_16")


def _decode_g722(files: Mapping[Path, bytes], package: Path) -> None:
    try:
        ffmpeg = ffmpeg_path()
    except ImportError as error:
        raise ValueError(
            f'{package}: G.722 needs FFmpeg: pip install "espnet-smoe[codec]", or '
            "leave it out with --codecs gsm"
        ) from error
    listed = list(files.items())
    with TemporaryDirectory() as scratch:
        for start in range(0, len(listed), TOGETHER):
            sources, targets = [], []
            for number, (wav, data) in enumerate(listed[start : start + TOGETHER]):
                source = Path(scratch) / f"{number}.g722"
                source.write_bytes(data)
                sources += ["-f", "g722", "-i", str(source)]
                targets += ["-map", f"{number}:a", "-c:a", "pcm_s16le", str(wav)]
            command = [ffmpeg, "-nostdin", "-loglevel", "error", *sources, *targets]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
                raise ValueError(
                    f"{package}: FFmpeg cannot decode its G.722 ({said}). Reinstall "
                    "imageio-ffmpeg"
                )


def put_together(recordings: Sequence[Path], out: Path) -> Path:
    """Write recordings of one rate one behind the other, unless it has been done."""
    if not out.is_file():
        parts, rate = [], 0
        for recording in recordings:
            samples, rate = soundfile.read(recording, dtype="int16")
            parts += [samples, np.zeros(round(GAP * rate), np.int16)]
        out.parent.mkdir(parents=True, exist_ok=True)
        partial = out.with_suffix(".part")
        soundfile.write(
            partial, np.concatenate(parts[:-1]), rate, "PCM_16", format="WAV"
        )
        os.replace(partial, out)
    return out.absolute()
