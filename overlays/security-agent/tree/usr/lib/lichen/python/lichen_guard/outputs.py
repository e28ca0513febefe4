"""From an alert to those who shall know: log file, journal, webhook, metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from lichen_agent.clock import boot_time, on_the_wall

from .alert import Alert, Priority
from .alertrecord import Record
from .courier import Courier, DeliveryError
from .eventlog import EventLog, last_number
from .metrics import Metrics
from .ratelimit import MINUTE, RateLimit
from .settings import Settings
from .webhook import Webhook

STOP_PATIENCE = 5.0  # seconds for what waits in the queues when the agent stops
WEBHOOK_ATTEMPTS = 8  # with pauses of 1, 2, 4, ... 60 seconds: about two minutes


class Outputs:
    """Tells alerts, not too many of one rule, to everybody at once; never waits for any of them.

    Args:
        couriers: to each place that wants all alerts.
        minimum: alerts less urgent than this are counted only.
        number: of the last record told before.
    """

    def __init__(
        self,
        couriers: Sequence[Courier],
        metrics: Metrics,
        minimum: Priority,
        per_minute: int,
        number: int = 0,
        clock: Callable[[], int] = boot_time,
    ) -> None:
        self.couriers, self.metrics, self.minimum = couriers, metrics, minimum
        self.counts: dict[str, int] = {}
        self.held_back = 0
        self._limit, self._number, self._clock = RateLimit(per_minute), number, clock
        self._summary_at = clock() + MINUTE

    def tell(self, alert: Alert) -> None:
        """Count the alert and, unless it is not urgent enough or one too many, send it everywhere."""
        now = self._clock()
        self.counts[alert.rule] = self.counts.get(alert.rule, 0) + 1
        self.metrics.alerts.labels(alert.rule, alert.priority.name.lower()).inc()
        if alert.source == "rules":
            self.metrics.latency.observe(max(0, now - alert.time) / 1e9)
        # What the agent says of itself is told however urgent: stopped, lost, held back.
        if alert.source != "agent" and alert.priority > self.minimum:
            return
        # And it is rare by its making: "stopped" must not be one too many.
        if alert.source != "agent" and not self._limit.admit(alert.rule, now):
            self.held_back += 1
            self.metrics.held_back.labels(alert.rule).inc()
            return
        self._number += 1
        record = Record(self._number, on_the_wall(alert.time), alert)
        for courier in self.couriers:
            courier.send(record)

    def turn(self) -> None:
        """Once a minute say what was held back. Called often."""
        if self._clock() >= self._summary_at:
            self._summarise()
        for courier in self.couriers:
            self.metrics.raise_to(self.metrics.delivered, courier.name, courier.delivered)
            self.metrics.raise_to(self.metrics.given_up, courier.name, courier.given_up)

    def _summarise(self) -> None:
        now = self._clock()
        self._summary_at = now + MINUTE
        for rule, count in self._limit.take_held_back().items():
            text = f"{count} more alerts of this rule were held back: {rule}"
            fields = {"rule": rule, "count": count}
            self.tell(Alert("agent", "Alerts held back", Priority.NOTICE, text, now, fields))

    def close(self) -> None:
        """Say what was held back, and give the places a few seconds to take what waits."""
        self._summarise()
        for courier in self.couriers:
            courier.close(STOP_PATIENCE)

    def state(self) -> Mapping[str, object]:
        """For people and machines."""
        places = {
            courier.name: {
                "delivered": courier.delivered,
                "waiting": courier.waiting,
                "given_up": courier.given_up,
                "last_error": courier.last_error,
            }
            for courier in self.couriers
        }
        return {"alerts": self.counts, "held_back": self.held_back, "outputs": places}


def to_journal(record: Record) -> None:
    """Put a record into the journal.

    Raises:
        DeliveryError: python3-systemd is not here.
    """
    try:
        from systemd import journal
    except ImportError as error:
        raise DeliveryError(f"the journal cannot be written: {error}", final=True) from error
    fields = dict(record.to_journal())
    journal.send(fields.pop("MESSAGE"), **fields)


def make_outputs(settings: Settings, metrics: Metrics) -> Outputs:
    """The outputs that the settings ask for."""
    log = EventLog(settings.log, settings.log_bytes, settings.log_files)
    couriers = [Courier("log", log.deliver), Courier("journal", to_journal)]
    if settings.webhook:
        couriers.append(Courier("webhook", Webhook(settings.webhook).deliver, attempts=WEBHOOK_ATTEMPTS))
    minimum = Priority[settings.minimum_priority.upper()]
    return Outputs(couriers, metrics, minimum, settings.alerts_per_minute, last_number(settings.log))
