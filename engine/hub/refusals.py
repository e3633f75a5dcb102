"""What goes wrong with the hub, each as a sentence: what it is, and what to do."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from importlib import import_module

from earshot_asr.engine.errors import HubError, listed, shown

ANSWER_SECONDS, STALL_SECONDS = 5.0, 20.0
"""Seconds that the hub may take to answer; and that a download may stand still. HF_HUB_ETAG_TIMEOUT and
HF_HUB_DOWNLOAD_TIMEOUT say otherwise."""
LOG_IN = "log in with `hf auth login` or set HF_TOKEN"


def answer_seconds() -> float:
    """How long the hub may take to answer."""
    from huggingface_hub import constants

    return float(constants.HF_HUB_ETAG_TIMEOUT) if os.environ.get("HF_HUB_ETAG_TIMEOUT") else ANSWER_SECONDS


def stall_seconds() -> float:
    """How long a download may stand still."""
    from huggingface_hub import constants

    return float(constants.HF_HUB_DOWNLOAD_TIMEOUT) if os.environ.get("HF_HUB_DOWNLOAD_TIMEOUT") else STALL_SECONDS


def http_errors() -> tuple[type[Exception], ...]:
    """The errors of the HTTP library that huggingface_hub is built on."""
    from huggingface_hub.errors import HfHubHTTPError

    base: type[Exception] = HfHubHTTPError.__bases__[0]
    return (base,)


def check_online() -> None:
    """To be called before the hub is asked for anything. Raises HubError if it is not to be.

    From then on what huggingface_hub notes by itself is not shown, as it would break into bars and logs.
    """
    from huggingface_hub import constants
    from huggingface_hub.utils import logging

    if not os.environ.get("HF_HUB_VERBOSITY"):
        logging.set_verbosity_error()
    if constants.HF_HUB_OFFLINE:
        raise HubError("HF_HUB_OFFLINE is set; unset it to download")


@contextmanager
def answered(model: str, revision: str | None) -> Iterator[None]:
    """Turns whatever is raised while the hub is asked for a model into HubError, whose message is one sentence."""
    try:
        yield
    except HubError:
        raise
    except Exception as error:  # of huggingface_hub, of its HTTP library, or of its parser: it may answer anything
        raise HubError(sentence(error, model, revision)) from None


def sentence(error: Exception, model: str, revision: str | None, seconds: float | None = None) -> str:
    """What went wrong when the hub was asked for a model, and what would be right; seconds: that it had for it."""
    from huggingface_hub import constants, errors, get_token

    hub = constants.ENDPOINT
    if isinstance(error, errors.GatedRepoError):
        first = "" if get_token() else f"{LOG_IN}, and "
        return f"{model} is gated: {first}accept its terms at {hub}/{model}{' with that account' if not first else ''}"
    if isinstance(error, errors.RepositoryNotFoundError):
        return _not_found(model, bool(get_token()))
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{model} has no revision {shown(revision)}; {hub}/{model}/commits shows its branches, tags and commits"
    if isinstance(error, errors.DisabledRepoError):
        return f"{model} was disabled by the hub; {hub}/{model} may say why"
    if isinstance(error, errors.HFValidationError):
        return f"{shown(model)} is no hub id: {_line(error)}"
    if isinstance(error, errors.HfHubHTTPError):
        return _status(error.response.status_code, model)
    if isinstance(error, http_errors()):
        return _unreachable(error, hub, seconds or answer_seconds())
    if isinstance(error, json.JSONDecodeError | TypeError | KeyError | AttributeError):
        return no_hub()
    return f"{hub} can't be asked for {model}: {_line(error)}"


def no_hub() -> str:
    """What answers is something else."""
    from huggingface_hub import constants

    return f"what answers at {constants.ENDPOINT} is no hub; HF_ENDPOINT must name one, or not be set"


def _not_found(model: str, with_token: bool) -> str:
    offer = f"near are {listed(names)}; " if (names := _near(model)) else ""
    private = "your token must be one that may read it" if with_token else LOG_IN
    return f"there is no folder {model}, and no such model on the hub; {offer}if it is private, {private}"


def _near(model: str) -> list[str]:
    """Names of the catalogue that are like it."""
    try:
        near: list[str] = import_module("earshot_asr.engine.catalogue").near(model)
    except ImportError:
        return []
    return [name for name in near if name.lower() != model.lower()]


def _status(code: int, model: str) -> str:
    from huggingface_hub import constants

    hub = constants.ENDPOINT
    if code == HTTPStatus.UNAUTHORIZED:
        return f"{hub} does not know the token that was sent; {LOG_IN} to one that is valid"
    if code == HTTPStatus.FORBIDDEN:
        return f"{hub} does not let you read {model}: your token must have that right, or see {hub}/{model}"
    if code == HTTPStatus.TOO_MANY_REQUESTS:
        return f"{hub} was asked too often from here; try again in some minutes, or {LOG_IN}"
    if code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return f"{hub} is out of order ({code} {_phrase(code)}); try again later"
    return f"{no_hub()} (it says {code} {_phrase(code)} to {model})"


def _phrase(code: int) -> str:
    return HTTPStatus(code).phrase if code in set(HTTPStatus) else "unknown"


def _unreachable(error: Exception, hub: str, seconds: float) -> str:
    kind = type(error).__name__
    if "Timeout" in kind:
        return f"{hub} did not answer within {seconds:g} s"
    return f"{hub} can't be reached ({_line(error) or kind}): there is no network, or HF_ENDPOINT is wrong"


def _line(error: Exception) -> str:
    line = str(error).strip().split("\n", 1)[0].rstrip(".")
    return re.sub(r"^\[Errno -?\d+\] ", "", line)
