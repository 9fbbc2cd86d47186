"""What every corpus gives: entries."""

from dataclasses import dataclass, field

from espnet_smoe.data.segment import segment

TRAIN, VALIDATION = "train", "validation"


@dataclass(slots=True)
class Entry:
    """One utterance as its corpus describes it.

    Attributes:
        id: Its name in the data directory, unique among all corpora.
        key: Its name in its own corpus, which a table of translations may use.
        corpus: Folder name of its corpus.
        split: ``train``, ``validation``, or a test set of its own (``eval_clean``).
        audio: Reference of its recording, see :mod:`espnet_smoe.data.speech.audio`.
        text: Transcript, with the marks of the corpus until it is normalized.
        start: Begin within the recording in seconds.
        end: End within the recording in seconds; None where it is all of it.
        speaker: Its speaker, unique among all corpora; empty where unknown.
        gender: ``m``, ``f``, or empty where unknown.
        translation: English, where the corpus has it; it becomes ``text_st``.
        texts: Texts of further tasks by file, such as ``text_ja``.
        rate: Sample rate in Hz that the label claims; 0 where it claims none.
        spoken_first: Dual forms are ``(spoken)/(written)``.
        label: File that the transcript comes from.
        seconds: Length, once it is measured.
        bandwidth: ``nb`` or ``wb``, once it is measured.
        language: That is spoken, such as ``es``; it becomes ``utt2lang``.
        condition: Where the audio went through; it becomes ``utt2condition``.
    """

    id: str
    key: str
    corpus: str
    split: str
    audio: str
    text: str
    start: float = 0.0
    end: float | None = None
    speaker: str = ""
    gender: str = ""
    translation: str = ""
    texts: dict[str, str] = field(default_factory=dict)
    rate: float = 0.0
    spoken_first: bool = False
    label: str = ""
    seconds: float = 0.0
    bandwidth: str = ""
    language: str = ""
    condition: str = ""

    @property
    def reference(self) -> str:
        """What stands in ``wav.scp``."""
        if self.end is None:
            return self.audio
        return segment(self.audio, self.start, self.end)


def gender_of(word: object) -> str:
    """``m`` or ``f`` of what corpora write; empty where it says neither.

    Example:
        >>> [gender_of(word) for word in ("남성", "여", "Female", "M", None, "?")]
        ['m', 'f', 'f', 'm', '', '']
    """
    first = str(word or "").strip().lower()[:1]
    return {"m": "m", "남": "m", "f": "f", "여": "f", "w": "f"}.get(first, "")
