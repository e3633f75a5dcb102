"""Results of a sweep, kept in a file as they come: one that was interrupted goes on where it was.

{"sweep": {"model": ..., "manifest": ..., ...}}                                what the results are of
{"clip": ..., "setting": ..., "rates": {...}, "delays": {...}, "counts": {...}}    a result, see tally.Tally
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from earshot_asr.client.evaluate.tally import Tally
from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.whole import write_text, writing

LEFT_OUT = ("staleness",)
"""Delays that are not kept: there are 50 of them for each second of speech."""

T = TypeVar("T")


class Header(msgspec.Struct, forbid_unknown_fields=True):
    """The first line: what the results are of, by its name in words."""

    sweep: dict[str, str]


class Line(msgspec.Struct, forbid_unknown_fields=True):
    """A result: marks of the clip and the setting, and the terms of the figures."""

    clip: str
    setting: str
    rates: dict[str, tuple[float, float]]
    delays: dict[str, list[float]]
    counts: dict[str, float]


@dataclass(slots=True)
class Results:
    """The results in a file, by clip and setting."""

    path: Path
    tallies: dict[tuple[str, str], Tally]

    def add(self, clip: str, setting: str, tally: Tally) -> None:
        """Appends a result. Raises OutputError."""
        delays = {
            name: [round(delay, 4) for delay in values] for name, values in tally.delays.items() if name not in LEFT_OUT
        }
        line = Line(clip, setting, tally.rates, delays, tally.counts)
        with writing(self.path), self.path.open("ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")
        self.tallies[clip, setting] = _tally(line)


def opened(path: Path, of: Mapping[str, str], say: Callable[[str], None]) -> Results:
    """The results in a file so far, and `say`s how many there are; without a file there are none yet.

    If they are of something else than `of`, that is said, the file is put aside, and a new one is begun. What was
    interrupted in the middle of a line has lost that line.

    Raises ConfigError for another file than a sweep's, and OutputError.
    """
    if not path.exists() or path.stat().st_size == 0:
        return _begun(path, of)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"can't read {path}: {error.strerror or error}") from None
    whole = content[: content.rfind(b"\n") + 1]
    first, *others = whole.splitlines() or [b""]
    header = _decoded(path, 1, first, Header)
    lines = [_decoded(path, number, line, Line) for number, line in enumerate(others, 2)]
    if changed := [name for name in of if header.sweep.get(name) != of[name]]:
        aside = path.with_name(f"{path.name}.old")
        with writing(aside):
            path.replace(aside)
        say(f"{path}: its results are of another {' and '.join(changed)}; begins anew, and keeps them as {aside}")
        return _begun(path, of)
    if len(whole) < len(content):
        with writing(path), path.open("r+b") as file:
            file.truncate(len(whole))
    say(f"{path}: goes on after {len(lines)} results")
    return Results(path, {(line.clip, line.setting): _tally(line) for line in lines})


def _begun(path: Path, of: Mapping[str, str]) -> Results:
    write_text(path, msgspec.json.encode(Header(dict(of))).decode() + "\n")
    return Results(path, {})


def _decoded(path: Path, number: int, line: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(line, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ConfigError(
            f"{path}, line {number}: not what a sweep writes; name another file with --out, or remove this one"
        ) from None


def _tally(line: Line) -> Tally:
    return Tally(dict(line.rates), line.delays, line.counts)
