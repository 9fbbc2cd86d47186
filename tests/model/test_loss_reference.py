"""Losses and accuracies of the models beside the formulas, token by token.

S-MoE, Section 3.1 (joint CTC and attention, label smoothing), U2++ (arXiv 2106.05642),
Eq. 1 and 2, and CTC by summing over every path (Graves et al. 2006, Eq. 3).
"""

import argparse
import itertools

import pytest
import torch
from espnet2.asr.ctc import CTC
from torch import Tensor

from espnet_smoe import register
from espnet_smoe.decoder.transformer import SMoETransformerDecoder
from espnet_smoe.encoder.transformer import SMoETransformerEncoder
from espnet_smoe.model.smoe import ESPnetSMoEModel

SPECIALS = ["<transcribe>", "<translate>", "<ko>", "<en>", "<wb>", "<nb>"]
SMOE = [
    *("<blank>", "<unk>", *SPECIALS, "<beginning_of_sentence>"),
    *("a", "b", "c", "<sos/eos>"),
]
ID = {token: i for i, token in enumerate(SMOE)}
U2PP = ["<blank>", "<unk>", "a", "b", "c", "<sos/eos>"]
TEXTS = [[9, 10, 10], [11]]  # of S-MoE: a b b, c
FRAMES = [7, 5]


def smoothed(log_p: Tensor, target: int, smoothing: float) -> Tensor:
    """KL divergence to the target distribution, one position; ``log_p`` ``(V,)``."""
    wanted = torch.full_like(log_p, smoothing / (len(log_p) - 1))
    wanted[target] = 1 - smoothing
    return torch.xlogy(wanted, wanted).sum() - (wanted * log_p).sum()


def ctc_by_paths(log_p: Tensor, text: list[int]) -> Tensor:
    """Minus the log of the sum over all paths ``(T, V)`` that spell the text."""
    letters = sorted({0, *text})
    costs = []
    for path in itertools.product(letters, repeat=len(log_p)):
        spelt = [token for token, _ in itertools.groupby(path) if token]
        if spelt == text:
            costs.append(sum(log_p[t, token] for t, token in enumerate(path)))
    return -torch.stack(costs).logsumexp(0)


def attention(decoder, memory: Tensor, prompt: list[int], text: list[int], eos: int):
    """``(log p, target)`` at each position that counts, of one utterance."""
    ys = torch.tensor([prompt + text])
    lengths = torch.tensor([len(memory)])
    out, _ = decoder(memory[None], lengths, ys, torch.tensor([ys.size(1)]))
    log_p = out[0].log_softmax(-1)[len(prompt) - 1 :]
    return list(zip(log_p, [*text, eos], strict=True))


def smoe(**options) -> ESPnetSMoEModel:
    sizes = {"attention_heads": 2, "linear_units": 16}
    sizes |= {"dropout_rate": 0.0, "positional_dropout_rate": 0.0, "moe": {}}
    inner = {"interctc_layer_idx": [1, 2]} if options.get("interctc_weight") else {}
    torch.manual_seed(0)
    encoder = SMoETransformerEncoder(
        6, output_size=8, input_layer="linear", num_blocks=3, **sizes, **inner
    )
    decoder = SMoETransformerDecoder(len(SMOE), 8, num_blocks=1, **sizes)
    parts = dict.fromkeys(
        ("frontend", "specaug", "normalize", "preencoder", "postencoder")
    )
    model = ESPnetSMoEModel(
        vocab_size=len(SMOE),
        token_list=SMOE,
        encoder=encoder,
        decoder=decoder,
        ctc=CTC(len(SMOE), 8),
        joint_network=None,
        **parts,
        **options,
    )
    favour(model.decoder, 10)
    return model.eval()


def favour(decoder: torch.nn.Module, token: int) -> None:
    """Say one token nearly always, so that some accuracies are above 0."""
    decoder.output_layer.bias.data[token] += 5


def smoe_batch() -> dict:
    torch.manual_seed(1)
    text = torch.tensor([TEXTS[0], [*TEXTS[1], -1, -1]])
    return {
        "speech": torch.randn(2, max(FRAMES), 6),
        "speech_lengths": torch.tensor(FRAMES),
        "text": text,
        "text_lengths": torch.tensor([3, 1]),
        "bandwidth": torch.tensor([[ID["<nb>"]], [ID["<wb>"]]]),
        "text_st": text.flip(0),
        "text_st_lengths": torch.tensor([1, 3]),
    }


def smoe_parts(model: ESPnetSMoEModel, fields: dict, smoothing: float) -> dict:
    """Sums over the batch of every term, each utterance alone."""
    found = {"asr": [], "st": [], "ctc": [], "inner": [], "right": []}
    prompts = {
        "asr": ["<transcribe>", "<ko>", "<beginning_of_sentence>"],
        "st": ["<translate>", "<en>", "<beginning_of_sentence>"],
    }
    for row, frames in enumerate(FRAMES):
        one = fields["speech"][row : row + 1, :frames]
        routing = model.encoder.route(fields["bandwidth"][row])
        encoded, _, _ = model.encoder(one, torch.tensor([frames]), routing=routing)
        hidden = []
        if isinstance(encoded, tuple):
            encoded, hidden = encoded
        texts = {"asr": TEXTS[row], "st": TEXTS[1 - row]}
        for task, prompt in prompts.items():
            ids = [ID[token] for token in prompt]
            pairs = attention(
                model.decoder, encoded[0], ids, texts[task], ID["<sos/eos>"]
            )
            found[task] += [smoothed(log_p, t, smoothing) for log_p, t in pairs]
            if task == "asr":
                found["right"] += [int(log_p.argmax()) == t for log_p, t in pairs]
        head = model.ctc.ctc_lo
        found["ctc"].append(ctc_by_paths(head(encoded[0]).log_softmax(-1), TEXTS[row]))
        for _, h in hidden:
            found["inner"].append(ctc_by_paths(head(h[0]).log_softmax(-1), TEXTS[row]))
    return found


@torch.no_grad()
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("by_tokens", [False, True])
@pytest.mark.parametrize("inner", [0.0, 0.4])
def test_the_loss_of_smoe_is_the_papers(smoothing, by_tokens, inner):
    w = 0.3
    model = smoe(
        ctc_weight=w,
        lsm_weight=smoothing,
        length_normalized_loss=by_tokens,
        interctc_weight=inner,
    )
    fields = smoe_batch()
    loss, stats, weight = model(**fields)
    parts = smoe_parts(model, fields, smoothing)
    tokens = 6 if by_tokens else 2  # with the ends of both texts, or utterances
    ctc = sum(parts["ctc"]) / 2
    if inner:
        ctc = (1 - inner) * ctc + inner * sum(parts["inner"]) / 2 / 2  # of two layers
    asr = w * ctc + (1 - w) * sum(parts["asr"]) / tokens
    st = sum(parts["st"]) / tokens
    torch.testing.assert_close(stats["loss_asr"][0], asr, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(stats["loss_st"][0], st, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        stats["loss_ctc_asr"][0], sum(parts["ctc"]) / 2, atol=1e-4, rtol=1e-4
    )
    torch.testing.assert_close(loss[0], (asr + st) / 2, atol=1e-4, rtol=1e-4)
    assert float(weight) == 2
    assert sum(parts["right"]) == 2
    assert float(stats["acc_asr"]) == pytest.approx(2 / 6)


def u2pp(**options):
    register()
    from espnet2.tasks.asr import ASRTask

    none = {"dropout_rate": 0.0, "positional_dropout_rate": 0.0}
    sizes = {"attention_heads": 2, "linear_units": 12, **none}
    config = ASRTask.get_default_config() | {
        "token_list": U2PP,
        "model": "u2pp",
        "model_conf": options,
        "frontend_conf": {"n_fft": 512, "hop_length": 160, "n_mels": 20},
        "normalize": None,
        "encoder": "u2pp_conformer",
        "encoder_conf": {**sizes, "output_size": 16, "num_blocks": 1},
        "decoder": "u2pp_transformer",
        "decoder_conf": {**sizes, "num_blocks": 1, "r_num_blocks": 2},
    }
    torch.manual_seed(3)
    model = ASRTask.build_model(argparse.Namespace(**config)).eval()
    favour(model.decoder, 3)
    favour(model.decoder.right, 4)
    return model


@torch.no_grad()
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("by_tokens", [False, True])
def test_the_loss_of_u2pp_is_the_papers(smoothing, by_tokens):
    w, r, texts, samples = 0.2, 0.4, [[2, 3, 3], [4]], [4800, 3900]
    model = u2pp(
        ctc_weight=w,
        reverse_weight=r,
        lsm_weight=smoothing,
        length_normalized_loss=by_tokens,
    )
    torch.manual_seed(1)
    speech = torch.randn(2, samples[0])
    text = torch.tensor([texts[0], [*texts[1], -1, -1]])
    lengths = torch.tensor([3, 1])
    loss, stats, _ = model(speech, torch.tensor(samples), text, lengths)
    ctc, sides, right = [], {"l2r": [], "r2l": []}, {"l2r": [], "r2l": []}
    decoders = {"l2r": model.decoder, "r2l": model.decoder.right}
    sos = eos = len(U2PP) - 1
    for row, n in enumerate(samples):
        encoded, _ = model.encode(speech[row : row + 1, :n], torch.tensor([n]))
        log_p = model.ctc.ctc_lo(encoded[0]).log_softmax(-1)
        ctc.append(ctc_by_paths(log_p, texts[row]))
        for side, decoder in decoders.items():
            said = texts[row] if side == "l2r" else texts[row][::-1]
            pairs = attention(decoder, encoded[0], [sos], said, eos)
            sides[side] += [smoothed(log_p, t, smoothing) for log_p, t in pairs]
            right[side] += [int(log_p.argmax()) == t for log_p, t in pairs]
    count = 6 if by_tokens else 2
    l2r, r2l = (sum(sides[side]) / count for side in ("l2r", "r2l"))
    attended = (1 - r) * l2r + r * r2l
    expected = w * sum(ctc) / 2 + (1 - w) * attended
    close = {"atol": 1e-4, "rtol": 1e-4}
    torch.testing.assert_close(stats["loss_l2r"][0], l2r, **close)
    torch.testing.assert_close(stats["loss_r2l"][0], r2l, **close)
    torch.testing.assert_close(stats["loss_att"][0], attended, **close)
    torch.testing.assert_close(loss[0], expected, **close)
    assert {side: sum(hits) for side, hits in right.items()} == {"l2r": 2, "r2l": 1}
    for side, hits in right.items():
        assert float(stats[f"acc_{side}"]) == pytest.approx(sum(hits) / 6)
    assert stats["acc"] == stats["acc_l2r"]
