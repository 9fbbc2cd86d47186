"""Pre-encoder stacked_deltas: Kaldi's deltas, stacked, without touching padding."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from espnet_smoe.encoder.stacking import StackedDeltas


def speech(*lengths: int, features: int = 3, padding: float = 0.0) -> tuple:
    """Utterance i is the same whatever stands beside it."""
    x = torch.full((len(lengths), max(lengths), features), padding)
    for row, length in enumerate(lengths):
        x[row, :length] = torch.randn(
            length, features, generator=torch.Generator().manual_seed(row)
        )
    return x, torch.tensor(lengths)


def kaldi(x: list[list[float]], order: int, window: int) -> list[list[float]]:
    """DeltaFeatures::Process of Kaldi, in loops: x is frames of features."""
    scales = [[1.0]]
    for _ in range(order):
        before, half = scales[-1], len(scales[-1]) // 2
        now = [0.0] * (len(before) + 2 * window)
        for j in range(-window, window + 1):
            for k in range(-half, half + 1):
                now[j + k + half + window] += j * before[k + half]
        norm = sum(j * j for j in range(-window, window + 1))
        scales.append([s / norm for s in now])
    rows = []
    for t in range(len(x)):
        row = []
        for scale in scales:
            half = len(scale) // 2
            frames = [x[min(max(t + j, 0), len(x) - 1)] for j in range(-half, half + 1)]
            row += [
                sum(s * frame[f] for s, frame in zip(scale, frames))
                for f in range(len(x[0]))
            ]
        rows.append(row)
    return rows


@pytest.mark.parametrize(("order", "window"), [(2, 2), (1, 2), (3, 1), (2, 3), (0, 2)])
@pytest.mark.parametrize("length", [1, 3, 20])
def test_deltas_are_kaldis(order, window, length):
    x, lengths = speech(length)
    pre = StackedDeltas(3, order, window, stack=1, skip=1)
    out, _ = pre(x, lengths)
    torch.testing.assert_close(
        out[0], torch.tensor(kaldi(x[0].tolist(), order, window))
    )


@given(st.integers(1, 60), st.integers(1, 9), st.data())
def test_each_frame_is_in_a_stack_and_the_last_stack_is_needed(length, stack, data):
    skip = data.draw(st.integers(1, stack))
    pre = StackedDeltas(1, 0, 2, stack, skip)
    x = torch.arange(length, dtype=torch.float32)[None, :, None]
    out, lengths = pre(x, torch.tensor([length]))
    assert out.shape == (1, lengths[0], stack)
    assert set(out.flatten().tolist()) == set(range(length))
    assert not {length - 1} & set(out[0, :-1].flatten().tolist())
    for j, frames in enumerate(out[0].tolist()):
        seen = [min(j * skip + i, length - 1) for i in range(stack)]
        assert frames == seen


def test_the_papers_features_have_960_dimensions_at_a_third_of_the_rate():
    pre = StackedDeltas()
    out, lengths = pre(*speech(3000, features=40))
    assert pre.output_size() == out.size(2) == 960
    assert lengths.tolist() == [out.size(1)] == [999]


def test_an_utterance_is_the_same_in_any_batch():
    pre = StackedDeltas(3)
    lengths = (30, 5, 17, 1)
    out, stacks = pre(*speech(*lengths, padding=float("nan")))
    assert out.isfinite().all() and out.size(1) == stacks.max()
    for row, length in enumerate(lengths):
        x = speech(*lengths)[0][row : row + 1, :length]
        alone, n = pre(x, torch.tensor([length]))
        assert n[0] == stacks[row] == alone.size(1)
        torch.testing.assert_close(out[row, : n[0]], alone[0], atol=0, rtol=0)


def test_an_output_frame_sees_as_far_ahead_as_is_said():
    pre = StackedDeltas(3)
    x, lengths = speech(60)
    out, _ = pre(x, lengths)
    assert pre.look_ahead == 7 + 4
    for ahead, changes in ((pre.look_ahead, True), (pre.look_ahead + 1, False)):
        other = x.clone()
        other[0, 5 * pre.skip + ahead] += 1
        differs = (pre(other, lengths)[0] - out)[0, 5].abs().max() > 0
        assert differs == changes


def test_autocast_does_not_round_the_features():
    pre = StackedDeltas(3)
    x, lengths = speech(20)
    with torch.autocast("cpu", torch.bfloat16):
        rounded, _ = pre(x, lengths)
    torch.testing.assert_close(rounded, pre(x, lengths)[0], atol=0, rtol=0)


def test_features_of_another_size_name_the_options():
    with pytest.raises(ValueError, match="input_size is 40, but .* 80 .*n_mels"):
        StackedDeltas(40)(*speech(20, features=80))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stack": 2, "skip": 3}, "skip 3 is more than stack 2"),
        ({"delta_order": -1}, "delta_order: -1 is not .* at least 0"),
        ({"skip": 0}, "at least 1"),
        ({"stak": 8}, "did you mean 'stack'"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        StackedDeltas(**options)


def test_there_is_nothing_in_a_checkpoint():
    assert StackedDeltas().state_dict() == {}
