"""What a GPU computes, and how fast memory is copied to it, in it and from it: run by PyTorch's Python, for one GPU.

Printed is a JSON object: the measurements, or what is in the way of them.
"""

import json
import time
from collections.abc import Callable
from typing import Any

# Bytes of one copy: enough for it to take many times as long as starting it, and to fit beside what others keep.
SIZE = 256 << 20
ROUNDS = 20
# Rows and columns. Factors are whole numbers of -8 to 8, so every sum on the way to the product is a whole number below
# 8 * 8 * 2048 = 2^17. A 32-bit float holds those exactly in whatever order they are added; TF32 holds the factors.
ROWS = 2048
LARGEST = 8


def copies(torch: Any, device: str) -> dict[str, Any]:
    """Bytes per second of copies, and how many bytes were wrong in the end.

    Args:
        torch: the module.
        device: as PyTorch names them; what is measured is ``cuda``.
    """
    on_gpu = device == "cuda"
    wait: Callable[[], object] = torch.cuda.synchronize if on_gpu else lambda: None
    # Pages that stay where they are: the GPU fetches them by itself.
    source, back = (torch.empty(SIZE, dtype=torch.uint8, pin_memory=on_gpu) for _ in range(2))
    source.random_(generator=torch.Generator().manual_seed(1))
    first, second = (torch.empty(SIZE, dtype=torch.uint8, device=device) for _ in range(2))

    def speed(to: Any, of: Any) -> float:
        to.copy_(of)
        wait()
        start = time.perf_counter()
        for _ in range(ROUNDS):
            to.copy_(of, non_blocking=True)
        wait()
        return ROUNDS * SIZE / (time.perf_counter() - start)

    speeds = {
        "host_to_device": speed(first, source),
        "device_to_device": speed(second, first),
        "device_to_host": speed(back, second),
    }
    return {"bytes_per_second": speeds, "wrong_bytes": int((back != source).sum())}


def product(torch: Any, device: str) -> dict[str, Any]:
    """How many numbers of a product of two matrices are not what the CPU says."""
    generator = torch.Generator().manual_seed(2)
    factors = [torch.randint(-LARGEST, LARGEST + 1, (ROWS, ROWS), generator=generator).float() for _ in range(2)]
    expected = factors[0] @ factors[1]
    got = (factors[0].to(device) @ factors[1].to(device)).cpu()
    return {"wrong_numbers": int((got != expected).sum()), "numbers": ROWS * ROWS}


def measure() -> dict[str, Any]:
    """All of it, or ``error``: what is in the way."""
    try:
        import torch
    except ImportError as error:
        return {"error": f"PyTorch cannot be imported: {error}"}
    if not torch.cuda.is_available():
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
        return {"error": f"PyTorch {torch.__version__} ({built}) has no GPU"}
    told = {"pytorch": torch.__version__, "cuda": torch.version.cuda}
    try:
        return told | copies(torch, "cuda") | product(torch, "cuda")
    except RuntimeError as error:
        return told | {"error": str(error).partition("\n")[0]}


def main() -> None:
    """Print the measurements of the GPU that CUDA_VISIBLE_DEVICES names."""
    print(json.dumps(measure()))


if __name__ == "__main__":
    main()
