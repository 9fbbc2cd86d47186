"""Names in criteria (best model, early stop, scheduler): those that a model reports.

ESPnet passes over a name that no epoch has: no best model is marked or kept, and the
training is done before anybody notices.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from espnet_smoe.config.typed import nearest
from espnet_smoe.data.task_table import task_table
from espnet_smoe.moe.gate import LOSSES

ROUTED = re.compile(
    r"(encoder|decoder|decoder_l2r|decoder_r2l)_(layer[\w.]+?_)?"
    rf"(load_\d+|entropy|dead|{'|'.join(LOSSES)})(_\w+)?"
)
OF_TRAINER = re.compile(
    r"(iter|forward|backward|optim_step|train)_time|grad_norm|clip|loss_scale"
    r"|optim\d+_lr\d+|gpu_max_cached_mem_GB"
)
CRITERIA = ("best_model_criterion", "early_stopping_criterion")
CRITERIA += ("val_scheduler_criterion",)


def check_criteria(
    model: type, options: Mapping[str, Any], defaults: Mapping[str, Any]
) -> None:
    """Refuse a criterion whose name a model never reports.

    Args:
        model: Class of the model; one that is not known here passes.
        options: Of the training.
        defaults: Of ESPnet: they name ``acc``, also for models that have none.

    Raises:
        ValueError: Names the criterion and the nearest name.
    """
    names_of = STATISTICS.get(model.__name__)
    if names_of is None:
        return
    conf = options.get("model_conf") or {}
    for option in CRITERIA:
        wanted, usual = options.get(option), defaults.get(option)
        if not wanted or option not in options:
            continue
        if option != "best_model_criterion":
            wanted, usual = [wanted], [usual]
        usual = [tuple(criterion) for criterion in usual or () if criterion]
        for phase, name, *mode in wanted:
            known = names_of(conf, phase)
            routed = ROUTED.fullmatch(name)
            timed = phase == "train" and OF_TRAINER.fullmatch(name)
            if name in known or routed or timed or (phase, name, *mode) in usual:
                continue
            names = ", ".join(dict.fromkeys(known))
            raise ValueError(
                f"{option}: the model reports no '{name}' in {phase}"
                f"{nearest(name, known)} (it reports {names})"
            )


def _errors(conf: Mapping[str, Any], phase: str) -> list[str]:
    """The error rates that are reported."""
    kinds = ("cer", "wer") if phase == "valid" else ()
    return [kind for kind in kinds if conf.get(f"report_{kind}", True)]


def _smoe(conf: Mapping[str, Any], phase: str) -> list[str]:
    names = ["loss", "acc"]
    ctc = conf.get("ctc_task", "asr") if conf.get("ctc_weight", 0.3) else None
    for task in task_table(conf.get("tasks")):
        kinds = ["loss", "acc", *_errors(conf, phase)]
        if task == ctc:
            kinds += ["loss_ctc"] + ["cer_ctc"] * ("cer" in kinds)
        names += [f"{kind}_{task}" for kind in kinds]
    return names


def _speech_moe(conf: Mapping[str, Any], phase: str) -> list[str]:
    own = ["loss_embedding_ctc"] if conf.get("embedding_ctc_weight", 0.01) else []
    return ["loss", "loss_ctc", *own, "too_short"] + ["ser"] * (phase == "valid")


def _u2pp(conf: Mapping[str, Any], phase: str) -> list[str]:
    sides = ["l2r"] + ["r2l"] * bool(conf.get("reverse_weight", 0.3))
    names = ["loss", "acc", "loss_ctc", "loss_att", "too_short"]
    names += [f"{kind}_{side}" for side in sides for kind in ("loss", "acc")]
    return names + [f"{kind}_ctc" for kind in _errors(conf, phase)]


def _espnet(conf: Mapping[str, Any], phase: str) -> list[str]:
    weight, names = conf.get("ctc_weight", 0.5), ["loss"]
    errors = _errors(conf, phase)
    if weight != 0:
        names += ["loss_ctc"] + ["cer_ctc"] * ("cer" in errors)
    if weight != 1:
        names += ["loss_att", "acc", *errors, "loss_transducer"]
        names += [f"{kind}_transducer" for kind in errors]
    if conf.get("interctc_weight", 0):
        kinds = ["loss"] + ["cer"] * ("cer" in errors)
        names += [f"{kind}_interctc_layer{n}" for kind in kinds for n in range(1, 100)]
    return names


STATISTICS: dict[str, Callable[[Mapping[str, Any], str], list[str]]] = {
    "ESPnetSMoEModel": _smoe,
    "ESPnetSpeechMoEModel": _speech_moe,
    "ESPnetU2PPModel": _u2pp,
    "ESPnetASRModel": _espnet,
}
