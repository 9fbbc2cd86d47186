"""ESPnet's own models with our mixtures: their losses and loads, unknown to ESPnet.

ESPnet's models call an encoder and a decoder and add up the losses that they know. A
model that ESPnet's task has built is given hooks here: one hands a `Routing` to each
of our parts when it is called, another adds what the routings brought back to the
loss and the statistics. Parameters and their names stay as they are, and nothing
changes where the model is not called as a whole, as in decoding.

The texts of OWSM (task S2T) begin with language and task, ``<kor><st_eng>``, so that
the gates of its decoder may read labels there.
"""

import inspect
from contextvars import ContextVar
from typing import Any

import torch
from torch import nn

from espnet_smoe.compat import force_gatherable
from espnet_smoe.model.metrics import auxiliary_losses, routing_statistics
from espnet_smoe.model.parts import (
    bind_labels,
    check_interctc,
    check_part,
    mixtures_of,
    takes_routing,
)
from espnet_smoe.model.routed import RoutedASRModel
from espnet_smoe.moe import Routing

LENGTHS = ("ilens", "ys_in_lens")  # arguments of encoders and of decoders
TEXTS = "ys_in_pad"  # argument of decoders
PROMPTED = ("ESPnetS2TModel",)  # whose texts begin with what is to be done

# the passes of the forward pass that is under way; each thread has its own
_passes: ContextVar[list[tuple[nn.Module, Routing]] | None] = ContextVar(
    "passes", default=None
)


def route_stock_model(model: nn.Module) -> nn.Module:
    """Let a model of ESPnet train the routers of our parts in it; idempotent.

    Args:
        model: As ESPnet's task builds it; one of our models is left as it is.

    Returns:
        The model.

    Raises:
        ValueError: A gate reads labels, which the model cannot give.
    """
    parts = _parts(model)
    if isinstance(model, RoutedASRModel) or not parts:
        return model
    serves = ("prompts",) if type(model).__name__ in PROMPTED else ()
    for name, part in parts.items():
        check_part(name, part, model, serves)
    bind_labels(model)
    check_interctc(
        model.encoder,
        getattr(model, "interctc_weight", 0.0),
        getattr(model, "ctc_weight", 0.0),
    )
    if _begin not in model._forward_pre_hooks.values():
        model.register_forward_pre_hook(_begin)
        model.register_forward_hook(_finish, always_call=True)
        for part in parts.values():
            part.register_forward_pre_hook(_give_routing, with_kwargs=True)
    return model


def _parts(model: nn.Module) -> dict[str, nn.Module]:
    """The encoders and decoders of a model that take a routing, by name."""
    return {
        name: child for name, child in model.named_children() if takes_routing(child)
    }


def _begin(model: nn.Module, _: Any) -> None:
    _passes.set([])


def _give_routing(
    part: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    passes = _passes.get()
    if passes is None:  # not in training or validation
        return None
    given = inspect.signature(part.forward).bind(*args, **kwargs).arguments
    # elsewhere the second argument, as in ESPnet's interface of an encoder
    lengths = next((given[n] for n in LENGTHS if n in given), list(given.values())[1])
    if getattr(part, "labels", None) is not None:  # a decoder, which reads its prompts
        routing = part.route(given[TEXTS], lengths)
    else:
        routing = Routing(lengths)
    passes.append((part, routing))
    return args, {**kwargs, "routing": routing}


def _finish(model: nn.Module, _: Any, output: Any) -> Any:
    passes = _passes.get() or []
    _passes.set(None)
    if output is None:  # the forward pass failed
        return None
    loss, stats, weight = output
    routed = [
        (name, part, joined_routing([r for p, r in passes if p is part]))
        for name, part in _parts(model).items()
        if next(mixtures_of(part), None) is not None
    ]
    found: dict[str, Any] = {}
    of_passes = zip(routed, auxiliary_losses(routed))
    for (name, _, routing), (aux_loss, aux_stats) in of_passes:
        loss = loss + aux_loss
        found |= aux_stats | routing_statistics(name, routing, not model.training)
    found = {k: torch.as_tensor(v, dtype=torch.float32) for k, v in found.items()}
    stats = {**stats, **found, "loss": loss.detach()}
    return force_gatherable((loss, stats, weight), loss.device)


def joined_routing(routings: list[Routing]) -> Routing | None:
    """One routing of all passes through a part; None where there was no pass."""
    if not routings:
        return None
    first, *others = routings
    for other in others:
        for name, load in other.loads.items():
            first.loads[name] = first.loads[name] + load
        for name, logits in other.logits.items():
            first.logits[name] = torch.cat((first.logits[name], logits))
        for name, sums in other.sums.items():
            if sums is not None:
                both = first.sums[name].sums + sums.sums
                first.sums[name] = sums._replace(sums=both)
    return first
