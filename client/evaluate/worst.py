"""The report's clips with the most errors, and what went wrong in them."""

from collections.abc import Sequence

from earshot_asr.client.evaluate.markup import Markup, element, join
from earshot_asr.client.evaluate.take import Take
from earshot_asr.client.evaluate.tally import errors

MAX_CLIP_COUNT = 12
"""Maximum number of clips that are shown."""


def error_rate(take: Take) -> float:
    """Errors over words (or phonemes) of the reference; for a clip without speech, the number of false words."""
    wrong, said = errors(take.said, take.units(take.text))
    return wrong / max(1, said)


def worst(takes: Sequence[Take]) -> Markup:
    """The clips with the most errors; empty if there are no errors."""
    wrong = sorted((take for take in takes if error_rate(take)), key=error_rate, reverse=True)
    if not wrong:
        return Markup("")
    missing, false = element("del", "missing words"), element("ins", "false words")
    legend = element("p", "Compared with the reference: ", missing, " and ", false, ".", class_="soft")
    return join(legend, element("div", *map(_clip, wrong[:MAX_CLIP_COUNT]), class_="card"))


def _clip(take: Take) -> Markup:
    plain = None
    if take.plain is not None and take.units(take.plain) != take.units(take.text):
        plain = element("p", "plain pass: ", diff(take.said, take.units(take.plain)), class_="soft")
    name = element("code", take.clip.name)
    return element(
        "div",
        element("p", element("b", _said(take)), " ", name, " ", element("small", take.clip.corpus)),
        element("p", diff(take.said, take.units(take.text)), dir="auto"),
        plain,
        class_="diff",
    )


def _said(take: Take) -> str:
    """The error rate of a take, or the number of false words in a clip without speech."""
    rate = error_rate(take)
    return f"{rate:.0%}" if take.said else f"{rate:.0f} false {'word' if rate == 1 else 'words'}"


def diff(said: Sequence[str], heard: Sequence[str]) -> Markup:
    """Reference and transcript as one text, with missing words in <del> and false words in <ins>."""
    parts: list[Markup] = []
    for same, old, new in _chunks(said, heard):
        if same:
            parts.append(join(" ".join(old)))
        else:
            parts += [element(tag, " ".join(words)) for tag, words in (("del", old), ("ins", new)) if words]
    return Markup(" ".join(parts))


def _chunks(said: Sequence[str], heard: Sequence[str]) -> list[tuple[bool, Sequence[str], Sequence[str]]]:
    """Aligned parts of two texts: whether they are equal, and the words of each."""
    import jiwer

    if not (said and heard):
        return [(False, said, heard)]
    return [
        (
            chunk.type == "equal",
            said[chunk.ref_start_idx : chunk.ref_end_idx],
            heard[chunk.hyp_start_idx : chunk.hyp_end_idx],
        )
        for chunk in jiwer.process_words(" ".join(said), " ".join(heard)).alignments[0]
    ]
