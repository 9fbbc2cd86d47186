"""Encoders, decoders, CTC and training steps on a device beside float32 on the CPU."""

import copy
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from espnet_smoe.benchmark.gpu import models
from espnet_smoe.benchmark.gpu.checks_moe import Precision
from espnet_smoe.benchmark.gpu.guard import Check, Compared, Site, gradients, moved
from espnet_smoe.compat import CTC
from espnet_smoe.decoder.bidirectional import U2PPTransformerDecoder
from espnet_smoe.decoder.transformer import SMoETransformerDecoder
from espnet_smoe.encoder.conformer import U2PPConformerEncoder
from espnet_smoe.encoder.speech_moe import SpeechMoEEncoder
from espnet_smoe.encoder.transformer import SMoETransformerEncoder
from espnet_smoe.model.u2pp import ESPnetU2PPModel
from espnet_smoe.moe import Routing

# float32 on both sides, through several layers; rounded ones beside float32
EXACT = Precision(torch.float32, None, 2e-4)
ROUNDED = {
    "bf16 autocast": Precision(torch.float32, torch.bfloat16, 1e-1),
    "fp16 autocast": Precision(torch.float32, torch.float16, 3e-2),
    "bf16 weights": Precision(torch.bfloat16, None, 1e-1),
}
TOKENS = ("<blank>", "<wb>", "<nb>", "<translate>", "<transcribe>", *models.LETTERS)
SIZES = {"attention_heads": 2, "linear_units": 64, "num_blocks": 2}
TOPK = {"num_experts": 4, "top_k": 2, "balance_weight": 0.1}
FRAMES, MEL, WIDTH = (160, 97, 131, 40), 20, 32


def encoder_check(
    make: Callable[[], nn.Module], how: Precision = EXACT, **options: Any
) -> Check:
    """Forward and gradients of an encoder, with padding.

    Args:
        make: The encoder.
        how: The device computes it.
        **options: Of its ``forward``.
    """

    def check(site: Site, compared: Compared) -> None:
        torch.manual_seed(0)
        encoder = models.without_dropout(make())
        there = copy.deepcopy(encoder).to(site.device, how.weights)
        feats = torch.randn(len(FRAMES), max(FRAMES), MEL)
        lengths = torch.tensor(FRAMES)
        far = feats.to(site.device, how.weights), lengths.to(site.device)
        wanted = encoded(encoder, feats, lengths, options)
        cast = how.autocast is not None
        with torch.autocast(site.device.type, how.autocast, enabled=cast):
            compare_all(compared, encoded(there, *far, options), wanted, how.bound)
            with torch.inference_mode():
                one = far[0][1:2, : FRAMES[1]], far[1][1:2]
                alone = encoded_by(there.eval(), *one, options)[0]
                padded = encoded_by(there, *far, options)[1, : len(alone)]
        compared.close("without padding", alone, padded, how.bound)

    return check


def encoded_by(
    encoder: nn.Module, feats: torch.Tensor, lengths: torch.Tensor, options: dict
) -> torch.Tensor:
    """``(B, T, D)``; the second and third of four utterances are narrowband."""
    return _encode(encoder, feats, lengths, options)[0]


def _encode(
    encoder: nn.Module, feats: torch.Tensor, lengths: torch.Tensor, options: dict
) -> tuple[torch.Tensor, torch.Tensor, Routing]:
    routing = Routing(lengths)
    if encoder.labels is not None:
        ids = [1, 2, 2, 1] if len(lengths) > 1 else [2]
        routing = encoder.route(torch.tensor(ids, device=feats.device))
    y, out_lengths, _ = encoder(feats, lengths, routing=routing, **options)
    return y, out_lengths, routing


def encoded(
    encoder: nn.Module, feats: torch.Tensor, lengths: torch.Tensor, options: dict
) -> dict[str, Any]:
    """Output, loads, auxiliary losses and gradients."""
    y, lengths, routing = _encode(encoder, feats, lengths, options)
    frames = torch.arange(y.size(1), device=y.device) < lengths[:, None]
    y = y.masked_fill(~frames[..., None], 0.0).float()
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


def decoder_check(make: Callable[[], nn.Module], prompts: list[int]) -> Check:
    """Forward and gradients of a decoder, with padding in texts and frames.

    Args:
        make: The decoder.
        prompts: First token of each of four texts.
    """

    def check(site: Site, compared: Compared) -> None:
        torch.manual_seed(0)
        decoder = models.without_dropout(make())
        there = copy.deepcopy(decoder).to(site.device)
        heard, frames = torch.randn(4, 30, WIDTH), torch.tensor([30, 17, 0, 25])
        texts = torch.randint(5, len(TOKENS), (4, 12))
        texts[:, 0] = torch.tensor(prompts)
        tokens = torch.tensor([12, 3, 7, 1])
        kept = torch.arange(12) < tokens[:, None]
        results = []
        for part, device in ((decoder, "cpu"), (there, site.device)):
            given = [t.to(device) for t in (heard, frames, texts, tokens)]
            out, _ = part(*given, routing=part.route(*given[2:]))
            out = out.masked_fill(~kept.to(device)[..., None], 0.0)
            out.square().sum().backward()
            results.append({"scores": out, "gradients": gradients(part)})
        compare_all(compared, results[1], results[0], EXACT.bound)

    return check


def ctc(site: Site, compared: Compared) -> None:
    """CTC's loss and gradients, with an utterance that has too few frames."""
    torch.manual_seed(0)
    head = CTC(20, WIDTH)
    heard, frames = torch.randn(4, 40, WIDTH), torch.tensor([40, 25, 3, 31])
    text = torch.randint(1, 20, (4, 9))
    lengths = torch.tensor([9, 5, 7, 1])
    padded = torch.arange(9) >= lengths[:, None]
    text = text.masked_fill(padded, -1)
    model = ESPnetU2PPModel
    results = []
    for device in ("cpu", site.device):
        part = copy.deepcopy(head).to(device)
        x, *rest = (t.clone().to(device) for t in (heard, frames, text, lengths))
        x.requires_grad_()
        loss = part(x, *rest)
        loss.backward()
        told = {"loss": loss, "gradient": x.grad, "weights": gradients(part)}
        x.grad = None
        fits = torch.tensor([True, True, False, True], device=device)
        kept = model.ctc_loss(None, part, fits, x, *rest)
        kept.backward()
        told |= {"loss without it": kept, "gradient without it": x.grad}
        results.append(told)
    compare_all(compared, results[1], results[0], EXACT.bound)


def training_step(name: str) -> Check:
    """Loss, statistics and gradients of a whole model, from the waveforms on."""

    def check(site: Site, compared: Compared) -> None:
        model, batch = tiny(name)
        results = []
        for device in ("cpu", site.device):
            part = copy.deepcopy(model).to(device).train()
            torch.manual_seed(4)  # the size of chunks
            loss, stats, weight = part(**moved(batch, device))
            loss.backward()
            numbers = {k: v for k, v in stats.items() if not v.isnan().any()}
            results.append({"loss": loss, "gradients": gradients(part), **numbers})
        compared.same("statistics", set(results[1]), set(results[0]))
        compare_all(compared, results[1], results[0], 2e-3)

    return check


def mixed_precision(name: str, dtype: torch.dtype) -> Check:
    """Two optimizer steps under autocast, the loss scaled as ESPnet's trainer does."""

    def check(site: Site, compared: Compared) -> None:
        model, batch = tiny(name)
        model, batch = model.to(site.device).train(), moved(batch, site.device)
        torch.manual_seed(4)
        wanted = float(model(**batch)[0].detach())
        optimizer = torch.optim.Adam(model.parameters(), 1e-3)
        scaler = torch.amp.GradScaler(
            site.device.type, init_scale=2.0**8, enabled=dtype == torch.float16
        )
        before = [p.detach().clone() for p in model.parameters()]
        for step in range(2):
            torch.manual_seed(4)
            optimizer.zero_grad()
            with torch.autocast(site.device.type, dtype):
                loss = model(**batch)[0]
            if not step:
                compared.close("loss beside float32", loss.squeeze(), wanted, 3e-2)
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            norm = nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            compared.same("finite gradients", bool(norm.isfinite()), True)
            scaler.step(optimizer)
            scaler.update()
        changed = [bool((p != old).any()) for p, old in zip(model.parameters(), before)]
        compared.same("weights that learn", sum(changed) > len(changed) // 2, True)
        with torch.autocast(site.device.type, dtype):
            torch.manual_seed(4)
            lower = float(model(**batch)[0].detach()) < wanted
        compared.same("lower loss", lower, True)

    return check


def tiny(name: str) -> tuple[nn.Module, dict[str, Any]]:
    """A tiny model without dropout, and a batch for it."""
    with tempfile.TemporaryDirectory() as folder:
        config = {
            "smoe": lambda: models.smoe(Path(folder)),
            "u2pp": models.u2pp,
            "speech_moe": models.speech_moe,
        }[name]()
        model = models.without_dropout(models.build(config))
    torch.manual_seed(1)
    lengths = torch.tensor([16000, 11000, 14000, 900])  # the last is too short for CTC
    speech = torch.randn(4, 16000) * 0.1
    speech = speech.masked_fill(torch.arange(16000) >= lengths[:, None], 0.0)
    tokens = torch.tensor([7, 4, 1, 6])
    padded = torch.arange(7) >= tokens[:, None]
    first, last = (20, 300) if name == "smoe" else (2, 12)

    def text() -> torch.Tensor:
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


def compare_all(
    compared: Compared, got: dict[str, Any], wanted: dict[str, Any], bound: float
) -> None:
    """Compare what two devices have computed."""
    for name, value in got.items():
        compared.close(name, value, wanted[name], bound)


def _transformer(moe: dict | None, sdpa: bool) -> nn.Module:
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


def _conformer(**options: Any) -> nn.Module:
    given = {**SIZES, "cnn_module_kernel": 5, "moe": TOPK, **options}
    return U2PPConformerEncoder(MEL, WIDTH, **given)


def _decoder(moe: dict) -> nn.Module:
    decoder = SMoETransformerDecoder(len(TOKENS), WIDTH, **SIZES, moe=moe)
    if decoder.labels is not None:
        decoder.labels.bind(TOKENS)
    return decoder


def _speech_moe() -> nn.Module:
    moe = {"num_experts": 3, "importance_weight": 0.1, "sparsity_weight": 0.1}
    sizes = {**SIZES, "attention_every": 1, "embedding": {"num_blocks": 1}}
    return SpeechMoEEncoder(MEL, WIDTH, **sizes, attention_window=[9, 4], moe=moe)


CHUNKS = {"chunk_size": 4, "left_chunks": 1}
LABEL = {"gate": "label"}
LEARNED = {"gate": "topk", "num_experts": 4, "balance_weight": 0.1}
CHECKS: dict[str, Check] = {
    "encoder smoe_transformer, labels, fused attention": encoder_check(
        partial(_transformer, LABEL, True)
    ),
    "encoder smoe_transformer, labels, plain attention": encoder_check(
        partial(_transformer, LABEL, False)
    ),
    "encoder smoe_transformer, topk": encoder_check(
        partial(_transformer, LEARNED, True)
    ),
    **{
        f"encoder u2pp_conformer, {kind}, {said}": encoder_check(
            partial(_conformer, pos_enc_layer_type=kind), **chunks
        )
        for kind in ("rel_pos", "rope")
        for said, chunks in (
            ("whole", {"chunk_size": 0}),
            ("chunks of 4, 1 on the left", CHUNKS),
        )
    },
    "encoder u2pp_conformer, recomputed in the backward pass": encoder_check(
        partial(_conformer, gradient_checkpoint_layers=[1, 2]), chunk_size=8
    ),
    "encoder speech_moe": encoder_check(_speech_moe),
    **{
        f"dense encoder {name}, {said}": encoder_check(make, how, **chunks)
        for said, how in ROUNDED.items()
        for name, make, chunks in (
            ("smoe_transformer", partial(_transformer, None, True), {}),
            ("u2pp_conformer, rel_pos", partial(_conformer, moe=None), CHUNKS),
            (
                "u2pp_conformer, rope",
                partial(_conformer, moe=None, pos_enc_layer_type="rope"),
                CHUNKS,
            ),
        )
    },
    "decoder smoe_transformer, labels": decoder_check(
        partial(_decoder, LABEL), [3, 4, 4, 3]
    ),
    "decoder smoe_transformer, topk": decoder_check(
        partial(_decoder, LEARNED), [3, 4, 4, 3]
    ),
    "decoder u2pp_transformer": decoder_check(
        lambda: U2PPTransformerDecoder(
            len(TOKENS), WIDTH, **SIZES, r_num_blocks=1, moe=TOPK
        ),
        [5, 5, 5, 5],
    ),
    "CTC, too few frames among the utterances": ctc,
    **{f"training step, {n}": training_step(n) for n in ("smoe", "u2pp", "speech_moe")},
    **{
        f"training in {word}, {name}": mixed_precision(name, dtype)
        for word, dtype in (("bf16", torch.bfloat16), ("fp16", torch.float16))
        for name in ("smoe", "u2pp", "speech_moe")
    },
}
