"""The documentation: it builds without a warning, and what it shows is true."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from tests.doc_blocks import (
    NOT_RUNNABLE,
    ROOT,
    Block,
    blocks_of,
    check_script,
    check_yaml,
    drawings,
    known_options,
    options_in_text,
    python_of,
)
from tests.integration.test_old_files import unpack
from tests.scripts import run_script

PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("examples/*.md"),
        *ROOT.glob("espnet_smoe/**/*.md"),
        *ROOT.glob("egs2/*/*/README.md"),
    ]
)
BLOCKS = [block for page in PAGES for block in blocks_of(page)]
ENV = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def place_of(thing: Path | Block) -> str:
    return thing.place if isinstance(thing, Block) else str(thing.relative_to(ROOT))


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site, built as `make docs` does."""
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, *"-m mkdocs build --strict -d".split(), str(out)],
        cwd=ROOT,
        env=ENV | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return out


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """A folder with the models and recordings that the pages speak of."""
    folder = unpack("smoe1", tmp_path_factory.mktemp("docs"))
    u2pp = unpack("u2pp1", folder.parent)
    shutil.copytree(folder / "exp/smoe", folder / "exp/train_bbpe500")
    shutil.copytree(u2pp / "exp/u2pp", folder / "exp/u2pp")
    shutil.copy(folder / "exp/smoe/smoe.zip", folder / "model.zip")
    shutil.copy(u2pp / "exp/u2pp/u2pp.zip", folder / "u2pp.zip")
    wave, rate = soundfile.read(folder / "data/wav/u1.flac", dtype="float32")
    for name in ("talk", "call"):
        soundfile.write(folder / f"{name}.wav", wave, rate)
    return folder


def test_no_page_asks_another_server_for_anything(site):
    fetched = re.compile(r'<(?:script|img|iframe)[^>]+src="(?:https?:)?//|@import')
    styled = re.compile(r'<link[^>]+rel="(?:stylesheet|preconnect)"[^>]+href="http')
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not fetched.search(text) and not styled.search(text), page


def test_the_references_have_every_option_and_command(site):
    yaml_page = (site / "yaml/index.html").read_text(encoding="utf-8")
    for name in ("use_dynamic_left_chunk", "balance_weight", "bf16_on_cpu", "share"):
        assert f"<code>{name}</code>" in yaml_page
    commands = (site / "commands/index.html").read_text(encoding="utf-8")
    assert "--max-segment-seconds" in commands and "--left-chunks" in commands
    stages = (site / "stages/index.html").read_text(encoding="utf-8")
    assert "espnet_smoe.data.speech.channel" in stages
    python = (site / "python/index.html").read_text(encoding="utf-8")
    assert 'id="espnet_smoe.moe.MoEFeedForward"' in python
    assert 'id="espnet_smoe.inference.load"' in python


def test_every_recipe_has_its_page(site):
    for page in ROOT.glob("egs2/*/*/README.md"):
        corpus, task = page.parts[-3:-1]
        assert (site / "recipes" / corpus / task / "index.html").is_file()


def test_the_pictures_are_as_they_are_drawn():
    for name, svg in drawings().items():
        path = ROOT / f"docs/pictures/{name}.svg"
        assert path.read_text(encoding="utf-8") == svg, "run docs/generate/pictures.py"


@pytest.mark.parametrize("page", PAGES, ids=place_of)
def test_links_and_pictures_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    for target in re.findall(r"(?<!`)\[[^\]]*\]\(([^)\s]+)\)", text):
        if "://" not in target and not target.startswith("#"):
            assert (page.parent / target.partition("#")[0]).exists(), target


@pytest.mark.parametrize("page", [p for p in PAGES if python_of(p)], ids=place_of)
def test_the_python_of_a_page_runs(page, work):
    for block in blocks_of(page):
        if block.language == "yaml":  # what the Python of the page reads
            (work / "train.yaml").write_text(block.text, encoding="utf-8")
    run_script(python_of(page), work)


@pytest.mark.parametrize(
    "block", [b for b in BLOCKS if b.language in ("bash", "console")], ids=place_of
)
def test_the_commands_of_a_block_exist_with_their_options(block):
    check_script(block)


@pytest.mark.parametrize(
    "block", [b for b in BLOCKS if b.language == "yaml"], ids=place_of
)
def test_a_yaml_block_passes_the_checks(block, tmp_path):
    check_yaml(block, tmp_path)


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))], ids=place_of
)
def test_an_option_that_the_text_names_exists(page):
    assert options_in_text(page) <= known_options()


def test_every_block_is_checked_or_said_not_to_run():
    checked = {"python", "bash", "console", "yaml"}
    left = [b.place for b in BLOCKS if b.language not in checked | NOT_RUNNABLE]
    assert not left, "a block without a language that is checked, or 'text'"


@pytest.mark.parametrize(
    "text",
    [
        "espnet-smoe transcribe --modl exp/x talk.wav",
        "espnet-smoe transcripe talk.wav",
        "python3 -m espnet_smoe.data.speech.channel --in data --out x --conditoins nb",
        "python3 -m espnet_smoe -m espnet2.bin.asr_train --confg train.yaml",
        "./run.sh --stages 3",
        "make domo",
        "pip install -e '.[al]'",
    ],
)
def test_a_wrong_command_would_be_noticed(text):
    with pytest.raises((AssertionError, KeyError)):
        check_script(Block("docs/start.md:1", "bash", "", text))


def test_a_wrong_yaml_block_would_be_noticed(tmp_path):
    block = Block("docs/yaml.md:1", "yaml", "", "encoder_conf: {num_bloks: 3}")
    with pytest.raises(ValueError, match="num_blocks"):
        check_yaml(block, tmp_path)
