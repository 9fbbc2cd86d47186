"""ESPnet's own asr.sh, untouched, trains learned experts in ESPnet's own model."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "egs2/mini_an4/asr1"


def test_asr_sh_trains_the_routers_of_a_stock_model(tmp_path):
    # ESPnet's source archive is fetched once a checkout, like its wheel
    downloads = RECIPE / "downloads"
    downloads.mkdir(exist_ok=True)
    folder = tmp_path / "asr1"
    generated = shutil.ignore_patterns(
        *("data", "dump", "exp", "downloads", "asr.sh", "scripts", "utils"),
        *("pyscripts", "steps"),
    )
    shutil.copytree(RECIPE, folder, symlinks=True, ignore=generated)
    (folder / "downloads").symlink_to(downloads)
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        ["./run.sh", "--asr_config", "conf/train_moe.yaml", "--stop_stage", "11"]
        + ["--asr_args", "--max_epoch 1", "--asr_tag", "moe"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    log = (folder / "exp/asr_moe/train.log").read_text()
    (results,) = re.findall(r"1epoch results: (.*)", log)
    train, valid = results.split("[valid]")
    for part in ("encoder", "decoder"):
        assert f"{part}_balance=" in train and f"{part}_z=" in train
        for key in ("load_0", "entropy", "dead"):
            assert f"{part}_{key}=" in train and f"{part}_{key}=" in valid
