"""The sequential memory layer is the formula of the paper."""

import pytest
import torch

from espnet_smoe.layers.sequential_memory import SequentialMemory

ORDERS = [(5, 1, 2, 1), (0, 0, 1, 1), (2, 3, 1, 2), (3, 0, 3, 1), (0, 2, 1, 1)]


def layer(back: int = 5, ahead: int = 1, back_stride: int = 2, ahead_stride: int = 1):
    torch.manual_seed(0)
    return SequentialMemory(3, back, ahead, back_stride, ahead_stride).double()


def batch(*lengths: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    frames = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return torch.randn(len(lengths), max(lengths), 3, dtype=torch.float64), frames


@pytest.mark.parametrize("orders", ORDERS)
@pytest.mark.parametrize("length", [1, 4, 25])
def test_it_is_the_formula(orders, length):
    """m_t = below_t + p_t + sum_i a_i p_(t - i s1) + sum_j c_j p_(t + j s2)."""
    memory = layer(*orders)
    back, ahead, s1, s2 = orders
    p, frames = batch(length)
    below = torch.randn_like(p)
    a, c = memory.taps[:, : back + 1].T, memory.taps[:, back + 1 :].T  # (N, D)
    expected = (below + p)[0].clone()
    for t in range(length):
        for i in range(back + 1):
            if t - i * s1 >= 0:
                expected[t] += a[i] * p[0, t - i * s1]
        for j in range(1, ahead + 1):
            if t + j * s2 < length:
                expected[t] += c[j - 1] * p[0, t + j * s2]
    torch.testing.assert_close(memory(p, frames, below)[0], expected)
    torch.testing.assert_close(memory(p, frames), memory(p, frames, below) - below)


@pytest.mark.parametrize("orders", ORDERS)
def test_padding_never_reaches_a_frame(orders):
    memory = layer(*orders)
    p, frames = batch(9, 4, 6)
    clean = memory(p, frames)
    p[~frames] = float("nan")
    out = memory(p, frames)
    torch.testing.assert_close(out[frames], clean[frames])
    for row, n in enumerate((9, 4, 6)):
        alone = memory(p[row : row + 1, :n], frames[row : row + 1, :n])
        torch.testing.assert_close(out[row, :n], alone[0])


def test_gradients_are_those_of_the_formula():
    memory = layer(2, 1, 2, 1)
    p, frames = batch(5, 3)
    p = p.requires_grad_()

    def output(p, taps):
        return torch.func.functional_call(memory, {"taps": taps}, (p, frames))

    assert torch.autograd.gradcheck(output, (p, memory.taps))


def test_there_is_a_weight_a_feature_for_each_remembered_frame():
    assert layer(5, 1).taps.shape == (3, 7)


def test_a_network_begins_with_taps_as_a_convolution_has_them():
    torch.manual_seed(0)
    taps = SequentialMemory(200, 3, 2, 1, 1).taps
    bound = 6**-0.5  # of six remembered frames
    assert -bound <= taps.min() < -0.9 * bound and 0.9 * bound < taps.max() <= bound
    assert abs(taps.mean()) < 0.1 * bound


@pytest.mark.parametrize("orders", ORDERS)
def test_it_waits_for_as_many_frames_as_it_remembers_of_what_comes(orders):
    back, ahead, s1, s2 = orders
    memory = layer(*orders)
    assert (memory.look_back, memory.look_ahead) == (back * s1, ahead * s2)
    assert set(memory.state_dict()) == {"taps"}
