"""What a ``moe`` section of U2++ MoE may say."""

from collections.abc import Mapping
from typing import Annotated, Any

from espnet_smoe.config.options import section
from espnet_smoe.config.typed import OneOf, convert
from espnet_smoe.moe.gate import GATE_NAMES


def topk_section(moe: Mapping[str, Any] | None, where: str) -> dict[str, Any] | None:
    """A ``moe`` section of U2++ MoE: by default 8 experts, 2 a frame, as in WeNet.

    Args:
        moe: The section; None for a dense model.
        where: Its place, for error messages.

    Raises:
        ValueError: A gate that does not choose by the frame alone.
    """
    if moe is None:
        return None
    options = {"gate": "topk", "num_experts": 8, "top_k": 2, **section(moe, where)}
    gate = convert(options["gate"], Annotated[str, OneOf(GATE_NAMES)], f"{where}.gate")
    if gate != "topk" or options.get("label_embedding"):
        raise ValueError(
            f"{where}: U2++ chooses experts by the frame alone; write 'gate: topk' "
            "without labels"
        )
    return options
