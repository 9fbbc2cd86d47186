"""Why our decoders refuse ESPnet's partially autoregressive decoding."""

from typing import Any

from espnet_smoe.compat import MaskParallelScorerInterface


class NoPartiallyAR(MaskParallelScorerInterface):
    """Refuses ``asr_inference --partial_ar true`` with a reason."""

    def forward_partially_AR(self, *_: Any, **__: Any) -> Any:  # noqa: N802
        """Decode with a mask for each position.

        Raises:
            ValueError: Always.
        """
        return self.batch_score_partially_AR()

    def batch_score_partially_AR(self, *_: Any, **__: Any) -> Any:  # noqa: N802
        """Score hypotheses with a mask for each.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            f"--partial_ar: {type(self).__name__} keeps the keys and values of whole "
            "prefixes and cannot fill gaps in a text; decode without it (batch_size "
            "above 1 decodes several utterances at once)"
        )
