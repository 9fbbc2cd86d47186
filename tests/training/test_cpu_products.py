"""Products by oneDNN are PyTorch's, to rounding, and so are their gradients."""

import copy
import os
import resource
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from espnet_smoe.benchmark import beside_espnet, train
from espnet_smoe.compat import trainer
from espnet_smoe.moe.router import Router
from espnet_smoe.processes import keep_freed_memory
from espnet_smoe.training import cpu_products

LAYERS = {
    "linear": (nn.Linear(6, 5), (2, 7, 6)),
    "linear without a bias": (nn.Linear(6, 5, bias=False), (9, 6)),
    "linear of no rows": (nn.Linear(6, 5), (0, 3, 6)),
    "linear of one row": (nn.Linear(6, 5), (1, 6)),
    "pointwise": (nn.Conv1d(6, 5, 1), (2, 6, 7)),
    "first of a front end": (nn.Conv2d(1, 4, 3, 2), (2, 1, 9, 11)),
    "second of a front end": (nn.Conv2d(4, 5, (5, 3), 2, bias=False), (2, 4, 9, 11)),
    "with padding and groups": (nn.Conv2d(4, 6, 3, padding=1, groups=2), (2, 4, 5, 6)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_outputs_and_gradients_are_those_of_pytorch(name):
    layer, shape = LAYERS[name]
    found = {}
    for changed in (False, True):
        torch.manual_seed(0)
        module = copy.deepcopy(layer)
        if changed:
            kind = type(module)
            cpu_products.use_onednn(module)
            assert type(module) is not kind and isinstance(module, kind)
        x = torch.randn(shape, requires_grad=True)
        y = module(x)
        y.backward(torch.randn(y.shape))
        found[changed] = [y, x.grad, *(p.grad for p in module.parameters())]
    for ours, theirs in zip(found[True], found[False], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_what_is_frozen_has_no_gradient():
    layer = cpu_products.use_onednn(nn.Linear(4, 3)).requires_grad_(False)
    x = torch.randn(5, 4, requires_grad=True)
    layer(x).sum().backward()
    assert layer.weight.grad is None and layer.bias.grad is None
    torch.testing.assert_close(x.grad[0], layer.weight.sum(dim=0))


def test_only_plain_layers_change_and_the_names_of_parameters_stay():
    model = nn.Sequential(nn.Linear(2, 2), Router(2, 2), nn.Conv1d(2, 2, 3))
    names = list(model.state_dict())
    cpu_products.use_onednn(model)
    assert list(model.state_dict()) == names
    assert [type(m) in (Router, nn.Conv1d) for m in model] == [False, True, True]


def test_bfloat16_is_computed_as_it_was():
    layer, x = nn.Linear(6, 5), torch.randn(7, 6)
    with torch.autocast("cpu", torch.bfloat16):
        wanted = layer(x)
        assert torch.equal(cpu_products.use_onednn(layer)(x), wanted)


@pytest.mark.parametrize(
    "kind, side",
    [("Transformer", beside_espnet.EXPERTS), ("Conformer", beside_espnet.OURS)],
)
def test_a_model_has_the_same_loss(kind, side):
    sizes = train.QUICK
    model = beside_espnet.makers(sizes, kind)[side]().train()
    for dropout in (m for m in model.modules() if isinstance(m, nn.Dropout)):
        dropout.p = 0.0  # drawn in the order of the memory, which is another
    batch = beside_espnet.minibatch(sizes)
    losses, grads = [], []
    for change in (nn.Module.train, cpu_products.use_onednn):
        change(model).zero_grad()
        torch.manual_seed(0)
        loss = model(**batch)[0]
        loss.backward()
        losses.append(loss.detach())
        learned = [p.grad for p in model.parameters() if p.grad is not None]
        grads.append(torch.cat([grad.flatten() for grad in learned]))
    torch.testing.assert_close(*losses, rtol=1e-6, atol=0.0)
    torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("ngpu, changed", [(0, True), (1, False)])
def test_a_training_without_a_gpu_is_given_them(monkeypatch, ngpu, changed):
    model, seen = nn.Sequential(nn.Linear(2, 2)), []

    def run(cls, model, trainer_options, **_):
        seen.append(type(model[0]) is not nn.Linear)

    monkeypatch.setattr(trainer.Trainer, "run", classmethod(run))
    monkeypatch.setattr(cpu_products, "pays", lambda: True)
    monkeypatch.setattr(cpu_products, "keep_freed_memory", lambda: None)
    for _ in range(2):
        cpu_products.train_quickly_on_cpu()
    trainer.Trainer.run(model=model, trainer_options=SimpleNamespace(ngpu=ngpu))
    assert seen == [changed]


@pytest.mark.parametrize(
    "name, wide, pays",
    [("AMD EPYC", True, True), ("AMD EPYC", False, False), ("Intel(R)", True, False)],
)
def test_it_pays_where_mkl_leaves_half_of_a_vector_unused(
    monkeypatch, name, wide, pays
):
    found = {"cpu_name": name, "avx512_f": wide}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    assert cpu_products.pays() is (pays and torch.backends.mkl.is_available())


def test_memory_that_was_freed_is_used_again_without_new_pages():
    reader, writer = os.pipe()
    child = os.fork()
    if not child:  # the setting is one of the whole process
        keep_freed_memory()
        faults = []
        for _ in range(3):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            np.empty(2**23).fill(1.0)  # 64 MiB
            faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
        os.write(writer, bytes([faults[2] * 10 < faults[0]]))
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 1) == b"\x01"
