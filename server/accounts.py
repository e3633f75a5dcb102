"""Who may use the server: tokens, the account that each belongs to, and how many streams each account has open.

A token file has a line for each token, its fields between blanks; `-` stands for the server's own limit:

    # token                             name    streams  messages a second  rights
    4f0c1d5e9b7a4c3d8e2f6a1b0c9d8e7f    anna    4        200
    9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c4d    stage   1        -                  publish=stage,keynote
"""

import hashlib
import hmac
import logging
import os
import re
import stat
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from earshot_asr.engine.errors import ConfigError
from earshot_asr.server.refusals import Refused

log = logging.getLogger(__name__)

SHORTEST_TOKEN = 16
"""Characters of a token; fewer could be guessed."""
TOKEN = re.compile(r"[A-Za-z0-9._~+/=!$&*^|%#'`-]+")
"""Tokens travel in HTTP headers."""
MOST_STREAMS, MOST_MESSAGES = 1_000_000, 1_000_000
LEAST_MESSAGES = 100
FORMAT = "a line is: TOKEN NAME STREAMS MESSAGES_A_SECOND [publish=CHANNEL,...]"


@dataclass(frozen=True, slots=True)
class Account:
    """Whom a token stands for.

    name                   for the log
    streams                so many may be open at once, 0: it may watch only; None: as many as the server admits
    messages_per_second    instead of the server's own limit; None: that
    publish                channels that its streams may publish to; None: any
    key                    hash of the token
    """

    name: str
    streams: int | None = None
    messages_per_second: int | None = None
    publish: frozenset[str] | None = frozenset()
    key: bytes = field(default=b"", repr=False, compare=False)

    def may_publish(self, channel: str) -> bool:
        """Whether a stream of this account may publish its text there."""
        return self.publish is None or channel in self.publish


ANYBODY = Account("", publish=None)
"""The account of all clients of a server without tokens."""


class Accounts:
    """The accounts of a token file; without a file there is one, ANYBODY, which needs no token.

    path    the token file. Raises ConfigError if it can't be read or understood
    """

    def __init__(self, path: str | None = None) -> None:
        self._path = path
        self._accounts: dict[bytes, Account] = {}  # by the hash of the token
        self._open: Counter[str] = Counter()  # streams, by the name of the account
        self.reload()

    @property
    def required(self) -> bool:
        """Whether a client needs a token."""
        return self._path is not None

    def reload(self) -> None:
        """Reads the file again. Raises ConfigError, and keeps what it knew, if that is not possible."""
        if self._path is not None:
            self._accounts = read(Path(self._path))

    def find(self, token: str | None) -> Account | None:
        """The account of a token; None if there is none. Takes as long for a wrong token as for a right one."""
        if not self.required:
            return ANYBODY
        found = None
        wanted = _hash(token or "")
        for known, account in self._accounts.items():
            if hmac.compare_digest(known, wanted):
                found = account
        return found

    def has(self, account: Account) -> bool:
        """Whether the token of the account is still valid."""
        return not self.required or account.key in self._accounts

    def enter(self, account: Account) -> None:
        """One more stream is opened. Raises Refused if the account may not have it."""
        if account.streams == 0:
            raise Refused("unauthorized", f"{account.name} may only watch: its token has no streams")
        if account.streams is not None and self._open[account.name] >= account.streams:
            raise Refused(
                "too_many_streams",
                f"{account.name} has {_counted(account.streams)}, the most it may have; end one of them first",
            )
        self._open[account.name] += 1

    def leave(self, account: Account) -> None:
        """A stream has ended."""
        self._open[account.name] -= 1
        if not self._open[account.name]:
            del self._open[account.name]


def read(path: Path) -> dict[bytes, Account]:
    """The accounts of a token file, by the hash of their token. Raises ConfigError that names file and line."""
    try:
        text = path.read_text(encoding="utf-8")
        mode = path.stat().st_mode
    except (OSError, UnicodeError) as e:
        reason = e.strerror if isinstance(e, OSError) else "it is not text in UTF-8"
        raise ConfigError(f"can't read the token file {path}: {reason}") from None
    if os.name == "posix" and mode & (stat.S_IRGRP | stat.S_IROTH):
        log.warning("other users of this machine can read the token file %s; chmod 600 keeps them out", path)
    accounts: dict[bytes, Account] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not (fields := line.split()) or fields[0].startswith("#"):
            continue
        try:
            token, account = _entry(fields)
        except ValueError as e:
            raise ConfigError(f"{path}, line {number}: {e}") from None
        if (key := _hash(token)) in accounts:
            raise ConfigError(f"{path}, line {number}: this token is there already")
        accounts[key] = account
    if not accounts:
        raise ConfigError(f"the token file {path} has no token; {FORMAT}")
    return accounts


def _entry(fields: list[str]) -> tuple[str, Account]:
    """Token and account of a line. Raises ValueError, which never shows the token."""
    if len(fields) not in (4, 5):
        raise ValueError(f"{len(fields)} of the fields that it needs; {FORMAT}" if len(fields) < 4 else FORMAT)
    token, name, streams, messages, *rights = fields
    if len(token) < SHORTEST_TOKEN:
        raise ValueError(
            f"the token has {len(token)} characters; it needs {SHORTEST_TOKEN}, so that nobody guesses it: "
            "`openssl rand -hex 32` makes one"
        )
    if not TOKEN.fullmatch(token):
        raise ValueError("a token is made of letters, digits and . _ ~ + / = -")
    return token, Account(
        name,
        _number(streams, "STREAMS", 0, MOST_STREAMS),
        _number(messages, "MESSAGES_A_SECOND", LEAST_MESSAGES, MOST_MESSAGES),
        _channels(rights[0]) if rights else frozenset(),
        _hash(token),
    )


def _number(text: str, field: str, low: int, high: int) -> int | None:
    if text == "-":
        return None
    if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
        raise ValueError(f"{field} is {text[:20]!r}; it must be between {low} and {high}, or - for the server's limit")
    return int(text)


def _channels(right: str) -> frozenset[str] | None:
    """The channels of publish=A,B; None for publish=*, which is all of them."""
    word, equals, channels = right.partition("=")
    if word != "publish" or not equals or not channels:
        raise ValueError(f"{right[:40]!r} is no right; publish=CHANNEL,... is, and publish=* for any channel")
    return None if channels == "*" else frozenset(channels.split(","))


def _counted(streams: int) -> str:
    return "one stream" if streams == 1 else f"{streams} streams"


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()
