"""Tiny packages like those of Asterisk's prompts."""

import gzip
import hashlib
import io
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

import soundfile

from espnet_smoe.data.speech.codec import ffmpeg_path
from tests.tiny import talk

VERSION = "1.6.1-1"
SECONDS = 1.0  # of a prompt of two words


def gsm(seconds: float) -> bytes:
    """What passes for speech, as Asterisk's files hold it."""
    file = io.BytesIO()
    how = {"format": "RAW", "subtype": "GSM610"}
    soundfile.write(file, talk(seconds, rate=8000) * 0.5, 8000, **how)
    return file.getvalue()


def g722(seconds: float) -> bytes:
    """The same in G.722."""
    wave = (talk(seconds, rate=16000) * 16000).astype("<i2").tobytes()
    source = ["-f", "s16le", "-ar", "16000", "-ac", "1", "-i", "pipe:0"]
    command = [ffmpeg_path(), "-loglevel", "error", *source, "-f", "g722", "pipe:1"]
    return subprocess.run(command, input=wave, capture_output=True, check=True).stdout


def write_deb(path: Path, files: Mapping[str, bytes], kind: str = "xz") -> Path:
    """An ar archive of three members, the last one a tar of the files."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=f"w:{kind}") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    members = {"debian-binary": b"2.0\n", "control.tar.xz": b"odd"}
    members[f"data.tar.{kind}".removesuffix(".")] = data.getvalue()
    with open(path, "wb") as out:
        out.write(b"!<arch>\n")
        for name, content in members.items():
            head = f"{name:16}{0:<12}{0:<6}{0:<6}{'100644':8}{len(content):<10}`\n"
            out.write(head.encode() + content + b"\n" * (len(content) % 2))
    return path


def write_prompts(
    folder: Path,
    language: str,
    texts: Mapping[str, str],
    seconds: Mapping[str, float] | None = None,
    lines: str = "",
) -> None:
    """The three packages of a language.

    Args:
        folder: Receives them.
        language: Such as ``es``.
        texts: By prompt.
        seconds: Of recordings; `SECONDS` where it has none.
        lines: That the file of texts has besides.
    """
    told = lines + "".join(f"{name}: {text}\n" for name, text in texts.items())
    about = f"usr/share/doc/asterisk-core-sounds-{language}"
    text_file = f"{about}/core-sounds-{language}.txt.gz"
    readme = {f"{about}/copyright": b"free", text_file: gzip.compress(told.encode())}
    write_deb(package(folder, language), readme)
    long = {name: (seconds or {}).get(name, SECONDS) for name in texts}
    for codec, encode in (("gsm", gsm), ("g722", g722)):
        encoded = {length: encode(length) for length in set(long.values())}
        voice = f"usr/share/asterisk/sounds/{language}_XX_f_Nobody"
        files = {f"{voice}/{n}.{codec}": encoded[at] for n, at in long.items()}
        write_deb(package(folder, language, codec), files)


def package(folder: Path, language: str, codec: str = "") -> Path:
    """Where a package lies."""
    parts = filter(None, ["asterisk-core-sounds", language, codec])
    return folder / f"{'-'.join(parts)}_{VERSION}_all.deb"


def write_sums(folder: Path, sums: Path) -> Path:
    """A table as sha256sum writes it."""
    lines = (
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(folder.glob("*.deb"))
    )
    sums.write_text("".join(lines))
    return sums
