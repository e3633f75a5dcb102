"""Opens the file of a language model, whichever format it has. No torch."""

from pathlib import Path

from earshot_asr.engine.errors import CheckpointError
from earshot_asr.engine.files import present
from earshot_asr.engine.fingerprint import sha256
from earshot_asr.engine.lm import arpa, kenlm, kenlm_trie, probing
from earshot_asr.engine.lm.ngrams import NgramModel


def read(path: Path) -> NgramModel:
    """The n-gram model in a file: ARPA, or KenLM's own formats. Raises CheckpointError."""
    if not present(path):
        raise CheckpointError(f"there is no language model {path}")
    try:
        fingerprint = sha256(path)[:16]
        with path.open("rb") as file:
            if not file.read(len(kenlm.MAGIC)).startswith(kenlm.MAGIC[:8]):
                return arpa.read(path, fingerprint)
        return _binary(path.read_bytes(), fingerprint)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except MemoryError:
        raise CheckpointError(f"{path} needs more memory than there is") from None
    except OSError as error:
        raise CheckpointError(f"{path} can't be read: {error.strerror or error}") from None


def _binary(data: bytes, fingerprint: str) -> NgramModel:
    header = kenlm.Header.of(data)
    if header.kind in kenlm.TRIES:
        return kenlm_trie.read(data, header, fingerprint)
    return probing.ProbingModel(data, header, fingerprint)
