"""An archive that harms or fills a machine is refused before it is unpacked."""

import io
import os
import pickle
import stat
import struct
import tarfile
import zipfile
from argparse import Namespace

import numpy as np
import pytest
import torch
import yaml

from espnet_smoe.config import archive_limits
from espnet_smoe.config.archive_limits import check_archive, check_room
from espnet_smoe.inference.checkpoint import load_checkpoint, model_files
from espnet_smoe.input_files import check_statistics_file, read_checkpoint
from espnet_smoe.training.start import check_files

META = {
    "files": {"asr_model_file": "m.pth"},
    "yaml_files": {"asr_train_config": "c.yaml"},
}


@pytest.fixture(autouse=True)
def low_limit(monkeypatch):
    monkeypatch.setattr(archive_limits, "LARGEST_UNDOUBTED", 2**20)


def packed(path, members=(), meta=META):
    """A packed model, with members besides."""
    weights = io.BytesIO()
    torch.save(torch.nn.Linear(4, 3).state_dict(), weights)
    files = {
        "meta.yaml": yaml.safe_dump(meta),
        "c.yaml": "token_list: [a]\n",
        "m.pth": weights.getvalue(),
        **dict(members),
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in files.items():
            out.writestr(name, content)
    return path


def linked(path):
    info = zipfile.ZipInfo("link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    packed(path)
    with zipfile.ZipFile(path, "a") as out:
        out.writestr(info, "/etc/passwd")
    return path


def lying(path):
    """A member that unpacks to more than its headers say."""
    packed(path, {"big": bytes(2**23)})
    content, size = bytearray(path.read_bytes()), struct.pack("<I", 2**23)
    assert content.count(size) == 2
    path.write_bytes(bytes(content).replace(size, struct.pack("<I", 2**10)))
    return path


def laughs(levels=12):
    lines = ["token_list: [a]", "a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for n in range(1, levels):
        lines.append(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]")
    return "\n".join(lines)


HARMFUL = {
    "bomb": (lambda p: packed(p, {"big": bytes(2**23)}), "bytes unpack to 8,39"),
    "many": (lambda p: packed(p, {f"e{n}": "" for n in range(60)}), "over 50 files"),
    "parent": (lambda p: packed(p, {"a/../../x": "x"}), r"'a/../../x' in it would lie"),
    "absolute": (lambda p: packed(p, {"/etc/x": "x"}), "'/etc/x' in it would lie"),
    "drive": (lambda p: packed(p, {"C:\\x": "x"}), "in it would lie outside"),
    "link": (linked, "'link' in it is a link"),
    "size": (lying, "Bad CRC-32 for file 'big'"),
    "laughs": (lambda p: packed(p, {"c.yaml": laughs()}), "aliases .* of aliases"),
    "text": (lambda p: packed(p, {"c.yaml": b"#" * 2**26 + b"\n"}), "bytes unpack to"),
    "empty": (lambda p: p.write_bytes(b"PK\5\6" + bytes(18)), "not found meta.yaml"),
    "half": (lambda p: p.write_bytes(packed(p).read_bytes()[:400]), "could not be"),
    "outside": (
        lambda p: packed(p, meta=META | {"files": {"asr_model_file": "/etc/passwd"}}),
        "names /etc/passwd, which is not in it",
    ),
    "other": (
        lambda p: packed(p, meta=META | {"files": {"lm_file": "m.pth"}}),
        "no 'asr_model_file'",
    ),
}


@pytest.mark.parametrize("kind", HARMFUL)
def test_a_harmful_packed_model_is_one_line(tmp_path, monkeypatch, kind):
    make, said = HARMFUL[kind]
    monkeypatch.setattr(archive_limits, "MOST_MEMBERS", 50)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    make(tmp_path / "m.zip")
    with pytest.raises(ValueError, match=f"m.zip: .*{said}") as refusal:
        with model_files(tmp_path / "m.zip"):
            pass
    assert "\n" not in str(refusal.value)
    assert not list((tmp_path / "scratch").iterdir())


def test_a_sound_packed_model_is_taken_with_repeated_yaml(tmp_path):
    path = packed(tmp_path / "m.zip", {"c.yaml": laughs(3), "exp/a.txt": "x"})
    with model_files(path) as (config, weights):
        assert yaml.safe_load(config.read_text())["token_list"] == ["a"]
        load_checkpoint(torch.nn.Linear(4, 3), weights)


def test_weights_cut_in_half_inside_a_packed_model_are_named(tmp_path):
    weights = io.BytesIO()
    torch.save(torch.nn.Linear(40, 30).state_dict(), weights)
    half = weights.getvalue()[: len(weights.getvalue()) // 2]
    path = packed(tmp_path / "m.zip", {"m.pth": half})
    with pytest.raises(ValueError, match="m.zip!m.pth: not a checkpoint.*damaged"):
        with model_files(path) as files:
            load_checkpoint(torch.nn.Linear(40, 30), files[1])


def test_a_tar_file_that_unpacks_to_too_much_is_refused(tmp_path):
    path = tmp_path / "m.tgz"
    with tarfile.open(path, "w:gz") as out:
        info = tarfile.TarInfo("big")
        info.size = 2**23
        out.addfile(info, io.BytesIO(bytes(2**23)))
    with pytest.raises(ValueError, match="unpack to 8,388,608"):
        check_archive(path)


def test_statistics_and_weights_that_unpack_to_too_much_are_refused(tmp_path):
    np.savez_compressed(tmp_path / "s.npz", count=1, sum=np.zeros(2**20), sum_square=1)
    with pytest.raises(ValueError, match="s.npz is damaged .its .* unpack to .*cure"):
        check_statistics_file(tmp_path / "s.npz", "the cure")
    torch.save({"w": torch.zeros(1)}, tmp_path / "w.pth")
    with zipfile.ZipFile(tmp_path / "w.pth", "a", zipfile.ZIP_DEFLATED) as out:
        out.writestr("w/data/1", bytes(2**23))
    with pytest.raises(ValueError, match="w.pth: not a checkpoint.* unpack to .*cure"):
        read_checkpoint(tmp_path / "w.pth", "the cure")


def test_weights_that_repeat_one_number_without_end_are_refused(tmp_path):
    torch.save({"w": torch.zeros(1).expand(10**12)}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match="would take 4,000,000,000,000 bytes; the cur"):
        read_checkpoint(tmp_path / "w.pth", "the cure")


def test_an_archive_too_large_for_the_disk_is_refused():
    with pytest.raises(ValueError, match="make room, or set TMPDIR"):
        check_room(2**60)
    check_room(1)


class Touch:
    """What a pickle runs where it is trusted."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def read_packed(folder, weights):
    packed(folder / "m.zip", {"m.pth": weights.read_bytes()})
    with model_files(folder / "m.zip") as files:
        load_checkpoint(torch.nn.Linear(4, 3), files[1])


def resume(folder, checkpoint):
    checkpoint.rename(folder / "checkpoint.pth")
    options = {"output_dir": folder, "resume": True, "collect_stats": False}
    check_files(Namespace(**options, init_param=()))


def start(folder, weights):
    options = {"output_dir": folder, "resume": False, "init_param": [f"{weights}:::x"]}
    check_files(Namespace(**options))


@pytest.mark.parametrize("kind", ["legacy", "zip"])
@pytest.mark.parametrize("read", [read_packed, resume, start], ids=lambda f: f.__name__)
def test_code_in_a_pickle_does_not_run(tmp_path, read, kind):
    ran, path = tmp_path / "ran", tmp_path / "w.pth"
    new = {"_use_new_zipfile_serialization": kind == "zip"}
    torch.save({"model": {"w": torch.ones(2)}, "x": Touch(ran)}, path, **new)
    with pytest.raises(ValueError, match="no file of tensors alone.*; "):
        read(tmp_path, path)
    assert not ran.exists()
    pickle.loads(pickle.dumps(Touch(ran)))
    assert ran.exists()  # it would have
