"""Pictures from a camera or the test picture, through GStreamer."""

from dataclasses import dataclass

import gi

gi.require_version("Gst", "1.0")
from gi.repository import GLib, Gst  # noqa: E402  (GObject wants the version first)

from .pipeline import pipeline_text  # noqa: E402


class SourceError(Exception):
    """No more pictures come; the message says why in GStreamer's words."""


@dataclass(frozen=True)
class Picture:
    """One picture.

    Attributes:
        pixels: rows of three bytes per pixel: red, green, blue.
        number: how many the source has made before; it drops those that nobody has time for.
        taken: when, in nanoseconds since the source started.
    """

    pixels: bytes
    number: int
    taken: int


class Source:
    """A running pipeline; a context manager.

    Raises:
        SourceError: the pipeline cannot be made, or does not start.
    """

    def __init__(self, source: str, width: int, height: int, rate: int) -> None:
        Gst.init(None)
        self.name = source
        # Rows of RGB pixels are padded to four bytes.
        self.row, self.stride, self.height = 3 * width, -(-3 * width // 4) * 4, height
        try:
            self.pipeline = Gst.parse_launch(pipeline_text(source, width, height, rate))
        except GLib.Error as error:
            raise SourceError(f"{source}: {error.message}") from error
        self.sink = self.pipeline.get_by_name("sink")

    def __enter__(self) -> "Source":
        if self.pipeline.set_state(Gst.State.PLAYING) == Gst.StateChangeReturn.FAILURE:
            raise self._fault(self._message(), "it does not start")
        return self

    def __exit__(self, *_: object) -> None:
        self.pipeline.set_state(Gst.State.NULL)

    def next(self, patience: float) -> Picture | None:
        """The newest picture, or None when none came for ``patience`` seconds.

        Raises:
            SourceError: none will come any more.
        """
        sample = self.sink.emit("try-pull-sample", int(patience * Gst.SECOND))
        if sample is None:
            message = self._message()
            if message or self.sink.get_property("eos"):
                raise self._fault(message, "it ended")
            return None
        buffer = sample.get_buffer()
        data = buffer.extract_dup(0, buffer.get_size())
        if self.stride != self.row:
            data = b"".join(data[at : at + self.row] for at in range(0, self.height * self.stride, self.stride))
        return Picture(data, buffer.offset, buffer.pts)

    def age(self, picture: Picture) -> float:
        """Seconds since a picture was taken."""
        now = self.pipeline.get_clock().get_time() - self.pipeline.get_base_time()
        return (now - picture.taken) / Gst.SECOND

    def _message(self) -> Gst.Message | None:
        return self.pipeline.get_bus().pop_filtered(Gst.MessageType.ERROR | Gst.MessageType.EOS)

    def _fault(self, message: Gst.Message | None, otherwise: str) -> SourceError:
        if message and message.type == Gst.MessageType.ERROR:
            error, detail = message.parse_error()
            last = detail.splitlines()[-1] if detail else ""
            return SourceError(f"{self.name}: {error.message} {last}".strip())
        return SourceError(f"{self.name}: {otherwise}")
