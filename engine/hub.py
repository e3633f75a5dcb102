"""Where the files of a checkpoint come from: a folder, or a repository of the hub, downloaded when they are needed.

Settings come first, so that what can't be run is refused before its weights, which are gigabytes, are fetched.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from earshot_asr.engine.errors import CheckpointError
from earshot_asr.engine.files import PICKLED, SAFETENSORS, present
from earshot_asr.engine.loading import local_folder

SETTINGS = (
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "feature_extractor_config.json",
    "vocab.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)


@dataclass(frozen=True, slots=True)
class Origin:
    """The files of one checkpoint.

    name        the folder's name, or the hub id
    folder      where its files are, or are put
    hub_id      empty for a folder of the user's own
    revision    of the repository on the hub; None: the newest
    """

    name: str
    folder: Path
    hub_id: str = ""
    revision: str | None = None

    def file(self, name: str) -> Path | None:
        """The file of that name, downloaded if need be; None if the checkpoint has no such file.

        Raises CheckpointError if it can't be downloaded.
        """
        if self.hub_id:
            _download(self.hub_id, self.revision, name)
        path = self.folder / name
        return path if present(path) else None

    def with_weights(self) -> Self:
        """The same, its weights downloaded if they are not here; pickled ones only if there are no others.

        Raises CheckpointError.
        """
        if self.hub_id:
            folder = _download(self.hub_id, self.revision, *SAFETENSORS, "model-*.safetensors")
            if not any(present(folder / name) for name in SAFETENSORS):
                _download(self.hub_id, self.revision, *PICKLED, "pytorch_model-*.bin")
        return self


def locate(model: str | Path, revision: str | None = None) -> Origin:
    """Where a checkpoint is, its settings downloaded if it is a hub id. Raises CheckpointError."""
    folder = local_folder(model, revision)
    if folder is not None:
        return Origin(folder.resolve().name, folder)
    return Origin(str(model), _download(str(model), revision, *SETTINGS), str(model), revision)


def _download(model: str, revision: str | None, *patterns: str) -> Path:
    """The folder with a repository's files that match the patterns."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=list(patterns)))
    except (OSError, ValueError) as error:  # the base classes of huggingface_hub's errors
        at = "" if revision is None else f" at revision {revision}"
        reason = str(error).strip().split("\n", 1)[0]
        raise CheckpointError(
            f"there is no folder {model}, and {model}{at} could not be downloaded from the hub and is not in the local "
            f"cache: {reason}"
        ) from None
