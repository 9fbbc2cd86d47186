"""A slice as ESPnet's own training would have left it: no name in it is ours."""

import argparse
import inspect
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

from espnet_smoe.config.options import default_of, option_names
from espnet_smoe.data.data_dir import write_lines
from espnet_smoe.inference.checkpoint import check_weights, save_weights
from espnet_smoe.inference.config_files import Lengths, named_files, sample_rate
from espnet_smoe.registry import task_of
from espnet_smoe.slice import owsm
from espnet_smoe.slice.owsm import OTHER
from espnet_smoe.slice.sub_model import COUNTER, SubModel
from espnet_smoe.slice.tokenizer import hugging_face_tokenizer

# our class -> ESPnet's with the same parameters under the same names
LIKE_OURS = {
    ("frontend", owsm.PADDED): "default",  # OWSM's task pads by itself
    ("encoder", "smoe_transformer"): "transformer",
    ("encoder", "smoe_conformer"): "conformer",
    ("encoder", "smoe_e_branchformer"): "e_branchformer",
    ("decoder", "smoe_transformer"): "transformer",
    ("model", "smoe"): "espnet",
    ("preprocessor", "smoe"): "default",
}
# options of ours that ESPnet lacks and that change nothing of a trained dense model
OF_TRAINING = {"moe", "subsampling_channels", "gradient_checkpoint_layers", "tasks"}
OF_TRAINING |= {"schedule", "ctc_task", "label_field", "bf16_on_cpu", "sym_begin"}
NOT_KEPT = ("help", "config", "print_config")  # as in ESPnet's own config.yaml
INPUT_LAYERS = ("conv1d_glu",)  # that ESPnet lacks
WHISPER = "write '--format transformers'"
TOKENIZER = "tokenizer"

README = """# {title}

One part of a mixture of experts, for ESPnet without further packages{packages}.

```python
import soundfile
from espnet2.bin.asr_inference import Speech2Text

speech2text = Speech2Text(
    "{folder}/config.yaml",
    "{folder}/model.pth",{bpemodel}
    ctc_weight={ctc_weight},{search}
)
prompt = {prompt}{others}
primer = speech2text.converter.tokens2ids(prompt)
speech2text.beam_search.set_hyp_primer(primer)

speech, rate = soundfile.read("a.wav", dtype="float32")  # {rate:.0f} Hz, one channel
_, tokens, *_ = speech2text(speech)[0]
print(speech2text.tokenizer.tokens2text(tokens[len(prompt) - 1 :]))
```

`config.yaml` names the files of this folder with their full paths: where it is moved,
change them there.
"""


def write(made: SubModel, folder: Path, final: Path, lengths: Lengths) -> None:
    """Write ``config.yaml``, ``model.pth``, what they need, and ``README.md``.

    Args:
        made: The slice.
        folder: Where to write it.
        final: Where it will be.
        lengths: Not kept: ESPnet has no place for them.

    Raises:
        ValueError: The model has what ESPnet lacks; names it.
    """
    made.require_dense()
    if owsm.is_owsm(made.config):
        owsm.as_owsm(made)
    if not made.prompts:
        raise ValueError(f"model: {made.config.get('model')} has no tasks; {OTHER}")
    config = stock_config(made)
    state = {name: t for name, t in made.state.items() if name != COUNTER}
    with torch.device("meta"):
        model = task_of(config).build_model(argparse.Namespace(**{**config}))
    check_weights(model, state, "the slice")
    made.state = state
    _copy_files(config, made.tokens, folder, final)
    text = yaml.safe_dump(config, allow_unicode=True, sort_keys=False)
    write_lines(folder / "config.yaml", text.splitlines())
    write_lines(folder / "README.md", [_readme(made, config, final)])
    save_weights(state, folder / "model.pth")
    made.notes.append(f"how ESPnet decodes with it: {final / 'README.md'}")


def stock_config(made: SubModel) -> dict[str, Any]:
    """The configuration in ESPnet's words.

    Args:
        made: A dense slice.

    Raises:
        ValueError: A class or an option that ESPnet lacks; names it.
    """
    from espnet_smoe.compat import ASRTask

    given, task = made.config, task_of(made.config)
    ours_of = {choices.name: choices.classes for choices in ASRTask.class_choices_list}
    # not `get_default_config`, which reads the command line of the process
    defaults = {a.dest: a.default for a in task.get_parser()._actions}
    config = {
        key: given.get(key, default)
        for key, default in defaults.items()
        if key not in NOT_KEPT
    }
    for choices in task.class_choices_list:
        kind, where = choices.name, f"{choices.name}_conf"
        name = given.get(kind, choices.default)
        config[kind] = name
        if name is None:
            config[where] = given.get(where) or {}
            continue
        ours = choices.classes.get(name) or ours_of[kind][name]
        if ours.__module__.startswith("espnet2."):
            config[where] = {**(given.get(where) or {})}
            continue
        theirs = LIKE_OURS.get((kind, name))
        if theirs is None:
            cure = WHISPER if "whisper" in name else OTHER
            raise ValueError(f"{kind}: ESPnet has nothing like '{name}'; {cure}")
        config[kind] = theirs
        options = {}
        if kind != "preprocessor":
            options = _options(
                given.get(where) or {}, ours, choices.classes[theirs], where
            )
        config[where] = options
    # its calculators of error rates do not know byte-level pieces
    config["model_conf"] |= {"report_cer": False, "report_wer": False}
    return config | {"token_list": made.tokens, "init": None}


def _options(
    given: Mapping[str, Any], ours: type, theirs: type, where: str
) -> dict[str, Any]:
    """A section for ESPnet's class, whose defaults may be others."""
    known = inspect.signature(theirs.__init__).parameters
    options = {}
    for name in option_names(ours, where):
        default = default_of(ours, name)
        value = given.get(name, default)
        if isinstance(value, type) or value is inspect.Parameter.empty:
            continue
        if name == "input_layer" and value in INPUT_LAYERS:
            raise ValueError(f"{where}.{name}: ESPnet has no '{value}'; {OTHER}")
        if name in known:
            value = list(value) if isinstance(value, tuple) else value
            if name in given or value != known[name].default:
                options[name] = value
        elif value != default and name not in OF_TRAINING:
            raise ValueError(
                f"{where}.{name}: {theirs.__name__} of ESPnet has no such option; "
                f"{OTHER}"
            )
    return options


def _copy_files(
    config: dict[str, Any], tokens: list[str], folder: Path, final: Path
) -> None:
    """Copy what the configuration names, under the paths that it will have."""
    for section, key, _ in named_files(config):
        source = Path(section[key])
        if key == "bpemodel" and source.suffix == ".json":
            # ESPnet's own byte-level tokenizers are those of Hugging Face
            _write_tokenizer(source, tokens, folder / TOKENIZER)
            section[key] = str(final / TOKENIZER)
            section["token_type"] = "hugging_face"
        else:
            shutil.copy(source, folder / source.name)
            section[key] = str(final / source.name)


def _write_tokenizer(pieces: Path, tokens: list[str], folder: Path) -> None:
    folder.mkdir()
    content = hugging_face_tokenizer(tokens, pieces)
    kind = {"tokenizer_class": "PreTrainedTokenizerFast"}
    kind["clean_up_tokenization_spaces"] = False
    for name, data in (("tokenizer", content), ("tokenizer_config", kind)):
        text = json.dumps(data, ensure_ascii=False)
        write_lines(folder / f"{name}.json", [text])


def _readme(made: SubModel, config: Mapping[str, Any], final: Path) -> str:
    (task, prompt), *others = made.prompts.items()
    byte_level = config["token_type"] == "hugging_face"
    bpemodel = config.get("bpemodel")
    if bpemodel:
        bpemodel = f'\n    bpemodel="{final / Path(bpemodel).name}",'
    packages = " than `transformers`, for its tokenizer" if byte_level else ""
    if owsm.is_owsm(config):
        about = final, bpemodel or "", packages, sample_rate(config)
        return owsm.readme(made, *about).rstrip("\n")
    weight = config["model_conf"].get("ctc_weight", 0.0)
    if weight and made.decoding:
        weight = made.decoding.get("ctc_weight", 0.0)
    return README.format(
        title=f"The task {task}" if not others else "Several tasks",
        packages=packages,
        folder=final,
        bpemodel=bpemodel or "",
        ctc_weight=weight if not others else 0.0,
        search=owsm.search_lines(made.decoding),
        prompt=json.dumps(prompt, ensure_ascii=False) + f"  # task {task}",
        others="".join(
            f"\n# task {name}: {json.dumps(p, ensure_ascii=False)}"
            for name, p in others
        ),
        rate=sample_rate(config),
    ).rstrip("\n")
