"""Model `speech_moe`: its loss is the paper's sum, and a bad utterance is named."""

import logging
import math

import pytest
import torch
from espnet2.asr.ctc import CTC

from espnet_smoe.encoder.speech_moe import SpeechMoEEncoder
from espnet_smoe.model.metrics import auxiliary_loss
from espnet_smoe.model.speech_moe import ESPnetSpeechMoEModel

TOKENS = ["<blank>", "<unk>", "ni3", "hao3", "ma5", "<sos/eos>"]
MOE = {"num_experts": 3, "sparsity_weight": 0.1, "importance_weight": 0.2}
NAMES = ["a", "b"]


def make(weight: float = 0.01, **encoder) -> ESPnetSpeechMoEModel:
    torch.manual_seed(0)
    sizes = {
        "output_size": 8,
        "linear_units": 12,
        "num_blocks": 2,
        "attention_every": 2,
        "attention_heads": 2,
        "dropout_rate": 0.0,
        "use_sdpa": False,
    }
    parts = dict.fromkeys(
        (
            "frontend specaug normalize preencoder postencoder decoder joint_network"
        ).split()
    )
    return ESPnetSpeechMoEModel(
        vocab_size=len(TOKENS),
        token_list=TOKENS,
        encoder=SpeechMoEEncoder(6, **sizes, **{"moe": MOE, "embedding": {}} | encoder),
        ctc=CTC(len(TOKENS), 8),
        embedding_ctc_weight=weight,
        **parts,
    ).double()


def batch() -> dict:
    torch.manual_seed(1)
    return {
        "speech": torch.randn(2, 12, 6, dtype=torch.double),
        "speech_lengths": torch.tensor([12, 9]),
        "text": torch.tensor([[2, 3, 3], [4, -1, -1]]),
        "text_lengths": torch.tensor([3, 1]),
    }


def test_the_loss_is_the_sum_of_equation_12():
    model = make(weight=0.3)
    loss, stats, weight = model(**batch())
    parts = {k: v.item() for k, v in stats.items()}
    expected = (
        parts["loss_ctc"]
        + 0.1 * parts["encoder_sparsity"]
        + 0.2 * parts["encoder_importance"]
        + 0.3 * parts["loss_embedding_ctc"]
    )
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert weight.item() == 2


def test_the_embedding_network_learns_from_its_own_loss_alone():
    model = make(weight=0.0)
    model(**batch())[0].backward()
    assert all(p.grad is None for p in model.encoder.embedding.parameters())
    model = make(weight=0.0, detach_embedding=False)
    model(**batch())[0].backward()
    assert any(p.grad is not None for p in model.encoder.embedding.parameters())
    model = make(weight=0.3)
    model(**batch())[0].backward()
    assert all(p.grad is not None for p in model.encoder.embedding.parameters())


def test_a_dense_encoder_has_ctc_alone():
    loss, stats, _ = make(moe=None, embedding=None)(**batch())
    assert loss.item() == pytest.approx(stats["loss_ctc"].item())
    assert "loss_embedding_ctc" not in stats


def test_an_utterance_too_short_for_its_target_is_named_once_and_left_out(caplog):
    model, data = make().eval(), batch()
    alone = {k: v[:1] for k, v in data.items()}
    of_one = model(**alone)[1]["loss_ctc"]
    # two equal units need a blank between them: three frames for two
    data |= {"speech_lengths": torch.tensor([12, 2])}
    data["text"][1, :2], data["text_lengths"][1] = 4, 2
    caplog.clear()
    for _ in range(2):
        with caplog.at_level(logging.WARNING):
            _, stats, _ = model(**data, utt_id=NAMES)
    assert [r.getMessage()[:39] for r in caplog.records] == [
        "b: 2 frames for 2 tokens, CTC needs 3; "
    ]
    assert stats["too_short"] == 1
    torch.testing.assert_close(stats["loss_ctc"], of_one / 2)


def test_a_batch_of_short_utterances_alone_costs_nothing():
    model, data = make(), batch()
    data["speech_lengths"] = torch.tensor([1, 12])
    data = {k: v[:1] for k, v in data.items()}
    loss, stats, _ = model(**data)
    loss.backward()
    assert stats["loss_ctc"] == 0


def test_statistics_tell_load_entropy_and_dead_experts_of_each_layer():
    model = make().eval()
    router = model.encoder.backbone.blocks[1].feed_forward.gate.router
    with torch.no_grad():  # every frame to expert 2, surely
        router.weight.zero_()
        router.weight[2, :8] = 100 * torch.ones(8, dtype=torch.double)
        model.encoder.embedding.after_norm.weight.zero_()
        model.encoder.embedding.after_norm.bias.fill_(1.0)
    _, stats, _ = model(**batch())
    assert stats["encoder_layer2_load_2"] == 1
    assert stats["encoder_layer2_dead"] == 2
    assert stats["encoder_layer2_entropy"] < 1e-3
    assert 0 < stats["encoder_layer1_entropy"] <= torch.log(torch.tensor(3.0))
    shares = [stats[f"encoder_load_{e}"] for e in range(3)]
    assert sum(shares) == pytest.approx(1)
    trained = model.train()(**batch())[1]
    assert "encoder_layer2_dead" not in trained and "encoder_dead" in trained


def test_padding_counts_in_no_statistic_and_no_loss():
    model, data = make(), batch()
    stats = model(**data)[1]
    data["speech"] = torch.cat((data["speech"], torch.randn(2, 5, 6).double()), 1)
    data["speech"][1, 9:] += 3
    for key, value in model(**data)[1].items():
        torch.testing.assert_close(value, stats[key], msg=key)


def test_auxiliary_losses_are_summed_over_the_layers():
    model = make()
    routing = model.new_routing(torch.tensor([12, 9]))
    model.encode_routed(batch()["speech"], batch()["speech_lengths"], routing)
    _, each = auxiliary_loss("encoder", model.encoder, routing)
    summed = sum(of["sparsity"] for of in routing.losses.values())
    torch.testing.assert_close(each["encoder_sparsity"], summed.detach())
    assert len(routing.losses) == 2


def test_a_decoder_is_refused():
    with pytest.raises(ValueError, match="has no decoder; remove 'decoder'"):
        ESPnetSpeechMoEModel(decoder=torch.nn.Linear(1, 1))


def test_an_embedding_network_that_nothing_trains_is_named(caplog):
    make(weight=0.0)
    assert "embedding_ctc_weight: with 0 nothing trains the embedding" in caplog.text


@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("weight", [0.0, 0.3])
@pytest.mark.parametrize("network", [True, False])
def test_an_embedding_network_has_a_loss_where_it_has_a_weight(
    network, weight, detach, caplog
):
    dense = {} if network else {"moe": None, "embedding": None}
    model = make(weight=weight, detach_embedding=detach, **dense)
    has_it = network and weight > 0
    assert (model.embedding_ctc is not None) == has_it
    assert ("loss_embedding_ctc" in model(**batch())[1]) == has_it
    useless = network and detach and not weight
    assert ("with 0 nothing trains" in caplog.text) == useless


def test_the_unit_error_rate_is_edits_over_units_of_the_reference():
    model = make().eval()
    # <blank> and repeats of ni3 hao3; of ma5; and an utterance without a text
    model.ctc.argmax = lambda _: torch.tensor(
        [[2, 2, 0, 3], [4, 0, 4, 4], [2, 2, 2, 2]]
    )
    text = torch.tensor([[2, 3, 3], [4, -1, -1], [-1, -1, -1]])
    lengths = torch.tensor([4, 4, 4])
    # hao3 left out, ma5 put in: two edits of four units
    assert model._unit_error_rate(None, lengths, text) == pytest.approx(2 / 4)
    assert math.isnan(model._unit_error_rate(None, lengths, text[2:]))
