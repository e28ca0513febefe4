"""What Prometheus may ask for."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

# Seconds, doubling: from what an accelerator takes to where nobody would call it live any more.
BUCKETS = tuple(0.001 * 2**step for step in range(14))
ADDRESS = "127.0.0.1"


class Metrics:
    """The service's metrics; :meth:`serve` opens their port, and lets its errors through."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        told = {"registry": self.registry, "namespace": "camera_detector"}
        seconds = {**told, "unit": "seconds", "buckets": BUCKETS}
        self.latency = Histogram("latency", "From a picture being taken to what is in it being known", **seconds)
        self.inference = Histogram("inference", "The detector's part of it", **seconds)
        self.finds = Counter("finds", "Things found", **told)
        self.test_picture = Gauge("test_picture", "1 while the test picture stands in for a camera", **told)

    def serve(self, port: int) -> None:
        """Answer on a port of the loopback interface, in a thread of its own."""
        start_http_server(port, addr=ADDRESS, registry=self.registry)
