"""What a process may do that decodes what strangers send: no files to write, bounded memory and computing."""

import os
import sys
from pathlib import Path

if sys.platform != "win32":
    import resource

MEMORY_BYTES = 512 * 1024 * 1024
CPU_SECONDS = 10
"""Most processor time between two calls of allow_cpu()."""
_confined = False


def environment() -> dict[str, str]:
    """The environment of such a process: where modules are, and nothing else of ours.

    A codec may be made to tell it.
    """
    kept = {name: os.environ[name] for name in ("SYSTEMROOT",) if name in os.environ}
    path = os.pathsep.join([str(Path(__file__).parents[3]), *filter(None, sys.path)])
    return kept | {"PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def confine() -> None:
    """Takes away what a decoder does not need: memory without end, files to write, other processes."""
    if sys.platform == "win32":
        return
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    global _confined
    _confined = True
    allow_cpu()


def allow_cpu() -> None:
    """From now on for CPU_SECONDS, in a process that is confined."""
    if sys.platform != "win32" and _confined:
        used = resource.getrusage(resource.RUSAGE_SELF)
        seconds = int(used.ru_utime + used.ru_stime) + CPU_SECONDS
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.getrlimit(resource.RLIMIT_CPU)[1]))
