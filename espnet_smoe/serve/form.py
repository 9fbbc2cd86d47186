"""What the form of a request asks for; everything that nobody reads is refused."""

from collections.abc import Sequence

from starlette.datastructures import FormData, UploadFile

from espnet_smoe.config.options import nearest
from espnet_smoe.serve.answers import JSON, SEGMENT, SHAPES, VERBOSE, WORD, Ask
from espnet_smoe.serve.errors import RequestError
from espnet_smoe.serve.models import ENGLISH, Model, find_model

FILE = "file"
FIELDS = (
    *("model", "language", "prompt", "response_format", "temperature", "stream"),
    *("timestamp_granularities", "include", "chunking_strategy", "tasks", "bandwidth"),
    "experts",
)
SAMPLING = (  # of vLLM's clients: taken, since a search has nothing to draw
    *("seed", "top_p", "top_k", "min_p", "repetition_penalty", "frequency_penalty"),
    "presence_penalty",
)
MOST_FIELDS, LONGEST_FIELD = 64, 2**12  # of a form; bytes of one
YES, NO = ("true", "1"), ("false", "0", "")


class Form:
    """The fields of a request.

    Args:
        data: As it was sent; the name of a list may end in ``[]``.

    Attributes:
        file: The recording.

    Raises:
        RequestError: A field is missing, unknown, or there twice.
    """

    def __init__(self, data: FormData):
        self._values: dict[str, list[str]] = {}
        files = []
        for key, value in data.multi_items():
            name = key.removesuffix("[]")
            if isinstance(value, UploadFile):
                if name != FILE:
                    raise RequestError(
                        f"a file in '{key}'; send it as 'file'", param=key
                    )
                files.append(value)
            elif name == FILE:
                raise RequestError(
                    "'file' is a text without a file name; send it as a file, as "
                    "curl does with -F file=@talk.wav",
                    param=FILE,
                )
            elif name not in FIELDS + SAMPLING:
                raise RequestError(
                    f"unknown field '{key}'{nearest(name, FIELDS)}; known are file, "
                    f"{', '.join(FIELDS)}",
                    param=key,
                )
            else:
                self._values.setdefault(name, []).append(value)
        if len(files) != 1:
            raise RequestError("send one recording as 'file' of a form", param=FILE)
        self.file: UploadFile = files[0]

    def one(self, name: str, default: str = "") -> str:
        """The value of a field; the default where it is missing or empty."""
        values = self._values.get(name, [])
        if len(values) > 1:
            raise RequestError(f"'{name}' is there {len(values)} times", param=name)
        return (values[0].strip() if values else "") or default

    def several(self, name: str) -> list[str]:
        """The values of a list, written as one or as several fields."""
        values = self._values.get(name, [])
        parts = [part.strip() for value in values for part in value.split(",")]
        return [part for part in dict.fromkeys(parts) if part]


def read_ask(form: Form, models: Sequence[Model], translate: bool) -> Ask:
    """What a form asks for.

    Args:
        form: Of the request.
        models: That there are.
        translate: It was sent to where translations are made.

    Raises:
        RequestError: It is more than the model can, or makes no sense.
    """
    try:
        model = find_model(models, form.one("model"))
    except KeyError as error:
        raise RequestError(error.args[0], 404, "model", "model_not_found") from error
    _refuse_what_nobody_reads(form)
    shape = _known(form, "response_format", tuple(SHAPES), JSON)
    stream = _is_yes(form, "stream")
    experts = _is_yes(form, "experts")
    if experts and shape != VERBOSE:
        raise RequestError(
            f"experts in '{shape}' cannot be had; their response_format is {VERBOSE}",
            param="experts",
        )
    if stream and shape not in (JSON, "text"):
        raise RequestError(
            f"a stream of '{shape}' cannot be had; its response_format is json",
            param="stream",
        )
    times = form.several("timestamp_granularities") or [SEGMENT]
    for name in times:
        if name not in (SEGMENT, WORD):
            raise RequestError(
                f"unknown timestamp_granularities '{name}'; known are segment, word",
                param="timestamp_granularities",
            )
    bandwidth = form.one("bandwidth", model.recordings.own_bandwidth)
    try:
        model.recordings.check_bandwidth(bandwidth)
    except ValueError as error:
        raise RequestError(str(error), param="bandwidth") from error
    return Ask(
        model,
        _tasks(form, model, translate),
        translate,
        shape,
        tuple(times),
        stream,
        bandwidth,
        _spoken(form, model),
        experts,
    )


def _spoken(form: Form, model: Model) -> str | None:
    """The language that is spoken, for a model whose prompts name it."""
    language = form.one("language").lower().replace("_", "-").partition("-")[0]
    if not language or not model.takes_language:
        return None
    try:
        model.recordings.in_language(language)
    except ValueError as error:
        raise RequestError(str(error), param="language") from error
    return language


def _tasks(form: Form, model: Model, translate: bool) -> tuple[str, ...]:
    """Those that the form names, or the one that it means."""
    language = form.one("language") or None
    if model.takes_language:  # it is for the prompts
        language = None
    if names := form.several("tasks"):
        try:
            return model.recordings.check_tasks(names)
        except ValueError as error:
            raise RequestError(str(error), param="tasks") from error
    try:
        if not translate:
            return (model.tasks_of(True, language)[0],)
        try:  # OpenAI's translate into English; where that is not known, the only one
            return (model.tasks_of(False, ENGLISH)[0],)
        except ValueError:
            return (model.tasks_of(False, language)[0],)
    except ValueError as error:
        param = "language" if language else "model"
        raise RequestError(str(error), param=param) from error


def _is_yes(form: Form, name: str) -> bool:
    return _known(form, name, (*YES, *NO), "false") in YES


def _known(form: Form, name: str, known: Sequence[str], default: str) -> str:
    value = form.one(name, default)
    if value.lower() not in known:
        names = ", ".join(k for k in known if k)
        raise RequestError(
            f"{name} '{value}'{nearest(value, known)}; known are {names}", param=name
        )
    return value.lower()


def _refuse_what_nobody_reads(form: Form) -> None:
    """What would change an answer of OpenAI's, and cannot change one of ours."""
    try:
        temperature = float(form.one("temperature", "0"))
    except ValueError:
        temperature = -1.0
    if temperature != 0:
        raise RequestError(
            f"temperature '{form.one('temperature')}': these models search and do not "
            "sample; leave it out or send 0",
            param="temperature",
        )
    if form.one("prompt"):
        raise RequestError("these models take no prompt; leave it out", param="prompt")
    if form.several("include"):
        raise RequestError(
            "include: nothing of it can be had; verbose_json tells confidences",
            param="include",
        )
    if form.one("chunking_strategy", "auto") != "auto":
        raise RequestError(
            "chunking_strategy: recordings are cut in their pauses; leave it out or "
            "send auto",
            param="chunking_strategy",
        )
