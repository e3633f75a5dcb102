"""ARPAbet phones of English words that PocketSphinx's dictionary lacks, by the program espeak-ng."""

import shutil
import subprocess
from functools import cache

TABLE = """
    tʃ:CH dʒ:JH aɪ:AY aʊ:AW eɪ:EY oʊ:OW əʊ:OW ɔɪ:OY ɪɹ:IH+R ɛɹ:EH+R ɔːɹ:AO+R oːɹ:AO+R ɑːɹ:AA+R ʊɹ:UH+R ɜː:ER ɚ:ER
    iː:IY uː:UW ɑː:AA ɔː:AO oː:AO əl:AH+L i:IY ɪ:IH ᵻ:IH ɛ:EH e:EH æ:AE a:AE ʌ:AH ə:AH ɐ:AH ɑ:AA ɔ:AO o:OW ʊ:UH u:UW
    p:P b:B t:T d:D k:K ɡ:G g:G f:F v:V θ:TH ð:DH s:S z:Z ʃ:SH ʒ:ZH h:HH m:M n:N ŋ:NG l:L ɹ:R r:R j:Y w:W x:K ɾ:T ʔ:T
"""
ENGLISH = {ipa: tuple(phones.split("+")) for ipa, phones in (entry.split(":") for entry in TABLE.split())}
LONGEST = max(map(len, ENGLISH))


def available() -> bool:
    """Whether the program espeak-ng is installed."""
    return shutil.which("espeak-ng") is not None


@cache
def pronounce(word: str) -> tuple[str, ...]:
    """The phones of a word; empty if espeak-ng says nothing."""
    command = ["espeak-ng", "-q", "-x", "--ipa", "-v", "en-us", "--", word.lower()]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    return arpabet(said.stdout)


def arpabet(ipa: str) -> tuple[str, ...]:
    """espeak-ng's IPA of English -> phones, the longest match first; stress and unknown characters are left out."""
    phones: list[str] = []
    at = 0
    while at < len(ipa):
        sizes = (size for size in range(LONGEST, 0, -1) if ipa[at : at + size] in ENGLISH)
        size = next(sizes, 0)
        phones += ENGLISH.get(ipa[at : at + size], ()) if size else ()
        at += max(1, size)
    return tuple(phones)
