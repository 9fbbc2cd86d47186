"""Mixtures of experts for speech inside ESPnet."""

__version__ = "0.1.0"


def register() -> None:
    """Add our encoders, decoders and models to ESPnet's tasks; idempotent."""
    from espnet_smoe.registry import register as add_choices

    add_choices()
