"""What a user may choose of a search, in a decoding YAML or as keywords."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Self

from espnet_smoe.config.options import make, options_of, reject_unknown, section
from espnet_smoe.config.typed import Above0, Count, Finite, Rate
from espnet_smoe.config.yaml_file import read_yaml
from espnet_smoe.inference.long_form.detectors import Detector
from espnet_smoe.inference.search.registry import Search, find_search

AUTO = "auto"  # the bandwidth as it sounds
LEAST_BOUND = 100  # hypotheses that may be kept of any vocabulary
OWN = "search_options"  # filled in by `DecodeOptions.of`, not by a user


@options_of("")
@dataclass(frozen=True)
class SearchOptions:
    """Beam size, weights and lengths.

    Attributes:
        beam_size: Hypotheses kept, K.
        ctc_weight: Weight w in w CTC + (1 - w) decoder, for the task that has a CTC
            head.
        maxlenratio: Longest output over encoder frames; 0 detects the end; negative is
            a number of tokens.
        minlenratio: Shortest output over encoder frames; negative is a number of
            tokens.
        normalize_length: Rank hypotheses that have ended by their score over their
            length, as ESPnet's option of that name does; None for what suits the
            decoder.
        cut_repetition: Of what a text repeats until there is no room left, keep one.
    """

    beam_size: Count = 5
    ctc_weight: Rate = 0.0
    maxlenratio: Finite = 0.0
    minlenratio: Finite = 0.0
    normalize_length: bool | None = None
    cut_repetition: bool = False

    def bounds(self, frames: Sequence[int]) -> tuple[list[int], list[int]]:
        """Longest and shortest outputs of utterances with so many encoder frames."""

        def limit(ratio: float, n: int) -> int:
            return -int(ratio) if ratio < 0 else int(ratio * n)

        longest = [
            n if self.maxlenratio == 0 else max(1, limit(self.maxlenratio, n))
            for n in frames
        ]
        return longest, [limit(self.minlenratio, n) for n in frames]


@dataclass(frozen=True)
class DecodeOptions:
    """What the decoding YAML of every kind of model may hold.

    Attributes:
        search: A registered search, see `espnet_smoe.inference.search.registry`.
        batch_size: Utterances decoded together.
        nbest: Hypotheses in `Result.nbest`, at most the beam size.
        detect_speech: Give an utterance in which nobody speaks an empty text.
        vad: How speech is found: ``energy``; ``silero``, a network, which the extra
            ``vad`` installs; ``auto``: silero where it is installed.
        longest_seconds: Longer recordings are cut in their pauses; None for what suits
            the model.
        int8: All linear layers but routers in int8, on a CPU.
        search_options: Of a search that has options of its own.
    """

    search: str = "attention"
    batch_size: Count = 8
    nbest: Count = 1
    detect_speech: bool = True
    vad: Detector = "energy"
    longest_seconds: Above0 | None = None
    int8: bool = False
    search_options: Any = None

    model: ClassVar[str] = ""  # `model:` of the training YAML

    def __post_init__(self) -> None:
        most = getattr(self, "beam_size", self.nbest)
        if self.nbest > most:
            raise ValueError(f"nbest {self.nbest} must be in 1..beam_size ({most})")

    @classmethod
    def read(cls, path: str | Path | None, **more: Any) -> Self:
        """Read a YAML file; the defaults where there is none.

        Args:
            path: Of the file.
            **more: Options that take precedence, those that are None left out.

        Raises:
            ValueError: The file is missing, a key unknown or a value impossible.
        """
        given = {} if path is None else read_yaml(path, empty=True)
        more = {name: value for name, value in more.items() if value is not None}
        place = [str(path or "options"), *(f"--{name} {more[name]}" for name in more)]
        return cls.of({**given, **more}, " ".join(place))

    @classmethod
    def of(cls, given: Mapping[str, Any], where: str) -> Self:
        """Options that a user gave, those of the search among them.

        Args:
            given: Name -> value.
            where: Their place, for error messages.

        Raises:
            ValueError: A name is unknown or a value impossible.
        """
        given = section(given, where)
        kind = find_search(given.get("search", cls.search), cls.model, where)
        own = [field.name for field in fields(cls) if field.name != OWN]
        others = [field.name for field in fields(kind.options)] if kind.options else []
        reject_unknown(given, [*own, *others], where)
        values = {name: given[name] for name in own if name in given}
        if kind.options:
            chosen = {name: given[name] for name in others if name in given}
            values[OWN] = make(kind.options, chosen, where)
        nbest = given.get("nbest")
        if "beam_size" in own and "beam_size" not in given and isinstance(nbest, int):
            values["beam_size"] = max(cls.beam_size, nbest)
        return make(cls, values, where)

    @classmethod
    def check_flags(cls, names: Iterable[str]) -> None:
        """Refuse options of a command that this kind of model does not have."""
        for name in names:
            if name not in cls.__dataclass_fields__:
                raise ValueError(
                    f"--{name.replace('_', '-')} is not for 'model: {cls.model}'"
                )

    def as_dict(self) -> dict[str, Any]:
        """All of them as a YAML file has them."""
        own = asdict(self)
        return own | (own.pop(OWN) or {})

    def build_search(self, model: Any) -> Search:
        """The search that they name.

        Args:
            model: To decode with.

        Raises:
            ValueError: It does not suit the model.
        """
        kind = find_search(self.search, self.model, "options")
        return kind.build(model, self.search_options if kind.options else self)


def check_beam(beam_size: int, tokens: Sequence[str]) -> None:
    """Refuse a beam that only takes memory: a search begins with one token each.

    Args:
        beam_size: Hypotheses kept.
        tokens: The V tokens of the model.

    Raises:
        ValueError: It is above V (or `LEAST_BOUND`).
    """
    most = max(LEAST_BOUND, len(tokens))
    if beam_size > most:
        raise ValueError(
            f"beam_size {beam_size} is above {most}: the model has {len(tokens)} "
            "tokens, and more hypotheses find nothing; 5 to 20 are usual"
        )
