"""One speaks, many read: a channel has the text of one stream at a time, and any number of viewers.

The speaker's connection only leaves what is new here; a task of each channel tells the viewers, some at a time, so that
no stream waits for them. Messages are those of the native protocol, encoded once for all.
"""

import asyncio
import re
from collections import deque
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import replace
from itertools import islice

from websockets.asyncio.server import broadcast

from earshot_asr.engine.events import Final, Partial
from earshot_asr.server import wire
from earshot_asr.server.dialects.native import final_message, partial_message
from earshot_asr.server.line import Gone
from earshot_asr.server.refusals import Refused
from earshot_asr.server.visitor import Visitor

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
REMEMBERED_FINALS = 20
"""Who comes late gets so many."""
VIEWERS_AT_A_TIME = 50
"""Others get their turn after so many: sending to one takes some 20 microseconds."""
UNREAD_BYTES = 64 * 1024
"""A viewer that leaves this many bytes unread is disconnected."""


HEARD_BYTES = 1024 * 1024
"""A viewer that sends this much is disconnected: nothing else would hold it back."""


class Speaker:
    """The stream that a channel has now; a conversation.Publisher. Made by Channels.publish."""

    def __init__(self, channel: "Channel", language: str | None) -> None:
        self.language = language
        self._channel = channel

    def tell(self, event: Partial | Final) -> None:
        """Something was said. A stream that was replaced tells nobody."""
        if self._channel.speaker is self:
            self._channel.tell(event)

    def close(self) -> None:
        """The stream has ended."""
        if self._channel.speaker is self:
            self._channel.take(None)


class Channel:
    """What one channel has to tell, and who reads it.

    name     of the channel
    empty    is called when nobody speaks and nobody reads: what was said is forgotten
    """

    def __init__(self, name: str, empty: Callable[[], None]) -> None:
        self.name = name
        self.speaker: Speaker | None = None
        self.viewers: set[Visitor] = set()
        self._coming: set[Visitor] = set()  # viewers that have not been told what was said before
        self._empty = empty
        self._finals: deque[str] = deque(maxlen=REMEMBERED_FINALS)
        self._partials: dict[int | None, str] = {}  # the newest that is open, of each channel of the audio
        self._told_cuts: dict[int | None, int] = {}  # of the newest final
        self._news: list[str] = []  # to be told to all, besides the partials
        self._stale = False  # whether the partials have changed since they were told
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    # ---- the speaker

    def take(self, speaker: Speaker | None, *, resumed: bool = False) -> None:
        """Another stream speaks from now on, or none: then one that has been cut may come back, and is resumed."""
        self.speaker = speaker
        if speaker and not resumed:
            self._told_cuts = {}
        self._partials = {}
        self._put(self._state())
        self._check()

    def tell(self, event: Partial | Final) -> None:
        """A resumed stream says again what its speaker may not have heard; here it was heard, so it is left out."""
        told = self._told_cuts.get(event.channel, -1)
        match event:
            case Final() if event.cut > told:
                self._told_cuts[event.channel] = event.cut
                self._partials.pop(event.channel, None)
                self._finals.append(wire.encode(final_message(event, with_words=False)))
                self._put(self._finals[-1])
            case Partial() if event.segment >= told:
                self._partials[event.channel] = wire.encode(partial_message(replace(event, words=None)))
                self._stale = True
                self._changed.set()

    # ---- the viewers

    async def watch(self, viewer: Visitor) -> None:
        """Tells a viewer all there is until it has gone."""
        viewer.when_flooded(viewer.abort)
        self._coming.add(viewer)
        self._changed.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        try:
            await _heed(viewer)
        finally:
            self._coming.discard(viewer)
            self.viewers.discard(viewer)
            self._check()

    @property
    def reading(self) -> list[Visitor]:
        """All viewers, those that have just come included."""
        return [*self.viewers, *self._coming]

    def _state(self) -> str:
        speaker = self.speaker
        return wire.encode(wire.Watching(self.name, speaker is not None, speaker.language if speaker else None))

    def _put(self, message: str) -> None:
        if self.viewers:
            self._news.append(message)
            self._changed.set()

    def _check(self) -> None:
        if self.viewers or self._coming:
            return
        if self._task:
            self._task.cancel()
            self._task = None
        self._news = []
        if self.speaker is None:
            self._empty()

    async def _run(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            messages, self._news = self._news, []
            if self._stale:
                messages += self._partials.values()
                self._stale = False
            groups = [*_groups(list(self.viewers))]
            self._welcome()
            for group in groups:
                _send(group, messages)
                await asyncio.sleep(0)

    def _welcome(self) -> None:
        """Tells those that have just come what was said before; what follows they are told like all others."""
        _send(self._coming, [self._state(), *self._finals, *self._partials.values()])
        self.viewers |= self._coming
        self._coming = set()


class Channels:
    """The channels of a server.

    most_viewers    of all channels together
    """

    def __init__(self, most_viewers: int) -> None:
        self._most = most_viewers
        self._channels: dict[str, Channel] = {}

    @property
    def viewers(self) -> int:
        """How many there are."""
        return sum(len(channel.reading) for channel in self._channels.values())

    @property
    def full(self) -> bool:
        """Whether one more viewer would be refused."""
        return self.viewers >= self._most

    def publish(self, name: str, *, resumed: bool, language: str | None = None) -> Speaker:
        """A stream speaks in this channel. Raises Refused if another does, unless this one has been resumed."""
        if not NAME.fullmatch(name):
            raise Refused("publish_refused", f"a channel is named with 1 to 64 letters, digits, - and _, not {name!r}")
        channel = self._channel(name)
        if channel.speaker and not resumed:
            raise Refused("channel_taken", f"another stream publishes to {name} now")
        speaker = Speaker(channel, language)
        channel.take(speaker, resumed=resumed)
        return speaker

    async def watch(self, name: str, viewer: Visitor) -> None:
        """Serves a viewer until it has gone."""
        await self._channel(name).watch(viewer)

    def all(self) -> list[Visitor]:
        """All viewers."""
        return [viewer for channel in self._channels.values() for viewer in channel.reading]

    def _channel(self, name: str) -> Channel:
        if name not in self._channels:
            self._channels[name] = Channel(name, lambda: self._forget(name))
        return self._channels[name]

    def _forget(self, name: str) -> None:
        self._channels.pop(name, None)


async def _heed(viewer: Visitor) -> None:
    """Reads what a viewer says, which means nothing, until it has gone; who says too much is disconnected."""
    heard = 0
    with suppress(Gone):
        while heard < HEARD_BYTES:
            heard += len(await viewer.receive())
        viewer.abort()


def _send(viewers: Collection[Visitor], messages: Iterable[str]) -> None:
    """Sends without waiting. Who does not read is disconnected."""
    for message in messages:
        broadcast(viewers, message)
    for viewer in viewers:
        if viewer.unread_bytes > UNREAD_BYTES:
            viewer.abort()


def _groups(viewers: list[Visitor]) -> Iterable[list[Visitor]]:
    rest = iter(viewers)
    while group := list(islice(rest, VIEWERS_AT_A_TIME)):
        yield group
