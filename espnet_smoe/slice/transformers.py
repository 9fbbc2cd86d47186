"""A slice of a model that began as Whisper, as Hugging Face keeps Whisper.

What `espnet_smoe.importers` has read is written back by the same table of names.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from espnet_smoe.data.data_dir import write_lines
from espnet_smoe.importers.whisper_files import FIXED
from espnet_smoe.importers.whisper_model import hugging_face_weights, sizes_of
from espnet_smoe.importers.whisper_vocabulary import (
    END,
    NO_TIMESTAMPS,
    START,
    TRANSCRIBE,
    TRANSLATE,
)
from espnet_smoe.inference.checkpoint import save_weights
from espnet_smoe.inference.config_files import Lengths
from espnet_smoe.layers.whisper import HOP, SAMPLE_RATE, WINDOW
from espnet_smoe.slice.sub_model import COUNTER, CTC_HEAD, SubModel
from espnet_smoe.slice.tokenizer import hugging_face_tokenizer

WHISPER = "smoe_whisper"
NOT_WHISPER = ("normalize", "preencoder", "postencoder")
OTHER = "write '--format espnet' or '--format smoe'"
TASKS = {TRANSCRIBE: "transcribe", TRANSLATE: "translate"}

README = """# {title}

One part of a mixture of experts, as a Whisper model of `transformers`.

```python
import soundfile
from transformers import pipeline

recognize = pipeline(
    "automatic-speech-recognition",
    model="{folder}",
    generate_kwargs={{"num_beams": 1}},
)
speech, rate = soundfile.read("a.wav", dtype="float32")  # at most {seconds} s
print(recognize({{"raw": speech, "sampling_rate": rate}})["text"])
```

`generate` has language {language} and task {task} where it is told no others{others}.
"""


def write(made: SubModel, folder: Path, final: Path, lengths: Lengths) -> None:
    """Write weights, configuration, tokenizer and front-end of `transformers`.

    Args:
        made: The slice.
        folder: Where to write it.
        final: Where it will be.
        lengths: Not kept: Whisper hears as long as its front-end pads.

    Raises:
        ValueError: The model has what Whisper lacks; names it.
    """
    _check(made)
    config = made.config
    sizes = sizes_of(config, len(made.tokens))
    state = {k: t for k, t in made.state.items() if k != COUNTER}
    if any(name.startswith(CTC_HEAD) for name in state):
        made.notes.append("the CTC head is left out: Whisper has none")
        state = {k: t for k, t in state.items() if not k.startswith(CTC_HEAD)}
    weights = hugging_face_weights(state, sizes)
    ids = {token: i for i, token in enumerate(made.tokens)}
    generation = _generation_config(made, sizes, ids)
    content = {
        "config.json": _model_config(sizes, ids),
        "generation_config.json": generation,
        "preprocessor_config.json": _front_end(config["frontend_conf"]),
        "tokenizer_config.json": _tokenizer_config(sizes),
        "special_tokens_map.json": _special_tokens(),
    }
    tokenizer = hugging_face_tokenizer(made.tokens, Path(config["bpemodel"]))
    content["tokenizer.json"] = tokenizer
    content["vocab.json"] = tokenizer["model"]["vocab"]
    for name, data in content.items():
        text = json.dumps(data, ensure_ascii=False, indent=1)
        write_lines(folder / name, text.splitlines())
    pairs = tokenizer["model"]["merges"]
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in pairs]
    write_lines(folder / "merges.txt", ["#version: 0.2", *merges])
    save_weights(
        {name: tensor.float() for name, tensor in weights.items()},
        folder / "model.safetensors",
    )
    made.state = weights
    write_lines(folder / "README.md", [_readme(made, generation, final)])
    made.notes.append(f"how transformers decodes with it: {final / 'README.md'}")


def _check(made: SubModel) -> None:
    """Refuse what Whisper of `transformers` cannot hold.

    Raises:
        ValueError: Names it.
    """
    config = made.config
    made.require_dense()
    for kind in ("frontend", "encoder", "decoder"):
        if config.get(kind) != WHISPER:
            raise ValueError(f"{kind}: '{config.get(kind)}' is not Whisper's; {OTHER}")
    for kind in NOT_WHISPER:
        if config.get(kind):
            raise ValueError(f"{kind}: Whisper has no '{config[kind]}'; {OTHER}")
    seconds = (config.get("frontend_conf") or {}).get("pad_seconds", 0.0)
    if seconds < 1 or seconds != int(seconds):
        raise ValueError(
            f"frontend_conf.pad_seconds is {seconds:g}: Whisper of transformers hears "
            "speech with silence up to a whole number of seconds; write "
            "'--format smoe', or train with 'pad_seconds: 30'"
        )
    symbols = config.get("model_conf") or {}
    wanted = {"sym_sos": START, "sym_eos": END, "sym_begin": NO_TIMESTAMPS}
    for key, token in wanted.items():
        if symbols.get(key) != token:
            raise ValueError(
                f"model_conf.{key} is not {token}, as Whisper has it; {OTHER}"
            )
    for task, prompt in made.prompts.items():
        if not (
            len(prompt) == 4
            and prompt[1] in _languages(made.tokens)
            and prompt[2] in TASKS
        ):
            raise ValueError(
                f"model_conf.tasks.{task}.prompt: Whisper begins with {START}, a "
                f"language, and {TRANSCRIBE} or {TRANSLATE}, not "
                f"{' '.join(prompt[:-1])}; {OTHER}"
            )


def _languages(tokens: list[str]) -> list[str]:
    """The tokens of languages, which stand between start and tasks."""
    tasks = min(tokens.index(TRANSCRIBE), tokens.index(TRANSLATE))
    return tokens[tokens.index(START) + 1 : tasks]


def _model_config(sizes: Mapping[str, int], ids: Mapping[str, int]) -> dict[str, Any]:
    return {
        "architectures": ["WhisperForConditionalGeneration"],
        **{name: values[0] for name, values in FIXED.items()},
        **sizes,
        "num_hidden_layers": sizes["encoder_layers"],
        "bos_token_id": ids[END],
        "eos_token_id": ids[END],
        "pad_token_id": ids[END],
        "decoder_start_token_id": ids[START],
        "dropout": 0.0,
        "torch_dtype": "float32",
        "use_cache": True,
    }


def _generation_config(
    made: SubModel, sizes: Mapping[str, int], ids: Mapping[str, int]
) -> dict[str, Any]:
    prompt = next(iter(made.prompts.values()))
    decoder = made.config["decoder_conf"]
    previous = "<|startofprev|>"
    return {
        "bos_token_id": ids[END],
        "eos_token_id": ids[END],
        "pad_token_id": ids[END],
        "decoder_start_token_id": ids[START],
        "max_length": sizes["max_target_positions"],
        "is_multilingual": True,
        "lang_to_id": {token: ids[token] for token in _languages(made.tokens)},
        "task_to_id": {name: ids[token] for token, name in TASKS.items()},
        "language": prompt[1],
        "task": TASKS[prompt[2]],
        "no_timestamps_token_id": ids[NO_TIMESTAMPS],
        "return_timestamps": False,
        "suppress_tokens": list(decoder.get("suppress_tokens") or ()),
        "begin_suppress_tokens": list(decoder.get("begin_suppress_tokens") or ()),
        **({"prev_sot_token_id": ids[previous]} if previous in ids else {}),
    }


def _front_end(conf: Mapping[str, Any]) -> dict[str, Any]:
    seconds = int(conf["pad_seconds"])
    return {
        "feature_extractor_type": "WhisperFeatureExtractor",
        "processor_class": "WhisperProcessor",
        "feature_size": conf.get("n_mels", 80),
        "sampling_rate": SAMPLE_RATE,
        "hop_length": HOP,
        "n_fft": WINDOW,
        "chunk_length": seconds,
        "n_samples": seconds * SAMPLE_RATE,
        "nb_max_frames": seconds * SAMPLE_RATE // HOP,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": False,
    }


def _special_tokens() -> dict[str, str]:
    return dict.fromkeys(("bos_token", "eos_token", "pad_token", "unk_token"), END)


def _tokenizer_config(sizes: Mapping[str, int]) -> dict[str, Any]:
    return {
        "tokenizer_class": "WhisperTokenizer",
        "processor_class": "WhisperProcessor",
        "model_max_length": sizes["max_target_positions"],
        "clean_up_tokenization_spaces": False,
        "add_prefix_space": False,
        **_special_tokens(),
    }


def _readme(made: SubModel, generation: Mapping[str, Any], final: Path) -> str:
    first, *others = made.prompts
    return README.format(
        title=f"The task {first}" if not others else "Several tasks",
        folder=final,
        seconds=int(made.config["frontend_conf"]["pad_seconds"]),
        language=generation["language"],
        task=generation["task"],
        others="" if not others else f"; the experts also do {', '.join(others)}",
    ).rstrip("\n")
