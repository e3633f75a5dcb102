"""TLS over real sockets, with certificates of an authority that the test is."""

import asyncio
import logging
import ssl
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trustme

from earshot_asr.client.stream import ClientStream, StreamError
from earshot_asr.engine.errors import ConfigError
from earshot_asr.server import wire
from earshot_asr.server.addresses import SPARE_CONNECTIONS
from earshot_asr.server.settings import Limits
from earshot_asr.server.tls import Certificate
from earshot_asr.server.visitor import READ_BYTES, Visitor
from tests.helpers import silence, speak
from tests.server.loopback import GIVE_UP_SECONDS, serving, until


class Files:
    """The certificate of an authority, and one for this machine with its key."""

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        self.ca, self.certificate, self.key = (folder / name for name in ("ca.pem", "cert.pem", "key.pem"))
        self.authority.cert_pem.write_to_path(self.ca)
        self.issue()

    def issue(self) -> None:
        """A new certificate, as after a year."""
        issued = self.authority.issue_cert("localhost", "127.0.0.1")
        self.certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(self.key)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def secured(files: Files) -> dict[str, Any]:
    return {"tls_cert": str(files.certificate), "tls_key": str(files.key)}


async def test_a_stream_is_encrypted_and_its_text_the_same(files: Files) -> None:
    pcm = np.concatenate([speak("HELLO THERE"), silence(1)])
    texts = []
    plain: dict[str, Any] = {}
    for settings in (plain, secured(files)):
        async with serving(**settings) as server:
            assert server.url.startswith("wss://" if settings else "ws://")
            async with ClientStream(server.url, ca_file=files.ca) as stream:
                for at in range(0, len(pcm), 3200):
                    await stream.send(pcm[at : at + 3200])
                await stream.stop()
                texts.append([m.text async for m in stream if isinstance(m, wire.FinalMessage)])
    assert texts[0] and texts[0] == texts[1]


async def test_who_does_not_trust_the_certificate_is_told(files: Files) -> None:
    async with serving(**secured(files)) as server:
        with pytest.raises(StreamError, match=r"is not trusted: .*; --tls-ca names a file"):
            async with ClientStream(server.url, retry=0):
                pass
        with pytest.raises(StreamError, match=r"does not speak websocket: .*; is it wss://\?"):
            async with ClientStream(server.url.replace("wss:", "ws:"), retry=0):
                pass
        with pytest.raises(ConfigError, match="can't use the certificates in"):
            async with ClientStream(server.url, ca_file=files.key.with_name("nothing.pem"), retry=0):
                pass


async def test_a_client_that_says_nothing_costs_nothing(files: Files) -> None:
    async with serving(**secured(files)) as server:
        silent = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(5)]
        junk_reader, junk = await asyncio.open_connection("127.0.0.1", server.port)
        junk.write(b"GET / HTTP/1.1\r\n\r\n" * 100)
        assert await asyncio.wait_for(junk_reader.read(), 20) is not None
        async with ClientStream(server.url, ca_file=files.ca, retry=0) as stream:
            await stream.stop()
            assert isinstance([message async for message in stream][-1], wire.Done)
        for _, writer in [*silent, (junk_reader, junk)]:
            writer.close()


async def test_a_certificate_is_read_again(files: Files, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def serial(port: int) -> bytes:
        context = ssl.create_default_context(cafile=files.ca)
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
        found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return found

    async with serving(**secured(files)) as server:
        old = await serial(server.port)
        files.issue()
        server.reload()
        new = await serial(server.port)
        assert old != new
        files.key.write_text("broken", encoding="utf-8")
        server.reload()
        assert "certificate: nothing has changed" in caplog.text
        assert await serial(server.port) == new


def test_files_that_do_not_fit(files: Files, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    wrong = Files(other)
    with pytest.raises(ConfigError, match="does not belong to the key"):
        Certificate(str(files.certificate), str(wrong.key))
    with pytest.raises(ConfigError, match="there is no file"):
        Certificate(str(tmp_path / "nothing.pem"), None)
    with pytest.raises(ConfigError, match="PEM format, with its private key"):
        Certificate(str(files.certificate), None)
    both = tmp_path / "both.pem"
    both.write_bytes(files.key.read_bytes() + files.certificate.read_bytes())
    Certificate(str(both), None)


@pytest.mark.parametrize("port", ["port", "rest_port"])
async def test_an_address_has_no_more_unfinished_handshakes_than_connections(files: Files, port: str) -> None:
    """And what has gone, with or without a handshake, is forgotten."""
    limits = Limits(streams=8, per_address=2)
    async with serving(limits=limits, rest_port=0, **secured(files)) as server, asyncio.timeout(GIVE_UP_SECONDS):
        most = 2 + SPARE_CONNECTIONS
        for _ in range(2):
            clients = [await asyncio.open_connection("127.0.0.1", server.ports[port]) for _ in range(most + 5)]
            reads = [asyncio.create_task(reader.read()) for reader, _ in clients]
            while sum(read.done() for read in reads) < 5:
                await asyncio.sleep(0.01)
            assert sum(read.done() for read in reads) == 5
            for _, writer in clients:
                writer.close()
            await asyncio.wait(reads)
            await until(lambda: not server._census._open)
        context = ssl.create_default_context(cafile=files.ca)
        for _ in range(most + 5):
            _, writer = await asyncio.open_connection("127.0.0.1", server.ports[port], ssl=context)
            writer.transport.abort()
        await until(lambda: not server._census._open)


async def test_no_more_is_read_of_a_client_at_a_time_than_without_tls(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    received = Visitor.data_received

    def measured(visitor: Visitor, data: bytes) -> None:
        sizes.append(len(data))
        received(visitor, data)

    monkeypatch.setattr(Visitor, "data_received", measured)
    async with serving(**secured(files)) as server, ClientStream(server.url, ca_file=files.ca) as stream:
        for _ in range(11):
            await stream.send(np.zeros(30_000, np.int16))
        await stream.stop()
        assert [message async for message in stream]
    assert sum(sizes) > 600_000 and max(sizes) < 2 * READ_BYTES  # a part of a TLS record may have waited
