"""Change the code on purpose and see whether a test notices: `make mutants`.

    python tests/mutants.py --count 150 --seed 1
    python tests/mutants.py --files espnet_smoe/moe/loss.py --count 0   # all of a file

A mutant is one small mistake: + for -, < for <=, a constant that is one too large, a
statement left out. Each runs the tests of its folder, the file of the same name first,
until one fails. What passes them all has survived and is printed; a mutant that cannot
be told from the original stands in tests/mutants_equivalent.txt with the reason.

The interpreter with torch, ESPnet and pytest is started once and forked for each
mutant, which is why this is no call of an existing tool: theirs import both anew.
"""

import argparse
import ast
import contextlib
import copy
import gc
import importlib.abc
import importlib.util
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EQUIVALENT = ROOT / "tests/mutants_equivalent.txt"
FOLDERS = {  # of the package, with the tests that answer for it
    "moe": ["moe", "layers", "encoder", "decoder", "model"],
    "layers": ["layers", "encoder", "decoder", "model", "importers"],
    "model": ["model"],
    "encoder": ["encoder", "model", "importers"],
    "decoder": ["decoder", "model", "importers"],
    "report": ["report"],
}
EVERYWHERE = ["tests/test_defaults.py"]
OURS = ("espnet_smoe", "tests", "conftest", "__main__", "_pytest")  # not preloaded
# Tested in a process of their own, with Triton's interpreter, where no mutant gets.
UNREACHED = ("espnet_smoe/moe/fused.py", "espnet_smoe/moe/kernels.py")
ASIDE = ("TYPE_CHECKING", "__name__ == '__main__'")  # conditions of what no test runs
SLOWEST = 300  # seconds; a mutant that takes longer runs for ever and is noticed

BINARY = {
    **{ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult},
    **{ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.Pow: ast.Mult},
    **{ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd},
}
COMPARED = {
    **{ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt},
    **{ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In},
    **{ast.Is: ast.IsNot, ast.IsNot: ast.Is},
}
NAMES = {
    **{"sum": "mean", "mean": "sum", "min": "max", "max": "min", "any": "all"},
    **{"all": "any", "argmax": "argmin", "argmin": "argmax", "floor": "ceil"},
}

# Options that change no number: how a layer is recomputed, how a table looks.
NO_MATTER = ("use_reentrant", "pad_edge", "show_edge", "highlight", "no_wrap")

# How a picture looks is for the eye: numbers written out, arithmetic on them and on
# sizes (in capitals), and calls that only style. What is drawn is no part of this.
PICTURES = "figure.py"  # ends the names of files that draw
STYLE = {
    *("tick_params", "grid", "set_axisbelow", "set_visible", "set_color", "margins"),
    *("axhline", "tidy"),
}


@dataclass(frozen=True)
class Mutant:
    """One mistake.

    Attributes:
        path: Source file, relative to the checkout.
        node: Index of the changed node in `ast.walk`.
        change: Index among the changes of that node.
        line: Of the source.
        text: The source line, without indentation.
        what: What is done to it.
        nth: Among those of its file that read the same.
    """

    path: str
    node: int
    change: int
    line: int
    text: str
    what: str
    nth: int

    @property
    def key(self) -> str:
        """As in the list of equivalent mutants."""
        number = f" | number {self.nth}" if self.nth > 1 else ""
        return f"{self.path} | {self.text} | {self.what}{number}"


def changes(node: ast.AST) -> Iterator[tuple[str, ast.AST | None]]:
    """What can be done to a node: a description, and what takes its place."""
    if isinstance(node, (ast.BinOp, ast.AugAssign)) and type(node.op) in BINARY:
        new = copy.deepcopy(node)
        new.op = BINARY[type(node.op)]()
        yield f"{type(node.op).__name__} -> {type(new.op).__name__}", new
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARED:
        new = copy.deepcopy(node)
        new.ops[0] = COMPARED[type(node.ops[0])]()
        yield f"{type(node.ops[0]).__name__} -> {type(new.ops[0]).__name__}", new
    elif isinstance(node, ast.BoolOp):
        new = copy.deepcopy(node)
        new.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield f"{type(node.op).__name__} -> {type(new.op).__name__}", new
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub)):
        yield f"{type(node.op).__name__} removed", node.operand
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield f"{node.value} -> {not node.value}", ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        more = node.value + 1 if isinstance(node.value, int) else node.value * 2 or 1.0
        yield f"{node.value} -> {more}", ast.Constant(more)
    elif isinstance(node, ast.IfExp):
        yield "branches swapped", ast.IfExp(node.test, node.orelse, node.body)
    elif isinstance(node, ast.Attribute) and node.attr in NAMES:
        new = ast.Attribute(node.value, NAMES[node.attr], node.ctx)
        yield f"{node.attr} -> {new.attr}", new
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield "call left out", ast.Pass()
    elif isinstance(node, ast.If):
        new = copy.deepcopy(node)
        new.test = ast.UnaryOp(ast.Not(), new.test)
        yield "condition negated", new


def may_change(tree: ast.Module) -> set[int]:
    """Ids of the nodes that may be changed: no annotation, message or option."""
    spared: set[int] = set()
    for node in ast.walk(tree):
        parts: list[ast.AST | None] = []
        if isinstance(node, (ast.Raise, ast.Assert, ast.JoinedStr, ast.AnnAssign)):
            parts = [node]
        elif isinstance(node, ast.FunctionDef):
            of = node.args
            parts = [node.returns, *node.decorator_list]
            parts += [arg.annotation for arg in [*of.args, *of.kwonlyargs]]
            if node.name in ("get_parser", "main"):
                parts.append(node)
        elif isinstance(node, ast.ClassDef):
            parts = list(node.decorator_list)
        elif isinstance(node, ast.If) and ast.unparse(node.test) in ASIDE:
            parts = [node]
        elif isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in ("warning", "warn", "info", "print", "Field", "TypeVar"):
                parts = [node]
            parts += [k.value for k in node.keywords if k.arg in NO_MATTER]
        for part in parts:
            if part is not None:
                spared |= {id(inner) for inner in ast.walk(part)}
    return {id(node) for node in ast.walk(tree)} - spared


def looks(tree: ast.Module) -> set[int]:
    """Ids of the nodes that only say where something is drawn, or how it looks."""

    def is_size(node: ast.AST) -> bool:
        number = isinstance(node, ast.Constant) and not isinstance(node.value, bool)
        return number or (isinstance(node, ast.Name) and node.id.isupper())

    found: set[int] = set()
    for node in ast.walk(tree):
        if is_size(node):
            found.add(id(node))
        elif isinstance(node, ast.keyword):  # an option, such as frameon=False
            found.add(id(node.value))
        elif isinstance(node, ast.BinOp) and is_size(node.left) | is_size(node.right):
            found.add(id(node))
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            name = node.value.func
            if getattr(name, "attr", getattr(name, "id", "")) in STYLE:
                found |= {id(inner) for inner in ast.walk(node)}
    return found


def mutants_of(path: Path) -> list[Mutant]:
    """Every mutant of a file, from its beginning to its end."""
    source = path.read_text(encoding="utf-8")
    tree, lines = ast.parse(source), source.splitlines()
    allowed = may_change(tree)
    if path.name.endswith(PICTURES):
        allowed -= looks(tree)
    nodes = [(i, node) for i, node in enumerate(ast.walk(tree)) if id(node) in allowed]
    found, alike = [], Counter()
    placed = [(i, node) for i, node in nodes if hasattr(node, "lineno")]
    for index, node in sorted(placed, key=lambda n: (n[1].lineno, n[1].col_offset)):
        for number, (what, _) in enumerate(changes(node)):
            text = lines[node.lineno - 1].strip()
            alike[text, what] += 1
            at = str(path.relative_to(ROOT)), index, number, node.lineno
            found.append(Mutant(*at, text, what, alike[text, what]))
    return found


def mutated(mutant: Mutant) -> ast.Module:
    """The file with the mistake in it."""
    tree = ast.parse((ROOT / mutant.path).read_text(encoding="utf-8"))
    target = list(ast.walk(tree))[mutant.node]
    _, new = list(changes(target))[mutant.change]

    class Replace(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST:
            return new if node is target else self.generic_visit(node)

    return ast.fix_missing_locations(Replace().visit(tree))


class Importer(importlib.abc.MetaPathFinder, importlib.abc.SourceLoader):
    """Hands out the mutated file in place of the module."""

    def __init__(self, mutant: Mutant):
        self.path = ROOT / mutant.path
        self.name = mutant.path.removesuffix(".py").replace("/", ".")
        self.code = compile(mutated(mutant), str(self.path), "exec")

    def find_spec(self, name: str, path: object, target: object = None) -> object:
        if name != self.name:
            return None
        return importlib.util.spec_from_file_location(name, self.path, loader=self)

    def get_code(self, name: str) -> object:
        return self.code

    def get_filename(self, name: str) -> str:
        return str(self.path)

    def get_data(self, path: str) -> bytes:
        return Path(path).read_bytes()


def tests_of(path: str) -> list[str]:
    """The tests that answer for a file, the likeliest first; its examples, too."""
    source = Path(path).relative_to("espnet_smoe")
    files = [
        file
        for folder in FOLDERS[source.parts[0]]
        for file in sorted(ROOT.glob(f"tests/{folder}/**/test_*.py"))
    ]
    mirror = ROOT / "tests" / source.parent

    def far(file: Path) -> tuple[bool, bool]:
        return source.stem not in file.stem, file.parent != mirror

    files.sort(key=far)
    return [path, *map(str, files), *EVERYWHERE]


def run(tests: list[str], mutant: Mutant | None, modules: Path | None = None) -> bool:
    """Whether the tests pass, in a process of their own.

    Args:
        tests: Files.
        mutant: The mistake; None for the code as it is.
        modules: Where to write the names of all modules that were imported.
    """
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setsid()
            signal.alarm(SLOWEST if mutant else 0)
            nothing = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(nothing, stream)
            if mutant:
                importer = Importer(mutant)
                sys.meta_path.insert(0, importer)
                importlib.import_module(importer.name)  # before pytest takes the file
            import pytest

            options = ["-x", "-q", "-p", "no:cacheprovider"]
            status = int(pytest.main([*options, *tests]))
            if modules:
                modules.write_text("\n".join(sys.modules), encoding="utf-8")
        except BaseException:
            status = 1
        os._exit(status)
    _, status = os.waitpid(child, 0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # what its tests have begun
    return status == 0


def known_equivalents() -> set[str]:
    """Keys of the mutants that behave as the original does."""
    lines = EQUIVALENT.read_text(encoding="utf-8").splitlines()
    return {line for line in lines if line and not line.startswith("#")}


def chosen(args: argparse.Namespace) -> list[Mutant]:
    """The mutants that are tried."""
    paths = [ROOT / file for file in args.files] or [
        path
        for room in FOLDERS
        for path in sorted(ROOT.glob(f"espnet_smoe/{room}/**/*.py"))
        if str(path.relative_to(ROOT)) not in UNREACHED
    ]
    every = [mutant for path in paths for mutant in mutants_of(path)]
    equivalent = known_equivalents()
    tried = {mutant.path for mutant in every}
    for key in sorted(equivalent - {mutant.key for mutant in every}):
        if key.split(" | ")[0] in tried:
            print(f"{EQUIVALENT.name}: there is no such mutant any more: {key}")
    every = [mutant for mutant in every if mutant.key not in equivalent]
    if not args.count or args.count >= len(every):
        return every
    picked = random.Random(args.seed).sample(every, args.count)
    return sorted(picked, key=lambda mutant: (mutant.path, mutant.line))


def preload(names: Iterable[str] = ("espnet2.tasks.asr", "pytest", "torch")) -> None:
    """Import what every process needs and no mutant is part of."""
    for name in names:
        if name.split(".")[0] not in OURS and name not in sys.modules:
            with contextlib.suppress(Exception):  # of a system that is not this one
                importlib.import_module(name)
    import torch

    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()  # so that a child's collector copies no page of what is shared


def get_parser() -> argparse.ArgumentParser:
    """Options of the script."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=150, help="mutants, 0 for all")
    parser.add_argument("--seed", type=int, default=1, help="which of them")
    parser.add_argument("--files", nargs="*", default=[], help="source files")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="at a time")
    parser.add_argument("--at-least", type=float, default=97, help="percent noticed")
    return parser


def main() -> int:
    """Returns 1 where too many mutants survive."""
    args = get_parser().parse_args()
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    mutants = chosen(args)
    preload()
    begun = time.monotonic()
    rooms = sorted({mutant.path.split("/")[1] for mutant in mutants})
    suites = [tests_of(f"espnet_smoe/{room}/__init__.py") for room in rooms]
    with tempfile.TemporaryDirectory() as folder:
        names = Path(folder) / "modules"
        if not run(list(dict.fromkeys(sum(suites, []))), None, names):
            print(f"tests of {', '.join(rooms)} fail without a mutant; mend them first")
            return 1
        preload(names.read_text(encoding="utf-8").splitlines())
    with ThreadPoolExecutor(args.jobs) as pool:
        seconds = time.monotonic() - begun
        print(f"{len(mutants)} mutants; the tests take {seconds:.0f} s", flush=True)
        survived = []
        tries = pool.map(lambda m: run(tests_of(m.path), m), mutants)
        for number, (mutant, passed) in enumerate(zip(mutants, tries), 1):
            if passed:
                survived.append(mutant)
                print(
                    f"survived: {mutant.path}:{mutant.line}: {mutant.key}", flush=True
                )
            if number % 20 == 0:
                seconds = time.monotonic() - begun
                said = f"{number} tried, {len(survived)} survived, {seconds:.0f} s"
                print(said, flush=True)
    noticed = 100 * (1 - len(survived) / max(1, len(mutants)))
    print(f"{len(mutants) - len(survived)} of {len(mutants)} noticed: {noticed:.1f} %")
    return 0 if noticed >= args.at_least else 1


if __name__ == "__main__":
    sys.exit(main())
