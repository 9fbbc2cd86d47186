"""``POST /v1/audio/transcriptions`` and ``/v1/audio/translations``."""

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator, Awaitable
from contextlib import aclosing, asynccontextmanager
from tempfile import NamedTemporaryFile, SpooledTemporaryFile
from typing import Any

from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from espnet_smoe.data.speech.audio import RAW_SUFFIX
from espnet_smoe.data.speech.container import forget_converted
from espnet_smoe.inference.output.formats import Transcript
from espnet_smoe.serve.admission import REQUEST
from espnet_smoe.serve.answers import (
    Ask,
    answer,
    delta_event,
    done_event,
    error_event,
)
from espnet_smoe.serve.errors import Body, RequestError, too_large
from espnet_smoe.serve.form import LONGEST_FIELD, MOST_FIELDS, Form, read_ask
from espnet_smoe.serve.protocol import printable
from espnet_smoe.serve.recordings import Recording
from espnet_smoe.serve.services import Services

LONGEST_NAME = 80  # characters of a file's name that are told
LOG = logging.getLogger(__name__)


class Transcriptions:
    """Answers with the text of a recording.

    Args:
        server: Whose models, limits and folder for uploads to use.
        translate: Into English, rather than as it is said.
    """

    def __init__(self, server: Services, translate: bool):
        self.server, self.translate = server, translate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        request = Request(scope, receive, send)
        self._check_length(request)
        waits = [self.server.service(m).recordings.wait for m in self.server.models]
        self.server.admission.check_wait(min(waits))  # of its model it is known later
        with self.server.admission.place(REQUEST, scope["state"]["client"]):
            async with self._upload(request) as (ask, path, name):
                response = self._answer(ask, path, name)
                working = asyncio.create_task(_send(response, scope, receive, send))
                leaving = asyncio.create_task(_gone(receive))
                await asyncio.wait(
                    [working, leaving], return_when=asyncio.FIRST_COMPLETED
                )
                leaving.cancel()
                if not working.done():
                    LOG.info("%s: the client has gone", name)
                    working.cancel()
                await asyncio.wait([working, leaving])
                if not working.cancelled():
                    working.result()

    def _check_length(self, request: Request) -> None:
        length = request.headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self.server.limits.upload:
            raise too_large(self.server.limits)

    @asynccontextmanager
    async def _upload(self, request: Request) -> AsyncIterator[tuple[Ask, str, str]]:
        """What is asked for, the recording as a file, and the name to tell of it."""
        async with _form(request) as data:
            form = Form(data)
            ask = read_ask(form, self.server.models, self.translate)
            recordings = self.server.service(ask.model).recordings
            self.server.admission.check_wait(recordings.wait)
            name = printable(form.file.filename or "the file")[:LONGEST_NAME]
            suffix = RAW_SUFFIX if name.lower().endswith(RAW_SUFFIX) else ""
            folder = self.server.folder
            with NamedTemporaryFile(dir=folder, suffix=suffix) as file:
                await asyncio.to_thread(_copy, form.file, file)
                await form.file.close()
                try:
                    yield ask, file.name, name
                finally:  # in a thread: it may be a large file
                    asyncio.get_running_loop().run_in_executor(None, forget_converted)

    async def _answer(self, ask: Ask, path: str, name: str) -> Response:
        recordings = self.server.service(ask.model).recordings
        try:
            recording = await recordings.look(
                *(path, name, ask.tasks, ask.bandwidth, ask.language, ask.experts)
            )
        except ValueError as error:
            raise RequestError(str(error), param="file", code="invalid_file") from error
        if ask.stream:
            events = self._events(ask, recording)
            return StreamingResponse(events, media_type="text/event-stream")
        found = _transcript(recording)
        async with aclosing(self._pieces(ask, recording)) as pieces:
            async for piece in pieces:
                found.pieces.append(piece)
        return answer(ask, found)

    async def _pieces(self, ask: Ask, recording: Recording) -> AsyncIterator[Any]:
        """The pieces; what fails is told as a fault of the server."""
        recordings = self.server.service(ask.model).recordings
        async with aclosing(recordings.pieces(recording)) as pieces:
            try:
                async for piece in pieces:
                    yield piece
            except (ValueError, RuntimeError) as error:
                message = f"the model failed on this recording: {error}"
                message = message.replace(recording.path, recording.name)
                raise RequestError(message, 500) from error

    async def _events(self, ask: Ask, recording: Recording) -> AsyncIterator[str]:
        found, begun = _transcript(recording), False
        async with aclosing(self._pieces(ask, recording)) as pieces:
            try:
                async for piece in pieces:
                    found.pieces.append(piece)
                    if text := piece.results[ask.tasks[0]].text:
                        yield delta_event(f" {text}" if begun else text)
                        begun = True
            except RequestError as error:
                yield error_event(error)
                return
        yield done_event(ask, found)


@asynccontextmanager
async def _form(request: Request) -> AsyncIterator[FormData]:
    options: dict[str, Any] = {"max_files": 1, "max_fields": MOST_FIELDS}
    try:
        data = await request.form(max_part_size=LONGEST_FIELD, **options)
    except UnicodeError as error:  # of a charset that the client has named
        raise RequestError(f"the form cannot be read: {error}; send UTF-8") from error
    try:
        yield data
    finally:
        await data.close()


def _transcript(recording: Recording) -> Transcript:
    """Without the pieces, which are added as they come."""
    return Transcript(
        recording.name, recording.seconds, recording.bandwidth, recording.tasks, []
    )


async def _send(
    response: Awaitable[Response], scope: Scope, receive: Receive, send: Send
) -> None:
    await (await response)(scope, receive, send)


async def _gone(receive: Receive) -> None:
    """Wait until the client has left."""
    if isinstance(receive, Body):
        await receive.gone()
    else:
        await asyncio.Event().wait()


def _copy(upload: UploadFile, target: Any) -> None:
    source = upload.file
    assert isinstance(source, SpooledTemporaryFile)
    source.seek(0)
    shutil.copyfileobj(source, target, 2**20)
    target.flush()
