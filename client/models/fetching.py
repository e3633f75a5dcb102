"""Models of the hub brought into the cache and removed from it; each function returns the line that says so."""

from collections.abc import Callable, Sequence

from earshot_asr.engine.errors import ConfigError, EarshotError
from earshot_asr.engine.hub import cached, locate, pull, remove
from earshot_asr.engine.hub.progress import size
from earshot_asr.engine.languages import match

BEFORE, AFTER = "adapter.", ".safetensors"
"""What stands before and after the language in the name of the file that has its weights."""


def pulled(model: str, revision: str | None, languages: Sequence[str]) -> str:
    """Downloads a model, with the weights for languages. Raises HubError, CheckpointError, and ConfigError."""
    done = pull(model, revision, files=_adapters(model, revision, languages) if languages else ())
    right = "and its hashes are right" if all(file.tag for file in done.files) else "the hub names no hashes to check"
    came = f"{size(done.fetched)} of it came now" if done.fetched else f"it was here already, {right}"
    line = f"{model} is here, {size(done.bytes)} at commit {done.commit[:12]}; {came}"
    if done.newer:
        line += f"\nThe hub has a newer commit: earshot models pull {model} --revision {done.newer[:12]}"
    return line


def removed(model: str, sure: Callable[[str], bool]) -> str:
    """Removes a model from the cache if the answer to a question is yes. Raises CheckpointError, EarshotError."""
    copies = [copy for copy in cached() if copy.hub_id == model]
    if copies and not sure(f"Remove {model}, {size(sum(copy.bytes for copy in copies))}?"):
        raise EarshotError(f"{model} was not removed; --yes does it without asking")
    return f"{model} is removed, {size(remove(model))} are free"


def _adapters(model: str, revision: str | None, languages: Sequence[str]) -> list[str]:
    """The files that have the weights for languages. Raises ConfigError for one that is not there."""
    files = locate(model, revision).names
    names = [name.removeprefix(BEFORE).removesuffix(AFTER) for name in files if _is_adapter(name)]
    if not names:
        raise ConfigError(f"{model} has no weights for single languages; pull it without --language")
    return [f"{BEFORE}{match(language, names, model)}{AFTER}" for language in languages]


def _is_adapter(name: str) -> bool:
    return name.startswith(BEFORE) and name.endswith(AFTER)
