"""Ways to decode, by the name that ``search:`` of a decoding YAML has.

Those of this package are registered like those of others; ``docs/extend_decoding.md``
shows how.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from espnet_smoe.config.typed import OneOf, convert
from espnet_smoe.inference.search.hypothesis import Hypothesis
from espnet_smoe.plugins import load_plugins

if TYPE_CHECKING:  # torch takes its time, and --help of commands has none
    from espnet_smoe.inference.search.encoded_batch import EncodedBatch

Search = Callable[["EncodedBatch"], list[list[Hypothesis]]]
Build = TypeVar("Build", bound=Callable[..., Any])


@dataclass(frozen=True)
class SearchKind:
    """A way to decode.

    Attributes:
        name: Of it.
        build: Makes a `Search` of a model and options.
        options: Dataclass of its own options; None where it reads those that every
            model of its kind has.
        models: Kinds of models (``model:`` of the training YAML) that it decodes; None
            for any.
    """

    name: str
    build: Callable[[Any, Any], Search]
    options: type | None = None
    models: Sequence[str] | None = None


SEARCHES: dict[str, SearchKind] = {}


def register_search(
    name: str, options: type | None = None, models: Sequence[str] | None = None
) -> Callable[[Build], Build]:
    """Let a decoding YAML name a search.

    The decorated class or function takes ``(model, options)`` and returns what decodes:
    a callable of an `EncodedBatch` that gives the hypotheses of each utterance, at
    least one each, best first.

    Args:
        name: Of the search.
        options: Dataclass of its options: they stand in the same YAML file.
        models: Kinds of models that it decodes; None for any.

    Raises:
        ValueError: Another search has the name.

    Example:
        >>> @register_search("silence")
        ... def silence(model, options):
        ...     return lambda batch: [[Hypothesis((), 0.0)] for _ in range(len(batch))]
        >>> SEARCHES.pop("silence").name
        'silence'
    """

    def decorate(build: Build) -> Build:
        known = SEARCHES.get(name)
        if known and _place(known.build) != _place(build):
            raise ValueError(
                f"the search '{name}' is that of {_place(known.build)}; give "
                f"{_place(build)} another name"
            )
        SEARCHES[name] = SearchKind(name, build, options, models)
        return build

    return decorate


def find_search(name: Any, model: str, where: str) -> SearchKind:
    """The search that a user has named; modules that register some are imported first.

    Args:
        name: Of the search.
        model: Kind of the model.
        where: Place of the name, for messages.

    Raises:
        ValueError: There is none of this name for this kind of model, or a module
            cannot be imported.
    """
    load_plugins()
    known = [s.name for s in SEARCHES.values() if not s.models or model in s.models]
    return SEARCHES[
        convert(name, Annotated[str, OneOf(tuple(known))], f"{where}: search")
    ]


def _place(build: Callable[..., Any]) -> str:
    return f"{build.__module__}.{build.__qualname__}"
