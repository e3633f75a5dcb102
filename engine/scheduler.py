"""Decides which windows are computed next. Plain data: no tensors, and no clock of its own.

Earliest deadline first: 300 ms after it is due for a final window, one hop for a hop window, and for a pause window
300 ms after the pause would end the utterance. No window is due before its audio would have been spoken in real time.
So a stream that sends faster uses only what other streams leave.
"""

from collections import deque
from dataclasses import dataclass, replace

from earshot_asr.engine.audio import Seconds
from earshot_asr.engine.model import Ladder
from earshot_asr.engine.windows import Window, merge

FINAL_DEADLINE_SECONDS = 0.3
"""A final window should be done so long after it is due."""
MOST_MERGED_HOPS = 4
"""Under load, at most so many hop windows of a stream are merged into one: partials come at least every fourth hop, or
with the next pause."""


@dataclass(frozen=True, slots=True)
class Job:
    """A window of a stream that is to be computed; `hops` hop windows were merged into it.

    deadline    when it should be done, in seconds of the caller's clock
    due         when the sample arrived that completed it, on the same clock
    language    whose weights compute it; None: the model has only one
    """

    stream: int
    window: Window
    deadline: Seconds
    hops: int = 1
    due: Seconds = 0.0
    language: str | None = None


class Scheduler:
    """Queues jobs of all streams, and gives them out in batches.

    batch_frames    most frames in a batch, padding counted; a longer window runs alone
    superseded      how many windows were dropped or merged because they were late
    """

    def __init__(self, batch_frames: int, ladder: Ladder) -> None:
        self.batch_frames = batch_frames
        self.ladder = ladder
        self._queues: dict[int, deque[Job]] = {}  # by stream, in order
        self._deadlines: dict[
            int, Seconds
        ] = {}  # by stream: of its most urgent job, as the jobs before that one have to be done first
        self.superseded = 0

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def add(self, job: Job) -> None:
        """Queues a job after those of its stream."""
        self._queues.setdefault(job.stream, deque()).append(job)
        self._deadlines[job.stream] = min(job.deadline, self._deadlines.get(job.stream, job.deadline))

    def hurry(self, stream: int, deadline: Seconds) -> None:
        """Moves the deadline of a stream's last job forward, if it has any and that is later."""
        if queue := self._queues.get(stream):
            queue[-1] = replace(queue[-1], deadline=min(deadline, queue[-1].deadline))
            self._deadlines[stream] = min(deadline, self._deadlines[stream])

    def oldest(self, stream: int) -> Job | None:
        """The job of a stream that has waited longest; None if it has none."""
        queue = self._queues.get(stream)
        return queue[0] if queue else None

    def drop(self, stream: int) -> None:
        """Removes a stream and its jobs."""
        self._queues.pop(stream, None)
        self._deadlines.pop(stream, None)

    def take(self, now: Seconds) -> list[Job]:
        """The next batch: the most urgent job, and others of its language padded to the same length; or nothing."""
        batch: list[Job] = []
        kind: tuple[int, str | None] = (0, None)
        for stream in sorted(self._deadlines, key=self._deadlines.__getitem__):
            queue = self._queues[stream]
            while queue:
                job = self._head(queue, now)
                if not batch:
                    kind = self._kind(job)
                elif self._kind(job) != kind or (len(batch) + 1) * kind[0] > self.batch_frames:
                    break
                batch.append(job)
                queue.popleft()
            if (len(batch) + 1) * kind[0] > self.batch_frames:
                break
        for stream in {job.stream for job in batch}:
            if queue := self._queues[stream]:
                self._deadlines[stream] = min(job.deadline for job in queue)
            else:
                self.drop(stream)
        return batch

    def _kind(self, job: Job) -> tuple[int, str | None]:
        """What the windows of a batch have in common: the length to which they are padded, and the language."""
        return self.ladder.rung(job.window.frames), job.language

    def _head(self, jobs: deque[Job], now: Seconds) -> Job:
        """A stream's next job. A window that is late is superseded by the one after it, if that is of its utterance.

        Else it is a pause window that turned out to be the final one, which nothing can replace.
        """
        while len(jobs) > 1 and jobs[0].deadline < now and jobs[0].window.droppable:
            older, newer = jobs[0], jobs[1]
            if older.window.segment != newer.window.segment:
                break
            if newer.window.final:  # it replaces all that was said before
                jobs.popleft()
            elif older.window.emit_to == newer.window.emit_from and (
                newer.window.pause or older.hops + newer.hops <= MOST_MERGED_HOPS
            ):
                hops = newer.hops if newer.window.pause else older.hops + newer.hops
                jobs.popleft()
                jobs[0] = replace(newer, window=merge(older.window, newer.window), hops=hops)
            else:
                break
            self.superseded += 1
        return jobs[0]
