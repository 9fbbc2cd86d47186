"""Model parallelism: processes share out experts (GShard), all else (FSDP2), or both.

What leaves or enters a training is as one process has it: names, shapes and the order
of an optimizer's parameters. So a checkpoint of any number of processes goes on with
any other, and everything else reads it.
"""

import argparse
import itertools
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from espnet_smoe.moe import MoEFeedForward
from espnet_smoe.moe.expert_parallel import SpreadExperts

EXPERTS, FSDP = "expert_parallel", "fsdp"
LAYERS = (
    "encoders",
    "decoders",
    "blocks",
)  # lists whose members FSDP gathers one by one
Named = dict[str, Any]


class ModelParallel:
    """How the processes of a training share a model, and its states as a whole.

    Args:
        model: All of it, the same in every process.
        ways: Processes that share the experts of a layer; 1 for none.
        fsdp: Share all other weights over all processes.

    Attributes:
        fsdp: Whether they are.
        weights: In the first process, after `collect`, what others have of the model.
        gradients: The same of gradients.

    Raises:
        ValueError: The model or the number of processes does not allow it.
    """

    def __init__(self, model: nn.Module, ways: int, fsdp: bool):
        self.world = distributed.get_world_size()
        self.ways, self.fsdp = ways, fsdp
        self.weights: Named = {}
        self.gradients: Named = {}
        self._states: list[Named] = []
        self._model = model
        self._mixtures = [m for m in model.modules() if isinstance(m, MoEFeedForward)]
        self._check()
        device = next(model.parameters()).device.type
        shape = (self.world // ways, ways)
        self._mesh = init_device_mesh(device, shape, mesh_dim_names=("copies", EXPERTS))
        if fsdp:
            self._shard_layers(device)

    @classmethod
    def asked_by(
        cls, args: argparse.Namespace, model: nn.Module
    ) -> "ModelParallel | None":
        """That of a training's options; None where nothing is shared.

        Raises:
            ValueError: As the constructor.
        """
        ways, fsdp = getattr(args, EXPERTS, 1), getattr(args, FSDP, False)
        if args.collect_stats or args.dry_run:
            return None
        world = distributed.get_world_size() if distributed.is_initialized() else 1
        if world % ways:
            known = [n for n in range(1, world + 1) if world % n == 0]
            raise ValueError(
                f"{EXPERTS}: {ways} does not divide the processes of this training, "
                f"{world}; choose {' or '.join(map(str, known))}, or start others "
                "(--ngpu, --num_nodes, --train_nj)"
            )
        if world == 1 or (ways == 1 and not fsdp):
            return None
        return cls(model, ways, fsdp)

    def _check(self) -> None:
        if self.ways == 1:
            return
        if not self._mixtures:
            raise ValueError(f"{EXPERTS}: {self.ways}, but no layer has experts")
        for mixture in self._mixtures:
            if len(mixture.experts) % self.ways:
                raise ValueError(
                    f"{EXPERTS}: {self.ways} processes cannot share the "
                    f"{len(mixture.experts)} experts of layer {mixture.name} evenly; "
                    "choose a divisor"
                )

    # -- shares ---------------------------------------------------------------------

    def _shard_layers(self, device: str) -> None:
        mesh = init_device_mesh(device, (self.world,))
        spread = self._mixtures if self.ways > 1 else []
        given = {
            "mesh": mesh,
            "ignored_params": {p for m in spread for p in m.experts.parameters()},
        }
        for name, module in list(self._model.named_modules()):
            if name.rpartition(".")[2] in LAYERS:
                for layer in module.children():
                    fully_shard(layer, **given)
        self._model.register_forward_hook(_use_all)  # before FSDP's
        fully_shard(self._model, **given)
        for module in self._model.modules():
            if any(isinstance(p, DTensor) for p in module.parameters(recurse=False)):
                module.register_load_state_dict_pre_hook(_shard_what_is_loaded)

    def take(self, optimizers: Iterable[torch.optim.Optimizer]) -> None:
        """Let this process keep its experts alone, and optimizers those.

        Args:
            optimizers: Just made, of all parameters of the model.
        """
        self._optimizers = list(optimizers)
        self._order = [_names(o, self._model) for o in self._optimizers]
        if self.ways > 1:
            self._spread()
        for number, optimizer in enumerate(self._optimizers):
            self._follow(number, optimizer)
        self._model.model_parallel = self
        if hasattr(self._model, "same_passes"):
            self._model.same_passes = True
        self._model.register_state_dict_post_hook(partial(self._complete))

    def _spread(self) -> None:
        for mixture in self._mixtures:
            mixture.spread(self._mesh.get_group(EXPERTS))
        kept = {id(p) for p in self._model.parameters()}
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                foreign = [p for p in group["params"] if id(p) not in kept]
                group["params"] = [p for p in group["params"] if id(p) in kept]
                for parameter in foreign:
                    optimizer.state.pop(parameter, None)
        experts = dict(self._experts())
        for parameter in experts.values():
            if parameter.requires_grad:  # the mean of all processes, as DDP has it
                parameter.register_hook(lambda gradient: gradient / self.ways)
        ignore = DistributedDataParallel._set_params_and_buffers_to_ignore_for_model
        ignore(self._model, list(experts))

    def _spread_modules(self) -> Iterator[tuple[str, SpreadExperts]]:
        for name, module in self._model.named_modules():
            if isinstance(module, SpreadExperts):
                yield name, module

    def _experts(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The experts' parameters in this process."""
        for name, module in self._spread_modules():
            yield from module.named_parameters(name)

    def shared_out(self) -> set[str]:
        """Names of the parameters of which other processes have other values."""
        sharded = {
            n for n, p in self._model.named_parameters() if isinstance(p, DTensor)
        }
        return sharded | {name for name, _ in self._experts()}

    # -- gradients ------------------------------------------------------------------

    def average_copies(self) -> None:
        """Make the gradients of experts the same in all processes that have them."""
        copies = self._mesh.get_group("copies")
        if self.ways == 1 or copies.size() == 1:
            return
        gradients = [p.grad for _, p in self._experts() if p.grad is not None]
        for gradient in gradients:
            distributed.all_reduce(gradient, group=copies)
            gradient /= copies.size()

    def clip_gradients(
        self,
        parameters: Iterable[nn.Parameter],
        max_norm: float,
        norm_type: float = 2.0,
    ) -> torch.Tensor:
        """`torch.nn.utils.clip_grad_norm_` of the whole model's gradients."""
        self.average_copies()
        experts = {id(p) for _, p in self._experts()}
        gradients, powers = [], []
        for parameter in parameters:
            if parameter.grad is None:
                continue
            gradient, holders = parameter.grad, self.world
            if isinstance(gradient, DTensor):
                gradient, holders = gradient.to_local(), 1
            elif id(parameter) in experts:
                holders = self.world // self.ways
            gradients.append(gradient)
            # of a short parameter some processes have nothing, which has no maximum
            flat = gradient.flatten() if gradient.numel() else gradient.new_zeros(1)
            norm = torch.linalg.vector_norm(flat, norm_type).double()
            infinite = norm_type == float("inf")
            powers.append(norm if infinite else norm**norm_type / holders)
        norm = self._norm(torch.stack(powers), norm_type).to(gradients[0].dtype)
        coefficient = (max_norm / (norm + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(coefficient.to(gradient.dtype))
        return norm

    def _norm(self, powers: torch.Tensor, norm_type: float) -> torch.Tensor:
        if norm_type == float("inf"):
            total = powers.max()
            distributed.all_reduce(total, distributed.ReduceOp.MAX)
            return total
        total = powers.sum()
        distributed.all_reduce(total)
        return total ** (1 / norm_type)

    # -- states ---------------------------------------------------------------------

    def collect(self) -> None:
        """Bring what others have to the first process; all call it at the same time.

        Until `forget`, states of the model and of its optimizers are whole there.
        """
        self.forget()
        if self.fsdp:
            self._model.reshard()  # which validation has left gathered
        self._states = [{} for _ in self._optimizers]
        if self._mesh.get_local_rank("copies") == 0:
            group = self._mesh.get_group(EXPERTS)
            for name, module in self._spread_modules():
                own = self._part(dict(module.named_parameters(name)))
                first = distributed.get_rank() == 0
                parts = [None] * group.size() if first else None
                distributed.gather_object(own, parts, group=group, group_dst=0)
                for part in parts or ():
                    self._add(part)
        for name, parameter in self._model.named_parameters():
            if isinstance(parameter, DTensor):
                part = self._part({name: parameter})
                if distributed.get_rank() == 0:
                    self._add(part)

    def forget(self) -> None:
        """Let go of what `collect` brought."""
        self.weights, self.gradients, self._states = {}, {}, []

    def _part(self, parameters: dict[str, nn.Parameter]) -> tuple[Named, Named, list]:
        """Weights, gradients and states of optimizers, on the CPU."""
        weights = {name: _whole(p.detach()) for name, p in parameters.items()}
        gradients = {n: _whole(p.grad) for n, p in parameters.items()}
        states = [
            {
                name: {key: _whole(value) for key, value in optimizer.state[p].items()}
                for name, p in parameters.items()
                if p in optimizer.state
            }
            for optimizer in self._optimizers
        ]
        return weights, {n: g for n, g in gradients.items() if g is not None}, states

    def _add(self, part: tuple[Named, Named, list]) -> None:
        weights, gradients, states = part
        self.weights |= weights
        self.gradients |= gradients
        for known, more in zip(self._states, states):
            known |= more

    def _complete(self, model: nn.Module, state: Named, prefix: str, _: Any) -> None:
        state.update({prefix + name: value for name, value in self.weights.items()})

    def _follow(self, number: int, optimizer: torch.optim.Optimizer) -> None:
        """Let the states of an optimizer be those of all parameters."""
        place = {n: i for i, n in enumerate(itertools.chain(*self._order[number]))}
        parameters = dict(self._model.named_parameters())
        # no operation on lists of tensors of both kinds
        both = self.fsdp and self.ways > 1
        apart = {"foreach": False, "fused": False} if both else {}
        whole = [
            {key: group[key] for key in apart if key in group}
            for group in optimizer.param_groups
        ]
        for group, given in zip(optimizer.param_groups, whole):
            group.update({key: False for key in given})
        if both:
            optimizer._step_supports_amp_scaling = False  # as fused ones do

        def complete(_: torch.optim.Optimizer, state: Named) -> Named:
            if not self._states:
                return state
            own = itertools.chain(*_names(optimizer, self._model))
            known = {place[n]: state["state"].get(i) for i, n in enumerate(own)}
            known |= {place[n]: s for n, s in self._states[number].items()}
            return {
                "state": {i: s for i, s in sorted(known.items()) if s is not None},
                "param_groups": [
                    group | given | {"params": [place[name] for name in names]}
                    for group, given, names in zip(
                        state["param_groups"], whole, self._order[number]
                    )
                ],
            }

        def take_own(_: torch.optim.Optimizer, state: Named) -> Named:
            groups, order = state["param_groups"], self._order[number]
            if [len(g["params"]) for g in groups] != [len(names) for names in order]:
                return state  # of another model, which the optimizer itself refuses
            saved = {
                name: state["state"].get(i)
                for group, names in zip(groups, order)
                for i, name in zip(group["params"], names)
            }
            own = _names(optimizer, self._model)
            count = itertools.count()
            return {
                "state": {
                    i: {k: like(v, parameters[name]) for k, v in saved[name].items()}
                    for i, name in enumerate(itertools.chain(*own))
                    if saved[name] is not None
                },
                "param_groups": [
                    group
                    | {key: False for key in given}
                    | {"params": [next(count) for _ in names]}
                    for group, given, names in zip(groups, whole, own)
                ],
            }

        optimizer.register_state_dict_post_hook(complete)
        optimizer.register_load_state_dict_pre_hook(take_own)


def model_parallel_of(model: nn.Module) -> ModelParallel | None:
    """How a model is shared, also inside of DDP; None where it is not."""
    return getattr(getattr(model, "module", model), "model_parallel", None)


def _names(optimizer: torch.optim.Optimizer, model: nn.Module) -> list[list[str]]:
    """The parameters of each group of an optimizer."""
    names = {id(p): name for name, p in model.named_parameters()}
    return [[names[id(p)] for p in g["params"]] for g in optimizer.param_groups]


def _whole(value: Any) -> Any:
    """A tensor as one process has it, on the CPU; anything else as it is."""
    if isinstance(value, DTensor):
        value = value.full_tensor()
    return value.detach().cpu() if isinstance(value, torch.Tensor) else value


def like(value: Any, parameter: nn.Parameter) -> Any:
    """This process's part of a whole tensor that is as large as a parameter."""
    sharded = isinstance(parameter, DTensor) and isinstance(value, torch.Tensor)
    if not sharded or isinstance(value, DTensor) or value.shape != parameter.shape:
        return value
    value = value.to(parameter.device)
    mesh, placements = parameter.device_mesh, parameter.placements
    return distribute_tensor(value, mesh, placements, src_data_rank=None)


def _use_all(model: nn.Module, _: Any, output: Any) -> Any:
    """Let the loss depend on all that is gathered, also what a batch had no use for.

    Processes that reduce the gradients of different parameters would wait forever.
    """
    loss, *others = output
    gathered = [p for p in model.parameters() if not isinstance(p, DTensor)]
    unused = sum(p.sum() * 0.0 for p in gathered if p.requires_grad)
    return loss + unused, *others


def _shard_what_is_loaded(
    module: nn.Module, state: Named, prefix: str, *_: Any
) -> None:
    for name, parameter in module.named_parameters(recurse=False):
        if prefix + name in state:
            state[prefix + name] = like(state[prefix + name], parameter)
