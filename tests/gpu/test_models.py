"""Encoders, decoders, CTC and training steps on a device beside float32 on the CPU."""

import argparse
import copy
from functools import partial

import pytest
import torch
from espnet2.torch_utils.device_funcs import to_device
from torch import nn

from espnet_smoe.compat import CTC
from espnet_smoe.decoder.bidirectional import U2PPTransformerDecoder
from espnet_smoe.decoder.transformer import SMoETransformerDecoder
from espnet_smoe.encoder.conformer import U2PPConformerEncoder
from espnet_smoe.encoder.speech_moe import SpeechMoEEncoder
from espnet_smoe.encoder.transformer import SMoETransformerEncoder
from espnet_smoe.model.u2pp import ESPnetU2PPModel
from espnet_smoe.moe import Routing
from tests.gpu.compare import Precision, assert_all_close, assert_close, gradients
from tests.gpu.mixture import valid
from tests.inference.tiny_u2pp import TOKENS as LETTERS
from tests.inference.tiny_u2pp import tiny_u2pp_config
from tests.tiny import tiny_config, tiny_ctc_config

# float32 on both sides, through several layers; rounded ones beside float32
EXACT = Precision(torch.float32, None, 2e-4)
ROUNDED = {
    "bf16 autocast": Precision(torch.float32, torch.bfloat16, 1e-1),
    "fp16 autocast": Precision(torch.float32, torch.float16, 3e-2),
    "bf16 weights": Precision(torch.bfloat16, None, 1e-1),
}
TOKENS = ("<blank>", "<wb>", "<nb>", "<translate>", "<transcribe>", *"abcdefghij")
SIZES = {"attention_heads": 2, "linear_units": 64, "num_blocks": 2}
LABEL = {"gate": "label"}
TOP1 = {"gate": "topk", "num_experts": 4, "balance_weight": 0.1}
TOP2 = {"num_experts": 4, "top_k": 2, "balance_weight": 0.1}
SPARSE = {"num_experts": 3, "importance_weight": 0.1, "sparsity_weight": 0.1}
CHUNKS = {"chunk_size": 4, "left_chunks": 1}
FRAMES, MEL, WIDTH = (160, 97, 131, 40), 20, 32


def without_dropout(model):
    """The same model, which draws nothing in training."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if hasattr(module, "dropout_rate"):
            module.dropout_rate = 0.0
    return model


def transformer(moe, sdpa=True):
    """Encoder ``smoe_transformer``."""
    encoder = SMoETransformerEncoder(
        *(MEL, WIDTH),
        **SIZES,
        input_layer="conv1d_glu",
        subsampling_channels=32,
        use_sdpa=sdpa,
        moe=moe,
    )
    if encoder.labels is not None:
        encoder.labels.bind(TOKENS)
    return encoder


def conformer(**options):
    """Encoder ``u2pp_conformer``."""
    given = {**SIZES, "cnn_module_kernel": 5, "moe": TOP2, **options}
    return U2PPConformerEncoder(MEL, WIDTH, **given)


def speech_moe():
    """Encoder ``speech_moe``."""
    sizes = {**SIZES, "attention_every": 1, "embedding": {"num_blocks": 1}}
    return SpeechMoEEncoder(MEL, WIDTH, **sizes, attention_window=[9, 4], moe=SPARSE)


def label_decoder(moe):
    """Decoder ``smoe_transformer``."""
    decoder = SMoETransformerDecoder(len(TOKENS), WIDTH, **SIZES, moe=moe)
    if decoder.labels is not None:
        decoder.labels.bind(TOKENS)
    return decoder


def encode(encoder, feats, lengths, options):
    """Output, lengths, routing; the second and third of four are narrowband."""
    routing = Routing(lengths)
    if encoder.labels is not None:
        ids = [1, 2, 2, 1] if len(lengths) > 1 else [2]
        routing = encoder.route(torch.tensor(ids, device=feats.device))
    y, out_lengths, _ = encoder(feats, lengths, routing=routing, **options)
    return y, out_lengths, routing


def encoded(encoder, feats, lengths, options):
    """Output, loads, auxiliary losses and gradients."""
    y, lengths, routing = encode(encoder, feats, lengths, options)
    y = y.masked_fill(~valid(y, lengths)[..., None], 0.0).float()
    costs = [c for of_layer in routing.losses.values() for c in of_layer.values()]
    torch.manual_seed(2)
    probe = torch.randn(y.shape).to(y.device)
    ((y * probe).sum() + sum(costs)).backward()
    return {
        "output": y,
        "loads": torch.cat([*routing.loads.values(), lengths]),
        "auxiliary losses": torch.stack(costs) if costs else torch.zeros(0),
        "gradients": gradients(encoder),
    }


def encoder_cases():
    """Encoders with experts in float32, dense ones in lower precision."""

    def case(name, make, how=EXACT, **options):
        return pytest.param(make, how, options, id=name)

    labels = "smoe_transformer, labels"
    yield case(f"{labels}, fused attention", partial(transformer, LABEL))
    yield case(f"{labels}, plain attention", partial(transformer, LABEL, False))
    yield case("smoe_transformer, topk", partial(transformer, TOP1))
    for kind in ("rel_pos", "rope"):
        make = partial(conformer, pos_enc_layer_type=kind)
        yield case(f"u2pp_conformer, {kind}, whole", make, chunk_size=0)
        yield case(
            f"u2pp_conformer, {kind}, chunks of 4, 1 on the left", make, **CHUNKS
        )
    make = partial(conformer, gradient_checkpoint_layers=[1, 2])
    yield case("u2pp_conformer, recomputed", make, chunk_size=8)
    yield case("speech_moe", speech_moe)
    for word, how in ROUNDED.items():
        yield case(f"dense smoe_transformer, {word}", partial(transformer, None), how)
        for kind in ("rel_pos", "rope"):
            make = partial(conformer, moe=None, pos_enc_layer_type=kind)
            yield case(f"dense u2pp_conformer, {kind}, {word}", make, how, **CHUNKS)


@pytest.mark.parametrize("make, how, options", list(encoder_cases()))
def test_an_encoder_with_padding(device, make, how, options):
    torch.manual_seed(0)
    encoder = without_dropout(make())
    there = copy.deepcopy(encoder).to(device, how.weights)
    feats = torch.randn(len(FRAMES), max(FRAMES), MEL)
    lengths = torch.tensor(FRAMES)
    far = feats.to(device, how.weights), lengths.to(device)
    wanted = encoded(encoder, feats, lengths, options)
    with torch.autocast(device.type, how.autocast, enabled=how.autocast is not None):
        assert_all_close(encoded(there, *far, options), wanted, how.bound)
        with torch.inference_mode():
            one = far[0][1:2, : FRAMES[1]], far[1][1:2]
            alone = encode(there.eval(), *one, options)[0][0]
            padded = encode(there, *far, options)[0][1, : len(alone)]
    assert_close("without padding", alone, padded, how.bound)


def reversible_decoder():
    """Decoder ``u2pp_transformer``."""
    return U2PPTransformerDecoder(len(TOKENS), WIDTH, **SIZES, r_num_blocks=1, moe=TOP2)


@pytest.mark.parametrize(
    "make, prompts",
    [
        (partial(label_decoder, LABEL), [3, 4, 4, 3]),
        (partial(label_decoder, TOP1), [3, 4, 4, 3]),
        (reversible_decoder, [5, 5, 5, 5]),
    ],
    ids=["smoe_transformer, labels", "smoe_transformer, topk", "u2pp_transformer"],
)
def test_a_decoder_with_padding_in_texts_and_frames(device, make, prompts):
    torch.manual_seed(0)
    decoder = without_dropout(make())
    there = copy.deepcopy(decoder).to(device)
    encoder_out, frames = torch.randn(4, 30, WIDTH), torch.tensor([30, 17, 0, 25])
    texts = torch.randint(5, len(TOKENS), (4, 12))
    texts[:, 0] = torch.tensor(prompts)
    tokens = torch.tensor([12, 3, 7, 1])
    padded = torch.arange(12) >= tokens[:, None]
    results = []
    for part, where in ((decoder, "cpu"), (there, device)):
        given = [t.to(where) for t in (encoder_out, frames, texts, tokens)]
        out, _ = part(*given, routing=part.route(*given[2:]))
        out = out.masked_fill(padded.to(where)[..., None], 0.0)
        out.square().sum().backward()
        results.append({"scores": out, "gradients": gradients(part)})
    assert_all_close(results[1], results[0], EXACT.bound)


def test_ctc_with_an_utterance_that_has_too_few_frames(device):
    torch.manual_seed(0)
    head = CTC(20, WIDTH)
    encoder_out, frames = torch.randn(4, 40, WIDTH), torch.tensor([40, 25, 3, 31])
    text = torch.randint(1, 20, (4, 9))
    lengths = torch.tensor([9, 5, 7, 1])
    text = text.masked_fill(torch.arange(9) >= lengths[:, None], -1)
    results = []
    for where in ("cpu", device):
        part = copy.deepcopy(head).to(where)
        given = (encoder_out, frames, text, lengths)
        x, *rest = (t.clone().to(where) for t in given)
        x.requires_grad_()
        loss = part(x, *rest)
        loss.backward()
        found = {"loss": loss, "gradient": x.grad, "weights": gradients(part)}
        x.grad = None
        fits = torch.tensor([True, True, False, True], device=where)
        without = ESPnetU2PPModel.ctc_loss(None, part, fits, x, *rest)
        without.backward()
        results.append(
            found | {"loss without it": without, "gradient without it": x.grad}
        )
    assert_all_close(results[1], results[0], EXACT.bound)


def tiny(name, folder):
    """A tiny model without dropout, and a batch for it."""
    from espnet2.tasks.asr import ASRTask

    if name == "smoe":
        config = tiny_config(folder)
        config["model_conf"]["lsm_weight"] = 0.1
        config["encoder_conf"]["use_sdpa"] = True
    elif name == "u2pp":
        config = tiny_u2pp_config()
        for part in ("encoder_conf", "decoder_conf"):
            config[part]["moe"] = TOP2 | {"z_weight": 0.1}
    else:
        config = tiny_ctc_config(LETTERS)
        config["model_conf"] = {"embedding_ctc_weight": 0.1}
        config["encoder_conf"] |= {"attention_window": [10, 5], "moe": SPARSE}
    torch.manual_seed(0)
    model = without_dropout(ASRTask.build_model(argparse.Namespace(**config)))
    torch.manual_seed(1)
    lengths = torch.tensor([16000, 11000, 14000, 900])  # the last is too short for CTC
    speech = torch.randn(4, 16000) * 0.1
    speech = speech.masked_fill(torch.arange(16000) >= lengths[:, None], 0.0)
    tokens = torch.tensor([7, 4, 1, 6])
    padded = torch.arange(7) >= tokens[:, None]
    first, last = (20, 300) if name == "smoe" else (2, 12)

    def text():
        return torch.randint(first, last - 1, (4, 7)).masked_fill(padded, -1)

    batch = {
        "speech": speech,
        "speech_lengths": lengths,
        "text": text(),
        "text_lengths": tokens,
        "utt_id": list("abcd"),
    }
    if name == "smoe":
        ids = [config["token_list"].index(t) for t in ("<wb>", "<nb>")]
        batch["text_st"], batch["text_st_lengths"] = text(), tokens
        batch["bandwidth"] = torch.tensor([[ids[n]] for n in (0, 1, 1, 0)])
        batch["speech_lengths"][3] = 9000
    return model, batch


MODELS = pytest.mark.parametrize("name", ["smoe", "u2pp", "speech_moe"])


@MODELS
def test_a_training_step_from_the_waveforms_on(device, name, tmp_path):
    model, batch = tiny(name, tmp_path)
    results = []
    for where in ("cpu", device):
        part = copy.deepcopy(model).to(where).train()
        torch.manual_seed(4)  # the size of chunks
        loss, stats, _ = part(**to_device(batch, where))
        loss.backward()
        stats = {k: v for k, v in stats.items() if not v.isnan().any()}
        results.append({"loss": loss, "gradients": gradients(part), **stats})
    assert set(results[1]) == set(results[0])
    assert_all_close(results[1], results[0], 2e-3)


@MODELS
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
def test_two_steps_of_mixed_precision_as_of_espnets_trainer(
    device, name, dtype, tmp_path
):
    model, batch = tiny(name, tmp_path)
    model, batch = model.to(device).train(), to_device(batch, device)

    def loss_of(enabled):
        torch.manual_seed(4)
        with torch.autocast(device.type, dtype, enabled=enabled):
            return model(**batch)[0]

    wanted = float(loss_of(False).detach())
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    scaler = torch.amp.GradScaler(
        device.type, init_scale=2.0**8, enabled=dtype == torch.float16
    )
    before = [p.detach().clone() for p in model.parameters()]
    for step in range(2):
        optimizer.zero_grad()
        loss = loss_of(True)
        if not step:
            assert_close("loss beside float32", loss.squeeze(), wanted, 3e-2)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        norm = nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        assert norm.isfinite()
        scaler.step(optimizer)
        scaler.update()
    changed = [bool((p != old).any()) for p, old in zip(model.parameters(), before)]
    assert sum(changed) > len(changed) // 2
    assert float(loss_of(True).detach()) < wanted
