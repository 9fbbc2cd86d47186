"""Whisper as Hugging Face, OpenAI and CTranslate2 keep it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from espnet_smoe.config.options import nearest
from espnet_smoe.importers.ctranslate2 import read_ctranslate2
from espnet_smoe.importers.whisper_model import (
    CURE,
    ENGLISH_ALONE,
    WhisperModel,
    read_object,
)
from espnet_smoe.input_files import read_checkpoint

INDEX = ".index.json"  # the files of weights that are several
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
TOKEN_IDS = {
    "eos_token_id": "<|endoftext|>",
    "decoder_start_token_id": "<|startoftranscript|>",
    "no_timestamps_token_id": "<|notimestamps|>",
}
SIZES = (
    *("d_model", "num_mel_bins", "vocab_size", "encoder_layers", "decoder_layers"),
    *("encoder_attention_heads", "decoder_attention_heads", "encoder_ffn_dim"),
    *("decoder_ffn_dim", "max_source_positions", "max_target_positions"),
)
FIXED = {  # what Whisper computes; another value is another model
    "model_type": ("whisper",),
    "activation_function": ("gelu",),
    "scale_embedding": (False,),
    "tie_word_embeddings": (True,),
    "is_encoder_decoder": (True,),
}
# of training, of generation, of how the weights are kept: no part of the model
OTHERS = re.compile(
    r"_name_or_path|architectures|transformers_version|(torch_)?dtype|use_cache|init_std"
    r"|(attention_|activation_|classifier_)?dropout|(en|de)coder_layerdrop"
    r"|num_hidden_layers|classifier_proj_size|use_weighted_layer_sum|apply_spec_augment"
    r"|mask_\w+|median_filter_width|alignment_heads|(begin_)?suppress_tokens"
    r"|forced_decoder_ids|\w+_token_id|max_length|return_\w+|output_\w+|id2label"
    r"|label2id|problem_type|chunk_size_feed_forward|is_decoder|_\w+|num_beam\w+"
    r"|do_sample|early_stopping|temperature|top_[kp]|typical_p|min_length|prefix"
    r"|(diversity|length|repetition|exponential_decay_length)_penalty|bad_words_ids"
    r"|(encoder_)?no_repeat_ngram_size|num_return_sequences|remove_invalid_values"
    r"|pruned_heads|tf_legacy_loss|torchscript|use_bfloat16|finetuning_task"
    r"|task_specific_params|add_cross_attention|cross_attention_hidden_size|sep_token"
    r"|tokenizer_class"
)
# OpenAI -> Hugging Face
OPENAI_DIMS = {
    "n_mels": "num_mel_bins",
    "n_vocab": "vocab_size",
    "n_audio_ctx": "max_source_positions",
    "n_audio_state": "d_model",
    "n_audio_head": "encoder_attention_heads",
    "n_audio_layer": "encoder_layers",
    "n_text_ctx": "max_target_positions",
    "n_text_state": "d_model",
    "n_text_head": "decoder_attention_heads",
    "n_text_layer": "decoder_layers",
}
OPENAI_NAMES = (
    (r"\.blocks\.", ".layers."),
    (r"\.cross_attn_ln\.", ".encoder_attn_layer_norm."),
    (r"\.attn_ln\.", ".self_attn_layer_norm."),
    (r"\.mlp_ln\.", ".final_layer_norm."),
    (r"\.cross_attn\.", ".encoder_attn."),
    (r"\.attn\.", ".self_attn."),
    (r"\.query\.", ".q_proj."),
    (r"\.key\.", ".k_proj."),
    (r"\.value\.", ".v_proj."),
    (r"_attn\.out\.", "_attn.out_proj."),
    (r"\.mlp\.0\.", ".fc1."),
    (r"\.mlp\.2\.", ".fc2."),
    (r"\.positional_embedding$", ".embed_positions.weight"),
    (r"\.token_embedding\.", ".embed_tokens."),
    (r"^encoder\.ln_post\.", "encoder.layer_norm."),
    (r"^decoder\.ln\.", "decoder.layer_norm."),
)


def read_whisper(path: str | Path) -> WhisperModel:
    """Read a Whisper model.

    Args:
        path: Folder of Hugging Face (``model.safetensors``) or CTranslate2
            (``model.bin``), or OpenAI's ``.pt``.

    Raises:
        ValueError: There is none, it is damaged, or it has what cannot be carried.
    """
    path = Path(path)
    if path.is_file():
        return _read_openai(path)
    if not path.is_dir():
        raise ValueError(f"{path} does not exist; name a folder or a .pt of Whisper")
    if (path / "model.bin").is_file():
        return read_ctranslate2(path)
    return _read_hugging_face(path)


def _read_hugging_face(folder: Path) -> WhisperModel:
    config = read_object(folder / "config.json")
    if config is None:
        raise ValueError(
            f"{folder} holds neither config.json with its weights nor model.bin; name "
            "a folder of Hugging Face or CTranslate2, or a .pt of OpenAI"
        )
    _check_config(config, folder / "config.json")
    generation = read_object(folder / "generation_config.json") or {}
    told = {**config, **{k: v for k, v in generation.items() if v is not None}}
    if told.get("is_multilingual") is False:
        raise ValueError(f"{folder}: {ENGLISH_ALONE}")
    weights = {}
    for file in _weight_files(folder):
        weights |= read_checkpoint(file, CURE)
    names = {name.removeprefix("model."): tensor for name, tensor in weights.items()}
    return WhisperModel(
        folder,
        names,
        (config["encoder_attention_heads"], config["decoder_attention_heads"]),
        {name: config[name] for name in SIZES if name in config},
        told.get("suppress_tokens"),
        told.get("begin_suppress_tokens"),
        _token_ids(told, folder),
    )


def _token_ids(told: Mapping[str, Any], folder: Path) -> dict[str, int]:
    """The ids of special tokens that the configurations tell."""
    ids = {token: told.get(name) for name, token in TOKEN_IDS.items()}
    for name, token in (("lang_to_id", "{}"), ("task_to_id", "<|{}|>")):
        table = told.get(name) or {}
        if not isinstance(table, Mapping):
            raise ValueError(f"{folder}: {name} holds no names with ids; {CURE}")
        ids |= {token.format(name): number for name, number in table.items()}
    return {token: i for token, i in ids.items() if isinstance(i, int)}


def _check_config(config: Mapping[str, Any], place: Path) -> None:
    for name, value in config.items():
        if name in FIXED and value not in FIXED[name]:
            raise ValueError(
                f"{place}: {name} is {value!r}, which cannot be carried; Whisper has "
                f"{FIXED[name][0]!r}"
            )
    lacking = [n for n in (*SIZES, "model_type") if n not in config]
    if lacking:
        raise ValueError(f"{place} lacks {', '.join(lacking)}; {CURE}")
    for name in config:
        if name not in (*FIXED, *SIZES) and not OTHERS.fullmatch(name):
            raise ValueError(
                f"{place}: {name} is no part of Whisper and cannot be carried"
                f"{nearest(name, (*FIXED, *SIZES))}; take an unchanged Whisper model, "
                "or remove the line if it changes nothing"
            )


def _weight_files(folder: Path) -> list[Path]:
    """In the order in which `transformers` looks for them."""
    for file in WEIGHTS:
        if (folder / file).is_file():
            return [folder / file]
        index = read_object(folder / f"{file}{INDEX}")
        if index is None:
            continue
        names = index.get("weight_map")
        names = [*names.values()] if isinstance(names, dict) else []
        if not names or not all(isinstance(name, str) for name in names):
            raise ValueError(
                f"{folder / file}{INDEX}: weight_map names no files; {CURE}"
            )
        return [folder / Path(name).name for name in sorted({*names})]
    raise ValueError(
        f"{folder} has no weights: {' or '.join(WEIGHTS)}, or one of them with {INDEX} "
        f"behind its name; {CURE}"
    )


def _read_openai(path: Path) -> WhisperModel:
    given = read_checkpoint(path, f"{CURE}, or take a .pt that OpenAI's whisper loads")
    dims, weights = given.get("dims"), given.get("model_state_dict")
    if not isinstance(dims, Mapping) or not isinstance(weights, Mapping):
        raise ValueError(
            f"{path}: has no 'dims' and 'model_state_dict' as OpenAI's files have; "
            "name the folder of a model of Hugging Face or CTranslate2"
        )
    if set(dims) != set(OPENAI_DIMS):
        other = sorted(set(dims) ^ set(OPENAI_DIMS))
        raise ValueError(
            f"{path}: dims: {', '.join(other)} is not as Whisper has it and cannot be "
            "carried; take an unchanged Whisper model"
        )
    if not all(type(size) is int for size in dims.values()):
        raise ValueError(f"{path}: dims are no whole numbers; {CURE}")
    renamed = {}
    for name, tensor in weights.items():
        name = str(name)
        for pattern, replacement in OPENAI_NAMES:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    return WhisperModel(
        path,
        renamed,
        (dims["n_audio_head"], dims["n_text_head"]),
        {theirs: dims[name] for name, theirs in OPENAI_DIMS.items()},
    )
