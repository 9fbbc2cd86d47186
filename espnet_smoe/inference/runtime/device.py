"""The device that a user names: there, and one that can compute."""

import torch


def check_device(name: str) -> torch.device:
    """Find a device.

    Args:
        name: Such as ``cpu``, ``cuda`` or ``cuda:1``.

    Raises:
        ValueError: PyTorch knows no such kind, or this machine has none.

    Example:
        >>> check_device("cpu")
        device(type='cpu')
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(
            f"--device {name}: not a device; write cpu, cuda or cuda:1"
        ) from error
    try:
        torch.zeros(1, device=device).cpu()
    except Exception as error:  # each kind of device has errors of its own
        message = str(error).split("\n")[0].split(". ")[0].rstrip(".")
        raise ValueError(
            f"--device {name}: this machine cannot use it ({message}); write cpu, or a "
            "device that is there"
        ) from error
    return device
