"""What GStreamer is asked for."""

from .settings import TEST_PICTURE


def pipeline_text(source: str, width: int, height: int, rate: int) -> str:
    """The pipeline in gst-launch's words. Only the newest picture waits: looking at old ones would be late for ever."""
    size = f"width={width},height={height}"
    if source == TEST_PICTURE:
        head = f"videotestsrc is-live=true pattern=ball ! video/x-raw,{size},framerate={rate}/1"
    else:
        head = f'v4l2src device="{source}" ! videorate drop-only=true max-rate={rate}'
    shape = f"videoconvert ! videoscale ! video/x-raw,format=RGB,{size},pixel-aspect-ratio=1/1"
    return f"{head} ! {shape} ! appsink name=sink max-buffers=1 drop=true sync=false"
