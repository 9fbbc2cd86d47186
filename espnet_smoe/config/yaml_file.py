"""YAML files as users write them: one mapping, each key once, or one clear line."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from espnet_smoe.command import reason

LARGEST = 2**26  # bytes; a vocabulary of a million tokens has a quarter
MOST_NODES = 10_000_000  # values, each '*alias' counted as what it stands for


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice, of which YAML's own reader keeps the last."""

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> dict:
        seen = set()
        for key_node, _ in getattr(node, "value", ()):
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                line = key_node.start_mark.line + 1
                raise ValueError(f"line {line}: key '{key}' stands there twice")
            seen |= {key} if isinstance(key, Hashable) else set()
        return super().construct_mapping(node, deep)


def read_yaml(path: str | Path, empty: bool = False) -> dict[str, Any]:
    """Read a mapping from a YAML file.

    Args:
        path: The file.
        empty: Whether a file without content is an empty mapping.

    Raises:
        ValueError: The file is missing, unreadable or no YAML, holds no mapping, or a
            key twice; names the file and the line.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            raw = file.read(LARGEST + 1)
        check_size(raw)
        content = yaml.load(raw.decode("utf-8-sig"), _Loader)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: {reason(error)}") from error
    except OSError as error:
        raise ValueError(reason(error)) from error
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not YAML: {_one_line(error)}") from error
    except RecursionError as error:
        raise ValueError(f"{path}: not YAML that can be read: too deep") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if content is None and empty:
        return {}
    if not isinstance(content, dict):
        held = "nothing" if content is None else f"a {type(content).__name__}"
        raise ValueError(f"{path}: expected 'key: value' lines, found {held}")
    return content


def check_size(raw: bytes) -> None:
    """Refuse YAML that is too large, or becomes so where its aliases are followed.

    Args:
        raw: The file, or `LARGEST` bytes and one more.

    Raises:
        ValueError: It is.
        yaml.YAMLError: It is no YAML.
    """
    if len(raw) > LARGEST:
        raise ValueError(f"over {LARGEST:,} bytes are no configuration")
    if b"*" not in raw:
        return
    sizes: dict[str, int] = {}  # of what an anchor names
    open_nodes: list[list] = [[None, 0]]
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    for event in yaml.parse(raw, Loader=loader):
        if isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append([event.anchor, 0])
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, size = open_nodes.pop()
        elif isinstance(event, yaml.AliasEvent):
            anchor, size = None, sizes.get(event.anchor, 0)
        elif isinstance(event, yaml.ScalarEvent):
            anchor, size = event.anchor, 0
        else:
            continue
        sizes |= {anchor: size + 1} if anchor else {}
        open_nodes[-1][1] += size + 1
        if open_nodes[-1][1] > MOST_NODES:
            raise ValueError("aliases ('*name') of aliases make too much of it")


def _one_line(error: yaml.YAMLError) -> str:
    """Where it is and what is wrong there, in one line."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return " ".join(str(error).split())
    problem = getattr(error, "problem", None) or "cannot be read"
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"
