"""A tiny random Whisper of `transformers`, also in two other formats."""

import base64
import json
import struct
from pathlib import Path

import torch

SPECIAL = ["endoftext", "startoftranscript", "en", "ko", "translate", "transcribe"]
SPECIAL += ["startoflm", "startofprev", "nospeech", "notimestamps"]
SPECIAL = [f"<|{name}|>" for name in SPECIAL]
TIMESTAMPS = 5  # of which the tokenizer's file does not tell
SECONDS = 1.0  # that the model hears
LENGTH = 24  # positions of the decoder
# openai-whisper's names, longest first, each with that of Hugging Face
OPENAI = {
    "encoder_attn_layer_norm": "cross_attn_ln",
    "self_attn_layer_norm": "attn_ln",
    "final_layer_norm": "mlp_ln",
    "encoder_attn": "cross_attn",
    "self_attn": "attn",
    "q_proj": "query",
    "k_proj": "key",
    "v_proj": "value",
    "out_proj": "out",
    "fc1": "mlp.0",
    "fc2": "mlp.2",
    "layers": "blocks",
}
CT2_TYPES = {torch.float32: 0, torch.int8: 1, torch.int16: 2, torch.float16: 4}


def train_pieces():
    """A byte-level BPE without special tokens; its ids are the order of its merges."""
    import tokenizers

    trained = tokenizers.Tokenizer(tokenizers.models.BPE())
    trained.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=290,
        initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    text = "안녕하세요 오늘 날씨가 좋아요 the weather"
    trained.train_from_iterator([text] * 2, trainer)
    return trained


def make_hugging_face(folder: Path, mels: int = 80, length: int = LENGTH):
    """Save a model with its tokenizer; the model."""
    import tokenizers
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    trained = train_pieces()
    pieces = trained.get_vocab_size()
    special = [tokenizers.AddedToken(t, special=True) for t in SPECIAL]
    trained.add_special_tokens(special)
    folder.mkdir(parents=True)
    trained.save(str(folder / "tokenizer.json"))
    size = pieces + len(SPECIAL) + TIMESTAMPS
    ids = {t: pieces + i for i, t in enumerate(SPECIAL)}
    torch.manual_seed(3)
    config = WhisperConfig(
        vocab_size=size,
        d_model=16,
        num_mel_bins=mels,
        encoder_layers=2,
        decoder_layers=3,
        encoder_attention_heads=2,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_source_positions=int(50 * SECONDS),
        max_target_positions=length,
        init_std=0.4,
        bos_token_id=ids["<|endoftext|>"],
        eos_token_id=ids["<|endoftext|>"],
        pad_token_id=ids["<|endoftext|>"],
        decoder_start_token_id=ids["<|startoftranscript|>"],
        # without timestamps, by which `generate` cuts a recording
        suppress_tokens=[*range(0, 200, 3), *range(size - TIMESTAMPS, size)],
        begin_suppress_tokens=[220, ids["<|endoftext|>"]],
    )
    model = WhisperForConditionalGeneration(config).eval()
    generation = model.generation_config
    generation.lang_to_id = {t: ids[t] for t in ("<|en|>", "<|ko|>")}
    generation.task_to_id = {t: ids[f"<|{t}|>"] for t in ("translate", "transcribe")}
    generation.no_timestamps_token_id = ids["<|notimestamps|>"]
    generation.is_multilingual = True
    generation.suppress_tokens = config.suppress_tokens
    generation.begin_suppress_tokens = config.begin_suppress_tokens
    generation.max_length = length
    model.save_pretrained(folder)
    return model


def save_tiktoken(path: Path) -> None:
    """The pieces as openai-whisper keeps them, an empty one at their end."""
    from tokenizers.decoders import ByteLevel

    named = sorted(train_pieces().get_vocab().items(), key=lambda item: item[1])
    seen = {chr(c) for c in (*range(33, 127), *range(161, 173), *range(174, 256))}
    unseen = [c for c in range(256) if chr(c) not in seen]
    byte_of = {c: ord(c) for c in seen} | {
        chr(256 + i): b for i, b in enumerate(unseen)
    }
    assert ByteLevel().decode(["\u0120a"]) == " a" and byte_of["\u0120"] == 32
    lines = [
        f"{base64.b64encode(bytes(map(byte_of.get, piece))).decode()} {number}"
        for piece, number in named
    ]
    path.write_text("\n".join([*lines, f"= {len(lines)}"]) + "\n")


def save_openai(model, path: Path) -> None:
    """The weights as openai-whisper saves them."""
    config, weights = model.config, {}
    for name, tensor in model.model.state_dict().items():
        name = name.replace("embed_tokens.weight", "token_embedding.weight")
        name = name.replace("embed_positions.weight", "positional_embedding")
        for theirs, openai in OPENAI.items():
            name = name.replace(theirs, openai)
        name = name.replace("encoder.layer_norm", "encoder.ln_post")
        weights[name.replace("decoder.layer_norm", "decoder.ln")] = tensor
    dims = {
        "n_mels": config.num_mel_bins,
        "n_vocab": config.vocab_size,
        "n_audio_ctx": config.max_source_positions,
        "n_audio_state": config.d_model,
        "n_audio_head": config.encoder_attention_heads,
        "n_audio_layer": config.encoder_layers,
        "n_text_ctx": config.max_target_positions,
        "n_text_state": config.d_model,
        "n_text_head": config.decoder_attention_heads,
        "n_text_layer": config.decoder_layers,
    }
    torch.save({"dims": dims, "model_state_dict": weights}, path)


def save_ctranslate2(
    model, folder: Path, tokens: list[str], kind: str = "float32"
) -> None:
    """The weights as CTranslate2's converter writes them.

    Args:
        model: Of `make_hugging_face`.
        folder: New; its tokenizer is the caller's.
        tokens: Of ``vocabulary.json``.
        kind: ``float32``, ``float16`` or ``int8``.
    """
    folder.mkdir()
    variables = {
        name: tensor.half() if kind == "float16" else tensor
        for name, tensor in _joined(model.model.state_dict()).items()
    }
    if kind == "int8":
        for name in [n for n in variables if n.endswith("weight") and "conv" not in n]:
            scale = 127.0 / variables[name].abs().amax(dim=1)
            variables[name] = (variables[name] * scale[:, None]).round().to(torch.int8)
            variables[f"{name}_scale"] = scale
    for part in ("encoder", "decoder"):
        heads = getattr(model.config, f"{part}_attention_heads")
        variables[f"{part}/num_heads"] = torch.tensor(heads, dtype=torch.int16)
        variables[f"{part}/activation"] = torch.tensor(3, dtype=torch.int8)
        variables[f"{part}/pre_norm"] = torch.tensor(1, dtype=torch.int8)
    variables["decoder/alignment_heads"] = torch.tensor([1], dtype=torch.int16)
    written = [struct.pack("<I", 6), _text("WhisperSpec"), struct.pack("<I", 3)]
    written.append(struct.pack("<I", len(variables)))
    for name, tensor in variables.items():
        data = tensor.contiguous().numpy().tobytes()
        shape = struct.pack(f"<B{tensor.dim()}I", tensor.dim(), *tensor.shape)
        kind_and_size = struct.pack("<BI", CT2_TYPES[tensor.dtype], len(data))
        written += [_text(name), shape, kind_and_size, data]
    written.append(struct.pack("<I", 1))
    written += [_text("decoder/projection/weight"), _text("decoder/embeddings/weight")]
    (folder / "model.bin").write_bytes(b"".join(written))
    config = {
        "suppress_ids": model.config.suppress_tokens,
        "suppress_ids_begin": model.config.begin_suppress_tokens,
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "vocabulary.json").write_text(json.dumps(tokens))


def _text(text: str) -> bytes:
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


def _joined(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """By the names of CTranslate2, queries, keys and values in one matrix."""
    own = ("self_attention/linear_0", "qkv"), ("self_attention/linear_1", "o")
    cross = ("attention/linear_0", "q"), ("attention/linear_1", "kv")
    cross += (("attention/linear_2", "o"),)
    blocks = {"self_attn": own, "encoder_attn": cross}
    plain = {"self_attn_layer_norm": "self_attention/layer_norm", "fc1": "ffn/linear_0"}
    plain |= {"encoder_attn_layer_norm": "attention/layer_norm", "fc2": "ffn/linear_1"}
    plain |= {"final_layer_norm": "ffn/layer_norm"}
    joined = {}
    for name, tensor in weights.items():
        part, *inner, end = name.split(".")
        if "norm" in name:
            end = {"weight": "gamma", "bias": "beta"}[end]
        if inner[0] != "layers":
            outer = "/".join(inner).replace("embed_tokens", "embeddings")
            if inner == ["embed_positions"]:
                outer, end = "position_encodings", "encodings"
            joined[f"{part}/{outer}/{end}"] = tensor
            continue
        stem = f"{part}/layer_{inner[1]}"
        if inner[2] in plain:
            joined[f"{stem}/{plain[inner[2]]}/{end}"] = tensor
            continue
        if inner[3] != "q_proj":
            continue
        block = name.rsplit(".", 2)[0]
        for place, members in blocks[inner[2]]:
            names = ["out" if m == "o" else m for m in members]
            pieces = [
                weights.get(f"{block}.{n}_proj.{end}", torch.zeros(len(tensor)))
                for n in names
            ]
            joined[f"{stem}/{place}/{end}"] = torch.cat(pieces)
    return joined
