"""Opens the file of a language model, whichever format it has. No torch."""

from pathlib import Path

from earshot_asr.engine.errors import CheckpointError
from earshot_asr.engine.files import present
from earshot_asr.engine.fingerprint import sha256
from earshot_asr.engine.lm.arpa import read_arpa
from earshot_asr.engine.lm.kenlm import MAGIC, TRIES, Header
from earshot_asr.engine.lm.kenlm_trie import read_trie
from earshot_asr.engine.lm.ngrams import NgramModel
from earshot_asr.engine.lm.probing import ProbingModel


def read_file(path: Path) -> NgramModel:
    """The n-gram model in a file: ARPA, or KenLM's own formats. Raises CheckpointError."""
    if not present(path):
        raise CheckpointError(f"there is no language model {path}")
    try:
        fingerprint = sha256(path)[:16]
        with path.open("rb") as file:
            if not file.read(len(MAGIC)).startswith(MAGIC[:8]):
                return read_arpa(path, fingerprint)
        return _binary(path.read_bytes(), fingerprint)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except MemoryError:
        raise CheckpointError(f"{path} needs more memory than there is") from None
    except OSError as error:
        raise CheckpointError(f"{path} can't be read: {error.strerror or error}") from None


def _binary(data: bytes, fingerprint: str) -> NgramModel:
    header = Header.of(data)
    if header.kind in TRIES:
        return read_trie(data, header, fingerprint)
    return ProbingModel(data, header, fingerprint)
