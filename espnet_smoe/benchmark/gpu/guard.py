"""A check runs guarded: what it compared is kept, what it raised is told."""

import contextlib
import gc
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

LAST_LINES = 6  # of a traceback


@dataclass(frozen=True)
class Site:
    """Where the checks run.

    Attributes:
        device: What is checked against the CPU.
        quick: Toy sizes.
    """

    device: torch.device
    quick: bool = False

    def synchronize(self) -> None:
        """Wait for the device, so that its errors are told where they arise."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def forget(self) -> None:
        """Give back the memory of what is no longer needed."""
        if self.device.type == "cuda":
            gc.collect()
            with contextlib.suppress(RuntimeError):  # of a device that is lost
                torch.cuda.empty_cache()


@dataclass
class Compared:
    """What a check has compared.

    Attributes:
        relative: The largest ``|got - wanted| / |wanted|`` of whole tensors.
        absolute: The largest difference of two numbers.
        faults: Differences beyond their bounds, and what was not the same.
    """

    relative: float = 0.0
    absolute: float = 0.0
    faults: list[str] = field(default_factory=list)

    def close(self, what: str, got: Any, wanted: Any, bound: float) -> None:
        """Compare tensors, or numbers, by the norm of their difference.

        Args:
            what: They are, for the message.
            got: On any device, in any precision.
            wanted: Of the same shape; where it is all zeros, so must ``got`` be.
            bound: Of the relative error.
        """
        got, wanted = (
            torch.as_tensor(x).detach().to("cpu", torch.float64) for x in (got, wanted)
        )
        if got.shape != wanted.shape:
            shapes = tuple(got.shape), tuple(wanted.shape)
            self.faults.append(f"{what}: shape {shapes[0]}, not {shapes[1]}")
            return
        if not got.numel():
            return
        off = got - wanted
        size = float(wanted.norm())
        relative = float(off.norm()) / size if size else float(off.norm())
        absolute = float(off.abs().max())
        if not relative <= bound:  # nor is NaN
            self.faults.append(f"{what}: off by {relative:.1e}, at most {bound:.0e}")
        self.relative = max(self.relative, relative)
        self.absolute = max(self.absolute, absolute)

    def same(self, what: str, got: Any, wanted: Any) -> None:
        """Compare what must be equal, such as hypotheses."""
        if got != wanted:
            self.faults.append(f"{what}: {_short(got)}, not {_short(wanted)}")


Check = Callable[[Site, Compared], None]


@dataclass(frozen=True)
class Outcome:
    """What became of a check.

    Attributes:
        name: Of the check.
        passed: It raised nothing, and all was within bounds.
        relative: As of `Compared`.
        absolute: As of `Compared`.
        seconds: It took.
        fault: What was wrong; empty where nothing was.
    """

    name: str
    passed: bool
    relative: float
    absolute: float
    seconds: float
    fault: str

    def line(self) -> str:
        """As it is printed."""
        said = (
            f"{'pass' if self.passed else 'FAIL'}  {self.name}  (relative "
            f"{self.relative:.1e}, absolute {self.absolute:.1e}, {self.seconds:.1f} s)"
        )
        return said + "".join(f"\n      {line}" for line in self.fault.splitlines())


def run_check(name: str, check: Check, site: Site) -> Outcome:
    """Run a check, whatever it raises.

    Args:
        name: Of the check.
        check: Is given the site and what it shall compare with.
        site: Where it runs.
    """
    compared, start = Compared(), time.perf_counter()
    try:
        with plain_float32():
            check(site, compared)
            site.synchronize()
    except Exception:  # the next check is to run
        compared.faults.append(last_lines())
    fault = "\n".join(compared.faults)
    seconds = time.perf_counter() - start
    if fault:
        site.forget()
    return Outcome(
        name, not fault, compared.relative, compared.absolute, seconds, fault
    )


def last_lines() -> str:
    """The end of the traceback of the exception at hand."""
    return "\n".join(traceback.format_exc().strip().splitlines()[-LAST_LINES:])


class plain_float32:
    """In which float32 has its own precision, also in convolutions on a GPU."""

    def __enter__(self) -> None:
        self.before = torch.backends.cudnn.allow_tf32
        torch.backends.cudnn.allow_tf32 = False

    def __exit__(self, *_: object) -> None:
        torch.backends.cudnn.allow_tf32 = self.before


def gradients(module: torch.nn.Module) -> torch.Tensor:
    """Of all parameters, one after the other, on the CPU; zeros for those without."""
    return torch.cat(
        [
            (torch.zeros_like(p) if p.grad is None else p.grad).flatten().cpu().double()
            for p in module.parameters()
        ]
    )


def moved(fields: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """The tensors among the fields of a batch on a device."""
    return {
        name: x.to(device) if isinstance(x, torch.Tensor) else x
        for name, x in fields.items()
    }


def _short(x: Any, most: int = 150) -> str:
    text = str(x)
    return text if len(text) <= most else f"{text[:most]}..."
