"""Gates: what they decide, and that a wrong option names its cure."""

import pytest
import torch
from torch import nn

from espnet_smoe.moe import (
    BatchLabels,
    Labels,
    LabelTopKGate,
    MoEOptions,
    Routing,
    SharedEmbeddingGate,
    TopKGate,
    build_feed_forward,
    build_gate,
    build_labels,
    build_router,
)

LABELS = ("<a>", "<b>")


def routed(labels: list[int], lengths: list[int]) -> Routing:
    return Routing(torch.tensor(lengths), BatchLabels(torch.tensor(labels), 2))


def learned(cls=TopKGate, **options) -> TopKGate:
    torch.manual_seed(0)
    kind = {TopKGate: "topk", LabelTopKGate: "label_topk"}[cls]
    options = MoEOptions(kind, **{"num_experts": 4, "labels": LABELS, **options})
    return cls(options, size=6).double()


def test_a_label_gate_without_labels_says_where_they_come_from():
    gate = build_gate(MoEOptions(labels=LABELS), size=3)
    with pytest.raises(ValueError, match="give one of <a>, <b>"):
        gate(torch.zeros(1, 2, 3), Routing(torch.tensor([2])))


def test_options_default_to_one_expert_a_label():
    options = MoEOptions.parse({"num_experts": 2}, "encoder_conf.moe", LABELS)
    assert build_gate(options, 4).num_experts == 2
    assert build_labels(options).tokens == LABELS


@pytest.mark.parametrize(
    "options, needs_labels",
    [
        ({"gate": "topk"}, False),
        ({"gate": "topk", "label_embedding": True}, True),
        ({"gate": "label_topk"}, True),
    ],
)
def test_only_a_gate_that_reads_labels_asks_for_them(options, needs_labels):
    parsed = MoEOptions.parse({"num_experts": 4, **options}, "moe", LABELS)
    assert isinstance(build_labels(parsed), Labels) == needs_labels


def test_top_one_is_scaled_by_its_probability_among_all():
    gate, x = learned(), torch.randn(5, 6).double()
    probabilities = (x @ gate.router.weight.T).softmax(dim=1)
    assignment = gate(x, Routing(torch.tensor([5])))
    best, expert = probabilities.max(dim=1)
    torch.testing.assert_close(assignment.weights[:, 0], best)
    assert assignment.experts[:, 0].tolist() == expert.tolist()


def test_top_two_are_weighted_among_themselves():
    gate, x = learned(top_k=2), torch.randn(5, 6).double()
    logits = x @ gate.router.weight.T
    assignment = gate(x, Routing(torch.tensor([5])))
    torch.testing.assert_close(
        assignment.weights, logits.topk(2, dim=1).values.softmax(1)
    )
    assert torch.equal(assignment.experts, logits.topk(2, dim=1).indices)


def test_a_label_restricts_its_frames_to_its_own_experts():
    gate = learned(LabelTopKGate)
    x = torch.randn(9, 6).double()
    experts = gate(x, routed([1, 0, 1], [4, 2, 3])).experts[:, 0]
    of_label_b = torch.tensor([True] * 4 + [False] * 2 + [True] * 3)
    assert ((experts >= 2) == of_label_b).all()
    assert len(experts.unique()) > 2  # and inside a group the frame decides


def test_the_label_embedding_moves_only_the_frames_of_its_label():
    gate, x = learned(label_embedding=True), torch.randn(5, 6).double()
    routing = routed([0, 1], [2, 3])
    before = gate(x, routing).experts[:, 0]
    with torch.no_grad():
        gate.label_bias.weight[1, 3] = 100.0
    after = gate(x, routing).experts[:, 0]
    assert after[:2].tolist() == before[:2].tolist()
    assert after[2:].tolist() == [3, 3, 3]


def test_the_router_learns_from_the_output_and_from_its_losses():
    for options in ({"top_k": 1}, {"top_k": 2}):
        gate, x = learned(**options), torch.randn(5, 6).double()
        gate(x, Routing(torch.tensor([5]))).weights[:, 0].sum().backward()
        assert gate.router.weight.grad.abs().sum() > 0
    gate = learned(balance_weight=0.1, z_weight=0.1)
    losses = gate(x, Routing(torch.tensor([5]))).losses
    for loss in losses.values():
        gate.zero_grad()
        loss.backward(retain_graph=True)
        assert gate.router.weight.grad.abs().sum() > 0
    assert set(losses) == {"balance", "z"}
    assert gate.eval()(x, Routing(torch.tensor([5]))).losses == {}


def test_a_shared_embedding_is_put_before_the_frame():
    """SpeechMoE, Eq. 8: the router's input is Concat(e; x)."""
    options = MoEOptions("shared_embedding", num_experts=3)
    gate = SharedEmbeddingGate(options, size=6, embedding_size=2).double()
    x, e = torch.randn(5, 6).double(), torch.randn(5, 2).double()
    probabilities = (torch.cat((e, x), 1) @ gate.router.weight.T).softmax(dim=1)
    assignment = gate(x, Routing(torch.tensor([5]), embedding=e))
    best, expert = probabilities.max(dim=1)
    torch.testing.assert_close(assignment.weights[:, 0], best)
    assert assignment.experts[:, 0].tolist() == expert.tolist()


def test_an_encoder_without_an_embedding_is_told_so_when_it_is_built():
    with pytest.raises(ValueError, match="needs an encoder with an embedding network"):
        build_gate(MoEOptions("shared_embedding", num_experts=3), size=6)


def test_jitter_moves_the_router_s_input_in_training_only():
    gate, x = learned(jitter=0.5), torch.randn(5, 6).double()
    routing = Routing(torch.tensor([5]))
    first, second = gate.logits(x, routing), gate.logits(x, routing)
    assert (first != second).all()
    still = x @ gate.router.weight.T
    torch.testing.assert_close(gate.eval().logits(x, routing), still)


def test_layers_share_one_router_where_asked():
    options = MoEOptions("topk", num_experts=3, shared_router=True)
    router = build_router(options, size=6)
    gates = [build_gate(options, 6, router=router) for _ in range(2)]
    assert gates[0].router is gates[1].router
    assert build_router(MoEOptions("topk", num_experts=3), size=6) is None


def test_the_router_stays_in_float32_under_autocast():
    gate, x = learned().float(), torch.randn(5, 6)
    with torch.autocast("cpu", torch.bfloat16):
        logits = gate.logits(x.bfloat16(), Routing(torch.tensor([5])))
    assert logits.dtype == torch.float32


@pytest.mark.parametrize(
    "moe, message",
    [
        (
            {"num_expert": 2},
            r"encoder_conf.moe: unknown key 'num_expert', did you mean "
            r"'num_experts'",
        ),
        ({"gate": "lable"}, r"encoder_conf.moe.gate: 'lable' .* did you mean 'label'"),
        ({"num_experts": 3}, "num_experts is 3, but there are 2 labels"),
        ({"top_k": 2}, r"moe: top_k belongs to the gates topk, .* write 'gate: topk'"),
        ({"shared_router": True}, "shared_router belongs to the gates topk, "),
        ({"gate": "topk"}, "needs num_experts"),
        ({"gate": "topk", "num_experts": 2, "jitter": 1.5}, "0 to less than 1"),
        ({"gate": "topk", "num_experts": 2, "top_k": 3}, "choose 1 to 2"),
        ({"gate": "label_topk", "num_experts": 5}, "a multiple of the 2 labels"),
        ({"gate": "label_topk", "num_experts": 4, "top_k": 3}, "only 2 experts"),
    ],
)
def test_a_wrong_option_names_its_place_and_the_nearest_known(moe, message):
    with pytest.raises(ValueError, match=message):
        MoEOptions.parse(moe, "encoder_conf.moe", LABELS)


def test_jitter_is_as_large_upwards_as_downwards():
    options = MoEOptions("topk", num_experts=4, jitter=0.4)
    gate = TopKGate(options, size=4)
    gate.router.weight.data = torch.eye(4)
    torch.manual_seed(0)
    factors = gate.logits(torch.full((2000, 4), 3.0), Routing(torch.tensor([2000]))) / 3
    assert 0.6 <= factors.min() < 0.61 and 1.39 < factors.max() <= 1.4
    assert factors.mean().item() == pytest.approx(1.0, abs=0.01)
    assert (factors.std(1) > 0).all()  # each number of a frame has a factor of its own


def test_a_label_bias_of_an_older_checkpoint_is_loaded():
    old, new = learned(label_embedding=True), learned(label_embedding=True)
    nn.init.normal_(old.label_bias.weight)
    state = {
        name.replace("label_bias", "of_label"): value
        for name, value in old.state_dict().items()
    }
    assert "of_label.weight" in state
    new.load_state_dict(state)
    assert torch.equal(new.label_bias.weight, old.label_bias.weight)


def test_a_label_embedding_adds_nothing_at_first():
    gate, x = learned(label_embedding=True), torch.randn(5, 6).double()
    torch.testing.assert_close(
        gate.logits(x, routed([0, 1], [2, 3])), x @ gate.router.weight.T
    )


@pytest.mark.parametrize(
    "moe",
    [
        {"gate": "topk", "num_experts": 2, "top_k": 2},
        {"gate": "topk", "num_experts": 1},
        {"gate": "label_topk", "num_experts": 4, "top_k": 2},
        {"gate": "label_topk", "num_experts": 2},
    ],
)
def test_all_experts_that_there_are_may_be_chosen(moe):
    options = MoEOptions.parse(moe, "encoder_conf.moe", LABELS)
    assert (options.num_experts, options.top_k) == (
        moe["num_experts"],
        moe.get("top_k", 1),
    )


@pytest.mark.parametrize(
    "moe, message",
    [
        ({"gate": "topk", "num_experts": 2, "label_embedding": True}, "needs labels"),
        ({"gate": "label_topk", "num_experts": 4}, "needs labels"),
    ],
)
def test_a_gate_that_reads_labels_is_refused_without_any(moe, message):
    with pytest.raises(ValueError, match=message):
        MoEOptions.parse(moe, "encoder_conf.moe", ())


def test_no_router_is_made_for_an_embedding_that_is_not_there():
    options = MoEOptions("shared_embedding", num_experts=3, shared_router=True)
    for make in (
        lambda: build_router(options, 6),
        lambda: SharedEmbeddingGate(options, size=6),
        lambda: build_feed_forward(options, 6, 8, 0.0, "0"),
    ):
        with pytest.raises(ValueError, match="with an embedding network"):
            make()
    assert build_router(options, 6, 2).in_features == 8
