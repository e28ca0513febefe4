"""A tree of cgroups and a systemd, both made up of files and a table: what the real ones do is tested in a guest."""

from __future__ import annotations

from pathlib import Path

from lichen_resources.systemd import SystemdError

IDLE = "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
FILES = {"CPUWeight": "cpu.weight", "IOWeight": "io.weight", "MemoryHigh": "memory.high"}


class Tree:
    """The hierarchy; weights of disks count, by bfq."""

    def __init__(self, folder: Path) -> None:
        self.root, self.sys = folder / "cgroup", folder / "sys"
        (self.sys / "block/vda/queue").mkdir(parents=True)
        (self.sys / "block/vda/queue/scheduler").write_text("none mq-deadline [bfq]\n")
        self.root.mkdir()
        (self.root / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")

    def add(self, name: str, **values: str) -> None:
        (folder := self.root / name).mkdir()
        texts = {
            "cgroup.events": "populated 1\nfrozen 0\n",
            "cpu.weight": values.get("cpu", "100") + "\n",
            "io.weight": f"default {values.get('io', '100')}\n8:0 50\n",
            "memory.high": values.get("memory", "max") + "\n",
            "memory.max": "max\n",
            "memory.current": f"{100 << 20}\n",
            "memory.stat": f"anon {40 << 20}\nfile {60 << 20}\nactive_file {10 << 20}\n",
            **dict.fromkeys(("memory.events", "memory.events.local"), "low 0\nhigh 0\nmax 0\noom 0\n"),
            "cpu.stat": "usage_usec 0\n",
            "io.stat": "8:0 rbytes=0 wbytes=0 rios=0\n",
            **{f"{resource}.pressure": IDLE for resource in ("cpu", "io", "memory")},
        }
        for file, text in texts.items():
            (folder / file).write_text(text)

    def press(self, name: str, resource: str, some: float, full: float = 0.0) -> None:
        lines = (
            f"{kind} avg10={value:.2f} avg60=0.00 avg300=0.00 total=5"
            for kind, value in (("some", some), ("full", full))
        )
        (self.root / name / f"{resource}.pressure").write_text("\n".join(lines) + "\n")

    def read(self, name: str, file: str) -> str:
        return (self.root / name / file).read_text().split()[-1]

    def burn(self, name: str, seconds: float) -> None:
        before = int((self.root / name / "cpu.stat").read_text().split()[1])
        (self.root / name / "cpu.stat").write_text(f"usage_usec {before + round(seconds * 1e6)}\n")


class Systemd:
    """Answers as ``systemctl`` does, and writes cgroups and drop-ins."""

    def __init__(self, tree: Tree, control: Path) -> None:
        self.tree, self.control = tree, control
        self.units: dict[str, dict[str, str]] = {}
        self.commands: list[tuple[str, ...]] = []
        self.refuses = ""

    def add(self, name: str, **properties: str) -> None:
        self.units[name] = {
            "Id": name,
            "LoadState": "loaded",
            "ActiveState": "active",
            "ControlGroup": f"/{name}",
            "CPUWeight": "[not set]",
            "IOWeight": "[not set]",
            "MemoryHigh": "infinity",
            "ManagedOOMMemoryPressure": "auto",
            **properties,
        }
        weights = {knob: self.units[name][p] for knob, p in (("cpu", "CPUWeight"), ("io", "IOWeight"))}
        self.tree.add(name, **{knob: value for knob, value in weights.items() if value.isdecimal()})

    def __call__(self, *arguments: str) -> str:
        self.commands.append(arguments)
        if self.refuses and self.refuses in arguments:
            raise SystemdError(f"systemctl {arguments[0]}: refused")
        names = arguments[arguments.index("--") + 1 :] if "--" in arguments else ()
        if arguments[0] == "show":
            return "\n\n".join("\n".join(f"{k}={v}" for k, v in self._unit(name).items()) for name in names) + "\n"
        if arguments[0] == "set-property":
            assert arguments[1:3] == ("--runtime", "--")
            self._set(*names)
        return ""

    def _unit(self, name: str) -> dict[str, str]:
        return self.units.get(name, {"Id": name, "LoadState": "not-found", "ActiveState": "inactive"})

    def _set(self, name: str, assignment: str) -> None:
        if name not in self.units:
            raise SystemdError(f"systemctl set-property: Unit {name} not found.")
        key, value = assignment.split("=")
        self.units[name][key] = value or "[not set]"
        text = {"": "100", "infinity": "max"}.get(value, value)
        written = f"default {text}\n" if key == "IOWeight" else f"{text}\n"
        (self.tree.root / name / FILES[key]).write_text(written)
        (folder := self.control / f"{name}.d").mkdir(parents=True, exist_ok=True)
        (folder / f"50-{key}.conf").write_text(f"[Slice]\n{assignment}\n")
