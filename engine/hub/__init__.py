"""Models on the hub: found, downloaded into the cache, and checked. Loads no torch.

listing     what the hub says that a repository holds
refusals    what the hub says when it refuses, as sentences
cache       the folder where models of the hub are, and what we keep beside them
download    files by HTTP: resumed, checked by their hashes
progress    how far a download is: a bar, or lines of the log
origin      a checkpoint's files, in a folder or from the hub
pulling     a whole model, downloaded and checked
"""

from earshot_asr.engine.files import SETTINGS
from earshot_asr.engine.hub.cache import Cached, cache_folder, cached, remove
from earshot_asr.engine.hub.listing import File
from earshot_asr.engine.hub.origin import Origin, locate
from earshot_asr.engine.hub.progress import Progress
from earshot_asr.engine.hub.pulling import Pulled, pull

__all__ = [
    "SETTINGS",
    "Cached",
    "File",
    "Origin",
    "Progress",
    "Pulled",
    "cache_folder",
    "cached",
    "locate",
    "pull",
    "remove",
]
