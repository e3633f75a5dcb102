"""What viewers cost the speaker whose words they read: the delay of its partials, and the server's processor time.

    python -m tests.benchmarks.watching
    python -m tests.benchmarks.watching --viewers 0 --viewers 1000 --seconds 30

A real server with the bundled model hears the demo's recording in real time, published in a channel that so many
viewers watch, each a websocket of one other process. The delay of a partial is the time from when the newest sample
that it is about was sent to when it came. All viewers have to get every final. The last line on standard output is one
JSON object.
"""

import argparse
import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from rich.console import Console
from rich.table import Table
from websockets.asyncio.client import connect

from earshot_asr.engine.audio import SAMPLE_RATE, Seconds
from earshot_asr.engine.sources import open_file
from earshot_asr.server import wire
from earshot_asr.server.listener import raise_descriptor_limit
from tests.benchmarks.neighbours import await_ready, delays

CHANNEL = "stage"
AT_ONCE = 20
"""So many viewers connect at a time."""
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


# ---- the viewers, in a process of their own


async def view(port: int, count: int) -> None:
    """Says `ready` when all are there; when nobody speaks any more, how many finals each has read."""
    turn, there = asyncio.Semaphore(AT_ONCE), asyncio.Event()
    connected = 0

    async def one() -> int:
        nonlocal connected
        finals, spoken = 0, False
        url = f"ws://127.0.0.1:{port}{wire.WATCH_PATH}{CHANNEL}"
        async with turn:
            websocket = await connect(url, compression=None, ping_interval=None, open_timeout=60, proxy=None)
        connected += 1
        if connected == count:
            there.set()
        async with websocket:
            async for text in websocket:
                message = wire.decode_server(text)
                finals += isinstance(message, wire.FinalMessage)
                if isinstance(message, wire.Watching):
                    if spoken and not message.live:
                        break
                    spoken = spoken or message.live
        return finals

    tasks = [asyncio.create_task(one()) for _ in range(count)]
    await there.wait()
    print("ready", flush=True)
    print(json.dumps(sorted(set(await asyncio.gather(*tasks)))), flush=True)


@contextmanager
def viewers(port: int, count: int) -> Iterator["subprocess.Popen[str] | None"]:
    """So many, all of them there."""
    if not count:
        yield None
        return
    command = [sys.executable, "-m", __spec__.name, "--view", str(count), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()


# ---- the server


@contextmanager
def server() -> Iterator[tuple[int, int]]:
    """Port and process of a server that is ready."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    command = [sys.executable, "-m", "earshot_asr", "serve", "--port", str(port), "--per-address", "0"]
    process = subprocess.Popen([*command, "--viewers", "100000"], stderr=subprocess.DEVNULL)
    try:
        await_ready(port)
        yield port, process.pid
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def cpu_seconds(pid: int) -> Seconds:
    """Processor time that a process has had."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND


def measure(count: int, seconds: Seconds) -> dict[str, object]:
    """One run."""
    demo = np.concatenate(list(open_file("client/data/demo.flac")))
    pcm = np.resize(demo, round(seconds * SAMPLE_RATE))
    with server() as (port, pid), viewers(port, count) as process:
        time.sleep(1)
        before = cpu_seconds(pid)
        found = asyncio.run(delays(port, pcm, wire.Start(publish=CHANNEL)))
        used = cpu_seconds(pid) - before
        finals = json.loads(process.stdout.readline()) if process and process.stdout else []
    p50, p95 = (round(float(np.percentile(found, level)), 3) for level in (50, 95))
    return {
        "viewers": count,
        "partials": len(found),
        "p50": p50,
        "p95": p95,
        "cpu": round(used / seconds, 3),
        "finals": finals,
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--viewers", action="append", type=int, help="may be repeated (0, 1000, 0, 1000)")
    parser.add_argument("--seconds", type=float, default=22.0, help="of audio (22)")
    parser.add_argument("--view", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    raise_descriptor_limit()
    if options.view:
        asyncio.run(view(options.port, options.view))
        return
    rows = [measure(count, options.seconds) for count in options.viewers or [0, 1000, 0, 1000]]
    table = Table("viewers", "partials", "delay p50, s", "p95, s", "processor, share of one", "finals read by each")
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console(stderr=True).print(table)
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
