"""Settings, pipeline and status of the camera detector."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from camera_detector.pipeline import pipeline_text
from camera_detector.settings import Settings, SettingsError, choose_source, load_settings
from camera_detector.status import Find, Status, status_text, write_status

GOOD = 'device = "auto"\nmodel = "/m.onnx"\nthreshold = 0.5\nrate = 10\nport = 9464\n'


def test_settings_are_read(tmp_path: Path) -> None:
    (path := tmp_path / "c.toml").write_text(GOOD)
    assert load_settings(path) == Settings("auto", Path("/m.onnx"), 0.5, 10, 9464)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (None, "No such file"),
        ("device =\n", "Invalid value"),
        (GOOD + "speed = 3\n", "speed"),
        ('device = "auto"\nmodel = "/m.onnx"\n', "threshold"),
    ],
    ids=["missing", "no TOML", "unknown key", "missing key"],
)
def test_fault_in_settings_is_told_with_its_file(tmp_path: Path, text: str | None, complaint: str) -> None:
    path = tmp_path / "c.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SettingsError, match=complaint) as told:
        load_settings(path)
    assert str(path) in str(told.value)


def test_test_picture_stands_in_only_while_there_is_no_camera(tmp_path: Path) -> None:
    camera = tmp_path / "video0"
    assert choose_source("auto", camera) == "test"
    camera.touch()
    assert choose_source("auto", camera) == str(camera)
    assert choose_source("test", camera) == "test"
    assert choose_source("/dev/video7", tmp_path / "none") == "/dev/video7"


def test_pipeline_gives_the_detectors_pictures_and_only_the_newest() -> None:
    camera, test = pipeline_text("/dev/video2", 320, 240, 15), pipeline_text("test", 320, 240, 15)
    assert camera.startswith('v4l2src device="/dev/video2" ! videorate drop-only=true max-rate=15 ! ')
    assert test.startswith(
        "videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=15/1 ! "
    )
    for text in (camera, test):
        assert "format=RGB,width=320,height=240" in text
        assert text.endswith("appsink name=sink max-buffers=1 drop=true sync=false")


def test_status_is_read_as_it_was_written(tmp_path: Path) -> None:
    finds = [Find(3, 0.75, (1.0, 2.0, 30.0, 40.0))]
    status = Status("/dev/video0", "/m.onnx", (320, 240), 17, 1000.0, 0.25, 9, finds)
    write_status(path := tmp_path / "status.json", status)
    assert list(tmp_path.iterdir()) == [path]
    assert status_text(json.loads(path.read_text()), now=1002.5).splitlines() == [
        "/m.onnx looks at /dev/video0",
        "9 pictures looked at, the last one 2.5 s ago",
        "250 ms from its being taken to what is in it being known",
        "class 3 at 1 2 30 40, score 0.75",
    ]


def test_status_says_that_it_is_only_the_test_picture_and_nothing_was_found() -> None:
    told = {"source": "test", "model": "/m", "looked_at": 1, "time": 0.0, "latency": 0.0, "finds": []}
    text = status_text(told, now=0.0)
    assert "the test picture" in text
    assert text.endswith("nothing found")
