"""Arithmetic of the kernel's programs once more, as plain as can be, to compare with."""

from __future__ import annotations

from collections.abc import Sequence

from lichen_sched.layout import DEPTH, FRACTION, Tree, clamp

# 2 ** (2 ** -k), k from 1 on, in 16 fractional bits
_ROOTS = (92682, 77936, 71468, 68438, 66971, 66250, 65892, 65714)


def exp2(logarithm: int) -> int:
    """Nanoseconds of a Q8 logarithm from 0 to below 47 * 256, within a thousandth."""
    result = 1 << 16
    for k, root in enumerate(_ROOTS):
        if logarithm & (1 << (FRACTION - 1 - k)):
            result = result * root >> 16
    return int(result << (logarithm >> FRACTION) >> 16)


def evaluate(trees: Sequence[Tree], base: int, features: Sequence[int]) -> int:
    """What the ensemble predicts, a Q8 logarithm within the bounds of predictions, walked node by node."""
    total = base
    for tree in trees:
        node = tree[0]
        for _ in range(DEPTH):
            if node.leaf:
                break
            node = tree[node.left if features[node.feature] <= node.threshold else node.right]
        total += node.value
    return int(clamp(total))
