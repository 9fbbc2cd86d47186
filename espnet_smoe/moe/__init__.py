"""Mixtures of experts in place of position-wise feed-forward blocks.

Torch only: nothing here imports ESPnet. A gate chooses experts in one of two ways:

- by label (supervised routing, S-MoE): what is known of an utterance beforehand, its
  task or bandwidth, names its expert. `Labels` read it once a pass, `LabelGate` hands
  it on; nothing is learned, and all frames of an utterance go to one expert.
- learned (U2++ MoE, SpeechMoE): a router, a linear map, scores all experts for each
  frame; the best k compute it, weighted by their scores (`TopKGate`). Auxiliary losses
  keep all experts in use. `LabelTopKGate` joins the two: the label names a group of
  experts, the router chooses inside it.

Ten minutes, in this order:

1. ``feed_forward.py`` - `MoEFeedForward`, the drop-in for a dense block: a gate
   decides (3), the rows go to their experts and back (4).
2. ``routing.py`` - `Routing`, what one forward pass carries down to the layers
   (lengths, `BatchLabels`, an embedding) and brings back (loads, sums for the losses).
3. ``gate.py`` - what a gate is, and `register_gate`. ``label_gate.py``: by label
   (S-MoE). ``topk_gate.py``: learned top-k (U2++ MoE, SpeechMoE, DLG-MoE); its options
   stand beside each gate. All return an `Assignment` (``assignment.py``).
4. ``dispatch.py`` - rows sorted by expert, one slice an expert, and back. Beside it
   ``grouped.py``: all experts in two products, for training on a GPU; ``fused.py`` with
   ``kernels.py``: the same in four kernels, for inference there;
   ``dense_dispatch.py``: every expert on every row, for graphs that are exported.
5. ``experts.py`` - one expert, a two-matrix feed-forward block.
6. ``labels.py`` - `Labels`, which turn token ids into `BatchLabels`.
7. ``loss.py`` - auxiliary losses of learned gates, also over several processes.
8. ``upcycle.py`` - a dense model's weights as a mixture's beginning, ``widen.py`` as a
   wider model's. ``slice.py``: the way back, one expert as a dense model.
"""

from espnet_smoe.moe.assignment import Assignment
from espnet_smoe.moe.dispatch import dispatch, reference
from espnet_smoe.moe.experts import FeedForward
from espnet_smoe.moe.feed_forward import MoEFeedForward, build_feed_forward
from espnet_smoe.moe.gate import (
    GATES,
    Gate,
    MoEOptions,
    build_gate,
    build_labels,
    build_router,
    register_gate,
)
from espnet_smoe.moe.label_gate import LabelGate, LabelOptions
from espnet_smoe.moe.labels import BANDWIDTHS, Labels, label_ids
from espnet_smoe.moe.loss import AuxiliaryLoss, register_loss
from espnet_smoe.moe.routing import BatchLabels, Routing
from espnet_smoe.moe.topk_gate import (
    LabelTopKGate,
    LabelTopKOptions,
    SharedEmbeddingGate,
    SharedEmbeddingOptions,
    TopKGate,
    TopKOptions,
)

__all__ = [
    "Assignment",
    "AuxiliaryLoss",
    "BANDWIDTHS",
    "BatchLabels",
    "FeedForward",
    "GATES",
    "Gate",
    "LabelGate",
    "LabelOptions",
    "LabelTopKGate",
    "LabelTopKOptions",
    "Labels",
    "MoEFeedForward",
    "MoEOptions",
    "Routing",
    "SharedEmbeddingGate",
    "SharedEmbeddingOptions",
    "TopKGate",
    "TopKOptions",
    "build_feed_forward",
    "build_gate",
    "build_labels",
    "build_router",
    "dispatch",
    "label_ids",
    "reference",
    "register_gate",
    "register_loss",
]
