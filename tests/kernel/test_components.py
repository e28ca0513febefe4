"""A project's own kernel: read from files, and made anew exactly when what decides it moves. Nothing is built."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from builder.data.history import Target
from builder.data.lock import Lock
from builder.foundation.errors import InputError
from builder.foundation.schedule import Limits
from builder.steps.components import ComponentCache
from builder.steps.profiles import load_buildable
from builder.steps.render import kernel_build, rendered_tree
from builder.verbs.assembly import Assembly
from builder.verbs.clean import examine_cache
from builder.verbs.plan import image_components, plan_image
from builder.verbs.together import make, shared_out
from tests.build.test_plan import LOCK, deb
from tests.profiles.sample import Sample

HEADER = "# Purpose: a test\n# Cost: none\n# Source: nowhere\n"
SOURCE = deb("linux-source-6.12", "source", content="a").model_copy(
    update={"version": "6.12.118-1", "path": "pool/main/l/linux/linux-source-6.12_6.12.118-1_all.deb"}
)
OWN = LOCK.model_copy(update={"debs": (*LOCK.debs, SOURCE, deb("gcc", "toolchain", content="b"))})
KERNEL = {"kernel-config", "kernel", "modules"}


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    made = Sample(tmp_path / "project")
    made.swap("profiles/base.yaml", "kernel:\n", "kernel:\n  source: linux-source-6.12\n  fragments: [one]\n")
    made.write("kernel-configs/one.config", f"{HEADER}CONFIG_A=y\nCONFIG_B=m  # or y\n")
    return made


@pytest.fixture
def certificate(sample: Sample, tmp_path: Path) -> Path:
    """A key outside of the project, whose certificate the profile names."""
    key = tmp_path / "key.pem"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-noenc", "-days", "2", "-subj", "/CN=modules"]
    subprocess.run([*words, "-keyout", key, "-out", sample.root / "modules.pem"], check=True, capture_output=True)
    key.chmod(0o600)
    sample.swap("profiles/base.yaml", "fragments: [one]\n", "fragments: [one]\n  certificate: modules.pem\n")
    return key


def keys(sample: Sample, lock: Lock = OWN) -> dict[str, str]:
    return {item.name: item.key for item in image_components(load_buildable(sample.project, "small"), lock)}


def moved(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in {*before, *after} if before.get(name) != after.get(name)}


def replaced(name: str) -> Lock:
    debs = [item.model_copy(update={"sha256": "f" * 64}) if item.name == name else item for item in OWN.debs]
    return OWN.model_copy(update={"debs": tuple(debs)})


def test_names_and_versions_follow_from_the_source(sample: Sample) -> None:
    build = kernel_build(load_buildable(sample.project, "small"), OWN)
    assert build
    assert (build.release, build.image_package) == ("6.12.118-lichen", "linux-image-6.12.118-lichen")
    assert build.version.startswith("6.12.118-1+lichen.")
    assert build.source.source_package == "linux"
    assert build.config == "CONFIG_A=y\nCONFIG_B=m\n"


def test_version_tells_kernels_of_other_compilers_and_certificates_apart(sample: Sample, certificate: Path) -> None:
    recipe = load_buildable(sample.project, "small")
    versions = [kernel_build(recipe, lock) for lock in (OWN, replaced("gcc"), replaced("qemu"))]
    sample.swap("profiles/base.yaml", "  certificate: modules.pem\n", "")
    versions.append(kernel_build(load_buildable(sample.project, "small"), OWN))
    first, gcc, qemu, untrusted = (build.version for build in versions if build)
    assert first == qemu
    assert len({first, gcc, untrusted}) == 3


def test_components_are_there_in_build_order(sample: Sample) -> None:
    names = ["mkosi", "tools", "toolchain", "kernel-config", "kernel", "modules", "base", "initrd", "python", "image"]
    assert [*keys(sample)] == names


def test_comments_and_order_of_a_fragment_move_nothing(sample: Sample) -> None:
    before = keys(sample)
    sample.write("kernel-configs/one.config", f"{HEADER}# why\nCONFIG_B=m  # or y\n\nCONFIG_A=y\n")
    assert moved(before, keys(sample)) == set()


def test_a_setting_moves_the_kernel_and_no_base_tree(sample: Sample) -> None:
    before = keys(sample)
    sample.add("kernel-configs/one.config", "CONFIG_C=y\n")
    assert moved(before, keys(sample)) == {*KERNEL, "image"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("linux-source-6.12", {*KERNEL, "image"}),
        ("gcc", {"toolchain", *KERNEL, "image"}),
        ("qemu", {"tools", "base", "initrd", "python", "image"}),
        ("mkosi", {"mkosi", "tools", "toolchain", "base", "initrd", "python", "image"}),
    ],
)
def test_new_version_of_a_package(sample: Sample, name: str, expected: set[str]) -> None:
    assert moved(keys(sample), keys(sample, replaced(name))) == expected


def test_a_newer_lock_with_the_same_source_has_the_same_kernel(sample: Sample) -> None:
    later = OWN.model_copy(update={"source_date_epoch": OWN.source_date_epoch + 86400})
    assert moved(keys(sample), keys(sample, later)).isdisjoint({"toolchain", *KERNEL})


def test_certificate_and_key(sample: Sample, certificate: Path) -> None:
    recipe = load_buildable(sample.project, "small")
    assert recipe.kernel
    assert recipe.kernel.certificate
    build = kernel_build(recipe, OWN)
    assert build
    assert 'CONFIG_SYSTEM_TRUSTED_KEYS="certs/lichen.pem"' in build.config
    unsigned = keys(sample)
    sample.swap("profiles/base.yaml", "  certificate: modules.pem\n", "")
    assert moved(unsigned, keys(sample)) == {*KERNEL, "image"}


def kept_config(sample: Sample) -> Assembly:
    """A build whose kernel's configuration is kept: without A, with B."""
    recipe, bench = load_buildable(sample.project, "small"), sample.workbench()
    plan = plan_image(bench, recipe, OWN)
    work = Assembly(bench, recipe, OWN, plan, sample.root, sample.root / "log")

    def leave(folder: Path) -> None:
        (made := folder / "kernel-config").mkdir()
        (made / "config").write_text("CONFIG_B=y\n")
        answer = {"symbol": "A", "value": "n", "wanted": "y", "type": "bool", "state": "free"}
        (made / "answers.jsonl").write_text(f"{json.dumps(answer)}\n")

    work.kept.provide(plan.component("kernel-config"), work.target, leave)
    return work


def test_kept_configuration_is_judged_by_what_is_required_now(sample: Sample) -> None:
    """Whether a setting is required moves no component: a kept one may be of a time when it was only preferred."""
    sample.write("kernel-configs/one.config", f"{HEADER}CONFIG_A=y  # preferred\nCONFIG_B=m  # or y\n")
    kept_config(sample).judge_kept()
    sample.write("kernel-configs/one.config", f"{HEADER}CONFIG_A=y\nCONFIG_B=m  # or y\n")
    recipe, bench = load_buildable(sample.project, "small"), sample.workbench()
    work = Assembly(bench, recipe, OWN, plan_image(bench, recipe, OWN), sample.root, sample.root / "log")
    assert work.plan.component("kernel-config").cached
    with pytest.raises(InputError) as caught:
        make([work], "modules")
    assert [problem.what for problem in caught.value.problems] == ["CONFIG_A is not what the fragments ask for"]


def test_plan_names_the_setting_that_moved(sample: Sample) -> None:
    work = kept_config(sample)
    sample.swap("kernel-configs/one.config", "CONFIG_A=y", "CONFIG_A=n")
    plan = plan_image(work.workbench, load_buildable(sample.project, "small"), OWN)
    assert plan.component("kernel-config").stale == ("CONFIG_A: y -> n",)


def test_plan_builds_no_compilers_for_a_kernel_that_is_kept(sample: Sample) -> None:
    work = kept_config(sample)
    for part in ("kernel", "modules"):
        work.kept.provide(work.plan.component(part), work.target, lambda folder: None)
    plan = plan_image(work.workbench, work.recipe, OWN)
    assert not plan.component("toolchain").cached
    assert [item.name for item in plan.to_build] == ["mkosi", "tools", "base", "initrd", "python", "image"]


def test_cleaning_keeps_signed_and_unsigned_modules_whoever_asks(
    sample: Sample, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, bench = load_buildable(sample.project, "small"), sample.workbench()
    assert recipe.kernel
    assert recipe.kernel.certificate
    sample.write("profiles/locks/small.amd64.json", OWN.text())
    monkeypatch.setattr("builder.verbs.clean.current_lock", lambda *_: OWN)
    target = Target(profile="small", architecture="amd64")
    needed = {}
    for signed_for in (None, recipe.kernel.certificate.sha256, "f" * 64):
        modules = next(item for item in image_components(recipe, OWN, signed_for) if item.name == "modules")
        ComponentCache(bench.cache.components).provide(modules, target, lambda folder: None)
        needed[modules.key] = signed_for != "f" * 64
    assert {item.path.name: item.needed for item in examine_cache(bench) if item.kind == "component modules"} == needed


def test_what_is_kept_needs_no_compiler(sample: Sample) -> None:
    recipe, bench = load_buildable(sample.project, "small"), sample.workbench()
    plan = plan_image(bench, recipe, OWN)
    work = Assembly(bench, recipe, OWN, plan, sample.root, sample.root / "log")
    assert work.missing("image") == [item.name for item in plan.components]
    assert work.missing("kernel-config") == ["mkosi", "tools", "toolchain", "kernel-config"]
    work.kept.provide(plan.component("kernel"), work.target, lambda folder: None)
    assert "kernel-config" not in work.missing("image")
    work.kept.provide(plan.component("modules"), work.target, lambda folder: None)
    assert work.missing("image") == ["mkosi", "tools", "base", "initrd", "python", "image"]
    assert work.missing("modules") == []


def test_kernel_of_another_build_needs_no_compiler_of_ones_own(sample: Sample) -> None:
    """A newer mkosi makes another toolchain's tree, and the same kernel."""
    recipe, bench = load_buildable(sample.project, "small"), sample.workbench()
    locks = (OWN, replaced("mkosi"))
    one, other = (
        Assembly(bench, recipe, lock, plan_image(bench, recipe, lock), sample.root, sample.root) for lock in locks
    )
    jobs = shared_out([one, other], "modules").values()
    assert [job.part for job in jobs] == ["mkosi", "tools", "toolchain", "kernel-config", "kernel", "modules"]
    assert {job.part for job in jobs if other in job.others} == KERNEL
    assert all(job.work is one for job in jobs)


def test_kernel_takes_all_processors(sample: Sample) -> None:
    recipe, bench = load_buildable(sample.project, "small"), sample.workbench()
    work = Assembly(bench, recipe, OWN, plan_image(bench, recipe, OWN), sample.root, sample.root / "log")
    assert work.task("kernel", (), Limits(8, 64 << 30)).processors == 8
    assert work.task("kernel-config", (), Limits(8, 64 << 30)).processors == 1


def test_rendered_tree_has_the_kernel_for_plain_mkosi(sample: Sample) -> None:
    tree = rendered_tree(load_buildable(sample.project, "small"), OWN)
    for name in KERNEL:
        assert f"kernel/mkosi.images/{name}/{name}.finalize" in tree
    assert tree["kernel/source.deb"].stored == SOURCE
    assert b"Packages=linux-image-6.12.118-lichen" in tree["mkosi.conf.d/image.conf"].content


def told(sample: Sample) -> list[tuple[str, str]]:
    with pytest.raises(InputError) as caught:
        load_buildable(sample.project, "small")
    return [(problem.what, problem.where) for problem in caught.value.problems]


def test_unknown_fragment_gets_near_matches(sample: Sample) -> None:
    sample.swap("profiles/base.yaml", "[one]", "[onee]")
    with pytest.raises(InputError) as caught:
        load_buildable(sample.project, "small")
    (problem,) = caught.value.problems
    assert (problem.what, problem.remedy) == ("there is no kernel fragment called 'onee'", "did you mean one?")
    assert problem.where.startswith(sample.at("profiles/base.yaml", "[onee]"))


def test_overlays_bring_fragments_and_pairs_that_disagree_are_told(sample: Sample) -> None:
    sample.write("kernel-configs/two.config", f"{HEADER}CONFIG_A=n\n")
    sample.add("overlays/core/overlay.yaml", "kernel_fragments: [two]\n")
    assert told(sample) == [("two fragments disagree on CONFIG_A", sample.at("kernel-configs/two.config", "_A=n"))]


def test_overlays_ask_nothing_of_debians_kernel(sample: Sample) -> None:
    sample.add("overlays/core/overlay.yaml", "kernel_fragments: [two]\n")
    sample.swap("profiles/base.yaml", "  source: linux-source-6.12\n  fragments: [one]\n", "")
    assert load_buildable(sample.project, "small").kernel is None


def test_immutable_layout_asks_for_what_mounts_it(sample: Sample) -> None:
    sample.write("kernel-configs/verity.config", f"{HEADER}CONFIG_DM_VERITY=y\n")
    sample.swap("profiles/base.yaml", "image:\n", "image:\n  layout: immutable\n")
    kernel = load_buildable(sample.project, "small").kernel
    assert kernel
    assert [fragment.name for fragment in kernel.fragments] == ["one", "verity"]


def test_kernel_of_debian_takes_no_fragment(sample: Sample) -> None:
    sample.swap("profiles/base.yaml", "source: linux-source-6.12", "package: linux-image-amd64")
    ((what, where),) = told(sample)
    assert what == "a fragment needs a kernel of our own"
    assert where.startswith(sample.at("profiles/base.yaml", "[one]"))


def test_source_and_package_exclude_one_another(sample: Sample) -> None:
    sample.swap("profiles/base.yaml", "  fragments: [one]\n", "  package: linux-image-amd64\n")
    assert [what for what, _ in told(sample)] == ["the value does not fit"]
    sample.swap("profiles/small.yaml", "overlays: [web]", "kernel: {source: null}\noverlays: [web]")
    assert load_buildable(sample.project, "small").packages("amd64").count("linux-image-amd64") == 1


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("nothing\n", "it holds no X.509 certificate in PEM form"),
        ("-----BEGIN PRIVATE KEY-----\n", "it holds a private key, which must never be in a project"),
        (None, "No such file or directory"),
    ],
)
def test_certificate_that_is_none(sample: Sample, content: str | None, why: str) -> None:
    sample.swap("profiles/base.yaml", "fragments: [one]\n", "fragments: [one]\n  certificate: modules.pem\n")
    if content:
        sample.write("modules.pem", content)
    with pytest.raises(InputError) as caught:
        load_buildable(sample.project, "small")
    (problem,) = caught.value.problems
    assert problem.why == f"{sample.root / 'modules.pem'}: {why}"
