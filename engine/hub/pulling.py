"""Pulls a model: downloads all that is needed of it, and checks by hash what was here already."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from earshot_asr.engine.errors import CheckpointError, listed
from earshot_asr.engine.files import SETTINGS, WEIGHTS, shards
from earshot_asr.engine.hub.cache import Copy
from earshot_asr.engine.hub.download import fetch, matches, wrong
from earshot_asr.engine.hub.listing import File, Listing, ask
from earshot_asr.engine.hub.origin import Origin, forget, language_model_names, taken
from earshot_asr.engine.hub.progress import Progress
from earshot_asr.engine.judgement import has_ctc_head, preprocessor_of
from earshot_asr.engine.loading import local_folder

log = logging.getLogger("earshot_asr.engine.hub")


@dataclass(frozen=True, slots=True)
class Pulled:
    """A model that is here, whole.

    commit     the one that is used from now on where no revision is asked for
    files      all that it needs, each with its size and hash
    fetched    bytes that were downloaded; 0: everything was here, and was checked by hash
    newer      the hub's newest commit if it is another, which is not taken by itself; None: it is this one
    """

    hub_id: str
    commit: str
    folder: Path
    files: tuple[File, ...]
    fetched: int
    newer: str | None

    @property
    def bytes(self) -> int:
        """What its files take."""
        return sum(file.size or 0 for file in self.files)


def pull(
    model: str, revision: str | None = None, *, files: Sequence[str] = (), progress: Progress | None = None
) -> Pulled:
    """Downloads a model of the hub, goes on where a download broke off, and checks what is here by its hashes.

    revision   branch, tag or commit; None: the commit that was pulled before, or else the newest
    files      patterns of further files to download, such as adapter.fra.safetensors
    progress   is called with the bytes that are here, and the bytes in all; None: it is shown on standard error

    Raises HubError, UnsupportedModel before the weights are downloaded, and CheckpointError that names a file that is
    not what the hub says; that file is removed.
    """
    if local_folder(model, revision) is not None:
        raise CheckpointError(f"{model} is a folder; only models of the hub are pulled, as 'organization/name'")
    listing, newer = _wanted(model, revision)
    forget()
    first = next((name for name in WEIGHTS if name in listing.files), None)
    further = [*_language_model(model, listing), *_further(model, listing, files)]
    wanted = [*(name for name in SETTINGS if name in listing.files), *([first] if first else []), *further]
    there = _checked(model, listing, wanted)
    origin = taken(model, revision, listing, pin=True)
    judge(origin)
    if first and first.endswith(".index.json") and (index := origin.file(first)):
        parts = [name for name in shards(index) if name in listing.files]
        wanted += parts
        there |= _checked(model, listing, parts)
    origin.with_weights(progress)
    fetch(model, listing, [listing.files[name] for name in further], progress)
    every = tuple(_sized(listing.files[name], origin.folder) for name in dict.fromkeys(wanted))
    fetched = sum(file.size or 0 for file in every if file.name not in there)
    return Pulled(model, listing.commit, origin.folder, every, fetched, newer)


def judge(origin: Origin) -> None:
    """Raises UnsupportedModel if the settings are those of a model that can neither be run nor trained."""
    from earshot_asr.engine.checkpoint import build_encoder
    from earshot_asr.engine.families import family_of

    config = origin.config
    family_of(config)
    if has_ctc_head(config):
        build_encoder(config, preprocessor_of(origin.folder, config))


def _wanted(model: str, revision: str | None) -> tuple[Listing, str | None]:
    """What to pull; and the newest commit on the hub if that is another."""
    newest = ask(model, revision)
    record = Copy.of(model).record()
    if revision is not None or record.pinned in (None, newest.commit):
        return newest, None
    return record.listings.get(record.pinned) or ask(model, record.pinned), newest.commit


def _language_model(model: str, listing: Listing) -> list[str]:
    """The files of its language model. None, and a warning, if it is not clear which they are: it runs without one."""
    try:
        return language_model_names(model, listing)
    except CheckpointError as error:
        log.warning("%s", error)
        return []


def _further(model: str, listing: Listing, patterns: Sequence[str]) -> list[str]:
    """The names of the files that match the patterns. Raises CheckpointError for one that matches none."""
    if missing := [pattern for pattern in patterns if not listing.matching([pattern])]:
        raise CheckpointError(f"{model} on the hub has no file {listed(missing)}")
    return [file.name for file in listing.matching(patterns)]


def _sized(file: File, folder: Path) -> File:
    """A file that is here, with its size, which some mirrors of the hub do not say."""
    return file if file.size is not None else replace(file, size=(folder / file.name).stat().st_size)


def _checked(model: str, listing: Listing, names: Sequence[str]) -> set[str]:
    """Those files that are here, and are what the hub says. Removes one that is not, and raises CheckpointError."""
    copy, there = Copy.of(model), set[str]()
    for file in (listing.files[name] for name in names):
        if (content := copy.content(listing.commit, file)) is None:
            continue
        if not matches(content, file):
            copy.drop(listing.commit, file)
            raise CheckpointError(wrong(model, file))
        there.add(file.name)
    return there
