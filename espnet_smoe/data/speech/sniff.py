"""What a file, a pipe or a socket holds, by its first bytes and not by its name."""

import re
from dataclasses import dataclass

HEAD_BYTES = 4096  # that tell every kind
SURE_TEXT_BYTES = 64  # no 32 samples of speech look like that much text

FEWEST_CHARACTERS = 8  # different ones; fewer are an artificial tone


@dataclass(frozen=True)
class Kind:
    """What bytes are.

    Attributes:
        name: In words, with an article where it is no name of a format.
        audio: Whether sound may be in it.
    """

    name: str
    audio: bool = True


WAV = Kind("WAV")
MP3 = Kind("MP3")
SOUNDS = (
    (0, b"RIFX", "big-endian WAV"),
    (0, b"RF64", "RF64"),
    (0, b"BW64", "BW64"),
    (0, b"riff\x2e\x91\xcf\x11", "W64"),
    (0, b"fLaC", "FLAC"),
    (0, b"OggS", "Ogg"),
    (0, b"ID3", "MP3"),
    (0, b"FORM", "AIFF"),
    (0, b".snd", "AU"),
    (0, b"caff", "CAF"),
    (0, b"NIST_1A", "NIST SPHERE"),
    (0, b"Creative Voice File", "VOC"),
    (0, b".SoX", "SoX"),
    (0, b"XoS.", "SoX"),
    (0, b"2BIT", "AVR"),
    (4, b"ftyp", "MP4"),
    (4, b"moov", "QuickTime"),
    (4, b"mdat", "QuickTime"),
    (4, b"wide", "QuickTime"),
    (0, b"\x1a\x45\xdf\xa3", "WebM or Matroska"),
    (0, b"#!AMR", "AMR"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "WMA"),
    (0, b"FLV\x01", "FLV"),
    (0, b"\x00\x00\x01\xba", "MPEG video"),
    (0, b"MAC ", "Monkey's Audio"),
    (0, b"wvpk", "WavPack"),
    (0, b"TTA1", "TTA"),
    (0, b"MPCK", "Musepack"),
    (0, b"MP+", "Musepack"),
    (0, b"DSD ", "DSF"),
    (0, b".RMF", "RealMedia"),
    (0, b"ADIF", "AAC"),
    (0, b"\x0b\x77", "AC-3"),
    (0, b"\x7f\xfe\x80\x01", "DTS"),
)
OTHERS = (
    (0, b"\x1f\x8b\x08", "a gzip archive"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"PK\x05\x06", "an empty zip archive"),
    (0, b"BZh", "a bzip2 archive"),
    (0, b"\xfd7zXZ\x00", "an xz archive"),
    (0, b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"Rar!\x1a\x07", "a rar archive"),
    (257, b"ustar", "a tar archive"),
    (0, b"%PDF-", "a PDF document"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Office document"),
    (0, b"\x89PNG\r\n", "a PNG picture"),
    (0, b"\xff\xd8\xff\xe0", "a JPEG picture"),
    (0, b"\xff\xd8\xff\xe1", "a JPEG picture"),
    (0, b"\xff\xd8\xff\xdb", "a JPEG picture"),
    (0, b"GIF87a", "a GIF picture"),
    (0, b"GIF89a", "a GIF picture"),
    (0, b"MThd", "MIDI"),
    (0, b"\x7fELF", "a program"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"\x89HDF", "an HDF5 file"),
    (0, b"SQLite format 3\x00", "an SQLite database"),
    (0, b"PAR1", "a Parquet table"),
)
RIFFS = {
    b"WAVE": WAV,
    b"AVI ": Kind("AVI"),
    b"WEBP": Kind("a WebP picture", False),
    b"RMID": Kind("MIDI", False),
}
TEXTS = (
    (r"<!doctype html|<html|<head|<body", "an HTML page"),
    (r"<\?xml|<svg", "XML"),
    (r"version https://git-lfs", "a Git LFS pointer: run 'git lfs pull'"),
    (r"#EXTM3U|\[playlist\]", "a playlist"),
    (r"[{\[]", "JSON"),
    (r"", "text"),
)
KALDI_ARCHIVE = re.compile(rb"[!-~\x80-\xff]{1,255} \x00B")
# kbit/s by layer (III, II, I) and index, MPEG-1; then MPEG-2 and 2.5
BIT_RATES = (
    (
        (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
        (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
        (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    ),
    (
        (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
        (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
        (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    ),
)
MPEG_RATES = (44100, 48000, 32000)  # Hz, MPEG-1


def kind_of(head: bytes, complete: bool = False) -> Kind | None:
    """Tell what begins with these bytes.

    Args:
        head: The first bytes, `HEAD_BYTES` where there are so many.
        complete: Nothing follows: then a few bytes suffice for text.

    Returns:
        The kind; None where they say nothing, as raw samples do.

    Example:
        >>> kind_of(b"fLaC").name, kind_of(b"<html>", complete=True).name
        ('FLAC', 'an HTML page')
    """
    if head[:4] == b"RIFF":
        return RIFFS.get(head[8:12], WAV if len(head) < 12 else Kind("RIFF", False))
    for table, audio in ((SOUNDS, True), (OTHERS, False)):
        for offset, magic, name in table:
            if head.startswith(magic, offset):
                return Kind(name, audio)
    if _repeats(head, mpeg_frame_bytes):
        return MP3
    if _repeats(head, _adts_frame):
        return Kind("AAC")
    if len(head) > 376 and head[0] == head[188] == head[376] == 0x47:
        return Kind("MPEG-TS")
    if KALDI_ARCHIVE.match(head):
        return Kind("a Kaldi archive: name an entry of it, ARCHIVE:OFFSET", False)
    if complete or len(head) >= SURE_TEXT_BYTES:
        return _text(head)
    return None


def _text(head: bytes) -> Kind | None:
    encoding = "utf-8"
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding, head = "utf-16", head[: len(head) // 2 * 2]
    try:
        text = head.decode(encoding)
    except UnicodeDecodeError as error:
        cut_off = 0 < len(head) - 3 <= error.start  # within the last character
        if not cut_off:
            return None
        text = head[: error.start].decode(encoding)
    text = text.removeprefix("\ufeff").lstrip()
    if not all(c.isprintable() or c.isspace() or c == "\x1b" for c in text):
        return None
    if len(head) >= SURE_TEXT_BYTES and len(set(text)) < FEWEST_CHARACTERS:
        return None
    if not text:
        return Kind("white space", False) if head else None
    names = (name for start, name in TEXTS if re.match(start, text, re.IGNORECASE))
    return Kind(next(names), False)


def _repeats(head: bytes, frame_bytes) -> bool:
    """Whether frames of one kind follow each other, three where there is room."""
    position = 0
    first = None
    for _ in range(3):
        if position and position + 4 > len(head):
            return True
        header = head[position : position + 7]
        size = frame_bytes(header)
        if not size:
            return False
        fixed = header[1], header[2] & 0x0C  # version, layer and rate
        if first not in (None, fixed):
            return False
        first = fixed
        position += size
    return True


def mpeg_frame_bytes(header: bytes) -> int:
    """Bytes of a frame of MPEG audio; 0 where the header is none."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return 0
    version, layer = header[1] >> 3 & 3, header[1] >> 1 & 3
    index, rate = header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or not layer or rate == 3 or not 0 < index < 15:
        return 0
    kbits = BIT_RATES[version != 3][layer - 1][index - 1]
    hertz = MPEG_RATES[rate] >> {3: 0, 2: 1, 0: 2}[version]
    padding = header[2] >> 1 & 1
    if layer == 3:
        return (12000 * kbits // hertz + padding) * 4
    per_frame = 72000 if layer == 1 and version != 3 else 144000
    return per_frame * kbits // hertz + padding


def _adts_frame(header: bytes) -> int:
    """Bytes of a frame of AAC; 0 where the header is none."""
    if len(header) < 7 or header[0] != 0xFF or header[1] & 0xF6 != 0xF0:
        return 0
    if header[2] >> 2 & 15 > 12:  # no such sample rate
        return 0
    size = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
    return size if size >= 7 else 0
