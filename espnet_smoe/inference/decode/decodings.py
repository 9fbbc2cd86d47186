"""The decodings that a command asks for: their options, names and folders."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from espnet_smoe.inference.search.options import DecodeOptions
from espnet_smoe.inference.speech_to_text import SpeechToText

PLACE, SET = "{decoding}", "{set}"


def decodings_of(
    kind: type[SpeechToText],
    configs: Sequence[str] | None,
    chunk_sizes: Sequence[int] | None = None,
    graph: str | None = None,
    **overrides: Any,
) -> dict[str, DecodeOptions]:
    """Each configuration at each chunk size.

    Args:
        kind: Class for the model.
        configs: YAML files; None for the defaults.
        chunk_sizes: In encoder frames; None for the configuration's own.
        graph: Folder of the decoding graph; None for the configuration's own.
        **overrides: Options in place of the configurations' own.

    Returns:
        Name, such as ``greedy_chunk16`` -> options.

    Raises:
        ValueError: A file or size is wrong, or two files have the same name.
    """
    given = {"chunk_size": chunk_sizes, "graph": graph}
    kind.Options.check_flags(n for n, value in given.items() if value is not None)
    decodings: dict[str, DecodeOptions] = {}
    for config in configs or [None]:
        options = kind.Options.read(config, graph=graph, **overrides)
        for size in dict.fromkeys([None] if chunk_sizes is None else chunk_sizes):
            try:
                sized = options if size is None else replace(options, chunk_size=size)
            except ValueError as error:
                raise ValueError(f"--chunk-size: {error}") from error
            chunk = getattr(sized, "chunk_size", None)
            name = decoding_name(config or "decode.yaml", chunk)
            if name in decodings:
                raise ValueError(
                    f"{config}: another configuration decodes as '{name}', too, and "
                    "their results would go to the same folder; rename one"
                )
            decodings[name] = sized
    return decodings


def read_overrides(words: Sequence[str]) -> dict[str, Any]:
    """Options of a search on the command line, as ESPnet's ``asr_inference`` has them.

    Raises:
        ValueError: A word is no option, or an option has no value.

    Example:
        >>> read_overrides(["--beam_size", "3", "--ctc-weight=0.5"])
        {'beam_size': 3, 'ctc_weight': 0.5}
    """
    words = [part for word in words for part in _split_option(word)]
    if len(words) % 2 or not all(name.startswith("--") for name in words[::2]):
        raise ValueError(
            f"'{' '.join(words)}': write options of the search as --name value"
        )
    names = [name[2:].replace("-", "_") for name in words[::2]]
    return dict(zip(names, map(yaml.safe_load, words[1::2])))


def _split_option(word: str) -> list[str]:
    return word.split("=", 1) if word.startswith("--") else [word]


def decoding_name(config: str | Path, chunk_size: int | None = None) -> str:
    """What stands for ``{decoding}`` in the results' folder.

    Example:
        >>> decoding_name("conf/decode_greedy.yaml", 16)
        'greedy_chunk16'
        >>> decoding_name("conf/decode.yaml")
        'default'
    """
    name = Path(config).stem.removeprefix("decode").removeprefix("_") or "default"
    if chunk_size is None:
        return name
    return f"{name}_{f'chunk{chunk_size}' if chunk_size else 'full'}"


def folders_of(
    out: str, names: Sequence[str], data: Sequence[str]
) -> dict[tuple[str, str], Path]:
    """Where the results go, by set (the name of a data directory) and decoding.

    Raises:
        ValueError: There are several of either, and one folder.
    """
    sets = [Path(each).name for each in data]
    for place, many in ((PLACE, names), (SET, sets)):
        if len(many) > 1 and (place not in out or len(set(many)) < len(many)):
            raise ValueError(
                f"--out {out}: {', '.join(many)} need a folder each; write {place} in "
                f"it, such as exp/x/decode_{PLACE}/{SET}, and name no two alike"
            )
    return {
        (each, name): Path(out.replace(PLACE, name).replace(SET, each))
        for each in sets
        for name in names
    }
