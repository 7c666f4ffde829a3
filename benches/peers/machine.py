"""The machine and its limit: `python machine.py --library numpy|torch|jax` measures sgemm, in GFLOP/s.

The limit of the workload is the time that its matrix products would take at the rate of one large float32 product,
the shape that a library does best: no elementwise work, no memory traffic, no small-matrix overhead.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

SIZES = (1024, 1536, 2048)
REPEATS = 12
LIBRARIES = ("numpy", "torch", "jax")


def flops_per_step(workload):
    """Floating-point operations of the matrix products of one cell-step: a multiplication and an addition each.

    Forward, logits, the two gradients with respect to the embeddings, weight gradients, and the gradient with respect
    to the hidden layers; none with respect to the inputs, and nothing elementwise.
    """
    batch, d = workload["batch_size"], workload["embedding"]
    products = 3 * batch * batch * d
    for m in ("img", "txt"):
        inputs, hidden = workload[f"inputs_{m}"], workload[f"hidden_{m}"]
        first, second = batch * inputs * hidden, batch * hidden * d
        products += 2 * first + 3 * second
    return 2 * products


def cpu_info():
    """CPU model, and whether it has the instructions that decide such a comparison."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine(), "unknown"
    fields = (line.partition(":") for line in lines if ":" in line)
    entry = {name.strip(): value.strip() for name, _, value in fields}
    flags = entry.get("flags", "").split()
    return entry.get("model name", platform.machine()), ", ".join(
        f"{name} {'yes' if name in flags else 'no'}" for name in ("avx2", "fma", "avx512f")
    )


def cores():
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def sgemm(library, size):
    """GFLOP/s of the fastest of some square float32 products."""
    import numpy as np

    random = np.random.default_rng(0)
    a, b = (random.standard_normal((size, size), dtype=np.float32) for _ in range(2))
    if library == "torch":
        import torch

        a, b = torch.from_numpy(a), torch.from_numpy(b)
    wait = lambda product: product
    if library == "jax":
        os.environ["JAX_PLATFORMS"] = "cpu"
        import jax

        a, b, wait = jax.numpy.asarray(a), jax.numpy.asarray(b), jax.block_until_ready
    best = float("inf")
    for _ in range(REPEATS):
        start = time.perf_counter()
        wait(a @ b)
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best / 1e9


def limits(threads):
    """GFLOP/s by library, the best of the sizes, measured in fresh processes with so many threads."""
    variables = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NPROC")
    environment = os.environ | {name: str(threads) for name in variables}
    found = {}
    for library in LIBRARIES:
        command = [sys.executable, __file__, "--library", library]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode == 0:
            found[library] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", choices=LIBRARIES, default="numpy")
    print(json.dumps(max(sgemm(parser.parse_args().library, size) for size in SIZES)))
