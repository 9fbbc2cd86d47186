"""Workers that a launched module spawns, as ESPnet's training on several GPUs does."""

import os
import subprocess
import sys

# ESPnet starts its workers with the function of an imported class, not of __main__
TASK = """
from espnet2.tasks.asr import decoder_choices, encoder_choices, model_choices

def work(rank, folder):
    encoder = encoder_choices.get_class("smoe_transformer")(
        8, 16, 2, 32, 1, input_layer="linear", moe={}
    )
    decoder = decoder_choices.get_class("smoe_transformer")(10, 16, 2, 32, 1, moe={})
    made = [type(encoder), type(decoder), model_choices.get_class("smoe")]
    with open(f"{folder}/{rank}", "w") as out:
        print(*(cls.__module__ for cls in made), file=out)
"""
TRAIN = """
import sys
import torch
from task import work

if __name__ == "__main__":
    torch.multiprocessing.start_processes(
        work, (sys.argv[1],), nprocs=2, start_method="spawn"
    )
"""


def test_spawned_workers_build_our_classes_from_espnets_choices(tmp_path):
    (tmp_path / "task.py").write_text(TASK)
    (tmp_path / "train.py").write_text(TRAIN)
    path = [str(tmp_path), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-m", "espnet_smoe", "-m", "train", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for rank in range(2):
        assert (tmp_path / str(rank)).read_text().split() == [
            "espnet_smoe.encoder.transformer",
            "espnet_smoe.decoder.transformer",
            "espnet_smoe.model.smoe",
        ]
