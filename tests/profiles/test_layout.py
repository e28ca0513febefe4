"""Two files for one place, and models that cannot lie where they are wanted: told with all other problems."""

from __future__ import annotations

from pathlib import Path

import pytest

import builder
from builder.data.layout import LAID_BEFORE
from builder.foundation.errors import InputError, Problem
from builder.steps.profiles import load_recipe
from tests.profiles.sample import Sample

CLAIM = "two files claim one place in the image"
SHA = "ab" * 32


def problem_of(sample: Sample) -> Problem:
    with pytest.raises(InputError) as caught:
        load_recipe(sample.project, "small")
    [problem] = caught.value.problems
    return problem


def model(sample: Sample, target: str, name: str = "voice", sha256: str = SHA, size: int = 3) -> str:
    """Let the profile bake in a model; the place of its target."""
    text = (sample.root / "profiles/small.yaml").read_text()
    head = "" if "models:\n" in text else "models:\n"
    fields = f"source: file:///x, sha256: '{sha256}', size: {size}"
    path = sample.add("profiles/small.yaml", f"{head}  {name}:\n    {{target: '{target}', {fields}}}\n")
    return f"{path}:{len(path.read_text().splitlines())}: models.{name}.target"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("etc/motd", "etc/motd"),
        ("etc/motd", "etc/motd.j2"),
        ("etc/issue.d", "etc/issue.d/words"),
        ("etc/issue.d/words", "etc/issue.d"),
    ],
)
def test_two_overlays(sample: Sample, first: str, second: str) -> None:
    one = sample.write(f"overlays/core/tree/{first}", "one\n")
    other = sample.write(f"overlays/web/tree/{second}", "other\n")
    problem = problem_of(sample)
    assert problem.what == CLAIM
    assert problem.where == str(other)
    assert problem.why == f"{one} is laid down at /{second.removesuffix('.j2')} too"
    assert problem.remedy


def test_file_and_template_of_one_overlay(sample: Sample) -> None:
    sample.write("overlays/core/tree/etc/motd", "one\n")
    other = sample.write("overlays/core/tree/etc/motd.j2", "other\n")
    assert (problem_of(sample).what, problem_of(sample).where) == (CLAIM, str(other))


def test_link_counts(sample: Sample) -> None:
    sample.write("overlays/core/tree/etc/motd", "one\n")
    link = sample.root / "overlays/web/tree/etc/motd"
    link.parent.mkdir()
    link.symlink_to("/run/motd")
    assert problem_of(sample).where == str(link)


@pytest.mark.parametrize("name", ["etc/hostname", "usr/lib/systemd/system-preset/10-lichen.preset"])
def test_file_that_lichen_writes(sample: Sample, name: str) -> None:
    sample.write(f"overlays/core/tree/{name}", "mine\n")
    assert problem_of(sample).why == f"Lichen's own file is laid down at /{name} too"


def test_folders_may_be_shared(sample: Sample) -> None:
    sample.write("overlays/core/tree/etc/issue.d/one", "one\n")
    sample.write("overlays/web/tree/etc/issue.d/other", "other\n")
    model(sample, "/usr/share/models/voice.onnx")
    model(sample, "/usr/share/models/face.onnx", "face")
    load_recipe(sample.project, "small")


def test_two_models(sample: Sample) -> None:
    first = model(sample, "/usr/share/models/voice.onnx")
    second = model(sample, "/usr/share/models/voice.onnx", "face")
    problem = problem_of(sample)
    assert (problem.what, problem.where) == (CLAIM, second)
    assert problem.why == f"the model voice ({first}) is laid down at /usr/share/models/voice.onnx too"


@pytest.mark.parametrize("target", ["/var/www/index.html", "/var/www", "/var/www/index.html/model"])
def test_model_and_overlay(sample: Sample, target: str) -> None:
    where = model(sample, target)
    problem = problem_of(sample)
    assert (problem.what, problem.where) == (CLAIM, where)
    assert str(sample.root / "overlays/web/tree/var/www/index.html.j2") in problem.why


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("/etc/model", "/etc is no place for data that is baked in"),
        ("/etc", "/etc is no place for data that is baked in"),
        ("/run/model", "/run is no place for data that is baked in"),
        ("/var/cache/models/x", "/var/cache is no place for data that is baked in"),
        ("/lib/model", "/lib is a link to /usr/lib"),
        ("/usr/../etc/model", "/usr/../etc/model is not written plainly: no .., no . and no // in it"),
        ("/usr/share/..", "/usr/share/.. is not written plainly: no .., no . and no // in it"),
        ("/usr//model", "/usr//model is not written plainly: no .., no . and no // in it"),
        ("//usr/model", "//usr/model is not written plainly: no .., no . and no // in it"),
    ],
)
def test_place_that_is_none(sample: Sample, target: str, why: str) -> None:
    where = model(sample, target)
    problem = problem_of(sample)
    assert problem.what == "a model cannot lie there"
    assert (problem.where, problem.why) == (where, why)
    assert problem.remedy


@pytest.mark.parametrize("target", ["usr/model", "/", "/usr/"])
def test_target_that_is_no_path_of_a_file(sample: Sample, target: str) -> None:
    where = model(sample, target)
    assert problem_of(sample).where == where


def test_digest_and_size(sample: Sample) -> None:
    model(sample, "/usr/share/a", "a", sha256=SHA.upper())
    model(sample, "/usr/share/b", "b", sha256="abc")
    model(sample, "/usr/share/c", "c", size=0)
    with pytest.raises(InputError) as caught:
        load_recipe(sample.project, "small")
    assert [problem.where.rpartition(" ")[2] for problem in caught.value.problems] == [
        "models.a.sha256",
        "models.b.sha256",
        "models.c.size",
    ]


@pytest.mark.parametrize("source", ["ftp://x/y", "pypi:name/path", "pypi:name==1", "voice.onnx"])
def test_source_that_is_none(sample: Sample, source: str) -> None:
    model(sample, "/usr/share/a")
    sample.swap("profiles/small.yaml", "source: file:///x", f"source: '{source}'")
    assert problem_of(sample).where.endswith("models.voice.source")


def test_what_decides_no_byte_is_not_in_the_digest(sample: Sample) -> None:
    model(sample, "/usr/share/models/voice.onnx")

    def digest() -> str:
        return load_recipe(sample.project, "small").digest()

    first = digest()
    sample.swap("profiles/small.yaml", "description: a small image", "description: an image")
    sample.swap("overlays/core/overlay.yaml", "description: the core", "description: the innermost")
    sample.swap("overlays/core/overlay.yaml", "description: how big", "description: how large")
    sample.swap("overlays/core/overlay.yaml", "maximum: 9", "maximum: 8")
    sample.swap("profiles/small.yaml", "file:///x", "http://127.0.0.1/y")
    assert digest() == first
    seen = {first}
    for name, old, new in (
        ("profiles/small.yaml", "voice.onnx", "speech.onnx"),
        ("profiles/small.yaml", SHA, "cd" * 32),
        ("profiles/small.yaml", "title: Hello", "title: Goodbye"),
        ("overlays/core/overlay.yaml", "default: 200M", "default: 300M"),
        ("overlays/core/overlay.yaml", "enable: [a.service]", "enable: [b.service]"),
    ):
        sample.swap(name, old, new)
        assert digest() not in seen, name
        seen.add(digest())


class TestSkeleton:
    """What lies in the image before its packages are installed."""

    def test_two_overlays(self, sample: Sample) -> None:
        mine = sample.write("overlays/core/skeleton/opt/.mark", "")
        other = sample.write("overlays/web/skeleton/opt/.mark", "")
        problem = problem_of(sample)
        assert (problem.what, problem.where) == (CLAIM, str(other))
        assert problem.why == f"{mine} is laid down at /opt/.mark too"

    @pytest.mark.parametrize("target", LAID_BEFORE)
    def test_file_of_ours(self, sample: Sample, target: str) -> None:
        sample.write(f"overlays/core/skeleton/{target}", "")
        problem = problem_of(sample)
        assert (problem.what, problem.why) == (CLAIM, f"Lichen's own file is laid down at /{target} too")

    def test_ours_are_the_template_s(self) -> None:
        folder = Path(builder.__file__).parent / "templates/base/mkosi.skeleton"
        found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        assert found == set(LAID_BEFORE)

    def test_link(self, sample: Sample) -> None:
        mark = sample.write("overlays/core/skeleton/opt/mark", "")
        link = mark.with_name("link")
        link.symlink_to("mark")
        problem = problem_of(sample)
        assert (problem.what, problem.where) == ("a skeleton has plain files only", str(link))
        assert all((problem.why, problem.remedy))

    def test_file_of_the_tree_may_follow(self, sample: Sample) -> None:
        for folder in ("skeleton", "tree"):
            sample.write(f"overlays/core/{folder}/opt/mark", folder)
        found = load_recipe(sample.project, "small").skeleton
        assert {place: path.read_text() for place, path in found.items()} == {"opt/mark": "skeleton"}

    def test_is_part_of_the_recipe(self, sample: Sample) -> None:
        before = load_recipe(sample.project, "small").digest()
        mark = sample.write("overlays/core/skeleton/opt/mark", "1")
        there = load_recipe(sample.project, "small").digest()
        mark.write_text("2")
        assert len({before, there, load_recipe(sample.project, "small").digest()}) == 3
