"""Graphs on a device: compiled for training and for inference, and exported."""

from collections.abc import Callable
from typing import Any

import torch

from espnet_smoe.benchmark.gpu.checks_moe import Mixture, batch, passed
from espnet_smoe.benchmark.gpu.guard import Check, Compared, Site

BOUND = 1e-4  # of float32


def compiled_for_training(kind: str, autocast: torch.dtype | None = None) -> Check:
    """Forward and gradients; the graph breaks around the shares."""

    def check(site: Site, compared: Compared) -> None:
        mixture, given = _example(kind, site)
        torch._dynamo.reset()
        compiled = torch.compile(mixture, **_backend(site))
        cast = autocast is not None
        with torch.autocast(site.device.type, autocast, enabled=cast):
            wanted = passed(mixture, mixture, given)
            got = passed(mixture, compiled, given)
        bound = 2e-2 if cast else BOUND
        for name, value in got.items():
            compared.close(name, value, wanted[name], bound)

    return check


def compiled_for_inference(kind: str) -> Check:
    """One graph for all batches, which computes every expert."""

    def check(site: Site, compared: Compared) -> None:
        mixture, given = _example(kind, site)
        torch._dynamo.reset()
        compiled = torch.compile(
            mixture.eval(), fullgraph=True, dynamic=True, **_backend(site)
        )
        _same_without_gradients(compiled, mixture, given, compared)

    return check


def exported(kind: str) -> Check:
    """A program of `torch.export` that runs on the device."""

    def check(site: Site, compared: Compared) -> None:
        mixture, given = _example(kind, site)
        dim, time = (torch.export.Dim(n, min=2, max=512) for n in ("batch", "time"))
        shapes = {0: dim, 1: time}, {0: dim}, {0: dim}, {0: dim, 1: time}, None
        with torch.no_grad():
            given = (*given, True)
            program = torch.export.export(
                mixture.eval(), given, dynamic_shapes=shapes, strict=False
            )
        _same_without_gradients(program.module(), mixture, given, compared)

    return check


def _same_without_gradients(
    graph: Callable[..., Any], mixture: Mixture, given: tuple, compared: Compared
) -> None:
    with torch.no_grad():
        for rows in (slice(None), slice(2)):  # all utterances; fewer and longer ones
            some = tuple(t[rows] if isinstance(t, torch.Tensor) else t for t in given)
            (got, _, loads), (y, _, wanted) = graph(*some), mixture(*some)
            frames = torch.arange(y.size(1), device=y.device) < some[1][:, None]
            compared.close("output", got[frames], y[frames], BOUND)
            compared.close("loads", loads, wanted, 0.0)


def _example(kind: str, site: Site) -> tuple[Mixture, tuple[torch.Tensor, ...]]:
    mixture = Mixture(kind).to(site.device)
    x, lengths, ids, e = (t.to(site.device) for t in batch(64))
    return mixture, (x.float(), lengths, ids, e.float())


def _backend(site: Site) -> dict[str, Any]:
    """Toy runs do not wait for a compiler."""
    return {"backend": "eager"} if site.quick else {}


CHECKS: dict[str, Check] = {
    "exported, label": exported("label"),
    "exported, topk of 2": exported("topk of 2"),
    "compiled for inference, one graph, label": compiled_for_inference("label"),
    "compiled for inference, one graph, topk of 2": compiled_for_inference("topk of 2"),
    "compiled for training, label": compiled_for_training("label"),
    "compiled for training, topk": compiled_for_training("topk"),
    "compiled for training, topk, bf16 autocast": compiled_for_training(
        "topk", torch.bfloat16
    ),
}
