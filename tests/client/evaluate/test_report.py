"""The page as a whole: it is whole, it fetches nothing, and nothing breaks out of its place."""

import re
import shlex
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from earshot_asr.client.evaluate.figures import MEANINGS, Figure, Figures, RunInfo, figures
from earshot_asr.client.evaluate.report import page
from earshot_asr.client.evaluate.take import Take
from earshot_asr.client.evaluate.timeline import CHARACTER_PX
from tests.client.evaluate.clips import take

ABOUT = RunInfo(
    model="base-en",
    fingerprint="8ef7caa4a902",
    device="cpu",
    latency="balanced",
    commit="utterance",
    stability="medium",
    clock="virtual",
    machine="a CPU, 2 cores",
    date="2026-11-22T18:00:00+00:00",
    command="earshot evaluate dev.jsonl",
)
COUNTED = {"clips": Figure(2), "clips aligned": Figure(2)}
EVIL = """</title><script>alert('1')</script><img src="http://evil/" onerror=alert()>" onload="f()" ]]> &lt; $body"""
VOID = {"meta", "br"}
PICTURES = (".plot.wide", ".plot.narrow")


class Outline(HTMLParser):
    """Checks that elements are nested, and keeps what there is: tags, attributes' names, text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def made(takes: list[Take], about: RunInfo = ABOUT) -> str:
    return page(takes, figures(takes), about)


def test_it_fetches_nothing() -> None:
    html = made([take("a"), take("b", "ONE"), take("c", corpus="others", seconds=200)])
    assert not re.search(r"https?:|//|@import|url\(", html)
    assert "default-src 'none'" in html
    outline = Outline(html)
    assert not {"src", "href", "srcset", "xlink:href", "data", "action"} & outline.attributes
    assert not {"script", "link", "img", "iframe", "object", "base"} & set(outline.tags)


def test_all_sections_are_there() -> None:
    outline = Outline(made([take("a"), take("b", "ONE"), take("c", corpus="others")]))
    titles = ("Delays", "Words on the screen", "Figures", "Worst clips", "What the figures mean", "The run")
    assert all(title in outline.text for title in titles)
    assert outline.tags.count("svg") >= 5
    assert "8ef7caa4a902" in outline.text and "earshot evaluate dev.jsonl" in outline.text


def test_every_figure_is_in_the_table_with_interval_and_meaning() -> None:
    found: Figures = {
        "a": {name: Figure(10 + n, 9 + n, 11 + n, "s") for n, name in enumerate(MEANINGS)},
        "pooled": {"WER": Figure(-66.25, -70.06, -60.0, "%"), "news": Figure(0.5)} | COUNTED,
    }
    html = page([], found, ABOUT)
    for n, (name, meaning) in enumerate(MEANINGS.items()):
        assert f">{name}</th><td>{10 + n}.00 s<small>{9 + n}.00 to {11 + n}.00</small></td>" in html
        assert meaning.split("`")[0] in Outline(html).text
    assert "<td>−66.2 %<small>−70.1 to −60.0</small></td>" in html
    assert html.index(">Other</th>") < html.index(">news</th>")


@pytest.mark.parametrize("missing", [name for name in MEANINGS if name not in COUNTED])
def test_groups_have_one_heading_each_whatever_is_missing(missing: str) -> None:
    found = {"a": {name: Figure(1) for name in MEANINGS if name != missing}}
    groups = re.findall(r'class="group"><th [^>]*>([^<]*)<', page([], found, ABOUT))
    assert groups == ["Errors", "Delay", "Stability", "Computing and data"]


def test_hostile_text_stays_text() -> None:
    bad = take(EVIL, EVIL, corpus=EVIL)
    bad.clip = replace(bad.clip, reference=EVIL, words=tuple(word._replace(text=EVIL) for word in bad.clip.words or ()))
    bad.plain = f"{EVIL} \ud800\u202e"
    about = replace(ABOUT, model=EVIL, device=EVIL, machine=EVIL, command=EVIL, fingerprint=EVIL)
    kind, harmless = Outline(made([take(), take("b", "ONE")])), Outline(made([bad, bad], about))
    assert set(harmless.tags) <= set(kind.tags) and harmless.attributes <= kind.attributes | {"dir"}
    assert harmless.text.count(EVIL) >= 5
    made([bad], about).encode()


def test_it_names_no_folders_of_the_machine_that_made_it() -> None:
    args = ["earshot", "evaluate", "/home/ada/my clips/dev.jsonl", "--model=/opt/ada/base", "notes/more.jsonl"]
    command = shlex.join([*args, "--alignments", r"C:\Users\ada\words.jsonl", "--url", "ws://ada.example"])
    takes = [take("/home/ada/a.wav", "ONE"), take(r"D:\ada\b.wav", "TWO")]
    text = Outline(made(takes, replace(ABOUT, command=command))).text
    assert text.replace("ws://ada.example", "").count("ada") == 0
    assert "earshot evaluate dev.jsonl --model=base notes/more.jsonl --alignments words.jsonl --url ws://" in text
    assert "a.wav" in text and "b.wav" in text


def declared(css: str, selector: str, width: int) -> dict[str, str]:
    """What a style sheet declares for exactly this selector on a screen of this width, in pixels."""
    blocks = re.findall(r"@media ([^{]+)\{((?:[^{}]*\{[^{}]*\})*)\s*\}", css)
    always = re.sub(r"@media [^{]+\{(?:[^{}]*\{[^{}]*\})*\s*\}", "", css)
    limits = [(re.search(r"max-width: (\d+)px", query), inner) for query, inner in blocks]
    fitting = [inner for most, inner in limits if most and width <= int(most[1])]
    found: dict[str, str] = {}
    for rules in (always, *fitting):
        for selectors, body in re.findall(r"([^{}]+)\{([^{}]*)\}", rules):
            if selector in [one.strip() for one in selectors.split(",")]:
                found |= dict(re.findall(r"([\w-]+): ([^;]+)", body))
    return found


def test_on_a_phone_the_final_words_are_seen_without_scrolling() -> None:
    """Of two pictures of an utterance, a small screen shows the one that fits, in which no label sticks out."""
    html = made([take(text="ONE TWO ANTIDISESTABLISHMENTARIANISM")])
    css = html[html.index("<style>") : html.index("</style>")]
    wide, narrow = (
        [declared(css, f".plot.{kind}", px).get("display") for px in (400, 1000)] for kind in ("wide", "narrow")
    )
    assert (wide, narrow) == (["none", None], ["block", "none"])
    assert "min-width" not in declared(css, ".plot.narrow svg", 400) | declared(css, ".plot svg", 400)
    assert declared(css, ".plot svg", 400)["width"] == "100%"
    picture = html[html.index('<div class="plot narrow">') :]
    picture = picture[: picture.index("</svg>")]
    width = float(re.findall(r'viewBox="0 0 (\d+)', picture)[0])
    assert width <= 340  # pixels of 400 that margins leave
    labels = re.findall(r'<text class="strong" x="([\d.]+)" y="[\d.]+"(?: text-anchor="(end)")?>([^<]+)<', picture)
    assert [text for _, _, text in labels] == ["ONE", "TWO", "ANTIDISESTABLISHMENTARIANISM"]
    for x, anchor, text in labels:
        begin = float(x) - (CHARACTER_PX * len(text) if anchor else 0)
        assert begin >= 0 and begin + CHARACTER_PX * len(text) <= width + 1e-6


def test_nothing_was_played() -> None:
    outline = Outline(page([], {}, ABOUT))
    assert "There is nothing to show" in outline.text and "The run" in outline.text
    assert "Figures" not in outline.text and "svg" not in outline.tags


def test_one_clip_and_a_silent_one() -> None:
    assert "svg" in Outline(made([take()])).tags
    silent = take()
    silent.heard, silent.due = [], {}
    assert "100%" in Outline(made([silent])).text
    silent.clip = replace(silent.clip, words=None, reference="")
    assert "Delays" not in Outline(made([silent])).text
