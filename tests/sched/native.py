"""What the scheduler's headers say, compiled for the host."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from lichen_sched.layout import DEPTH, FEATURES, Node

from tests.conftest import REPOSITORY

HEADERS = REPOSITORY.overlays / "scheduler-agent/bpf"

_SOURCE = """
#include <linux/types.h>
#include <stddef.h>
#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif
#include "lichen-sched-arithmetic.h"
__s32 log_2(__u64 value) { return lichen_log2(value); }
__u64 exp_2(__u32 logarithm) { return lichen_exp2(logarithm); }
__s32 average(__s32 old, __s32 new) { return lichen_ewma(old, new); }
__s32 bounded(__s32 logarithm) { return lichen_clamp(logarithm); }
__u32 bucket(__u64 delay) { return lichen_bucket(delay); }
__s32 leaf(const struct lichen_tree *tree, const __s32 *features) { return lichen_leaf(tree, features); }
"""


def compiler() -> str:
    """A C compiler of the host; skips the test when there is none."""
    found = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if not found:
        pytest.skip("the host has no C compiler")
    return found


def arithmetic(folder: Path) -> ctypes.CDLL:
    """The programs' arithmetic as a library; undefined behaviour ends the process."""
    source, library = folder / "arithmetic.c", folder / "arithmetic.so"
    source.write_text(_SOURCE)
    options = [
        "-O2",
        "-Wall",
        "-Wno-unknown-pragmas",
        "-Werror",
        "-fsanitize=undefined",
        "-fsanitize-undefined-trap-on-error",
    ]
    subprocess.run([compiler(), *options, "-shared", "-fPIC", f"-I{HEADERS}", "-o", library, source], check=True)
    loaded = ctypes.CDLL(str(library))
    for name, result, *arguments in (
        ("log_2", ctypes.c_int32, ctypes.c_uint64),
        ("exp_2", ctypes.c_uint64, ctypes.c_uint32),
        ("average", ctypes.c_int32, ctypes.c_int32, ctypes.c_int32),
        ("bounded", ctypes.c_int32, ctypes.c_int32),
        ("bucket", ctypes.c_uint32, ctypes.c_uint64),
        ("leaf", ctypes.c_int32, ctypes.c_char_p, ctypes.c_void_p),
    ):
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    return loaded


def told(folder: Path, expressions: Sequence[str]) -> list[int]:
    """Values of integer expressions about the headers."""
    lines = "".join(f'printf("%lld\\n", (long long)({expression}));' for expression in expressions)
    source, program = folder / "told.c", folder / "told"
    source.write_text(
        '#include <linux/types.h>\n#include <stddef.h>\n#include <stdio.h>\n#include "lichen-sched.h"\n'
        f"int main(void) {{ {lines} return 0; }}\n"
    )
    subprocess.run([compiler(), "-Wall", "-Werror", f"-I{HEADERS}", "-o", program, source], check=True)
    return [int(line) for line in subprocess.run([program], capture_output=True, text=True, check=True).stdout.split()]


def grown(choose: Sequence[int]) -> list[Node]:
    """A full tree of three levels, from 22 numbers: features and thresholds of seven questions, then eight leaves."""
    nodes = []
    for number in range(7):
        feature, threshold = choose[2 * number] % FEATURES, choose[2 * number + 1]
        nodes.append(Node(threshold, 0, feature, 2 * number + 1, 2 * number + 2, False))
    nodes += [Node(0, value, 0, 0, 0, True) for value in choose[14:22]]
    assert DEPTH >= 3
    return nodes
