"""Files of Debian packages (.deb), without dpkg.

A .deb is an ar archive whose member ``data.tar.xz`` (gz, bz2 or plain) holds the files.
"""

import hashlib
import io
import lzma
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from espnet_smoe.data.data_dir import read_table

MAGIC = b"!<arch>\n"
HEADER, NAME_BYTES, SIZE_AT = 60, 16, slice(48, 58)
DATA = "data.tar"


def find_package(folder: Path, name: str, sums: Path) -> Path:
    """The package of that name in a folder, of the version that a table of sums names.

    Args:
        folder: Holds ``NAME_VERSION_all.deb``.
        name: Without the version.
        sums: Lines ``sha256 file`` as sha256sum writes them.

    Raises:
        ValueError: The table lacks it, it is missing, another version, or its sum is
            another.
    """
    listed = {file: digest for digest, file in read_table(sums, []).items()}
    file = next((file for file in listed if file.startswith(f"{name}_")), "")
    if not file:
        raise ValueError(f"{sums} has no sum of {name}_*.deb; add it with sha256sum")
    path = folder / file
    version = file.split("_")[1]
    get = f"(cd {folder} && apt-get download {name}={version})"
    if not path.is_file():
        other = sorted(folder.glob(f"{name}_*.deb"))
        found = f"{other[0]} is another version than" if other else "there is no"
        raise ValueError(f"{found} {path}. Get it: {get}, or from snapshot.debian.org")
    with open(path, "rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    if digest != listed[file]:
        raise ValueError(
            f"{path} is cut off or not the file of {sums}: its sha256 sum is "
            f"{digest[:8]}..., not {listed[file][:8]}.... Get it again: {get}"
        )
    return path


def read_package(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each regular file.

    Raises:
        ValueError: It is no Debian package, or is cut off.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(_data(path)), mode="r:*") as tar:
            for member in tar:
                if ".." in member.name.split("/"):
                    raise ValueError(
                        f"{path}: {member.name} would be written outside of the "
                        "folder. Download the package from Debian"
                    )
                if member.isreg() and (opened := tar.extractfile(member)):
                    yield member.name.removeprefix("./"), opened.read()
            tar.fileobj.read()  # to its end, where gzip has its sum
    # gzip and bz2 raise OSError for what they cannot read
    except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError) as error:
        reason = " ".join(str(error).split())  # tarfile's has lines
        raise ValueError(
            f"{path}: its {DATA} cannot be read ({reason}). Download the package again"
        ) from error


def _data(path: Path) -> bytes:
    with open(path, "rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise ValueError(f"{path} is no Debian package. Download it again")
        while header := file.read(HEADER):
            name = header[:NAME_BYTES].decode("ascii", "replace").rstrip(" /")
            size = header[SIZE_AT].strip()
            if len(header) < HEADER or not size.isdigit():
                break
            content = file.read(int(size))
            if len(content) < int(size):
                break
            if name.startswith(DATA):
                return content
            file.seek(int(size) % 2, 1)  # members begin at even places
    raise ValueError(f"{path} holds no whole {DATA}: it is cut off. Download it again")
