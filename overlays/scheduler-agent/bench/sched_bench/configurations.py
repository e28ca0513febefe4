"""What is compared: the kernel's own scheduler in three settings, ours with each predictor."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Configuration:
    """One setting of the machine.

    Attributes:
        mode: of the programs in the kernel: ``off`` none are loaded, ``observe`` they measure the kernel's own
            scheduler, ``active`` they are the scheduler.
        predictor: in the mode ``active``.
        batch: whether the workload runs under SCHED_BATCH.
    """

    name: str
    mode: str
    predictor: str = ""
    batch: bool = False
    says: str = ""


REFERENCE = "eevdf"
OBSERVED = "eevdf-observed"
ORACLE = "lichen-oracle"
TREES = "lichen-trees"

CONFIGURATIONS = {
    item.name: item
    for item in (
        Configuration(REFERENCE, "off", says="the kernel's own scheduler, nothing of ours loaded"),
        Configuration("eevdf-batch", "off", batch=True, says="the same, the workload under SCHED_BATCH"),
        Configuration(OBSERVED, "observe", says="the same, our programs measure it: what observing costs"),
        Configuration("lichen-constant", "active", "constant", says="every burst is predicted to be the same"),
        Configuration("lichen-last", "active", "last", says="a task's burst is predicted to be as its last"),
        Configuration("lichen-ewma", "active", "ewma", says="an exponentially weighted mean of a task's bursts"),
        Configuration(TREES, "active", "trees", says="gradient-boosted trees, learned from runs with other seeds"),
        Configuration(ORACLE, "active", "oracle", says="bursts recorded in a run of the same workload and seed"),
    )
}
