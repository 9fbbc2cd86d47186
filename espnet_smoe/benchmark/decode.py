"""``espnet-smoe benchmark decode``: beam search beside ESPnet's, on the same weights.

The weights are random, but the output layer's are enlarged: like those of a trained
model they are sure of a word, so that rounding does not decide between hypotheses.
Random weights end no sentence: all sides write the same number of tokens.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from espnet_smoe.benchmark.comparison import Comparison, option, quick
from espnet_smoe.benchmark.measure import Sides
from espnet_smoe.compat import CTC, BatchBeamSearch, TransformerDecoder
from espnet_smoe.data.text.tokens import BEGIN, BLANK, LABELS, SOS_EOS, UNKNOWN
from espnet_smoe.decoder.transformer import SMoETransformerDecoder
from espnet_smoe.encoder.transformer import SMoETransformerEncoder
from espnet_smoe.inference.runtime.mkldnn_linear import convert_to_mkldnn
from espnet_smoe.inference.search.beam_search import PromptBeamSearch, SearchOptions

ROUNDS = 3
ESPNET, OURS = "ESPnet's search and decoder", "espnet-smoe"
ALONE, TOGETHER = "ASR, then ST, an encoder pass each", "ASR and ST together"
WITHOUT_CTC, WITH_CTC = "decoder alone", "decoder and CTC"
CTC_WEIGHT = 0.3
FRAMES_A_SECOND, MEL = 100, 80
SURE = 8.0  # standard deviations that the output layer's weights are enlarged by
SPECIAL = (BLANK, UNKNOWN, *LABELS, BEGIN)
ASR = [SPECIAL.index(t) for t in ("<transcribe>", "<ko>", BEGIN)]
ST = [SPECIAL.index(t) for t in ("<translate>", "<en>", BEGIN)]


@dataclass(frozen=True)
class Sizes:
    """The model of the paper, and what it decodes."""

    size: int = option(512, "D, width of the model", quick=16)
    hidden: int = option(2048, "F, width of an expert", quick=32)
    heads: int = option(8, "attention heads", quick=2)
    encoder_layers: int = option(12, "layers", quick=1)
    decoder_layers: int = option(6, "layers", quick=2)
    vocabulary: int = option(40000, "V", quick=50)
    beam: int = option(5, "hypotheses kept", quick=3)
    seconds: int = option(10, "seconds an utterance", quick=1)
    utterances: int = option(8, "decoded in one batch", quick=2)
    tokens: int = option(60, "tokens a hypothesis", quick=5)


QUICK = quick(Sizes)


def comparisons(sizes: Sizes) -> list[Comparison]:
    """The search beside ESPnet's; both tasks in one batch beside one by one."""
    searches = [
        Comparison(
            f"search, {n} utterance{'s' if n > 1 else ''} of {sizes.seconds} s",
            partial(searches_of, sizes, n),
            ESPNET,
            {OURS: 3.0},
            faster=True,
            check=same_hypotheses,
        )
        for n in (1, sizes.utterances)
    ]
    searches += [
        Comparison(
            f"CTC scores, {n} utterance{'s' if n > 1 else ''} of {sizes.seconds} s",
            partial(ctc_of, sizes, n),
            WITHOUT_CTC,
            {WITH_CTC: 1.15},
        )
        for n in (1, sizes.utterances)
    ]
    both = [
        Comparison(
            f"both tasks, {name}, {sizes.seconds} s",
            partial(tasks_of, sizes, moe),
            ALONE,
            {TOGETHER: 0.65},
            check=same_hypotheses,
        )
        for name, moe in (("dense", None), ("experts", {"gate": "label"}))
    ]
    return searches + both


def searches_of(
    sizes: Sizes,
    utterances: int,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Sides:
    """Ours and ESPnet's search, from the encoder's output on.

    Args:
        sizes: Of the model.
        utterances: Decoded together; one is given to ESPnet as it prefers, unbatched.
        device: Where the weights are.
        dtype: Of the weights.
    """
    encoder, decoder = (part.to(device, dtype) for part in model(sizes, None))
    espnet_decoder = TransformerDecoder(
        sizes.vocabulary,
        sizes.size,
        attention_heads=sizes.heads,
        linear_units=sizes.hidden,
        num_blocks=sizes.decoder_layers,
    ).eval()
    espnet_decoder.load_state_dict(decoder.state_dict())
    espnet_decoder.to(device, dtype)
    eos = sizes.vocabulary - 1
    espnet = BatchBeamSearch(
        {"decoder": espnet_decoder},
        {"decoder": 1.0},
        beam_size=sizes.beam,
        vocab_size=sizes.vocabulary,
        sos=eos,
        eos=eos,
        pre_beam_score_key="full",
        hyp_primer=ASR,
    ).eval()
    espnet.to(device, dtype)
    ours = search_of(sizes, decoder)
    feats, lengths = features(sizes, utterances)
    given = feats.to(device, dtype), lengths.to(device)
    encoded, lengths = encode(encoder, *given)

    @torch.no_grad()
    def run_espnet() -> list[list[int]]:
        """The best hypothesis of each utterance, without primer and end."""
        bound = {"maxlenratio": -float(sizes.tokens)}
        if utterances == 1:
            nbests = [espnet(encoded[0], **bound)]
        else:
            nbests = espnet(encoded, x_lengths=lengths, **bound)
        return [nbest[0].yseq[len(ASR) : -1].tolist() for nbest in nbests]

    def run_ours() -> list[list[int]]:
        return best(ours(encoded, lengths, [ASR])[0])

    return {ESPNET: run_espnet, OURS: run_ours}


def ctc_of(sizes: Sizes, utterances: int) -> Sides:
    """Our search without and with the scores of a CTC head.

    Args:
        sizes: Of the model.
        utterances: Decoded together.
    """
    encoder, decoder = model(sizes, None)
    encoded, lengths = encode(encoder, *features(sizes, utterances))
    with torch.no_grad():
        ctc = CTC(sizes.vocabulary, sizes.size).eval()
        ctc.ctc_lo.weight.mul_(SURE)
    alone, together = (search_of(sizes, decoder, head) for head in (None, ctc))
    return {
        WITHOUT_CTC: lambda: best(alone(encoded, lengths, [ASR])[0]),
        WITH_CTC: lambda: best(together(encoded, lengths, [ASR], 0)[0]),
    }


def tasks_of(sizes: Sizes, moe: Mapping[str, Any] | None) -> Sides:
    """Both tasks of one utterance, from the features on.

    Args:
        sizes: Of the model.
        moe: Mixture options of encoder and decoder; None for a dense model.
    """
    encoder, decoder = model(sizes, moe)
    search = search_of(sizes, decoder)
    feats, lengths = features(sizes, 1)

    def run(*prompts: Sequence[int]) -> list[list[int]]:
        found = search(*encode(encoder, feats, lengths), prompts)
        return [tokens for of_prompt in found for tokens in best(of_prompt)]

    return {ALONE: lambda: run(ASR) + run(ST), TOGETHER: lambda: run(ASR, ST)}


def model(
    sizes: Sizes, moe: Mapping[str, Any] | None
) -> tuple[SMoETransformerEncoder, SMoETransformerDecoder]:
    """Encoder and decoder with seeded random weights."""
    torch.manual_seed(0)
    common = {
        "attention_heads": sizes.heads,
        "linear_units": sizes.hidden,
        "moe": moe,
    }
    encoder = SMoETransformerEncoder(
        MEL,
        sizes.size,
        num_blocks=sizes.encoder_layers,
        input_layer="conv1d_glu",
        **common,
    )
    decoder = SMoETransformerDecoder(
        sizes.vocabulary, sizes.size, num_blocks=sizes.decoder_layers, **common
    )
    with torch.no_grad():
        decoder.output_layer.weight.mul_(SURE)
    pieces = [str(i) for i in range(sizes.vocabulary - len(SPECIAL) - 1)]
    for part in (encoder, decoder):
        if part.labels is not None:
            part.labels.bind([*SPECIAL, *pieces, SOS_EOS])
    return encoder.eval(), decoder.eval()


def search_of(
    sizes: Sizes, decoder: SMoETransformerDecoder, ctc: CTC | None = None
) -> PromptBeamSearch:
    """Our search, which ends every hypothesis after ``sizes.tokens`` tokens."""
    options = SearchOptions(
        beam_size=sizes.beam,
        maxlenratio=-float(sizes.tokens),
        ctc_weight=CTC_WEIGHT if ctc else 0.0,
    )
    # laid out for few rows, as `SpeechToText` does it
    decoder = convert_to_mkldnn(decoder)
    return PromptBeamSearch(decoder, sizes.vocabulary - 1, options, ctc)


def features(sizes: Sizes, utterances: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise: ``(B, frames, 80)``, ``(B,)``."""
    torch.manual_seed(1)
    frames = sizes.seconds * FRAMES_A_SECOND
    return torch.randn(utterances, frames, MEL), torch.full((utterances,), frames)


@torch.inference_mode()
def encode(
    encoder: nn.Module, feats: torch.Tensor, lengths: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """``(B, T, D)``, ``(B,)``; every utterance is wideband."""
    routing = None
    if encoder.labels is not None:
        routing = encoder.route(torch.full_like(lengths, SPECIAL.index("<wb>")))
    encoded, lengths, _ = encoder(feats, lengths, routing=routing)
    return encoded, lengths


def best(nbests: Sequence[Sequence[Any]]) -> list[list[int]]:
    """The tokens of the best hypothesis of each utterance."""
    return [list(nbest[0].tokens) for nbest in nbests]


def same_hypotheses(results: Mapping[str, list[list[int]]]) -> str:
    """How many best hypotheses of the two sides are the same."""
    pairs = list(zip(*results.values(), strict=True))
    same = sum(a == b for a, b in pairs)
    lengths = sorted({len(tokens) for pair in pairs for tokens in pair})
    written = " to ".join(map(str, dict.fromkeys([lengths[0], lengths[-1]])))
    return f"{same} of {len(pairs)} hypotheses the same, {written} tokens each"
