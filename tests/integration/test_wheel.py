"""The package as pip users get it: built, installed apart, used outside of a checkout.

ESPnet and torch are not installed again: the new environment sees those of this one,
but neither this checkout nor its editable installation. Another Python that is there
gets an environment without them, for what needs the package alone.
"""

import email
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

import espnet_smoe
from espnet_smoe.inference import SpeechToText
from espnet_smoe.pack.folder import write_folder
from espnet_smoe.pack.zip_file import write_zip
from espnet_smoe.recipes import FETCHED, MADE
from tests.inference.hub_server import put_in_cache
from tests.tiny import save_experiment, talk, tiny_config

ROOT = Path(__file__).parents[2]
BUILD = """
import sys
from setuptools import build_meta
print(getattr(build_meta, sys.argv[1])(sys.argv[2]))
"""


def run(*command: str | Path, cwd: Path, **env: str) -> str:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=clean | env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


def build(kind: str, source: Path, out: Path) -> Path:
    said = run(sys.executable, "-c", BUILD, f"build_{kind}", out, cwd=source)
    return out / said.splitlines()[-1]


def _made(folder: str, names: list[str]) -> set[str]:
    """What a developer's recipes may have made; copying it would take long."""
    in_task = len(Path(folder).relative_to(ROOT).parts) == 3
    made = MADE | FETCHED if in_task and Path(folder).match("egs2/*/*") else set()
    return ({"__pycache__"} | made) & set(names)


@pytest.fixture(scope="module")
def sdist(tmp_path_factory) -> Path:
    """A source distribution of a checkout in which a recipe was run."""
    checkout, out = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("dist")
    for name in ("espnet_smoe", "egs2", "tests", "docs", "examples", ".ci"):
        shutil.copytree(ROOT / name, checkout / name, symlinks=True, ignore=_made)
    for path in ROOT.iterdir():
        if path.is_file() and path.name != ".git":
            shutil.copy(path, checkout / path.name)
    left = checkout / "egs2/mini_koen/smoe1/exp/train/model.pth"
    left.parent.mkdir(parents=True)
    left.write_text("a model")
    return build("sdist", checkout, out)


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory) -> Path:
    """The wheel that is built from the source distribution."""
    unpacked = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(unpacked, filter="data")
    [source] = unpacked.iterdir()
    return build("wheel", source, tmp_path_factory.mktemp("wheels"))


def test_the_source_distribution_is_whole(sdist):
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {
        "LICENSE",
        "CHANGELOG.md",
        "README.md",
        "Makefile",
        ".ci/venv",
        "setup.py",
    }
    wanted |= {"espnet_smoe/py.typed", "tests/test_recipes.py"}
    wanted |= {"egs2/mini_koen/smoe1/run.sh", "egs2/TEMPLATE/stages.sh"}
    wanted |= {"mkdocs.yml", "docs/index.md", "examples/stream.py"}
    assert wanted <= names
    assert not [name for name in names if "/exp/" in name or name.endswith(".pyc")]


def test_the_wheel_has_types_licence_recipes_and_no_experiments(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"espnet_smoe/py.typed", "espnet_smoe/CHANGELOG.md"} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert "espnet_smoe/egs2/mini_koen/smoe1/run.sh" in names
    page = {p.name for p in (ROOT / "espnet_smoe/serve/static").iterdir()}
    assert {f"espnet_smoe/serve/static/{name}" for name in page} <= names
    assert not [name for name in names if "/exp/" in name or name.startswith("tests")]


def test_the_metadata_is_true_and_has_no_link_that_leads_nowhere(wheel):
    archive = zipfile.ZipFile(wheel)
    [name] = [name for name in archive.namelist() if name.endswith("/METADATA")]
    meta = email.message_from_bytes(archive.read(name))
    assert meta["Version"] == espnet_smoe.__version__
    assert meta["License-Expression"] == "Apache-2.0"
    assert "Programming Language :: Python :: 3.13" in meta.get_all("Classifier")
    assert "](egs2/" not in meta.get_payload() and "](http" in meta.get_payload()
    needs = meta.get_all("Requires-Dist")
    every = [need.split(">")[0] for need in needs if 'extra == "all"' in need]
    assert "jieba" in every and not {"pytest", "ruff", "hypothesis"} & set(every)
    assert any(n.startswith("pytest") and 'extra == "dev"' in n for n in needs)


def install(wheel: Path, python: str | Path, place: Path, packages: str = "") -> Path:
    """A new environment with the wheel in it; returns its folder of commands."""
    run(python, "-m", "venv", "--without-pip", place, cwd=place.parent)
    inside = place / "bin/python"
    pip = (sys.executable, "-m", "pip", "--python", inside, "install", "--no-deps")
    run(*pip, "--no-index", "--disable-pip-version-check", wheel, cwd=place.parent)
    if packages:
        [site] = place.glob("lib/python*/site-packages")
        (site / "of_another.pth").write_text(f"{packages}\n")
    return place / "bin"


@pytest.fixture(scope="module")
def commands(wheel, tmp_path_factory) -> Path:
    """The commands of a new environment that sees ESPnet and torch of this one."""
    place = tmp_path_factory.mktemp("new") / "venv"
    return install(wheel, sys.executable, place, sysconfig.get_path("purelib"))


def test_the_installed_package_is_not_that_of_the_checkout(commands, tmp_path):
    code = "import espnet_smoe, espnet2; print(espnet_smoe.__file__)"
    where = run(commands / "python", "-c", code, cwd=tmp_path)
    assert where.startswith(str(commands.parent))
    said = run(commands / "espnet-smoe", "--version", cwd=tmp_path)
    assert said == f"espnet-smoe {espnet_smoe.__version__}\n"
    assert "transcribe" in run(commands / "espnet-smoe", "--help", cwd=tmp_path)


def test_a_copied_recipe_runs_with_the_installed_package(commands, tmp_path):
    run(commands / "espnet-smoe", "recipes", "copy", "mini_koen", "mine", cwd=tmp_path)
    recipe = tmp_path / "mine/mini_koen/smoe1"
    path = f"{commands}{os.pathsep}{os.environ['PATH']}"
    stages = ["./smoe.sh", "--stop_stage", "5", "--nbpe", "330", "--nbwb_share", "0"]
    corpus = "--num-train 12 --num-dev 3 --num-test 3"
    stages += ["--test_sets", "test", "--local_data_opts", corpus]
    run(*stages, cwd=recipe, PATH=path, OMP_NUM_THREADS="1")
    assert (
        len((recipe / "data/token_list/bbpe330/tokens.txt").read_text().split()) > 300
    )


def test_examples_of_the_documentation_run_outside_of_the_checkout(commands, tmp_path):
    rooms = ["espnet_smoe.moe", "espnet_smoe.lm", "espnet_smoe.data.text.unicode_text"]
    rooms += ["espnet_smoe.data.text.korean", "espnet_smoe.data.text.mandarin"]
    options = ["-q", "--doctest-modules", "-p", "no:cacheprovider", "--pyargs", *rooms]
    said = run(commands / "python", "-m", "pytest", *options, cwd=tmp_path)
    assert "passed" in said or "[100%]" in said


def test_espnets_own_loaders_know_the_models_of_the_installed_package(
    commands, tmp_path
):
    folder = tmp_path / "exp"
    folder.mkdir()
    files = save_experiment(folder, tiny_config(folder))
    write_zip(*files, tmp_path / "m.zip")
    write_folder(*files, tmp_path / "koen", "koen", "unknown")
    put_in_cache(tmp_path / "koen", tmp_path / "hub", "lab/koen")
    code = """
import setuptools  # distutils, for ESPnet
import sys, espnet, numpy
from espnet2.bin.asr_inference import Speech2Text
loaded = [m for m in sys.modules if m.startswith("espnet_smoe.")]
assert loaded == ["espnet_smoe.version", "espnet_smoe.autoload"], loaded
options = {"beam_size": 2, "maxlenratio": -6.0, "ctc_weight": 0.0}
wave = numpy.load("talk.npy")
for model in (
    espnet.load("m.zip", task="asr", **options),
    Speech2Text.from_pretrained("m.zip", **options),
    Speech2Text.from_pretrained("lab/koen", **options),
):
    print(float(model(wave)[0][3].score))
"""
    np.save(tmp_path / "talk.npy", talk(1.5))
    env = {"HOME": str(tmp_path), "HF_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    said = run(commands / "python", "-c", code, cwd=tmp_path, **env)
    ours = SpeechToText(*files, beam_size=2, maxlenratio=-6.0, ctc_weight=0.0)
    expected = ours([talk(1.5)], tasks="asr", bandwidth="wb")[0]["asr"].score
    scores = [float(line) for line in said.splitlines()[-3:]]
    assert scores == pytest.approx([expected] * 3, abs=1e-4)


def others() -> list[str]:
    """Pythons that the package supports and that do not run these tests."""
    mine = f"{sys.version_info.major}.{sys.version_info.minor}"
    found = []
    for version in {"3.12", "3.13"} - {mine}:
        root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
        places = [shutil.which(f"python{version}")]
        places += map(str, root.glob(f"versions/{version}.*/bin/python"))
        for python in filter(None, places):
            works = subprocess.run([python, "-c", "import venv"], capture_output=True)
            if works.returncode == 0:
                found.append(python)
                break
    return found


def test_the_wheel_installs_into_every_other_python(wheel, tmp_path):
    for number, python in enumerate(others()):
        place = tmp_path / f"python{number}"
        bare = install(wheel, python, place)
        said = run(bare / "espnet-smoe", "--version", cwd=tmp_path)
        assert said == f"espnet-smoe {espnet_smoe.__version__}\n"
        copy = (bare / "espnet-smoe", "recipes", "copy", "mini_an4", place / "mine")
        run(*copy, cwd=tmp_path)
        assert (place / "mine/mini_an4/u2pp1/run.sh").exists()
        run(bare / "python", "-m", "compileall", "-q", place / "lib", cwd=tmp_path)
