"""What ESPnet's own tests ask of its encoders, decoder and search, asked of ours."""

import inspect

import pytest
import torch
from espnet2.asr.ctc import CTC
from espnet2.asr.decoder.transformer_decoder import TransformerDecoder
from espnet2.asr.encoder.conformer_encoder import ConformerEncoder
from espnet2.asr.encoder.transformer_encoder import TransformerEncoder
from espnet2.asr.espnet_model import ESPnetASRModel
from espnet2.legacy.nets.batch_beam_search import BatchBeamSearch
from espnet2.legacy.nets.batch_beam_search_online_sim import BatchBeamSearchOnlineSim
from espnet2.legacy.nets.beam_search import BeamSearch
from espnet2.legacy.nets.scorers.ctc import CTCPrefixScorer

from espnet_smoe.decoder.transformer import SMoETransformerDecoder
from espnet_smoe.encoder.conformer import U2PPConformerEncoder
from espnet_smoe.encoder.transformer import SMoETransformerEncoder

PLACES = {
    "conformer": (ConformerEncoder, U2PPConformerEncoder),
    "transformer": (TransformerEncoder, SMoETransformerEncoder),
    "decoder": (TransformerDecoder, SMoETransformerDecoder),
}
TOPK = {"gate": "topk", "num_experts": 4, "top_k": 2}
SIZES = {"output_size": 4, "attention_heads": 2, "linear_units": 4, "num_blocks": 2}
TOKENS = ["<blank>", "a", "b", "c", "unk", "<eos>"]
mixtures = pytest.mark.parametrize("moe", [None, TOPK], ids=["dense", "topk"])
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
norms = pytest.mark.parametrize("normalize_before", [True, False])


def options_of(cls: type) -> dict[str, object]:
    parameters = inspect.signature(cls.__init__).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


FOREIGN = [
    (name, option)
    for name, (theirs, ours) in PLACES.items()
    for option in options_of(theirs)
    if option not in options_of(ours)
]


@pytest.mark.parametrize("name, option", FOREIGN)
def test_an_option_of_espnets_that_ours_lacks_is_refused_with_a_reason(name, option):
    theirs, ours = PLACES[name]
    sizes = (10, 12) if name == "decoder" else (20,)
    with pytest.raises(ValueError, match=f"'{option}'; ESPnet's option is not ours: "):
        ours(*sizes, **{option: options_of(theirs)[option]})


@mixtures
@pytest.mark.parametrize("interctc", [[], [1]])
@pytest.mark.parametrize("conditioned", [False, True])
@pytest.mark.parametrize("layer", ["linear", "conv2d", "conv2d1", "conv2d6", "embed"])
@norms
def test_the_transformer_goes_forward_and_back(
    moe, interctc, conditioned, layer, normalize_before
):
    encoder = SMoETransformerEncoder(
        20,
        **SIZES,
        input_layer=layer,
        normalize_before=normalize_before,
        interctc_layer_idx=interctc,
        interctc_use_conditioning=conditioned and bool(interctc),
        moe=moe,
    )
    x = torch.randn(2, 32, 20, requires_grad=True)
    if layer == "embed":
        x = torch.randint(0, 10, [2, 32])
    ctc = CTC(odim=5, encoder_output_size=4)
    encoder.conditioning_layer = torch.nn.Linear(5, 4)
    y, _, _ = encoder(x, torch.tensor([32, 28]), ctc=ctc)
    assert isinstance(y, tuple) == bool(interctc)
    (y[0] if interctc else y).sum().backward()


@mixtures
@pytest.mark.parametrize("layer", ["conv2d", "conv2d2", "conv2d6", "conv2d8"])
@pytest.mark.parametrize("positions", ["rel_pos", "rope"])
@pytest.mark.parametrize("macaron", [True, False])
def test_the_conformer_goes_forward_and_back(moe, layer, positions, macaron):
    encoder = U2PPConformerEncoder(
        20,
        **SIZES,
        input_layer=layer,
        pos_enc_layer_type=positions,
        macaron_style=macaron,
        cnn_module_kernel=3,
        moe=moe,
    )
    x = torch.randn(2, 64, 20, requires_grad=True)
    y, lengths, _ = encoder(x, torch.tensor([64, 56]))
    assert y.size(1) == lengths.max() and encoder.output_size() == 4
    y.sum().backward()


@mixtures
@pytest.mark.parametrize("cls", [SMoETransformerEncoder, U2PPConformerEncoder])
def test_an_utterance_is_the_same_alone_and_beside_a_longer_one(moe, cls):
    torch.manual_seed(0)
    encoder = cls(40, **SIZES | {"output_size": 32}, input_layer="conv2d", moe=moe)
    features = torch.randn(2, 163, 40)
    features[1, 120:] = 0
    with torch.no_grad():
        encoder.eval()
        batched, n, _ = encoder(features, torch.tensor([163, 120]))
        alone, m, _ = encoder(features[1:, :120], torch.tensor([120]))
    assert n[1] == m[0]
    torch.testing.assert_close(batched[1, : m[0]], alone[0], rtol=1e-5, atol=1e-5)


def test_wrong_values_are_value_errors():
    for wrong in ({"input_layer": "fff"}, {"pos_enc_layer_type": "dummy"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            U2PPConformerEncoder(20, **wrong)
    with pytest.raises(ValueError, match="input_layer"):
        SMoETransformerDecoder(10, 12, input_layer="foo")
    for layers in ([0, 1], [1, 2]):
        with pytest.raises(ValueError, match="interctc_layer_idx"):
            SMoETransformerEncoder(20, **SIZES, interctc_layer_idx=layers)


@mixtures
@norms
@pytest.mark.parametrize("layer", ["linear", "embed"])
@pytest.mark.parametrize("use_output_layer", [True, False])
def test_the_decoder_goes_forward_and_back(
    moe, normalize_before, layer, use_output_layer
):
    decoder = SMoETransformerDecoder(
        10,
        12,
        input_layer=layer,
        normalize_before=normalize_before,
        use_output_layer=use_output_layer,
        linear_units=10,
        moe=moe,
    )
    t = torch.randint(0, 10, [2, 4]) if layer == "embed" else torch.randn(2, 4, 10)
    memory = torch.randn(2, 9, 12)
    z, _ = decoder(memory, torch.tensor([9, 7]), t, torch.tensor([4, 3]))
    z.sum().backward()


def searched(kind: type, decoder: torch.nn.Module, dtype: torch.dtype, **lengths):
    ctc = CTC(odim=6, encoder_output_size=8)
    search = kind(
        beam_size=3,
        vocab_size=6,
        weights={"test": 0.7, "ctc": 0.3},
        scorers={"test": decoder, "ctc": CTCPrefixScorer(ctc=ctc, eos=5)},
        token_list=TOKENS,
        sos=5,
        eos=5,
        pre_beam_score_key=None,
    )
    if kind is BatchBeamSearchOnlineSim:
        search.set_block_size(4)
        search.set_hop_size(2)
        search.set_look_ahead(1)
    search.to(dtype=dtype).eval()
    ctc.to(dtype)
    encoded = torch.randn(10, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
    with torch.no_grad():
        return search(x=encoded, minlenratio=0.0, **lengths)


@mixtures
@norms
@dtypes
@pytest.mark.parametrize("maxlenratio", [1.0, 0.0, -1.0])
@pytest.mark.parametrize(
    "kind", [BeamSearch, BatchBeamSearch, BatchBeamSearchOnlineSim]
)
def test_every_search_finds_with_our_decoder_what_it_finds_with_espnets(
    moe, normalize_before, dtype, maxlenratio, kind
):
    torch.manual_seed(0)
    sizes = {"linear_units": 10, "normalize_before": normalize_before}
    ours = SMoETransformerDecoder(6, 8, **sizes, moe=moe)
    torch.manual_seed(1)
    found = searched(kind, ours, dtype, maxlenratio=maxlenratio)
    assert found
    if moe is None:
        theirs = TransformerDecoder(6, 8, **sizes)
        theirs.load_state_dict(ours.state_dict())
        torch.manual_seed(1)
        expected = searched(kind, theirs, dtype, maxlenratio=maxlenratio)
        assert [h.yseq.tolist() for h in found] == [h.yseq.tolist() for h in expected]
        scores = [float(h.score) for h in expected]
        assert [float(h.score) for h in found] == pytest.approx(scores, abs=1e-4)


@mixtures
@pytest.mark.parametrize("cls", [SMoETransformerEncoder, U2PPConformerEncoder])
@pytest.mark.parametrize("aux_ctc", [None, {"0": "lid"}])
def test_espnets_model_trains_our_parts(moe, cls, aux_ctc):
    encoder = cls(20, **SIZES, moe=moe)
    decoder = SMoETransformerDecoder(5, 4, linear_units=4, num_blocks=2, moe=moe)
    model = ESPnetASRModel(
        5,
        token_list=["<blank>", "<unk>", "a", "i", "<eos>"],
        frontend=None,
        specaug=None,
        normalize=None,
        preencoder=None,
        encoder=encoder,
        postencoder=None,
        decoder=decoder,
        ctc=CTC(odim=5, encoder_output_size=4),
        joint_network=None,
        aux_ctc=aux_ctc,
        report_cer=False,
        report_wer=False,
    )
    loss, *_ = model(
        speech=torch.randn(2, 40, 20),
        speech_lengths=torch.tensor([40, 32]),
        text=torch.randint(2, 4, [2, 4]),
        text_lengths=torch.tensor([4, 3]),
    )
    loss.backward()
    assert all(
        p.grad is not None for p in decoder.parameters() if moe is None
    ) and torch.isfinite(loss)
