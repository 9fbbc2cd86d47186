"""Which features a runtime computes, and whether a model was trained on these."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from espnet_smoe.layers.kaldi_fbank import KaldiFbank
from espnet_smoe.layers.whisper import WhisperFrontend


@dataclass(frozen=True)
class Features:
    """What a runtime computes.

    Attributes:
        runtime: Its name, for messages.
        frontend: Name of the front-end that does the same.
        kind: Its class.
        options: Of `kind` that the runtime fixes.
        near: Values of these that differ a little: such a model runs, with a warning.
    """

    runtime: str
    frontend: str
    kind: type[nn.Module]
    options: Mapping[str, Any]
    near: Mapping[str, Any]

    def check(self, model: nn.Module) -> None:
        """Refuse a model that was trained on other features.

        Raises:
            ValueError: Says which front-end to train with.
        """
        for name in ("preencoder", "postencoder"):
            if getattr(model, name, None) is not None:
                raise ValueError(
                    f"a model with a {name} has no place in {self.runtime}"
                )
        frontend = model.frontend
        wanted = ", ".join(f"{k}: {_yaml(v)}" for k, v in self.options.items())
        cure = (
            f"train with 'frontend: {self.frontend}' and 'frontend_conf: {{{wanted}}}'"
        )
        if not isinstance(frontend, self.kind):
            kind = "none" if frontend is None else type(frontend).__name__
            raise ValueError(
                f"front-end '{kind}': {self.runtime} cannot compute its features; "
                f"{cure}"
            )
        for name, value in self.options.items():
            given = getattr(frontend, name)
            if given == value:
                continue
            if name not in self.near or given != self.near[name]:
                raise ValueError(
                    f"frontend_conf.{name} is {_yaml(given)}: {self.runtime} cannot "
                    f"compute such features; {cure}"
                )
            logging.warning(
                "frontend_conf.%s is %s: the features of %s differ a little, and some "
                "texts may, too; for the same ones %s",
                *(name, _yaml(given), self.runtime, cure),
            )


SHERPA_CTC = Features(
    "sherpa-onnx",
    "kaldi_fbank",
    KaldiFbank,
    {"snip_edges": False, "low_freq": 20, "high_freq": -400},
    {},
)
SHERPA_WHISPER = Features(
    "sherpa-onnx",
    "smoe_whisper",
    WhisperFrontend,
    {"framing": "kaldi"},
    {"framing": "whisper"},
)
WENET = Features(
    "WeNet's runtime",
    "kaldi_fbank",
    KaldiFbank,
    {"snip_edges": True, "low_freq": 20, "high_freq": 0},
    {},
)


def _yaml(value: Any) -> str:
    """As a configuration has it."""
    return str(value).lower() if isinstance(value, bool) else f"{value}"
