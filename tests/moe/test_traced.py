"""Every gate in one graph for all batches: exported, and compiled for inference."""

import pytest
import torch

from espnet_smoe.moe import FeedForward, Labels, MoEFeedForward, MoEOptions, Routing
from espnet_smoe.moe.dense_dispatch import traced
from espnet_smoe.moe.gate import build_gate

TOKENS = ["<blank>", "<wb>", "<nb>"]
LABELS = ("<wb>", "<nb>")
GATES = {
    "label": {},
    "topk": {"num_experts": 4, "top_k": 2},
    "label_topk": {"num_experts": 4, "top_k": 2},
    "shared_embedding": {"num_experts": 4, "top_k": 2},
}
READS_LABELS = ("label", "label_topk")


class Mixture(torch.nn.Module):
    """A block between tensors; its routing is made inside."""

    def __init__(self, kind: str):
        super().__init__()
        torch.manual_seed(0)
        labels = LABELS if kind in READS_LABELS else ()
        options = MoEOptions(kind, labels=labels, **GATES[kind])
        embedding_size = 3 if kind == "shared_embedding" else 0
        gate = build_gate(options, 6, embedding_size)
        self.block = MoEFeedForward(gate, lambda: FeedForward(6, 8), "0")
        self.labels = Labels(LABELS).bind(TOKENS) if labels else None
        self.embedding_size = embedding_size
        self.eval()

    def route(self, lengths, ids, e) -> Routing:
        if self.labels is not None:
            return self.labels.route(ids, lengths)
        routing = Routing(lengths)
        if self.embedding_size:
            routing.embed(e)
        return routing

    def forward(self, x, lengths, ids, e):
        routing = self.route(lengths, ids, e)
        (x,) = routing.sort_by_label(x)
        return routing.unsort(self.block(x, routing)), routing.loads["0"]


def example(lengths: list[int]) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(len(lengths))
    batch, longest = len(lengths), max(lengths)
    return (
        torch.randn(batch, longest, 6),
        torch.tensor(lengths),
        torch.tensor([2, 1, 2, 1][:batch]),
        torch.randn(batch, longest, 3),
    )


def assert_same(got, expected, lengths):
    """Padding may differ where the gate decides by utterance: nobody reads it."""
    frames = torch.arange(got[0].size(1)) < lengths[:, None]
    torch.testing.assert_close(got[0][frames], expected[0][frames])
    assert torch.equal(got[1], expected[1])


@pytest.mark.parametrize("kind", GATES)
def test_an_exported_mixture_fits_every_batch(kind):
    mixture = Mixture(kind)
    batch = torch.export.Dim("batch", min=2, max=64)
    time = torch.export.Dim("time", min=2, max=512)
    sizes = {0: batch, 1: time}, {0: batch}, {0: batch}, {0: batch, 1: time}
    with torch.no_grad():
        exported = torch.export.export(
            mixture, example([7, 5, 2]), dynamic_shapes=sizes
        )
        for lengths in ([7, 5, 2], [4, 9], [3, 3, 3, 3]):
            given = example(lengths)
            assert_same(exported.module()(*given), mixture(*given), given[1])


@pytest.mark.parametrize("kind", GATES)
def test_a_compiled_mixture_is_one_graph(kind):
    torch._dynamo.reset()
    mixture = Mixture(kind)
    compiled = torch.compile(mixture, backend="aot_eager", fullgraph=True, dynamic=True)
    with torch.no_grad():
        for lengths in ([7, 5, 2], [4, 9]):
            given = example(lengths)
            assert_same(compiled(*given), mixture(*given), given[1])


@pytest.mark.parametrize("kind", GATES)
def test_a_block_is_compiled_apart_from_what_routes_it(kind):
    torch._dynamo.reset()
    mixture = Mixture(kind)
    compiled = torch.compile(mixture.block, backend="aot_eager", fullgraph=True)
    with torch.no_grad():
        x, lengths, ids, e = given = example([7, 5, 2])
        routing = mixture.route(lengths, ids, e)
        (sorted_x,) = routing.sort_by_label(x)
        y = routing.unsort(compiled(sorted_x, routing))
        assert_same((y, routing.loads["0"]), mixture(*given), lengths)


@pytest.mark.parametrize("kind", READS_LABELS)
def test_a_graph_stops_at_a_token_that_is_no_label(kind):
    mixture, (x, lengths, _, e) = Mixture(kind), example([7, 5, 2])
    given = x, lengths, torch.tensor([1, 2, 1]), e
    program = torch.export.export(mixture, given).module()
    with pytest.raises(RuntimeError, match="not a label of this mixture: <wb>, <nb>"):
        program(x, lengths, torch.tensor([1, 0, 1]), e)


def test_an_embedding_made_before_a_graph_finds_its_frames():
    torch._dynamo.reset()
    block = Mixture("shared_embedding").block
    x, lengths, _, e = example([7, 5, 2])
    frames = torch.arange(7) < lengths[:, None]
    with torch.no_grad():
        expected = block(x, Routing(lengths, embedding=e[frames]))
        compiled = torch.compile(block, backend="aot_eager", fullgraph=True)
        y = compiled(x, Routing(lengths, embedding=e[frames]))
    torch.testing.assert_close(y, expected)


def test_a_compiled_training_pass_is_not_taken_for_an_export(monkeypatch):
    """Torch 2.11 says `is_exporting()` in every compilation, which lost the losses."""
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    assert not traced()
    with torch.no_grad():
        assert not traced()
