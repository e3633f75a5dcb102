"""Run by test_deepgram.py with Pipecat's Deepgram service: streams PCM at 16 kHz, prints its text as lines of JSON.

python deepgram_pipecat.py PORT KEY FILE
"""

import asyncio
import json
import sys
from pathlib import Path

from pipecat.frames.frames import (
    EndFrame,
    Frame,
    InputAudioRawFrame,
    InterimTranscriptionFrame,
    TranscriptionFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.deepgram.stt import DeepgramSTTService
from pipecat.workers.runner import WorkerRunner

CHUNK_BYTES = 640
PATIENCE_SECONDS = 60


class Printer(FrameProcessor):  # type: ignore[misc]  # the package has no types here
    """Prints what was heard; `finalized` is set once the service knows that the text is complete."""

    def __init__(self) -> None:
        super().__init__()
        self.finalized = asyncio.Event()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """See FrameProcessor."""
        await super().process_frame(frame, direction)
        if isinstance(frame, InterimTranscriptionFrame):
            print(json.dumps({"interim": frame.text}), flush=True)
        elif isinstance(frame, TranscriptionFrame):
            print(json.dumps({"final": frame.text, "finalized": frame.finalized}), flush=True)
            if frame.finalized:
                self.finalized.set()
        await self.push_frame(frame, direction)


async def main(port: str, key: str, file: str) -> None:
    """A user speaks, and stops: which voice detection tells the service, and it asks for the rest."""
    settings = DeepgramSTTService.Settings(language="en-US")
    service = DeepgramSTTService(api_key=key, base_url=f"ws://127.0.0.1:{port}", sample_rate=16_000, settings=settings)
    printer = Printer()
    worker = PipelineWorker(Pipeline([service, printer]), params=PipelineParams(audio_in_sample_rate=16_000))
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    running = asyncio.create_task(runner.run())
    audio = Path(file).read_bytes()
    for at in range(0, len(audio), CHUNK_BYTES):
        await worker.queue_frame(InputAudioRawFrame(audio[at : at + CHUNK_BYTES], 16_000, 1))
    await worker.queue_frame(VADUserStoppedSpeakingFrame())
    try:
        await asyncio.wait_for(printer.finalized.wait(), PATIENCE_SECONDS)
    finally:
        await worker.queue_frame(EndFrame())
        await running


asyncio.run(main(*sys.argv[1:]))
