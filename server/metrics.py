"""The metrics that a server offers to Prometheus, at /metrics."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from earshot_asr.engine.audio import SAMPLE_RATE
from earshot_asr.engine.recognizer import Stream

disable_created_metrics()  # type: ignore[no-untyped-call]  # one more time series for each, of no use here
CONTENT_TYPE = CONTENT_TYPE_LATEST
LAG_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
BATCH_WINDOWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
AGE_SECONDS = (0.2, *LAG_SECONDS[5:])


class Metrics:
    """The metrics of one server; each is made with its name and meaning."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self.connections = Gauge("earshot_connections", "Websockets that are open.", registry=r)
        self.viewers = Gauge("earshot_viewers", "Viewers of published streams.", registry=r)
        self.streams = Gauge("earshot_streams", "Streams that are open.", registry=r)
        self.capacity = Gauge(
            "earshot_capacity_used", "Share of the capacity that the open streams may need.", registry=r
        )
        self.queue = Gauge("earshot_queue_windows", "Windows that wait to be encoded.", registry=r)
        self.backlog = Histogram(
            "earshot_backlog_seconds",
            "Audio that waits to be encoded, of each stream, each second.",
            buckets=LAG_SECONDS,
            registry=r,
        )
        self.staleness = Histogram(
            "earshot_staleness_seconds",
            "Age of the newest audio that the last partial has seen, of each speaking stream, each second.",
            buckets=AGE_SECONDS,
            registry=r,
        )
        self.final_lag = Histogram(
            "earshot_final_lag_seconds",
            "From the sample that made a final due, or would if the pause lasted, to its text; 0: it was there before.",
            buckets=LAG_SECONDS,
            registry=r,
        )
        self.batch = Histogram("earshot_batch_windows", "Windows in a batch.", buckets=BATCH_WINDOWS, registry=r)
        self.encoder = Histogram(
            "earshot_encoder_seconds", "Time of the device for a batch.", buckets=LAG_SECONDS, registry=r
        )
        self.windows = Counter("earshot_windows", "Windows encoded.", ["kind"], registry=r)
        self.superseded = Counter("earshot_windows_superseded", "Windows that a newer one took over.", registry=r)
        self.audio = Counter("earshot_audio_seconds", "Audio of streams that have ended.", registry=r)
        self.finals = Counter("earshot_finals", "Finals of streams that have ended.", registry=r)
        self.received = Counter("earshot_received_bytes", "Bytes of messages from clients.", registry=r)
        self.sent = Counter("earshot_sent_bytes", "Bytes of messages to clients.", registry=r)
        self.started = Counter("earshot_streams_started", "Streams admitted.", ["resumed"], registry=r)
        self.errors = Counter("earshot_errors", "Streams that ended with an error.", ["code"], registry=r)
        self.closed = Counter("earshot_closed", "Connections closed.", ["code"], registry=r)

    def observe(self, stream: Stream) -> None:
        """Records a stream's backlog and staleness; to be called once a second."""
        self.backlog.observe(stream.backlog / SAMPLE_RATE)
        if (age := stream.staleness) is not None:
            self.staleness.observe(age)

    def text(self) -> str:
        """All of them in Prometheus' text format."""
        return generate_latest(self.registry).decode()
