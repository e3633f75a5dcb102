"""A form with a file, from the client into a temporary file: bounded in size and in patience."""

import asyncio
import tempfile
from dataclasses import dataclass, field
from typing import IO, Any

from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from earshot_asr.engine.audio import Seconds
from earshot_asr.server.dialects.openai_terms import Mistake
from earshot_asr.server.rest.errors import SERVER, ApiError

FIELDS_BYTES = 256 * 1024
"""Of all fields but the file."""
MOST_FIELDS = 2000
CHUNK_BYTES = 64 * 1024
NO_FORM = "the request has to be a form (multipart/form-data) with the recording in its field `file`"


@dataclass(slots=True)
class Form:
    """What came. `file`: at its start; gone when it is closed. `fields`: see asked.Fields."""

    file: IO[bytes] | None = None
    size: int = 0
    fields: dict[str, list[str]] = field(default_factory=dict)

    def close(self) -> None:
        """Deletes the file."""
        if self.file:
            self.file.close()


async def receive(request: web.BaseRequest, most_bytes: int, patience: Seconds) -> Form:
    """Reads a form. `patience`: the longest pause of a client. Raises ApiError and Mistake."""
    if not request.content_type.startswith("multipart/form-data"):
        raise Mistake(NO_FORM, "file", "missing_required_parameter")
    if (request.content_length or 0) > most_bytes + FIELDS_BYTES + CHUNK_BYTES:
        raise _too_large(most_bytes)
    form = Form()
    try:
        await _read(request, form, most_bytes, patience)
        if form.file is None:
            raise Mistake(NO_FORM, "file", "missing_required_parameter")
    except BaseException:
        form.close()
        raise
    return form


async def _read(request: web.BaseRequest, form: Form, most_bytes: int, patience: Seconds) -> None:
    try:
        reader = await request.multipart()
        count = size = 0
        while part := await asyncio.wait_for(reader.next(), patience):
            count += 1
            if not isinstance(part, BodyPartReader) or count > MOST_FIELDS:
                raise Mistake("the form has parts of parts, or too many of them")
            if part.name == "file":
                await _copy(part, form, most_bytes, patience)
                continue
            data = b""
            while chunk := await asyncio.wait_for(part.read_chunk(CHUNK_BYTES), patience):
                data += chunk
                size += len(chunk)
                if size > FIELDS_BYTES:
                    raise ApiError(413, f"the fields beside the file have more than {FIELDS_BYTES:,} bytes")
            name = (part.name or "").removesuffix("[]")
            form.fields.setdefault(name, []).append(data.decode(errors="replace"))
    except TimeoutError:
        raise ApiError(408, f"nothing came of the file for {patience:g} s") from None
    except (ValueError, HttpProcessingError, web.RequestPayloadError) as e:
        raise Mistake(f"the form can't be read: {' '.join(str(e).split())}"[:300]) from None
    except OSError as e:
        raise ApiError(507, f"there is no room for the file: {e.strerror}", kind=SERVER) from None


async def _copy(part: BodyPartReader, form: Form, most_bytes: int, patience: Seconds) -> None:
    """The last file counts, if there are several."""
    form.close()
    form.file, form.size = _temporary(), 0
    while chunk := await asyncio.wait_for(part.read_chunk(CHUNK_BYTES), patience):
        form.size += len(chunk)
        if form.size > most_bytes:
            raise _too_large(most_bytes)
        form.file.write(chunk)
    form.file.flush()


def _temporary() -> Any:
    return tempfile.TemporaryFile()  # the form closes it


def _too_large(most_bytes: int) -> ApiError:
    return ApiError(413, f"the file is larger than {most_bytes:,} bytes, the most that is taken here")
