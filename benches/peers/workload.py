"""What all peers share: data, minibatches, initial parameters, processes, and the JSON line they print.

A peer is a module with one class, `Peer(workload, args, seeds)`, which owns the cells of some seeds (all temperatures
of each) and has three methods: `warm_up()` compiles and runs a little, `train()` trains every cell and returns the
loss of the last step `[seeds, temperatures]`, `retrieval()` returns retrieval@1 image to text and text to image, both
`[seeds, temperatures]`. Here it is run in one or more processes and timed.

What is counted: `cell_steps_per_s` counts training alone, from the first step of the first process to the last step of
the last. Imports, reading data, compilation, warm-up and evaluation are outside it, which favours the peer; `total_s`
is everything from the start of the program.

The peers draw the same initial parameters and minibatches as each other, not the same as Cliffline: the draws are of
the same distributions (Xavier uniform; a permutation per epoch, nothing repeated within one).
"""

import argparse
import importlib
import json
import multiprocessing
import os
import platform
import queue
import time
from pathlib import Path
from types import SimpleNamespace

STARTED = time.monotonic()
MODALITIES = ("img", "txt")
# What `--threads` sets before a framework is imported: XLA's pool, OpenMP, MKL.
THREAD_VARIABLES = ("NPROC", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def load(directory, seeds=None, steps=None):
    """The workload that compare.py wrote: `workload.json`, and one .npy per seed, split and modality."""
    import numpy as np

    directory = Path(directory)
    workload = SimpleNamespace(**json.loads((directory / "workload.json").read_text()))
    workload.steps = steps or workload.steps
    workload.seeds = workload.seeds if seeds is None else seeds
    for split in ("train", "test"):
        for m in MODALITIES:
            arrays = [np.load(directory / f"{split}_{m}_{seed}.npy") for seed in workload.seeds]
            setattr(workload, f"{split}_{m}", np.stack(arrays))
    return workload


def batches(workload, seed):
    """Rows of the training split, `[steps, batch]`: a permutation per epoch, whole minibatches only."""
    import numpy as np

    random = np.random.default_rng([seed, 1])
    n, per_epoch = workload.train_img.shape[1], workload.train_img.shape[1] // workload.batch_size
    epochs = -(-workload.steps // per_epoch)
    rows = [random.permutation(n)[: per_epoch * workload.batch_size] for _ in range(epochs)]
    return np.concatenate(rows).reshape(-1, workload.batch_size)[: workload.steps].astype(np.int32)


def initial(workload, seed):
    """Xavier uniform weights and zero biases: `{modality: {w1 [P, H], b1 [H], w2 [H, D], b2 [D]}}`."""
    import numpy as np

    random = np.random.default_rng([seed, 2])

    def xavier(fan_in, fan_out):
        bound = np.sqrt(6 / (fan_in + fan_out))
        return random.uniform(-bound, bound, (fan_in, fan_out)).astype(np.float32)

    parameters = {}
    for m in MODALITIES:
        inputs, hidden = getattr(workload, f"train_{m}").shape[2], getattr(workload, f"hidden_{m}")
        w1, w2 = xavier(inputs, hidden), xavier(hidden, workload.embedding)
        b1, b2 = (np.zeros(n, np.float32) for n in (hidden, workload.embedding))
        parameters[m] = {"w1": w1, "b1": b1, "w2": w2, "b2": b2}
    return parameters


def arguments(doc, layouts=None):
    """The parser of a peer's options; `layouts` are the ways it can arrange a pack, best first."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="directory that compare.py wrote")
    parser.add_argument("--steps", type=int, help="steps per cell [default: the workload's]")
    parser.add_argument("--threads", type=int, default=0, help="threads per process; 0: the framework's choice")
    parser.add_argument("--processes", type=int, default=1, help="processes, each with a share of the seeds")
    parser.add_argument("--device", default="", help="cpu, cuda or gpu [default: JAX's choice; for torch the CPU]")
    if layouts:
        parser.add_argument("--pack", type=int, default=8, help="cells trained together")
        parser.add_argument("--layout", choices=layouts, default=layouts[0], help="how a pack is laid out")
    return parser


def packs(workload, pack):
    """Cuts `[seeds, temperatures]` into packs: lists of (slice of seeds, slice of temperatures), all of one size."""
    temperatures, seeds = len(workload.temperatures), len(workload.seeds)
    across, down = min(pack, temperatures), max(1, pack // temperatures)
    if across * down != pack or temperatures % across or seeds % down:
        raise SystemExit(f"a pack of {pack} does not divide {seeds} seeds x {temperatures} temperatures evenly")
    return [
        (slice(s, s + down), slice(t, t + across))
        for s in range(0, seeds, down)
        for t in range(0, temperatures, across)
    ]


def work(module, args, seeds, barrier, results):
    """One process: warms a peer up, waits for the others, trains and evaluates."""
    for variable in THREAD_VARIABLES if args.threads else ():
        os.environ[variable] = str(args.threads)
    begun = time.monotonic()
    peer = importlib.import_module(module).Peer(load(args.data, seeds, args.steps), args)
    imported = time.monotonic()
    peer.warm_up()
    warm = time.monotonic()
    if barrier:
        barrier.wait()
    start, cpu = time.monotonic(), time.process_time()
    loss = peer.train()
    end, cpu = time.monotonic(), time.process_time() - cpu
    i2t, t2i = peer.retrieval()
    values = {"loss": loss, "retrieval_at_1_i2t": i2t, "retrieval_at_1_t2i": t2i}
    out = {key: [[float(x) for x in row] for row in value] for key, value in values.items()}
    out |= {"start": start, "end": end, "cpu_s": cpu, "load_s": imported - begun, "compile_s": warm - imported}
    results.put(out | {"versions": peer.versions})


def main(module, args):
    """Runs a peer's module and prints its JSON line."""
    described = json.loads((Path(args.data) / "workload.json").read_text())
    seeds, temperatures = described["seeds"], described["temperatures"]
    shares = [seeds[i :: args.processes] for i in range(args.processes)]
    # Fresh interpreters, also for one process: thread settings are read at import.
    context = multiprocessing.get_context("spawn")
    results, barrier = context.Queue(), context.Barrier(args.processes)
    process = lambda share: context.Process(target=work, args=(module, args, share, barrier, results), daemon=True)
    workers = [process(share) for share in shares]
    for worker in workers:
        worker.start()
    parts = []
    while len(parts) < len(workers):
        try:
            parts.append(results.get(timeout=1))
        except queue.Empty:
            if any(worker.exitcode not in (None, 0) for worker in workers):
                raise SystemExit("a worker of the peer ended without a result")
    cells, steps = len(seeds) * len(temperatures), args.steps or described["steps"]
    took = max(p["end"] for p in parts) - min(p["start"] for p in parts)
    line = {
        "program": module,
        "options": {k: v for k, v in vars(args).items() if k != "data"},
        "versions": {"python": platform.python_version()} | parts[0]["versions"],
        "cells": cells,
        "steps": steps,
        "cell_steps_per_s": cells * steps / took,
        "train_s": took,
        "train_cpu_s": sum(p["cpu_s"] for p in parts),
        "load_s": max(p["load_s"] for p in parts),
        "compile_s": max(p["compile_s"] for p in parts),
        "total_s": time.monotonic() - STARTED,
        "temperatures": temperatures,
    }
    for key in ("loss", "retrieval_at_1_i2t", "retrieval_at_1_t2i"):
        columns = list(zip(*(row for part in parts for row in part[key])))
        line[key] = [sum(c) / len(c) for c in columns]
        line[f"{key}_sd"] = [(sum((x - sum(c) / len(c)) ** 2 for x in c) / max(1, len(c) - 1)) ** 0.5 for c in columns]
    print(json.dumps(line))
