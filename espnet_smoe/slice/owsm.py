"""A slice as a model of OWSM's task in ESPnet (S2T), whose search knows the prompt."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from espnet_smoe.registry import task_name
from espnet_smoe.slice.sub_model import SubModel

PADDED = "smoe_padded"  # the front-end of an OWSM that was imported
NEEDED = ("<sop>", "<na>")  # tokens that ESPnet's model looks up
ENGLISH, TRANSCRIBES, TRANSLATES = "<eng>", "<asr>", "<st_"
SAMPLE_RATE = 16000  # Hz
# options of decoding that ESPnet's search has, too
SEARCH = ("beam_size", "maxlenratio", "minlenratio", "normalize_length")
OTHER = "write '--format smoe' for a dense experiment of this package"

README = """# {title}

One part of a mixture of experts, for ESPnet without further packages{packages}.

```python
import soundfile
from espnet2.bin.s2t_inference import Speech2Text

speech2text = Speech2Text(
    "{folder}/config.yaml",
    "{folder}/model.pth",{bpemodel}{search}
    lang_sym="{language}",  # that is spoken
    task_sym="{task}",{others}
)

speech, rate = soundfile.read("a.wav", dtype="float32")  # {rate:.0f} Hz, one channel
print(speech2text(speech)[0][3])
```

`config.yaml` names the files of this folder with their full paths: where it is moved,
change them there.
"""


def is_owsm(config: Mapping[str, Any]) -> bool:
    """Whether a model has the prompts of OWSM: trained in its task, or imported."""
    return task_name(config) == "s2t" or config.get("frontend") == PADDED


def as_owsm(made: SubModel) -> None:
    """Make a slice one of OWSM's task, and list its prompts; changed in place.

    Raises:
        ValueError: It has what that task lacks; names it.
    """
    if task_name(made.config) != "s2t":
        made.config |= _own_task(made.config, made.tokens)
    if not made.prompts:
        made.prompts = _prompts(made)


def _own_task(config: Mapping[str, Any], tokens: Sequence[str]) -> dict[str, Any]:
    """What of an imported OWSM is said otherwise in the task that it came from."""
    frontend = dict(config.get("frontend_conf") or {})
    decoder = dict(config.get("decoder_conf") or {})
    seconds = frontend.pop("pad_seconds", 0)
    times = decoder.pop("suppress_tokens", None) or []
    if not seconds:
        raise ValueError(
            "frontend_conf.pad_seconds: 0: ESPnet's OWSM always hears silence up to "
            f"the end of its window; {OTHER}"
        )
    if len(times) != 1 or isinstance(times[0], int):
        raise ValueError(
            f"decoder_conf.suppress_tokens: {times}: ESPnet's OWSM has the first and "
            f"the last of its time marks there, [[first, last]]; {OTHER}"
        )
    if missing := [token for token in NEEDED if token not in tokens]:
        raise ValueError(
            f"token {missing[0]}, which ESPnet's OWSM needs, is not in the token list; "
            f"{OTHER}"
        )
    first, last = times[0]
    return {
        "preprocessor": "s2t",
        "preprocessor_conf": {
            "fs": SAMPLE_RATE,
            "speech_length": seconds,
            "notime_symbol": (config.get("model_conf") or {})["sym_begin"],
            "first_time_symbol": tokens[first],
            "last_time_symbol": tokens[last],
        },
        "frontend_conf": frontend,
        "decoder_conf": decoder,
    }


def _prompts(made: SubModel) -> dict[str, list[str]]:
    """What a text of each task that is left begins with, in one language."""
    sos = (made.config.get("model_conf") or {}).get("sym_sos", "<sos>")
    begin = (made.config.get("preprocessor_conf") or {}).get("notime_symbol")
    chosen = made.chosen.get("decoder", [])
    tasks = [t for t in chosen if t == TRANSCRIBES or t.startswith(TRANSLATES)]
    spoken = [t for t in chosen if t not in tasks] or [ENGLISH]
    return {task: [sos, spoken[0], task, begin] for task in tasks or [TRANSCRIBES]}


def search_lines(decoding: Mapping[str, Any]) -> str:
    """Arguments of ESPnet's ``Speech2Text`` that search as the whole model does.

    Args:
        decoding: Its options; empty for those that suit most.
    """
    options = {"beam_size": 10} | {k: decoding[k] for k in SEARCH if k in decoding}
    return "".join(
        f"\n    {name}={value!r},"
        for name, value in options.items()
        if value is not None
    )


def readme(
    made: SubModel, folder: Path, bpemodel: str, packages: str, rate: float
) -> str:
    """How ESPnet decodes with it.

    Args:
        made: From `as_owsm`.
        folder: Where it will be.
        bpemodel: The line that names the tokenizer.
        packages: What else is needed.
        rate: Hz.
    """
    (task, prompt), *others = made.prompts.items()
    also = ", ".join(other[2] for _, other in others)
    return README.format(
        title=f"The task {task}" if not others else "Several tasks",
        packages=packages,
        folder=folder,
        bpemodel=bpemodel,
        search=search_lines(made.decoding),
        language=prompt[1],
        task=prompt[2],
        others=f"  # or {also}" if also else "",
        rate=rate,
    )
