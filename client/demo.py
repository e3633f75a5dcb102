"""The demo: a bundled recording is spoken to a server of its own, and what comes back is held to what it must be."""

from dataclasses import dataclass
from importlib.resources import files
from statistics import median

from rich.console import Console
from rich.markup import escape

from earshot_asr.client.files import FileAudio
from earshot_asr.client.live import SampleClock, caption, local_server
from earshot_asr.client.stream import Message
from earshot_asr.client.terminal import screen
from earshot_asr.engine.audio import Pcm, Seconds
from earshot_asr.engine.errors import EarshotError
from earshot_asr.engine.text import normalize
from earshot_asr.server.wire import Final, Partial

MAX_CER_SHARE = 0.05
HINT = (
    "The bundled model is small and writes by ear what it does not know; larger ones write better: "
    "earshot serve --model facebook/wav2vec2-base-960h"
)
RECORDING_FILE, TRANSCRIPT_FILE = "demo.flac", "demo.txt"


class DemoFailed(EarshotError):
    """Earshot runs, but not as it should."""


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What came of a recording.

    early           a partial came before the audio ended
    first_partial   from the beginning of the first word to the first partial; None if there was none
    final_delays    from the end of each utterance's last word to its final
    stable          share of the words that were stable before their final
    cer             character error rate against what was read
    """

    text: str
    early: bool
    first_partial: Seconds | None
    final_delays: list[Seconds]
    stable: float
    cer: float

    def faults(self) -> list[str]:
        """Why the demo failed; empty if it did not."""
        faults = []
        if not self.early:
            faults.append("no partial came before the audio ended")
        if self.cer > MAX_CER_SHARE:
            faults.append(f"the character error rate is {self.cer:.1%}, it must be at most {MAX_CER_SHARE:.0%}")
        return faults

    def __str__(self) -> str:
        first = "none" if self.first_partial is None else f"{self.first_partial:.2f} s after the first word began"
        delays = self.final_delays or [float("nan")]
        return "\n".join(
            (
                f"first partial         {first}",
                f"finals                {median(delays):.2f} s after the last word ended (slowest {max(delays):.2f} s)",
                f"words stable early    {self.stable:.0%}",
                f"character error rate  {self.cer:.1%}",
            )
        )


class DemoObserver:
    """Takes down when what was said. A Screen."""

    def __init__(self) -> None:
        self._clock = SampleClock()
        self._first_partial: Seconds | None = None
        self._early = False
        self._open: Partial | None = None
        self._finals: list[Final] = []
        self._delays: list[Seconds] = []
        self._stable = 0

    def hear(self, pcm: Pcm, dropped: Seconds, now: Seconds) -> None:
        """See Screen."""
        self._clock.hear(len(pcm), now)
        self._early = self._first_partial is not None

    def show(self, message: Message, now: Seconds) -> None:
        """See Screen."""
        match message:
            case Partial(text=text) if text:
                self._open = message
                self._first_partial = now if self._first_partial is None else self._first_partial
            case Final():
                self._finals.append(message)
                self._delays.append(self._clock.age(message.words[-1].end if message.words else message.end, now))
                if self._open is not None and self._open.segment == message.segment:
                    self._stable += stable_words(self._open, message)

    def report(self, reference: str) -> DemoResult:
        """What came of it, given what was read."""
        text = " ".join(final.text for final in self._finals)
        first = None
        if self._first_partial is not None and self._finals:
            words = self._finals[0].words
            first = self._clock.age(words[0].start if words else self._finals[0].start, self._first_partial)
        return DemoResult(
            text=text,
            early=self._early,
            first_partial=first,
            final_delays=self._delays,
            stable=self._stable / max(1, len(text.split())),
            cer=character_error_rate(reference, text),
        )


async def demo(console: Console, device: str = "auto") -> bool:
    """Streams the bundled recording in real time, shows captions and figures. True if Ctrl-C ended it before.

    Raises DemoFailed if they aren't good enough.
    """
    data = files("client") / "data"
    recording, transcript = data / RECORDING_FILE, data / TRANSCRIPT_FILE
    if not (recording.is_file() and transcript.is_file()):
        raise DemoFailed(f"{recording} or {TRANSCRIPT_FILE} beside it is missing; install Earshot anew")
    witness = DemoObserver()
    async with local_server(console, device=device) as url:
        audio = FileAudio(str(recording))
        with screen(console) as shown:
            if await caption(url, audio, [witness, shown], retry=0):
                return True
    reference = transcript.read_text(encoding="utf-8")
    report = witness.report(reference)
    read = " ".join(reference.split())
    console.print(
        f"\n[bold]Read aloud[/]\n{escape(read)}\n\n[bold]Transcript[/]\n{escape(report.text)}\n\n"
        f"[bold]Figures[/]\n{report}",
        highlight=False,
    )
    console.print(f"\n{HINT}", style="dim", highlight=False)
    if faults := report.faults():
        raise DemoFailed(f"the demo failed: {' and '.join(faults)}")
    return False


def stable_words(partial: Partial, final: Final) -> int:
    """How many words of a final its last partial held in its stable part."""
    stable = partial.text[: partial.stable].split()
    return sum(a == b for a, b in zip(stable, final.text.split(), strict=False))


def character_error_rate(reference: str, text: str) -> float:
    """jiwer's, after the normalizer that is used everywhere."""
    import jiwer

    return float(jiwer.cer(normalize(reference), normalize(text)))
