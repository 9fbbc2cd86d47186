"""An S-MoE model as the two graphs of sherpa-onnx's type ``whisper``.

sherpa-onnx begins every text with four tokens, <sot> language task <no timestamps>, and
then feeds one after the other. What it puts there only says which task is meant: the
graph reads it and takes the prompt of the model's own task, whose tokens stand at the
end of the four places. The task stays in the last place of the cache, which
sherpa-onnx never reaches, and chooses the experts.
"""

import torch
from torch import nn
from torch.nn import functional

from espnet_smoe.compat import GlobalMVN, PositionalEncoding, UtteranceMVN
from espnet_smoe.decoder.transformer import SMoETransformerDecoder
from espnet_smoe.encoder.transformer import SMoETransformerEncoder
from espnet_smoe.export.graphs import Graph, normalized
from espnet_smoe.export.prompts import PROMPT, Prompts, read_prompts
from espnet_smoe.layers.whisper import (
    DYNAMIC_RANGE,
    HOP,
    LEAST_POWER,
    SAMPLE_RATE,
    LearnedPositions,
    scaled,
)
from espnet_smoe.model.smoe import ESPnetSMoEModel
from espnet_smoe.moe import BatchLabels, Routing, label_ids

LANGUAGE, TASK = 1, 2  # where sherpa-onnx's tokens stand
LONGEST = 3000  # feature frames, 30 s
SHORTEST = 20  # feature frames that the graph takes
TEXT = 448  # tokens in the cache, of a decoder without a limit
SILENCE, RANGE = scaled(LEAST_POWER), DYNAMIC_RANGE / 4  # of features


def whisper_graphs(model: ESPnetSMoEModel, bandwidth: str = "wb") -> list[Graph]:
    """Encoder and decoder.

    Args:
        model: Ready for inference, on the CPU.
        bandwidth: Of the speech, for an encoder whose experts it chooses.

    Raises:
        ValueError: A part of the model, or a prompt, has no place in the type.
    """
    for name, part, kind in (
        ("encoder", model.encoder, SMoETransformerEncoder),
        ("decoder", model.decoder, SMoETransformerDecoder),
    ):
        if not isinstance(part, kind):
            raise ValueError(
                f"{name} '{type(part).__name__}' cannot be exported; 'smoe_transformer'"
                " and 'smoe_whisper' can"
            )
    prompts = read_prompts(model)
    encoder = WhisperEncoder(model, bandwidth).eval()
    decoder = WhisperDecoder(model, prompts).eval()
    mel = torch.rand(1, model.frontend.output_size(), 200)
    mel[:, :, 150:] = 0
    with torch.no_grad():
        cross = encoder(mel)
    first = prompts.tokens[0][:1] + [0, prompts.roles[0], 0]
    cache = torch.zeros(len(cross[0]), 1, decoder.places, cross[0].size(3))
    names = "tokens", "in_n_layer_self_k_cache", "in_n_layer_self_v_cache"
    names += "n_layer_cross_k", "n_layer_cross_v", "offset"
    crossed = {2: "T"}
    return [
        Graph(
            "encoder",
            encoder,
            (mel,),
            {"mel": {2: "T"}},
            ("n_layer_cross_k", "n_layer_cross_v"),
            {"T": LONGEST},
            _metadata(model, decoder, prompts),
            {"T": SHORTEST},
        ),
        Graph(
            "decoder",
            decoder,
            (torch.tensor([first]), cache, cache.clone(), *cross, torch.tensor([0])),
            dict(zip(names, ({1: "n_tokens"}, {}, {}, crossed, crossed, {}))),
            ("logits", "out_n_layer_self_k_cache", "out_n_layer_self_v_cache"),
            {"n_tokens": PROMPT},
        ),
    ]


class WhisperEncoder(nn.Module):
    """Encoder, and the keys and values that the decoder's layers make of it.

    Args:
        model: Its parts are taken.
        bandwidth: Of the speech, for an encoder whose experts it chooses.

    Raises:
        ValueError: The encoder has no such label.
    """

    def __init__(self, model: ESPnetSMoEModel, bandwidth: str):
        super().__init__()
        self.encoder, self.normalize = model.encoder, model.normalize
        self.layers = model.decoder.decoders
        self.padded = int(model.frontend.pad_seconds * SAMPLE_RATE) // HOP  # frames
        if not isinstance(self.normalize, GlobalMVN | UtteranceMVN | None):
            raise ValueError(
                f"normaliser '{type(self.normalize).__name__}' cannot be exported; "
                "train with 'normalize: global_mvn', utterance_mvn or null"
            )
        self.label: int | None = None
        if model.encoder_labels is not None:
            label = f"<{bandwidth}>"
            if label not in model.encoder_labels.tokens:
                raise ValueError(
                    f"--bandwidth {bandwidth}: {label} is not a label of the encoder; "
                    f"known: {', '.join(model.encoder_labels.tokens)}"
                )
            known = torch.tensor([label_ids(model.token_list)[label]])
            self.label = int(model.encoder_labels.numbers(known))

    def forward(self, mel: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode.

        Args:
            mel: ``(1, F, T)``; frames of nothing but zeros at the end are padding.

        Returns:
            Keys and values ``(layers, 1, T', D)``.
        """
        x = mel.transpose(1, 2)
        if self.padded:
            frames = torch.arange(LONGEST, device=x.device)
            x = functional.pad(x, (0, 0, 0, LONGEST)).index_select(1, frames)
        places = torch.arange(1, x.size(1) + 1, device=x.device)
        sounds = (x != 0).any(dim=2)  # (1, T)
        lengths = (sounds * places).amax(dim=1).clamp(min=1)  # (1,)
        if self.padded:
            loudest = x.masked_fill(~sounds[..., None], SILENCE).max()
            floor = (loudest - RANGE).clamp(min=SILENCE)
            x = torch.where((places <= lengths[:, None])[..., None], x, floor)
            lengths = lengths.clamp(min=self.padded)
        x = self._normalized(x, places, lengths)
        labels = None
        if self.label is not None:
            number = torch.tensor([self.label])
            labels = BatchLabels(number, len(self.encoder.labels.names))
        out, lengths, _ = self.encoder(x, lengths, routing=Routing(lengths, labels))
        out = out[0] if isinstance(out, tuple) else out
        count = lengths[0].item()  # an `int` of it has no place in a graph
        torch._check(count >= 1)
        torch._check(count <= out.size(1))
        out = out[:, :count]
        pairs = [layer.src_attn.keys_values(out) for layer in self.layers]
        keys, values = (torch.stack([_joined(x) for x in xs]) for xs in zip(*pairs))
        return keys, values

    def _normalized(
        self, x: torch.Tensor, places: torch.Tensor, lengths: torch.Tensor
    ) -> torch.Tensor:
        """Features ``(1, T, F)`` by global statistics or those of the utterance."""
        if not isinstance(self.normalize, UtteranceMVN):
            return normalized(self.normalize, x)
        counts = (places <= lengths[:, None])[..., None]  # (1, T, 1)
        if self.normalize.norm_means:
            x = x - (x * counts).sum(1, keepdim=True) / lengths
        if self.normalize.norm_vars:
            squares = (x.square() * counts).sum(1, keepdim=True) / lengths
            x = x / squares.sqrt().clamp(min=self.normalize.eps)
        return x


class WhisperDecoder(nn.Module):
    """A step of the decoder over sherpa-onnx's cache.

    Args:
        model: Its decoder is taken.
        prompts: Of its tasks.

    Attributes:
        places: Tokens in the cache.

    Raises:
        ValueError: Positions are of another kind.
    """

    def __init__(self, model: ESPnetSMoEModel, prompts: Prompts):
        super().__init__()
        decoder = model.decoder
        self.decoder, self.eos = decoder, model.eos
        embed, *others = decoder.embed
        positions = others[-1] if others else None
        known = len(others) == 1 and isinstance(embed, nn.Embedding)
        self.places = decoder.max_length or TEXT
        if known and isinstance(positions, LearnedPositions):
            self.scale, table = 1.0, positions.weight.detach()
        elif known and type(positions) is PositionalEncoding:
            self.scale, table = positions.xscale, positions.pe[0, : self.places]
        else:
            raise ValueError(
                "decoder_conf: an input layer or positions that cannot be exported; "
                "train with 'input_layer: embed' and without pos_enc_class"
            )
        for name in ("tokens", "starts", "roles", "languages", "spoken", "experts"):
            self._constant(name, torch.tensor(getattr(prompts, name)))
        self._constant("table", table)
        for name, ids in (
            ("first", decoder.suppressed_first),
            ("later", decoder.suppressed),
        ):
            never = torch.zeros(decoder.vocab_size)
            never[list(ids)] = torch.finfo(torch.float32).min / 2
            self._constant(name, never)
        only_end = torch.full((decoder.vocab_size,), torch.finfo(torch.float32).min / 2)
        only_end[self.eos] = 0
        self._constant("only_end", only_end)

    def _constant(self, name: str, tensor: torch.Tensor) -> None:
        self.register_buffer(f"of_{name}", tensor.clone(), persistent=False)

    def forward(
        self,
        tokens: torch.Tensor,
        self_k: torch.Tensor,
        self_v: torch.Tensor,
        cross_k: torch.Tensor,
        cross_v: torch.Tensor,
        offset: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Decode n further tokens.

        Args:
            tokens: ``(1, n)``: what sherpa-onnx begins with, or the last token.
            self_k: ``(layers, 1, S, D)`` keys of the tokens before.
            self_v: Their values.
            cross_k: ``(layers, 1, T', D)``, from the encoder.
            cross_v: As ``cross_k``.
            offset: ``(1,)`` tokens before.

        Returns:
            Logits ``(1, n, V)``; both caches.
        """
        begins = offset == 0  # (1,)
        row, found = self._task(tokens)
        kept = self_k[0, 0, -1, :1].round().long()
        row = torch.where(begins, row, kept)  # (1,)
        slots = offset + torch.arange(tokens.size(1), device=tokens.device)  # (n,)
        start = self.of_starts[row]  # (1,)
        x = self._embed(tokens, row, slots, start, begins)
        mask = self._mask(slots, start, offset)
        labels = self.decoder.labels
        if labels is not None:
            labels = BatchLabels(self.of_experts[row], len(labels.names))
        routing = Routing(torch.ones_like(tokens).sum(dim=1), labels)
        keys, values = [], []
        layers = zip(self.decoder.decoders, self_k, self_v, cross_k, cross_v)
        for layer, *of_layer in layers:
            k, v, of_k, of_v = (_parted(t, layer.self_attn.h) for t in of_layer)
            x, after = layer(x, (k, v), (of_k, of_v), None, routing, mask=mask)
            new = [_joined(t[:, :, self.places :]) for t in after]
            keys.append(of_layer[0].index_copy(1, slots, new[0]))
            values.append(of_layer[1].index_copy(1, slots, new[1]))
        x = self.decoder.after_norm(x) if self.decoder.normalize_before else x
        logits = self.decoder.output_layer(x)  # (1, n, V)
        logits = logits + torch.where(begins[:, None], self.of_first, self.of_later)
        logits = torch.where(found | ~begins, logits, self.of_only_end)
        last = torch.arange(self.places, device=slots.device) == self.places - 1
        task = row.to(self_k.dtype)
        keys = torch.where(last[:, None], task, torch.stack(keys))
        return logits, keys, torch.stack(values)

    def _task(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """``(1,)`` the task that is asked for, and whether there is such a one.

        One token alone asks which language is spoken: that is answered in any case.
        """
        asked = functional.pad(tokens, (0, PROMPT))[0]
        role = self.of_roles == asked[TASK]  # (R,)
        fits = 2 * role + (self.of_languages == asked[LANGUAGE])
        alone = asked[TASK] == 0
        return fits.argmax(dim=0, keepdim=True), (role.any() | alone)[None]

    def _embed(
        self,
        tokens: torch.Tensor,
        row: torch.Tensor,
        slots: torch.Tensor,
        start: torch.Tensor,
        begins: torch.Tensor,
    ) -> torch.Tensor:
        """``(1, n, D)``: the prompt of the task at first, then the tokens given."""
        language = functional.pad(tokens, (0, PROMPT))[:, LANGUAGE, None]
        places = torch.arange(PROMPT, device=row.device)
        spoken = (places == self.of_spoken[row][:, None]) & (language > 0)
        prompt = torch.where(spoken, language, self.of_tokens[row])  # (1, PROMPT)
        prompt = prompt.index_select(1, slots.clamp(max=PROMPT - 1))
        x = self.decoder.embed[0](torch.where(begins, prompt, tokens))
        return x * self.scale + self.of_table[(slots - start).clamp(min=0)]

    def _mask(
        self, slots: torch.Tensor, start: torch.Tensor, offset: torch.Tensor
    ) -> torch.Tensor:
        """``(1, n, S + n)``, true at the tokens that each may see.

        What stands before a prompt sees itself, as a softmax of nothing is NaN.
        """
        places = torch.arange(self.places, device=slots.device)
        before = places < offset  # (S,)
        of_key = torch.cat((places, slots))
        known = torch.cat((before, torch.ones_like(slots, dtype=torch.bool)))
        past = known & (of_key <= slots[:, None])  # (n, S + n)
        return (past & ((of_key >= start) | (slots < start)[:, None]))[None]


def _metadata(
    model: ESPnetSMoEModel, decoder: WhisperDecoder, prompts: Prompts
) -> dict[str, object]:
    """What sherpa-onnx reads, on the encoder."""
    begin = prompts.tokens[0][-1]
    codes = prompts.codes
    language = next(iter(codes.values()), begin)
    sot = prompts.tokens[0][prompts.starts[0]]
    size = model.decoder.embed[0].embedding_dim
    return {
        "model_type": "whisper-smoe",
        "n_mels": model.frontend.output_size(),
        "n_audio_state": size,
        "n_audio_layer": len(model.encoder.encoders),
        "n_text_layer": len(model.decoder.decoders),
        "n_text_ctx": decoder.places,
        "n_text_state": size,
        "n_text_head": model.decoder.decoders[0].self_attn.h,
        "n_vocab": model.decoder.vocab_size,
        "sot": sot,
        "eot": model.eos,
        "blank_id": model.blank_id,
        "no_speech": model.eos,
        "no_timestamps": begin,
        "transcribe": prompts.transcribe,
        "translate": prompts.translate,
        "is_multilingual": 1,
        "sot_sequence": f"{sot},{language},{prompts.transcribe}",
        "all_language_tokens": ",".join(map(str, codes.values())),
        "all_language_codes": ",".join(codes),
    }


def _joined(x: torch.Tensor) -> torch.Tensor:
    """``(1, heads, L, d)`` to ``(1, L, D)``."""
    return x.transpose(1, 2).flatten(2)


def _parted(x: torch.Tensor, heads: int) -> torch.Tensor:
    """``(1, L, D)`` to ``(1, heads, L, d)``."""
    return x.unflatten(2, (heads, -1)).transpose(1, 2)
