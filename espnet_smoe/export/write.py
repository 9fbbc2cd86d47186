"""Graphs into files: ONNX by `torch.export`, TorchScript by tracing."""

import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from espnet_smoe.export.graphs import CACHE, Graph, graphs_of
from espnet_smoe.model.u2pp import ESPnetU2PPModel
from espnet_smoe.version import __version__

CONFIG, TOKENS = "config.json", "tokens.txt"


def export_model(
    model: ESPnetU2PPModel,
    folder: str | Path,
    kind: str = "onnx",
    chunk_size: int = 16,
    left_chunks: int = 4,
    frontend: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write a model's graphs, tokens and description.

    Args:
        model: Ready for inference, on the CPU, float32.
        folder: Made if it is missing.
        kind: ``onnx`` or ``torchscript``.
        chunk_size: Encoder frames a chunk.
        left_chunks: Chunks seen on the left.
        frontend: How features are made, for the description.

    Returns:
        What was written.

    Raises:
        ValueError: The model cannot be exported, or a package is missing.
    """
    if kind not in WRITERS:
        raise ValueError(f"format '{kind}' is not one of {', '.join(WRITERS)}")
    suffix, write = WRITERS[kind]
    graphs = graphs_of(model, chunk_size, left_chunks)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{graph.name}{suffix}" for graph in graphs]
    for graph, path in zip(graphs, paths):
        with torch.no_grad(), _quiet():
            write(graph, path)
    tokens = "".join(f"{token}\n" for token in model.token_list)
    (folder / TOKENS).write_text(tokens, encoding="utf-8")
    description = {
        "format": kind,
        "espnet_smoe": __version__,
        **_sizes(model, chunk_size, left_chunks),
        "tokens": TOKENS,
        "frontend": dict(frontend or {}),
        "cache": {name: f"new_{name}" for name in CACHE},
        "graphs": {g.name: _describe(g, p) for g, p in zip(graphs, paths)},
    }
    text = json.dumps(description, indent=1, ensure_ascii=False)
    (folder / CONFIG).write_text(text + "\n", encoding="utf-8")
    return [*paths, folder / TOKENS, folder / CONFIG]


def write_onnx(graph: Graph, path: Path) -> None:
    """Write one graph as ONNX; weights beyond 2 GB go to a file beside it.

    Raises:
        ValueError: The packages that write it are missing.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f"{error.name} is missing; install espnet_smoe[export], or take the format "
            "torchscript"
        ) from error
    names = {axis for axes in graph.inputs.values() for axis in axes.values()}
    dims = {n: torch.export.Dim(n, max=graph.longest.get(n)) for n in names}
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
    program.save(path)


def write_torchscript(graph: Graph, path: Path) -> None:
    """Write one graph for `torch.jit.load`, which C++ has too."""
    traced = torch.jit.trace(graph.module, graph.example, check_trace=False)
    traced.save(path)


WRITERS: dict[str, tuple[str, Callable[[Graph, Path], None]]] = {
    "onnx": (".onnx", write_onnx),
    "torchscript": (".pt", write_torchscript),
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
    missing.
    """
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
