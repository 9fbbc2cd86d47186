"""Graphs on a device: compiled for training and for inference, and exported."""

import pytest
import torch

from tests.gpu.compare import assert_all_close, assert_close
from tests.gpu.mixture import Mixture, batch, forward_backward, valid

BOUND = 1e-4  # of float32


def example(kind, device):
    """A mixture and a batch for it."""
    mixture = Mixture(kind).to(device)
    x, lengths, ids, e = (t.to(device) for t in batch(64))
    return mixture, (x.float(), lengths, ids, e.float())


def backend(device):
    """Nobody waits for a compiler of the CPU."""
    return {"backend": "eager"} if device.type == "cpu" else {}


@torch.no_grad()
def assert_same_outputs(graph, mixture, given):
    """For all utterances, and for fewer and longer ones."""
    for rows in (slice(None), slice(2)):
        some = [t[rows] if isinstance(t, torch.Tensor) else t for t in given]
        (got, _, loads), (y, _, wanted) = graph(*some), mixture(*some)
        frames = valid(y, some[1])
        assert_close("output", got[frames], y[frames], BOUND)
        assert_close("loads", loads, wanted, 0.0)


@pytest.mark.parametrize("kind", ["label", "topk of 2"])
def test_an_exported_program_computes_the_same(device, kind):
    mixture, given = example(kind, device)
    given = (*given, True)
    dim, time = (torch.export.Dim(n, min=2, max=512) for n in ("batch", "time"))
    shapes = {0: dim, 1: time}, {0: dim}, {0: dim}, {0: dim, 1: time}, None
    with torch.no_grad():
        program = torch.export.export(
            mixture.eval(), given, dynamic_shapes=shapes, strict=False
        )
    assert_same_outputs(program.module(), mixture, given)


@pytest.mark.parametrize("kind", ["label", "topk of 2"])
def test_one_compiled_graph_serves_batches_of_all_sizes(device, kind):
    mixture, given = example(kind, device)
    torch._dynamo.reset()
    compiled = torch.compile(
        mixture.eval(), fullgraph=True, dynamic=True, **backend(device)
    )
    assert_same_outputs(compiled, mixture, given)


@pytest.mark.parametrize(
    "kind, autocast, bound",
    [
        ("label", None, BOUND),
        ("topk", None, BOUND),
        ("topk", torch.bfloat16, 2e-2),
    ],
    ids=["label", "topk", "topk, bf16 autocast"],
)
def test_compiled_training_has_the_same_gradients(device, kind, autocast, bound):
    mixture, given = example(kind, device)
    torch._dynamo.reset()
    compiled = torch.compile(mixture, **backend(device))
    with torch.autocast(device.type, autocast, enabled=autocast is not None):
        wanted = forward_backward(mixture, mixture, given)
        got = forward_backward(mixture, compiled, given)
    assert_all_close(got, wanted, bound)
