"""The service: takes pictures, looks at each, tells what it found, and lets systemd know that it does."""

import sys
import time

from systemd import daemon

from .detector import Detector, ModelError
from .metrics import Metrics
from .settings import STATUS, TEST_PICTURE, Settings, SettingsError, choose_source, load_settings
from .source import Picture, Source, SourceError
from .status import Status, write_status

PATIENCE = 1.0  # seconds that a picture is waited for before we look around


class Watch:
    """One source being looked at."""

    def __init__(self, settings: Settings, detector: Detector, source: str, metrics: Metrics) -> None:
        self.settings = settings
        self.detector = detector
        self.source = source
        self.metrics = metrics
        self.looked_at = 0

    def run(self) -> None:
        """Look at pictures until a camera has come that is wanted more than the test picture.

        Raises:
            SourceError: no more pictures come.
        """
        self.metrics.test_picture.set(self.source == TEST_PICTURE)
        with Source(self.source, self.detector.width, self.detector.height, self.settings.rate) as source:
            while choose_source(self.settings.device) == self.source:
                if picture := source.next(PATIENCE):
                    self._look(source, picture)
            daemon.notify("STATUS=the source has changed")

    def _look(self, source: Source, picture: Picture) -> None:
        began = time.monotonic()
        finds = self.detector.find(picture.pixels, self.settings.threshold)
        latency = source.age(picture)
        self.metrics.inference.observe(time.monotonic() - began)
        self.metrics.latency.observe(latency)
        self.metrics.finds.inc(len(finds))
        self.looked_at += 1
        size = (self.detector.width, self.detector.height)
        model = str(self.settings.model)
        status = Status(self.source, model, size, picture.number, time.time(), latency, self.looked_at, finds)
        write_status(STATUS, status)
        daemon.notify("READY=1\nWATCHDOG=1")


def main() -> None:
    """Run until the source has gone or changed; systemd starts us anew then."""
    try:
        settings = load_settings()
        metrics = Metrics()
        metrics.serve(settings.port)
        Watch(settings, Detector(settings.model), choose_source(settings.device), metrics).run()
    except (SettingsError, ModelError, SourceError, OSError) as error:
        sys.exit(f"camera-detector: {error}")


if __name__ == "__main__":
    main()
