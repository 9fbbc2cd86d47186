"""YAML files as users write them: one mapping, each key once, or one clear line."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from espnet_smoe.command import reason


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
        content = yaml.load(path.read_text(encoding="utf-8-sig"), _Loader)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(reason(error)) from error
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not YAML: {_told(error)}") from error
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


def _told(error: yaml.YAMLError) -> str:
    """Where it is and what is wrong there, in one line."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return " ".join(str(error).split())
    problem = getattr(error, "problem", None) or "cannot be read"
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"
