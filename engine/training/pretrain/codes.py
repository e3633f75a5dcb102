"""`earshot train codes`: draws how languages share the codewords of one quantizer (Conneau et al. 2020, figure 2).

One plot places languages by the principal components of how often each uses each codeword: those that use the same ones
are near each other. The other has the similarity of each pair of languages.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.training.data.corpus import Filter, open_corpus
from earshot_asr.engine.training.distributed import World
from earshot_asr.engine.training.options import CACHE, positive
from earshot_asr.engine.training.pretrain.pretrained import open_pretrained
from earshot_asr.engine.training.pretrain.usage import Counts, Floats, perplexity, places, similarities, usage
from earshot_asr.engine.whole import check, write_text

EXAMPLE = """\
example:
  earshot train codes OUT/model dev.jsonl --out codes.svg

Prints how many codewords each language uses, and the languages that are most similar in that."""
NEIGHBOURS = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the command."""
    parser.description, parser.epilog = __doc__, EXAMPLE
    parser.add_argument("model", metavar="DIR|HUB_ID", help="a pretrained model")
    parser.add_argument("manifests", type=Path, nargs="+", metavar="MANIFEST", help="recordings with a `lang`")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the figure, an SVG")
    parser.add_argument(
        "--least", type=positive, default=20.0, metavar="SECONDS", help="languages with less are left out (default: 20)"
    )
    parser.add_argument(
        "--most",
        type=positive,
        default=180.0,
        metavar="SECONDS",
        help="audio of a language that is used, at most (default: %(default)g)",
    )
    parser.add_argument(
        "--cache", type=Path, default=CACHE, metavar="DIR", help="folder for decoded audio (default: %(default)s)"
    )
    parser.add_argument("--device", default="auto", help="cpu or cuda (default: a GPU if there is one)")


def run(args: argparse.Namespace) -> None:
    """Runs the command. Raises EarshotError."""
    if args.out is not None:
        check(args.out)
    world = World(args.device)
    model, _ = open_pretrained(args.model)
    corpus = open_corpus(args.manifests, args.cache.expanduser(), filter=Filter(transcribed=False))
    counts = usage(model.to(world.device).eval(), corpus, least=args.least, most=args.most)
    if len(counts) < 2:
        raise ConfigError(f"there is no second language with {args.least:g} s of speech to compare; see --least")
    print(listing(counts))
    if args.out is not None:
        write_text(args.out, figure(counts))
        print(args.out, file=sys.stderr)


def listing(counts: Mapping[str, Counts]) -> str:
    """Language, how many codewords are in use, the most similar ones; a line each."""
    names, alike = list(counts), similarities(list(counts.values()))
    lines = []
    for i, name in enumerate(names):
        near = [j for j in np.argsort(-alike[i], kind="stable") if j != i][:NEIGHBOURS]
        beside = ", ".join(f"{names[j]} {alike[i, j]:.2f}" for j in near)
        lines.append(f"{name:<12} {perplexity(counts[name]):5.0f}  {beside}")
    together = perplexity(sum(counts.values(), start=0 * counts[names[0]]))
    return "\n".join([f"{'language':<12} codes  most like", *lines, f"{'all':<12} {together:5.0f}"])


# ---- the figure

SIDE, GAP, EDGE = 620, 70, 40
"""Pixels: the side of each plot, the gap between both, the margin."""
STYLE = """
text { font: 11px system-ui, sans-serif; fill: #333 } .strong { font-size: 13px; font-weight: 600 }
.dot { fill: #2a6fb0 } .frame { fill: none; stroke: #bbb } .paper { fill: #fff }
@media (prefers-color-scheme: dark) {
  text { fill: #ccc } .paper { fill: #16181c } .frame { stroke: #555 } .dot { fill: #6db3f2 }
}
"""


@dataclass(frozen=True, slots=True)
class _Box:
    """A square of the figure, from `left` on."""

    left: float
    top: float = EDGE + 20

    def rect(self) -> str:
        return f'<rect class="frame" x="{self.left}" y="{self.top}" width="{SIDE}" height="{SIDE}"/>'

    def title(self, text: str) -> str:
        return f'<text class="strong" x="{self.left}" y="{self.top - 26}">{escape(text)}</text>'


def figure(counts: Mapping[str, Counts]) -> str:
    """The figure of two languages or more, as SVG."""
    names = list(counts)
    where, part = places(list(counts.values()))
    alike = similarities(list(counts.values()))
    map_, matrix = _Box(EDGE), _Box(EDGE + SIDE + GAP)
    width, height = matrix.left + SIDE + EDGE, map_.top + SIDE + EDGE
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img">',
        f"<style>{STYLE}</style>",
        f'<rect class="paper" width="{width:g}" height="{height:g}"/>',
        map_.title(f"{len(names)} languages by their codewords: two components, {part.sum():.0%} of the variance"),
        map_.rect(),
        *_map(map_, names, where, {name: perplexity(one) for name, one in counts.items()}),
        matrix.title("Similarity: 1 − Jensen-Shannon divergence, darker is more alike"),
        *_matrix(matrix, names, alike, order(alike)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _map(box: _Box, names: Sequence[str], where: Floats, used: Mapping[str, float]) -> list[str]:
    low, high = where.min(0), where.max(0)
    inside = 24 + (SIDE - 70) * (where - low) / np.maximum(high - low, 1e-12)
    marks = []
    for name, (x, y) in zip(names, inside.tolist(), strict=True):
        at_x, at_y = box.left + x, box.top + SIDE - y
        title = f"<title>{escape(name)}: {used[name]:.0f} codewords in use</title>"
        marks.append(f'<g>{title}<circle class="dot" cx="{at_x:.1f}" cy="{at_y:.1f}" r="3.5"/>')
        marks.append(f'<text x="{at_x + 6:.1f}" y="{at_y + 4:.1f}">{escape(name)}</text></g>')
    return marks


def _matrix(box: _Box, names: Sequence[str], alike: Floats, ranks: Sequence[int]) -> list[str]:
    cell, size = SIDE / len(names), min(11.0, 0.9 * SIDE / len(names))
    apart = alike[~np.eye(len(names), dtype=bool)]
    low, high = (float(apart.min()), float(apart.max())) if len(apart) else (0.0, 1.0)
    marks = [box.rect()]
    for row, i in enumerate(ranks):
        y = box.top + row * cell
        marks.append(
            f'<text style="font-size:{size:.1f}px" text-anchor="end" x="{box.left - 4:.1f}" '
            f'y="{y + cell / 2 + size / 3:.1f}">{escape(names[i])}</text>'
        )
        for column, j in enumerate(ranks):
            shade = min(1.0, max(0.0, (alike[i, j] - low) / max(high - low, 1e-12)))
            title = f"<title>{escape(names[i])}, {escape(names[j])}: {alike[i, j]:.2f}</title>"
            marks.append(
                f'<rect fill="hsl(210 60% {94 - 64 * shade:.0f}%)" x="{box.left + column * cell:.2f}" y="{y:.2f}" '
                f'width="{cell:.2f}" height="{cell:.2f}">{title}</rect>'
            )
    return marks


def order(alike: Floats) -> list[int]:
    """Of similarities (L, L): neighbours that are alike, by going on to the most similar one that is left."""
    left = set(range(len(alike)))
    here = int(alike.sum(1).argmin())
    found = [here]
    while left := left - {here}:
        here = max(left, key=lambda j: float(alike[here, j]))
        found.append(here)
    return found
