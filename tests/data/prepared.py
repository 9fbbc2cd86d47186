"""A data directory that is changed, prepared and looked at."""

import numpy as np
import soundfile

from espnet_smoe.data import prepare
from espnet_smoe.data.data_dir import read_table, write_table

GOOD = ("a", "b", "c")


def tone(seconds=1.0, rate=16000, channels=1):
    wave = 0.3 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)
    return np.repeat(wave[:, None], channels, axis=1) if channels > 1 else wave


def change(source, name, **values):
    """Set lines of a table; None removes the line."""
    table = read_table(source / name, []) | values
    kept = {utt: v for utt, v in table.items() if v is not None}
    write_table(source / name, kept)


def run(source, *options):
    out = source.parent / "dump"
    prepare.main(["--in", str(source), "--out", str(out), "--nj", "1", *options])
    return out


def problems_of(source, *options):
    """Run on bad data; the rows of the report."""
    out = source.parent / "dump"
    words = ["--in", str(source), "--out", str(out), "--nj", "1", *options]
    assert prepare.main(words) == 1
    assert not (out / "wav.scp").exists()
    lines = (out / "problems.tsv").read_text(encoding="utf-8").splitlines()
    return [line.split("\t") for line in lines]


def wav(source, name, wave, rate=16000, **kwargs):
    path = source.parent / "wavs" / name
    soundfile.write(path, wave, rate, **kwargs)
    return str(path)
