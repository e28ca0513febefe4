"""Several builds as one: what they share is made once, and all of it goes side by side as the machine allows.

Who makes what is decided by :func:`shared_out`, which is pure but for a look at what is kept; :func:`make` does it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from builder.foundation.schedule import Limits, Task, run_all
from builder.steps.assemble import spare_memory
from builder.verbs.assembly import Assembly


@dataclass
class Job:
    """A component or an image to make.

    Attributes:
        work: the build that makes it.
        part: what it is called there.
        needs: titles of the jobs that must be done before.
        others: builds that use the result too.
    """

    work: Assembly
    part: str
    needs: tuple[str, ...]
    others: list[Assembly] = field(default_factory=list)

    def task(self, limits: Limits) -> Task:
        """Does the job, and notes for everybody else who uses the result."""
        task = self.work.task(self.part, self.needs, limits)
        return replace(task, run=self._noting(task.run))

    def _noting(self, run: Callable[[], object]) -> Callable[[], object]:
        def both() -> None:
            run()
            for other in self.others:
                other.use(self.part)

        return both


def shared_out(works: Sequence[Assembly], goal: str) -> dict[str, Job]:
    """What must be made so that every build has ``goal``, by title; what several need is done by the first of them."""
    jobs: dict[str, Job] = {}
    for work in works:
        missing = work.missing(goal)
        for part in missing:
            needs = tuple(work.title(need) for need in work.needs(part) if need in missing)
            title = work.title(part)
            if title in jobs:
                jobs[title].others.append(work)
            else:
                jobs[title] = Job(work, part, needs)
    return _reached(jobs, [work.title(goal) for work in works])


def _reached(jobs: Mapping[str, Job], goals: Sequence[str]) -> dict[str, Job]:
    """The jobs that lead to ``goals``: a kernel that another build makes needs no toolchain of one's own."""
    reached: set[str] = set()
    waiting = [goal for goal in goals if goal in jobs]
    while waiting:
        title = waiting.pop()
        if title not in reached:
            reached.add(title)
            waiting += jobs[title].needs
    return {title: job for title, job in jobs.items() if title in reached}


def make(works: Sequence[Assembly], goal: str = "image") -> None:
    """Make ``goal`` in every build; their files are fetched first, all of them.

    When something fails, nothing else is started, and what is complete stays. Nothing happens in builds that have
    their goal already.

    Args:
        works: builds with one and the same ``stopped``, runner and circumstances.

    Raises:
        InputError: an archive, the wheels or a model have no source, modules cannot be signed, or a kept
            configuration of a kernel is not what is required now.
        LichenError: a file cannot be had, there is no room, or mkosi failed.
    """
    jobs = shared_out(works, goal)
    for work in works:
        work.judge_kept()
        work.fetch([job.part for job in jobs.values() if job.work is work])
        work.use_kept()
    if not jobs:
        return
    first = works[0]
    limits = Limits(len(os.sched_getaffinity(0)), spare_memory(), first.circumstances.jobs)

    def stop() -> None:
        first.stopped.set()
        first.workbench.runner.end_all()

    run_all({title: job.task(limits) for title, job in jobs.items()}, limits, stop)
