"""What the server counts and measures, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)


class Metrics:
    """One server's counters."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "impasto_requests", "Requests answered", ["method", "route", "status"], registry=registry
        )
        self.latency = Histogram(
            "impasto_request_seconds", "Time to an answer", ["route"], buckets=SECONDS, registry=registry
        )
        self.painting = Histogram(
            "impasto_painting_seconds", "Time to a painting, waiting left out", buckets=SECONDS, registry=registry
        )
        self.waiting = Gauge("impasto_waiting", "Pictures that wait to be painted", registry=registry)
        self.jobs = Gauge("impasto_jobs", "Jobs by state", ["state"], registry=registry)
        self.disk = Gauge("impasto_disk_bytes", "Bytes of the files of jobs", registry=registry)
        self.crashes = Counter("impasto_crashes", "Processes that died", ["process"], registry=registry)
        self.painter_memory = Gauge(
            "impasto_painter_memory_bytes", "Most memory that the painting process has taken", registry=registry
        )

    def text(self) -> bytes:
        """In the text format of Prometheus."""
        return generate_latest(self.registry)
