"""Where the files of a checkpoint come from: a folder, or a repository of the hub, downloaded when they are needed.

Settings come first, so that what can't be run is refused before its weights, which are gigabytes, are fetched.

A model of the hub is used at the commit that it had when it was first downloaded, or pulled: it is the same tomorrow,
and the hub is asked for nothing once all is here.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from earshot_asr.engine.errors import CheckpointError, HubError, listed
from earshot_asr.engine.files import (
    LANGUAGE_MODEL,
    SETTINGS,
    WEIGHTS,
    language_model_files,
    present,
    read_json,
    shards,
)
from earshot_asr.engine.hub.cache import Copy, cache_folder
from earshot_asr.engine.hub.download import fetch
from earshot_asr.engine.hub.listing import Listing, ask
from earshot_asr.engine.hub.progress import Progress
from earshot_asr.engine.judgement import no_weights, read_config
from earshot_asr.engine.loading import local_folder

log = logging.getLogger("earshot_asr.engine.hub")

NEEDED = (("config.json",), ("preprocessor_config.json", "processor_config.json"), ("vocab.json", "tokenizer.json"))
"""Of each group a model that writes text has one; those that do not, none of the last."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The files of one checkpoint.

    name        the folder's name, or the hub id
    folder      where its files are, or are put
    hub_id      empty for a folder of the user's own
    revision    of the repository on the hub; None: the one that was pulled, or the newest
    listing     what the hub said that it holds; None for a folder, and if only the cache could be asked
    reason      why only the cache could be asked
    """

    name: str
    folder: Path
    hub_id: str = ""
    revision: str | None = None
    listing: Listing | None = None
    reason: str = ""

    @property
    def names(self) -> list[str]:
        """The names of its files, here or on the hub."""
        if self.listing is not None:
            return sorted(self.listing.files)
        return sorted(path.name for path in self.folder.iterdir() if path.is_file())

    @property
    def config(self) -> dict[str, Any]:
        """config.json. Raises CheckpointError; UnsupportedModel if the files are of something else that is known."""
        return read_config(self.folder, self.hub_id, None if self.listing is None else self.names)

    def file(self, name: str) -> Path | None:
        """The file of that name, downloaded if need be; None if the checkpoint has no such file.

        Raises CheckpointError if it can't be downloaded.
        """
        if self.listing is not None and name in self.listing.files:
            self._fetch([name])
        path = self.folder / name
        if present(path):
            return path
        if self.reason:
            raise HubError(self._lacks([name]))
        return None

    def with_weights(self, progress: Progress | None = None) -> Self:
        """The same, its weights downloaded if they are not here; pickled ones only if there are no others.

        Raises CheckpointError.
        """
        if not self.hub_id:
            return self
        first = next((name for name in WEIGHTS if self._knows(name)), None)
        if first is None and self.reason:
            raise HubError(self._lacks(["the weights"]))
        if first is None:
            raise no_weights(self.folder, self.hub_id, self.names)
        self._fetch([first], progress)
        if first.endswith(".index.json"):
            self._fetch(shards(self.folder / first), progress)
        return self

    def language_model(self, progress: Progress | None = None) -> Path | None:
        """The folder with its language model, downloaded if need be; None if it has none.

        Raises CheckpointError if it can't be downloaded, or if it is not clear which of its files are to be.
        """
        folder = self.folder / LANGUAGE_MODEL
        if self.listing is None:
            return folder if folder.is_dir() else None
        names = language_model_names(self.hub_id, self.listing)
        self._fetch(names, progress)
        return folder if names else None

    def with_settings(self) -> Self:
        """The same, its settings downloaded if they are not here. Raises CheckpointError."""
        self._fetch([name for name in SETTINGS if self._knows(name)])
        if self.reason and (missing := _missing(self.folder)):
            raise HubError(self._lacks(missing))
        return self

    def _knows(self, name: str) -> bool:
        return name in self.listing.files if self.listing is not None else present(self.folder / name)

    def _fetch(self, names: Iterable[str], progress: Progress | None = None) -> None:
        names = list(names)
        if self.listing is None:
            if missing := [name for name in names if not present(self.folder / name)]:
                raise HubError(self._lacks(missing))
            return
        if unknown := [name for name in names if name not in self.listing.files]:
            raise CheckpointError(f"{self.hub_id} on the hub lacks {listed(unknown)}, which its own index lists")
        files = [self.listing.files[name] for name in names]
        try:
            fetch(self.hub_id, self.listing, files, progress)
        except HubError as error:
            copy = Copy.of(self.hub_id)
            if not present(self.folder / "config.json"):
                raise
            missing = [file.name for file in files if not copy.has(self.listing.commit, file)]
            raise HubError(replace(self, reason=str(error))._lacks(missing)) from None

    def _lacks(self, missing: Iterable[str]) -> str:
        return f"the cache has only a part of {self.hub_id}, not {listed(missing)}; {self.reason}"


def language_model_names(model: str, listing: Listing) -> list[str]:
    """The files of a repository's language model; none if it has none. Raises CheckpointError, see language_model."""
    before = f"{LANGUAGE_MODEL}/"
    inside = [name.removeprefix(before) for name in listing.files if name.startswith(before)]
    if not inside:
        return []
    there = [name for name in inside if "/" not in name]
    return [before + name for name in language_model_files(f"{model}/{LANGUAGE_MODEL}", there)]


_located: dict[tuple[Path, str, str | None], Origin] = {}
"""What was located in this process. The hub is asked once for a model that several devices load."""


def locate(model: str | Path, revision: str | None = None) -> Origin:
    """Where a checkpoint is, its settings downloaded if it is a hub id. Raises CheckpointError."""
    folder = local_folder(model, revision)
    if folder is not None:
        return Origin(folder.resolve().name, folder)
    key = (cache_folder(), str(model), revision)
    if key not in _located:
        _located[key] = _on_hub(str(model), revision)
    return _located[key].with_settings()


def forget() -> None:
    """Forgets what was located in this process: the cache is another now."""
    _located.clear()


def _on_hub(model: str, revision: str | None) -> Origin:
    """A model on the hub, its settings downloaded: as it is in the cache, or else as the hub says. Raises HubError."""
    copy = Copy.of(model)
    record = copy.record()
    commit = record.pinned if revision is None else revision
    if (listing := record.listings.get(commit or "")) is None:
        try:
            listing = ask(model, commit)
        except HubError as error:
            return _from_cache(model, revision, copy.commit_of(commit), error)
    return taken(model, revision, listing, pin=revision is None)


def taken(model: str, revision: str | None, listing: Listing, *, pin: bool) -> Origin:
    """A model as the hub lists it, its settings downloaded; pin: this commit is the one to use from now on."""
    copy = Copy.of(model)
    origin = Origin(model, copy.snapshot(listing.commit), model, revision, listing).with_settings()
    copy.keep(listing, revision, pin=pin)
    return origin


def _from_cache(model: str, revision: str | None, commit: str | None, error: HubError) -> Origin:
    """A model as the cache has it, as the hub could not be asked. Raises HubError."""
    from huggingface_hub import constants

    folder = Copy.of(model).snapshot(commit) if commit else None
    if folder is None or not folder.is_dir():
        at = f" at revision {revision}" if revision else ""
        absent = "" if model in str(error) else f"{model}{at} is not in the cache, and "
        raise HubError(f"{absent}{error}") from None
    origin = Origin(model, folder, model, revision, reason=str(error)).with_settings()
    if not constants.HF_HUB_OFFLINE:
        log.warning("%s; %s is taken from the cache", error, model)
    return origin


def _missing(folder: Path) -> list[str]:
    """The settings that a model can't do without and a folder does not have."""
    if not present(folder / "config.json"):
        return ["config.json"]
    named = read_json(folder / "config.json").get("architectures")
    writes = isinstance(named, list) and any(str(name).endswith("ForCTC") for name in named)
    groups = NEEDED if writes else NEEDED[:-1]
    return [group[0] for group in groups if not any(present(folder / name) for name in group)]
