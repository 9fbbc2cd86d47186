"""`espnet-smoe recipes`: the recipes that come with the package, and copies to run.

    espnet-smoe recipes list
    espnet-smoe recipes copy mini_koen experiments
    cd experiments/mini_koen/smoe1 && ./run.sh

A copy holds the recipe's corpus with all of its tasks, and the drivers in TEMPLATE that
they link to. Data and experiments are never copied.
"""

import argparse
import os
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

TEMPLATE = "TEMPLATE"
SCRIPT = b"#!"  # how a program begins
# Made by a recipe's stages and scripts, under a task's folder.
MADE = frozenset("data dump exp downloads logs".split())
# Links into ESPnet's archive, which mini_an4/asr1 fetches.
FETCHED = frozenset("asr.sh scripts utils pyscripts steps".split())


def recipe_files(root: Path) -> Iterator[Path]:
    """Files below ``root`` that belong to recipes, links followed, in order.

    Args:
        root: A folder of corpora, each a folder of tasks.

    Yields:
        Paths relative to ``root``.
    """
    for place, folders, files in os.walk(root, followlinks=True):
        here = Path(place).relative_to(root)
        in_task = len(here.parts) == 2
        left_out = {"__pycache__"} | (MADE | FETCHED if in_task else frozenset())
        folders[:] = sorted(set(folders) - left_out)
        for name in sorted(files):
            if not (in_task and name in FETCHED) and not name.endswith(".pyc"):
                yield here / name


def recipes_root() -> Path:
    """The folder of the recipes: within an installed package, or of the checkout.

    Raises:
        ValueError: There is neither.
    """
    package = Path(__file__).resolve().parent
    for root in (package / "egs2", package.parent / "egs2"):
        if (root / TEMPLATE).is_dir():
            return root
    raise ValueError(
        f"{package} comes without recipes. Install the package from its wheel or its "
        "source distribution."
    )


def find_recipes(root: Path) -> dict[str, str]:
    """Recipes, ``corpus/task``, and the title of their page."""
    return {
        f"{run.parts[0]}/{run.parts[1]}": _title(root / run.parent / "README.md")
        for run in recipe_files(root)
        if len(run.parts) == 3 and run.name == "run.sh"
    }


def _title(page: Path) -> str:
    lines = page.read_text(encoding="utf-8").splitlines() if page.is_file() else []
    return next((line.lstrip("# ") for line in lines if line.startswith("#")), "")


def copy_recipe(name: str, target: Path) -> list[Path]:
    """Copy a corpus's recipes, so that they run with the installed package.

    Args:
        name: ``corpus`` or ``corpus/task``; all tasks of the corpus come along.
        target: Folder to write; it may hold other recipes.

    Returns:
        The tasks' folders that were asked for.

    Raises:
        ValueError: The recipe is unknown, or a file of it is there and is another.
    """
    root = recipes_root()
    known = find_recipes(root)
    wanted = [task for task in known if name.strip("/") in (task, task.split("/")[0])]
    if not wanted:
        from espnet_smoe.config.options import nearest

        corpora = sorted({task.split("/")[0] for task in known})
        raise ValueError(
            f"unknown recipe '{name}'{nearest(name, corpora)} "
            f"(there are {', '.join(corpora)})"
        )
    corpus = wanted[0].split("/")[0]
    files = [f for f in recipe_files(root) if f.parts[0] in (corpus, TEMPLATE)]
    drivers = [file for file in files if file.parts[0] == TEMPLATE]
    for file in files:
        _refuse_other(root / file, target / file)
    for file in files:
        _copy(root, file, target, drivers)
    return [target / task for task in wanted]


def _refuse_other(source: Path, copy: Path) -> None:
    if copy.exists() and copy.read_bytes() != source.read_bytes():
        raise ValueError(
            f"{copy} is there and is another than the package's. Take another folder, "
            "or take it away."
        )


def _copy(root: Path, file: Path, target: Path, drivers: list[Path]) -> None:
    copy = target / file
    copy.parent.mkdir(parents=True, exist_ok=True)
    if copy.exists() or copy.is_symlink():
        return
    content = (root / file).read_bytes()
    if file.parts[0] != TEMPLATE and content.startswith(SCRIPT):
        for driver in drivers:  # they find what they share from where they lie
            if driver.name == file.name and (root / driver).read_bytes() == content:
                copy.symlink_to(os.path.relpath(target / driver, copy.parent))
                return
    copy.write_bytes(content)
    if content.startswith(SCRIPT):
        copy.chmod(0o755)  # wheels may lose it


def copy_clean(root: Path, target: Path) -> None:
    """Copy what belongs to recipes, links resolved: what a wheel holds of them."""
    for file in recipe_files(root):
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / file, target / file)


def get_parser() -> argparse.ArgumentParser:
    """Options of the command."""
    from espnet_smoe.command import new_parser

    parser = new_parser("espnet-smoe recipes", __doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("list", help="the recipes and their titles")
    copy = actions.add_parser("copy", help="copy a recipe to a folder")
    copy.add_argument("name", help="corpus or corpus/task, as 'list' shows them")
    copy.add_argument("folder", type=Path, help="where to; made if it is not there")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the command."""
    args = get_parser().parse_args(argv)
    if args.action == "list":
        for name, title in find_recipes(recipes_root()).items():
            print(f"{name:<20}{title}")
        return
    for task in copy_recipe(args.name, args.folder):
        print(f"cd {shlex.quote(str(task))} && ./run.sh")
