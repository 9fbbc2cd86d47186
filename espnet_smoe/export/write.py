"""Graphs into files: ONNX by `torch.export`, TorchScript by tracing."""

import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from espnet_smoe.data.data_dir import write_lines
from espnet_smoe.data.scratch import scratch_folder
from espnet_smoe.export.features import SHERPA_CTC, SHERPA_WHISPER, WENET
from espnet_smoe.export.graphs import CACHE, Graph, graphs_of
from espnet_smoe.export.symbols import ctc_symbols, whisper_symbols
from espnet_smoe.export.wenet import sherpa_ctc_graphs, wenet_graphs
from espnet_smoe.export.whisper import whisper_graphs
from espnet_smoe.model.smoe import ESPnetSMoEModel
from espnet_smoe.model.u2pp import ESPnetU2PPModel
from espnet_smoe.plugins import import_extra
from espnet_smoe.version import __version__

CONFIG, TOKENS, UNITS = "config.json", "tokens.txt", "units.txt"
INT8 = ".int8.onnx"
QUANTIZED = ["MatMul"]  # what sherpa-onnx quantizes of its own models, too


def export_model(
    model: nn.Module,
    folder: str | Path,
    kind: str = "onnx",
    chunk_size: int = 16,
    left_chunks: int = 4,
    frontend: Mapping[str, Any] | None = None,
    *,
    symbols: str = "char",
    bandwidth: str = "wb",
    int8: bool = False,
) -> list[Path]:
    """Write a model's graphs and tokens, and a description where they need one.

    Args:
        model: Ready for inference, on the CPU, float32.
        folder: Made if it is missing; what is written appears there when all is.
        kind: ``onnx``, ``torchscript``, ``sherpa-onnx`` or ``wenet``.
        chunk_size: Encoder frames a chunk.
        left_chunks: Chunks seen on the left.
        frontend: How features are made, for the description.
        symbols: How tokens make up a text, a key of `symbols.KINDS`.
        bandwidth: Of the speech, for an S-MoE whose encoder reads it.
        int8: Write each ONNX file a second time, with matrices in int8.

    Returns:
        What was written.

    Raises:
        ValueError: The model cannot be exported, a package is missing, or the folder
            holds an export of another format.
    """
    if kind not in WRITERS:
        raise ValueError(f"format '{kind}' is not one of {', '.join(WRITERS)}")
    suffix, write = WRITERS[kind]
    if int8 and suffix != ".onnx":
        raise ValueError(f"--int8 is for ONNX, not for the format {kind}; leave it out")
    sizes = chunk_size, left_chunks
    if kind in CONTENTS:
        graphs, name, tokens = CONTENTS[kind](model, *sizes, symbols, bandwidth)
    else:
        graphs, name = graphs_of(model, *sizes), TOKENS
        tokens = "".join(f"{token}\n" for token in model.token_list).encode()
    folder = Path(folder)
    own = {f"{graph.name}{suffix}" for graph in graphs}
    _refuse_another(folder, own if kind in CONTENTS else own | {CONFIG})
    with _all_at_once(folder) as place:
        paths = [place / f"{graph.name}{suffix}" for graph in graphs]
        written = [*paths]
        for graph, path in zip(graphs, paths):
            with torch.no_grad(), _quiet():
                write(graph, path)
                written += [quantize_file(path)] if int8 else []
        written.append(place / name)
        written[-1].write_bytes(tokens)
        if kind not in CONTENTS:
            about = {"format": kind, "espnet_smoe": __version__}
            about |= {**_sizes(model, *sizes), "tokens": TOKENS}
            about |= {"frontend": dict(frontend or {})}
            about["cache"] = {name: f"new_{name}" for name in CACHE}
            about["graphs"] = {g.name: _describe(g, p) for g, p in zip(graphs, paths)}
            written.append(place / CONFIG)
            write_lines(written[-1], [json.dumps(about, indent=1, ensure_ascii=False)])
    return [folder / path.name for path in written]


def _refuse_another(folder: Path, names: set[str]) -> None:
    """Graphs of one format beside the tokens of another would read as one model."""
    graphs = {suffix for suffix, _ in WRITERS.values()}
    for path in sorted(folder.glob("*")):
        graph = path.suffix in graphs and not path.name.endswith(INT8)
        if (graph or path.name == CONFIG) and path.name not in names:
            raise ValueError(
                f"{folder} holds {path.name} of another export; write this one into a "
                "folder of its own, or remove that one"
            )


@contextmanager
def _all_at_once(folder: Path) -> Iterator[Path]:
    """A scratch folder whose files go into a folder when all of them are there.

    An int8 file of an earlier model goes: its graph is of another model by then.
    """
    with scratch_folder(folder if folder.is_dir() else folder.parent, ".part") as made:
        place = made / "export"
        place.mkdir()
        yield place
        folder.mkdir(exist_ok=True)
        for path in sorted(place.iterdir()):
            if path.suffix == ".onnx":
                (folder / path.name).with_suffix(INT8).unlink(missing_ok=True)
        for path in place.iterdir():
            os.replace(path, folder / path.name)


Content = tuple[Sequence[Graph], str, bytes]  # graphs, name and content of the tokens


def _sherpa(
    model: nn.Module, chunk: int, left: int, symbols: str, bandwidth: str
) -> Content:
    """For sherpa-onnx: type ``wenet_ctc`` or ``whisper``."""
    if isinstance(model, ESPnetSMoEModel):
        SHERPA_WHISPER.check(model)
        text = whisper_symbols(model.token_list, symbols)
        return whisper_graphs(model, bandwidth), TOKENS, text
    _check_u2pp(model, "sherpa-onnx", "'model: u2pp' and 'model: smoe'")
    SHERPA_CTC.check(model)
    text = ctc_symbols(model.token_list, symbols, model.blank_id)
    return sherpa_ctc_graphs(model, chunk, left), TOKENS, text


def _wenet(
    model: nn.Module, chunk: int, left: int, symbols: str, bandwidth: str
) -> Content:
    """For WeNet's own runtime."""
    _check_u2pp(model, "wenet", "'model: u2pp'")
    WENET.check(model)
    text = ctc_symbols(model.token_list, symbols, model.blank_id)
    return wenet_graphs(model, chunk, left), UNITS, text


def _check_u2pp(model: nn.Module, kind: str, known: str) -> None:
    if not isinstance(model, ESPnetU2PPModel):
        raise ValueError(
            f"{type(model).__name__} has no place in the format {kind}; {known} can be "
            "exported to it"
        )


CONTENTS: dict[str, Callable[..., Content]] = {"sherpa-onnx": _sherpa, "wenet": _wenet}


def write_onnx(graph: Graph, path: Path) -> None:
    """Write one graph as ONNX; weights beyond 2 GB go to a file beside it.

    Raises:
        ImportError: The packages that write it are missing.
    """
    for name in ("onnx", "onnxscript"):
        import_extra(name, "export", "ONNX (not so torchscript)")
    names = {axis for axes in graph.inputs.values() for axis in axes.values()}
    dims = {
        n: torch.export.Dim(n, min=graph.shortest.get(n), max=graph.longest.get(n))
        for n in names
    }
    program = torch.onnx.export(
        graph.module,
        graph.example,
        input_names=list(graph.inputs),
        output_names=list(graph.outputs),
        dynamic_shapes=tuple(
            {number: dims[name] for number, name in axes.items()}
            for axes in graph.inputs.values()
        ),
        verbose=False,
    )
    properties = {key: str(value) for key, value in graph.metadata.items()}
    program.model.metadata_props.update(properties)
    program.save(path)


def write_torchscript(graph: Graph, path: Path) -> None:
    """Write one graph for `torch.jit.load`, which C++ has too."""
    traced = torch.jit.trace(graph.module, graph.example, check_trace=False)
    traced.save(path)


def quantize_file(path: Path) -> Path:
    """Write an ONNX file again, its matrices in int8, rows rounded as they come.

    Returns:
        The new file, beside it.

    Raises:
        ImportError: onnxruntime is missing.
    """
    import_extra("onnxruntime", "export", "quantization")
    from onnxruntime.quantization import QuantType, quantize_dynamic

    smaller = path.with_suffix(INT8)
    kinds = {"op_types_to_quantize": QUANTIZED, "weight_type": QuantType.QInt8}
    quantize_dynamic(path, smaller, **kinds)
    return smaller


WRITERS: dict[str, tuple[str, Callable[[Graph, Path], None]]] = {
    "onnx": (".onnx", write_onnx),
    "torchscript": (".pt", write_torchscript),
    "sherpa-onnx": (".onnx", write_onnx),
    "wenet": (".onnx", write_onnx),
}


def _sizes(
    model: ESPnetU2PPModel, chunk_size: int, left_chunks: int
) -> dict[str, float]:
    """What whoever feeds the graphs must know."""
    return {
        "chunk_size": chunk_size,
        "left_chunks": left_chunks,
        "stride": model.encoder.stride,
        "lookahead": model.encoder.lookahead,
        "features": model.encoder.input_size,
        "size": model.encoder.output_size(),
        "vocabulary": len(model.token_list),
        "blank": model.blank_id,
        "sos": model.sos,
        "eos": model.eos,
        "reverse_weight": model.reverse_weight,
    }


def _describe(graph: Graph, path: Path) -> dict[str, Any]:
    """File, inputs with their types and shapes, outputs."""
    inputs = {}
    for (name, axes), tensor in zip(graph.inputs.items(), graph.example):
        shape = [axes.get(number, size) for number, size in enumerate(tensor.shape)]
        kind = str(tensor.dtype).removeprefix("torch.")
        inputs[name] = {"type": kind, "shape": shape}
    return {"file": path.name, "inputs": inputs, "outputs": list(graph.outputs)}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporters say about what is meant to be so.

    That is: tracing is deprecated, sizes of the chunk are constants, torchvision is
    missing, a graph should be prepared before it is quantized.
    """
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "root")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before):
            logger.setLevel(level)
