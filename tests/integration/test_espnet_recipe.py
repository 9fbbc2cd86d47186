"""ESPnet's own asr.sh, untouched, trains learned experts in ESPnet's own model."""

import os
import re
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

from tests.warm_python import environment

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "egs2/mini_an4/asr1"
ARCHIVE = Path("downloads") / f"espnet-{version('espnet')}.tar.gz"


def test_asr_sh_trains_the_routers_of_a_stock_model(tmp_path):
    folder = tmp_path / "asr1"
    tracked = ("README.md", "cmd.sh", "conf", "local", "path.sh", "run.sh")
    generated = set(os.listdir(RECIPE)) - set(tracked)
    shutil.copytree(RECIPE, folder, ignore=shutil.ignore_patterns(*generated))
    kept = RECIPE / ARCHIVE  # fetched once a checkout, like ESPnet's wheel
    archive = ["--espnet-archive", str(kept)] if kept.is_file() else []
    done = subprocess.run(
        ["./run.sh", *archive, "--asr_config", "conf/train_moe.yaml"]
        + ["--stop_stage", "11", "--asr_args", "--max_epoch 1", "--asr_tag", "moe"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
    )
    if not kept.is_file() and (folder / ARCHIVE).is_file():
        kept.parent.mkdir(exist_ok=True)
        shutil.copy(folder / ARCHIVE, kept)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    log = (folder / "exp/asr_moe/train.log").read_text()
    (results,) = re.findall(r"1epoch results: (.*)", log)
    train, valid = results.split("[valid]")
    for part in ("encoder", "decoder"):
        assert f"{part}_balance=" in train and f"{part}_z=" in train
        for key in ("load_0", "entropy", "dead"):
            assert f"{part}_{key}=" in train and f"{part}_{key}=" in valid
