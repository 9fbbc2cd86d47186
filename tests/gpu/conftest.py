"""The checks of a device; ``make gpu-check`` gives them ``--device cuda``."""

import pytest
import torch


@pytest.fixture
def device(request, monkeypatch):
    """What is checked; float32 has its own precision on it, also in convolutions."""
    device = torch.device(request.config.getoption("--device"))
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    yield device
    if device.type == "cuda":  # its errors are raised in the test that caused them
        torch.cuda.synchronize(device)
