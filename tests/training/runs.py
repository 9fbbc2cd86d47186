"""Short runs of ESPnet's trainer."""

import dataclasses
from typing import Any

from espnet2.train.distributed_utils import DistributedOption
from espnet2.train.trainer import TrainerOptions

USUAL = {
    "resume": True,
    "train_dtype": "float32",
    "accum_grad": 1,
    "grad_clip": 5.0,
    "grad_clip_type": 2.0,
    "save_strategy": "all",
    "seed": 0,
    "ngpu": 0,
    "patience": None,
    "ddp_comm_hook": None,
    "keep_nbest_models": [1],
    "early_stopping_criterion": ("valid", "loss", "min"),
    "best_model_criterion": [("valid", "loss", "min")],
    "val_scheduler_criterion": ("valid", "loss"),
    "wandb_model_log_interval": -1,
}


def options(build: Any = TrainerOptions, **given: Any) -> TrainerOptions:
    """Those of a trainer; what is not given is ESPnet's default, or off."""
    names = [field.name for field in dataclasses.fields(build)]
    return build(**{name: (USUAL | given).get(name, False) for name in names})


def distributed(rank: int, processes: int) -> DistributedOption:
    """Of a process among others; of the only one where there is 1."""
    return DistributedOption(
        distributed=processes > 1, dist_rank=rank, dist_world_size=processes
    )
