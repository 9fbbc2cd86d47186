"""What the documentation says about tasks and corpora of one's own, done."""

import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet_smoe.data.data_dir import read_table, write_table
from tests.warm_python import environment

ROOT = Path(__file__).parents[2]


def block(page: str, language: str) -> str:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)[0]


def shell(folder: Path, script: str, **variables: str) -> str:
    """What the commands of a page print."""
    env = environment(**variables)
    done = subprocess.run(
        ["bash", "-e", "-c", script],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def noise(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = np.random.default_rng(0).uniform(-0.3, 0.3, 8000)
    soundfile.write(path, wave, 16000)
    return path


@pytest.fixture
def digits(tmp_path):
    """The page's file, and a corpus that it reads."""
    (tmp_path / "local").mkdir()
    code = block("extend_corpus.md", "python")
    (tmp_path / "local/digits.py").write_text(code, encoding="utf-8")
    for name in ("s1/one", "s1/two", "s8/one", "s9/one"):
        wav = noise(tmp_path / "corpus" / f"{name}.wav")
        if name != "s1/two":
            wav.with_suffix(".txt").write_text("one")
    (tmp_path / "corpus/s1/one.ja.txt").write_text("いち", encoding="utf-8")
    return tmp_path


def test_the_corpus_of_the_page_is_prepared(digits):
    told = shell(digits, block("extend_corpus.md", "bash"))
    assert read_table(digits / "data/train/text_ja", []) == {"s1-one": "いち"}
    assert list(read_table(digits / "data/test/text", [])) == ["s8-one", "s9-one"]
    assert "| digits | no transcript | 1 |" in told


def test_it_has_a_name_where_it_is_a_plugin(digits):
    plugins = {
        "ESPNET_SMOE_PLUGINS": "digits",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{digits / 'local'}",
    }
    listed = shell(digits, "python -m espnet_smoe.data.corpora", **plugins)
    assert "\n  digits        Digits in English, with Japanese" in listed
    shell(digits, "python -m espnet_smoe.data.corpora digits corpus out", **plugins)
    assert list(read_table(digits / "out/test/text", [])) == ["s9-one"]


def test_the_task_of_the_page_is_prepared(tmp_path):
    (tmp_path / "train.yaml").write_text(block("extend_task.md", "yaml"))
    data = tmp_path / "data/train"
    write_table(data / "wav.scp", {"a": noise(tmp_path / "a.wav")})
    write_table(data / "utt2bandwidth", {"a": "wb"})
    for target in ("text", "text_st", "text_ja"):
        write_table(data / target, {"a": f"a sentence of {target}"})
    shown = shell(tmp_path, block("extend_task.md", "bash")).splitlines()[0]
    assert shown == "text text_st text_ja"
    tokens = (tmp_path / "tokens/tokens.txt").read_text(encoding="utf-8").split()
    assert "<ja>" in tokens
    python = f"python - <<'END'\n{block('extend_task.md', 'python')}END"
    assert shell(tmp_path, python) == "text_ja ('bleu', 'chrf') ja\n"
