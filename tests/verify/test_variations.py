"""Which hosts a seed gives."""

from __future__ import annotations

import subprocess
import sys

from builder.data.variation import USUAL, Variation, variations

# What `lichen verify` promises to vary.
ASPECTS = {
    *("path", "user", "hostname", "umask", "locale", "timezone", "cpus", "jobs", "workspace", "file order"),
    "environment",
}


def test_first_differs_in_everything() -> None:
    for seed in range(50):
        (host,) = variations(seed, 1)
        assert set(host.conditions()) == ASPECTS
        assert host.shuffle is not None
        assert host.directories
        assert host.circumstances.workspace == "disk"
        assert host.circumstances.clock > 14 * 86400


def test_same_seed_same_hosts() -> None:
    """In another process too, and however many follow."""
    program = "import sys; from builder.data.variation import *; print(variations(7, int(sys.argv[1])))"
    told = [
        subprocess.run(
            [sys.executable, "-c", program, "5"], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    ]
    assert told[0] == told[1] == f"{variations(7, 5)}\n".encode()
    assert variations(7, 5)[:3] == variations(7, 3)
    assert variations(7, 5) != variations(8, 5)


def test_later_ones_differ_in_about_half() -> None:
    hosts = variations(1, 400)[1:]
    assert len(set(map(str, hosts))) == len(hosts)
    for aspect in ASPECTS:
        varied = sum(aspect in host.conditions() for host in hosts)
        # The order of files has two ways of differing.
        assert 0.35 < varied / len(hosts) < (0.85 if aspect == "file order" else 0.65), aspect
    clocks = [host.circumstances.clock for host in hosts]
    assert min(clocks) == 0 < max(clocks)
    assert clocks.count(0) > 100


def test_host_without_variation() -> None:
    assert Variation().conditions() == {}
    assert Variation().circumstances == USUAL
    host = variations(3, 2)[1]
    assert Variation.model_validate_json(host.model_dump_json()) == host
