"""Mixtures of experts in place of position-wise feed-forward blocks.

Torch only: nothing here imports ESPnet. Read in this order:

1. ``experts.py`` - one expert, a two-matrix feed-forward block.
2. ``gate.py`` - who decides: a layer's `Gate` turns rows into an `Assignment`.
3. ``dispatch.py`` - how: rows sorted by expert, one slice an expert, and back.
   Beside it ``static.py``, every expert on every row, for export, and ``grouped.py``,
   all experts in two products, for bfloat16 on a GPU.
4. ``feed_forward.py`` - `MoEFeedForward`, the drop-in for a dense block.
5. ``routing.py`` - what one forward pass carries down and brings back.
6. ``labels.py`` - `Labels`, which read at the door what is known beforehand.
7. ``loss.py`` - auxiliary losses of learned gates.
8. ``upcycle.py`` - a dense model's weights as a mixture's beginning.

A further kind of routing is a class in ``gate.py`` with a line in `GATES`.
"""

from espnet_smoe.moe.dispatch import Assignment, dispatch, reference
from espnet_smoe.moe.experts import FeedForward
from espnet_smoe.moe.feed_forward import MoEFeedForward, build_feed_forward
from espnet_smoe.moe.gate import (
    GATES,
    Gate,
    LabelGate,
    LabelTopKGate,
    MoEOptions,
    SharedEmbeddingGate,
    TopKGate,
    build_gate,
    build_labels,
    build_router,
)
from espnet_smoe.moe.labels import Labels
from espnet_smoe.moe.routing import Routing

__all__ = [
    "Assignment",
    "FeedForward",
    "GATES",
    "Gate",
    "LabelGate",
    "LabelTopKGate",
    "Labels",
    "MoEFeedForward",
    "MoEOptions",
    "Routing",
    "SharedEmbeddingGate",
    "TopKGate",
    "build_feed_forward",
    "build_gate",
    "build_labels",
    "build_router",
    "dispatch",
    "reference",
]
