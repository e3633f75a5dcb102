"""The delay of one stream alone, and beside hostile neighbours of each kind.

    python -m tests.benchmarks.neighbours
    python -m tests.benchmarks.neighbours --kind tiny --kind junk --seconds 30

A real server with the bundled model hears the demo's recording in real time. A neighbour, a process of low priority
with an address of its own (127.0.0.2: Linux), does its worst meanwhile, and comes back whenever it is disconnected. The
delay of a partial is the time from when the newest sample that it is about was sent to when it came. What the
neighbour's own process takes from the machine is part of it. On a machine that is busy with other things, --repeats 3
takes the best of three runs. The last line on standard output is one JSON object.
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
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import numpy as np
from rich.console import Console
from rich.table import Table
from websockets.asyncio.client import connect
from websockets.frames import Opcode

from earshot_asr.engine.audio import SAMPLE_RATE, Pcm, Seconds
from earshot_asr.engine.sources import open_file
from earshot_asr.server import wire
from tests.end_to_end.test_bad_input import frame, handshake

HOSTILE_ADDRESS = "127.0.0.2"
CHUNK_SECONDS = 0.1
BLOCK_BYTES = 64 * 1024
"""A neighbour sends about so much at once."""
HALF_OPEN_SOCKETS = 2000
STEP_SECONDS = 0.05
START = handshake() + frame(Opcode.TEXT, b'{"type":"start","partials":false}')


def block(unit: bytes) -> bytes:
    """As many of it as make a block."""
    return unit * (BLOCK_BYTES // len(unit))


FLOODS: dict[str, tuple[bytes, bytes]] = {
    "refused": (START + frame(Opcode.TEXT, b"oops"), frame(Opcode.BINARY, bytes(BLOCK_BYTES))),
    "tiny": (START, block(frame(Opcode.BINARY, bytes(1)))),
    "fragments": (START + frame(Opcode.BINARY, fin=False), block(frame(Opcode.CONT, fin=False))),
    "pings": (START, block(frame(Opcode.PING))),
    "keepalives": (START, block(frame(Opcode.TEXT, b'{"type":"keepalive"}'))),
    "silence": (START, frame(Opcode.BINARY, bytes(32_000))),
    "junk": (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", os.urandom(BLOCK_BYTES)),
    "long path": (b"GET /", b"x" * BLOCK_BYTES),
}
"""Kind of neighbour -> what it says first, and then without end. It reads nothing."""
KINDS = {
    "alone": "nobody else",
    "unread log": "nobody reads the log, and handshakes fill it",
    "refused": "a client that is refused, and goes on sending",
    "handshakes": "a websocket is opened and left, as fast as can be",
    "half-open": f"{HALF_OPEN_SOCKETS} connections that say nothing",
    "tiny": "messages of one byte of audio",
    "fragments": "empty fragments of one message",
    "pings": "pings",
    "keepalives": "keepalives and no audio",
    "silence": "silence faster than real time (no mischief: a file is streamed so)",
    "junk": "a request for a page with noise behind it",
    "long path": "a request that is one endless line",
}


# ---- the neighbour, in a process of its own


def misbehave(kind: str, port: int) -> None:
    """Until it is killed."""
    os.nice(19)
    act: Callable[[int], None] = {"half-open": half_open, "handshakes": handshakes, "unread log": handshakes}.get(
        kind, lambda port: flood(port, *FLOODS[kind])
    )
    while True:
        with suppress(OSError):
            act(port)


def hostile_socket(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=30, source_address=(HOSTILE_ADDRESS, 0))


def flood(port: int, first: bytes, block: bytes) -> None:
    with hostile_socket(port) as sock:
        sock.sendall(first)
        while True:
            sock.sendall(block)


def handshakes(port: int) -> None:
    with hostile_socket(port) as sock:
        sock.sendall(handshake())
        sock.recv(1)


def half_open(port: int) -> None:
    held = [hostile_socket(port) for _ in range(HALF_OPEN_SOCKETS)]
    time.sleep(1)
    for sock in held:
        sock.close()


@contextmanager
def neighbour(kind: str, port: int) -> Iterator[None]:
    """One at work, unless the kind is `alone`."""
    if kind == "alone":
        yield
        return
    process = subprocess.Popen([sys.executable, "-m", __spec__.name, "--misbehave", kind, "--port", str(port)])
    try:
        yield
    finally:
        process.kill()
        process.wait()


# ---- the server


@contextmanager
def server(log_is_read: bool) -> Iterator[int]:
    """The port of a server that is ready. Its log goes nowhere, or into a pipe that nobody reads."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    command = [sys.executable, "-m", "earshot_asr", "serve", "--port", str(port)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL if log_is_read else subprocess.PIPE)
    try:
        await_ready(port)
        yield port
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


def await_ready(port: int) -> None:
    for _ in range(1200):
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz"):
            return
        time.sleep(STEP_SECONDS)
    raise TimeoutError(f"no server at port {port}")


# ---- the stream that is measured


async def delays(port: int, pcm: Pcm, start: wire.Start | None = None) -> list[Seconds]:
    """The delay of each partial of a stream in real time; endless where the stream did not live to its end."""
    chunk = round(CHUNK_SECONDS * SAMPLE_RATE)
    sent: list[float] = []
    found: list[Seconds] = []

    async def speak() -> None:
        began = time.monotonic()
        for n, at in enumerate(range(0, len(pcm), chunk)):
            await asyncio.sleep(began + (n + 1) * CHUNK_SECONDS - time.monotonic())
            sent.append(time.monotonic())
            await websocket.send(pcm[at : at + chunk].tobytes())
        await websocket.send(wire.encode(wire.Stop()))

    url = f"ws://127.0.0.1:{port}{wire.PATH}"
    async with connect(url, compression=None, ping_interval=None, open_timeout=60, proxy=None) as websocket:
        await websocket.send(wire.encode(start or wire.Start()))
        speaking = asyncio.create_task(speak())
        async for text in websocket:
            message = wire.decode_server(text)
            if isinstance(message, wire.PartialMessage):
                newest = min(int(message.end * SAMPLE_RATE) // chunk, len(sent) - 1)
                found.append(time.monotonic() - sent[newest])
            if isinstance(message, wire.Done):
                await speaking
                return found
        speaking.cancel()
    return [float("inf")]


def best(kind: str, seconds: Seconds, repeats: int) -> dict[str, object]:
    """One row of the table: the run with the lowest p95."""
    return min((measure(kind, seconds) for _ in range(repeats)), key=lambda row: float(str(row["p95"])))


def measure(kind: str, seconds: Seconds) -> dict[str, object]:
    """One run."""
    demo = np.concatenate(list(open_file("client/data/demo.flac")))
    pcm = np.resize(demo, round(seconds * SAMPLE_RATE))
    with server(log_is_read=kind != "unread log") as port, neighbour(kind, port):
        if kind != "alone":
            time.sleep(1)
        found = asyncio.run(delays(port, pcm))
    p50, p95 = (round(float(np.percentile(found, level)), 3) for level in (50, 95))
    return {"kind": kind, "partials": len(found), "p50": p50, "p95": p95, "longest": round(max(found), 3)}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", action="append", choices=KINDS, help="may be repeated; all of them if not given")
    parser.add_argument("--seconds", type=float, default=11.0, help="of audio beside each (11)")
    parser.add_argument("--repeats", type=int, default=1, help="runs; the best of each kind counts (1)")
    parser.add_argument("--misbehave", choices=KINDS, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.misbehave:
        misbehave(options.misbehave, options.port)
    rows = [best(kind, options.seconds, options.repeats) for kind in options.kind or KINDS]
    table = Table(title=f"delay of partials, s; {options.seconds:g} s of audio beside each")
    for name in ("neighbour", "", "partials", "p50", "p95", "longest"):
        table.add_column(name, justify="left" if name in ("neighbour", "") else "right")
    for row in rows:
        figures = [str(row[name]) for name in ("partials", "p50", "p95", "longest")]
        table.add_row(str(row["kind"]), KINDS[str(row["kind"])], *figures)
    Console().print(table)
    print(json.dumps({"benchmark": "neighbours", "seconds": options.seconds, "rows": rows}))


if __name__ == "__main__":
    main()
