"""Our losses over the vocabulary are ESPnet's."""

import pytest
import torch
from espnet2.legacy.nets.pytorch_backend.transformer.label_smoothing_loss import (
    LabelSmoothingLoss as ESPnets,
)

from espnet_smoe.compat import CTC
from espnet_smoe.model.losses import LabelSmoothingLoss, ctc_loss

F64 = torch.float64


def with_gradient(loss, x):
    """The loss, and its gradient when it counts threefold."""
    value = loss(x)
    (3 * value).backward()
    grad, x.grad = x.grad, None
    return value.detach(), grad


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("normalize", [False, True])
def test_label_smoothing_is_espnets(smoothing, normalize):
    torch.manual_seed(0)
    x = torch.randn(3, 4, 7, dtype=F64, requires_grad=True)
    target = torch.randint(7, (3, 4))
    target[1, 2:], target[2] = -5, -5
    given = 7, -5, smoothing, normalize
    ours, theirs = (
        with_gradient(lambda x: loss(x, target), x)
        for loss in (LabelSmoothingLoss(*given), ESPnets(*given))
    )
    torch.testing.assert_close(ours, theirs)


def head(**options):
    torch.manual_seed(0)
    return CTC(odim=9, encoder_output_size=5, **options).double()


# padded texts, a token twice in a row and further apart, none, more than fit
TEXT = torch.tensor([[3, 3, 8, 3], [1, 2, -1, -1], [-1] * 4, [4, 4, 4, 4]])
TEXT_LENGTHS = torch.tensor([4, 2, 0, 4])


@pytest.mark.parametrize(
    "options", [{}, {"zero_infinity": False}, {"ctc_type": "builtin2"}]
)
def test_ctc_is_espnets(options):
    ctc = head(**options)
    torch.manual_seed(1)
    x = torch.randn(4, 8, 5, dtype=F64, requires_grad=True)
    lengths = torch.tensor([8, 5, 6, 8 if options else 3])  # 3: infinite
    given = lengths, TEXT, TEXT_LENGTHS
    found = []
    for loss in (lambda x: ctc_loss(ctc, x, *given), lambda x: ctc(x, *given)):
        found.append([*with_gradient(loss, x), ctc.ctc_lo.weight.grad])
        ctc.zero_grad()
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-5)  # ESPnet's is float32
    assert found[0][0].isfinite()


def test_the_loss_of_ctc_is_float32_though_the_encoder_is_not():
    ctc = head().bfloat16()
    x = torch.randn(4, 8, 5).bfloat16().requires_grad_()
    loss = ctc_loss(ctc, x, torch.full((4,), 8), TEXT, TEXT_LENGTHS)
    loss.backward()
    wanted = ctc(x.detach(), torch.full((4,), 8), TEXT, TEXT_LENGTHS)
    torch.testing.assert_close(loss, wanted, rtol=0.02, atol=0.0)
    assert x.grad.dtype == torch.bfloat16
