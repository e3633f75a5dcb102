"""/metrics, as Prometheus reads it, over a socket."""

from prometheus_client.parser import text_string_to_metric_families

from earshot_asr.engine.recognizer import Stream
from earshot_asr.server import wire
from earshot_asr.server.app import Server
from tests.server.dialects.test_native import DIALOGUE
from tests.server.loopback import connected, cut, dictate, get, serving, talk, until


async def scrape(server: Server) -> dict[str, float]:
    status, body = await get(server.port, "/metrics")
    assert status == 200
    return {
        sample.name + "".join(f"{{{value}}}" for key, value in sample.labels.items() if key != "le"): sample.value
        for family in text_string_to_metric_families(body)
        for sample in family.samples
        if sample.labels.get("le", "+Inf") == "+Inf"
    }


def streams(server: Server) -> list[Stream]:
    found = [each.conversation.stream for each in server.connections]
    return [stream for stream in found if isinstance(stream, Stream)]


async def test_what_happened_is_counted() -> None:
    async with serving() as server:
        finals = await dictate(server, DIALOGUE)
        await talk(server, "oops")
        await until(lambda: not server.connections)
        seen = await scrape(server)
    assert seen["earshot_finals_total"] == len(finals) == 2
    windows = {kind: seen.get(f"earshot_windows_total{{{kind}}}", 0) for kind in ("hop", "pause", "final")}
    assert seen["earshot_final_lag_seconds_count"] == windows["pause"] + windows["final"] == 2
    assert windows["hop"] + seen["earshot_windows_superseded_total"] >= 3
    assert seen["earshot_encoder_seconds_count"] == seen["earshot_batch_windows_count"]
    assert seen["earshot_batch_windows_sum"] == sum(windows.values())
    assert seen["earshot_received_bytes_total"] > 2 * len(DIALOGUE)
    assert seen["earshot_sent_bytes_total"] > 200
    assert abs(seen["earshot_audio_seconds_total"] - len(DIALOGUE) / 16_000) < 0.01
    assert seen["earshot_errors_total{invalid_json}"] == 1
    assert seen["earshot_closed_total{1000}"] == seen["earshot_closed_total{1008}"] == 1
    assert seen["earshot_streams_started_total{no}"] == 1
    assert seen["earshot_streams"] == seen["earshot_connections"] == seen["earshot_queue_windows"] == 0


async def test_what_is_open_is_seen() -> None:
    async with serving() as server, connected(server, wire.Start()) as one, connected(server):
        await one.recv()
        for chunk in cut(DIALOGUE[:16_000].tobytes()):
            await one.send(chunk)
        await until(lambda: any(stream.staleness for stream in streams(server)))
        for stream in streams(server):
            server.metrics.observe(stream)
        seen = await scrape(server)
    assert seen["earshot_connections"] == 2
    assert seen["earshot_streams"] == 1
    assert 0 < seen["earshot_capacity_used"] < 1
    assert seen["earshot_staleness_seconds_count"] == seen["earshot_backlog_seconds_count"] == 1
