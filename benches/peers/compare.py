"""Cliffline and what one would write instead of it, side by side on the reference workload: prints ratios.

    pip install -r benches/peers/requirements.txt        # torch and jax are optional: what is missing is left out
    python benches/peers/compare.py [--cliffline PATH] [--rounds 3] [--only jax_vmap,torch_loop] [--save]

The peers read Cliffline's own worlds, exported into a temporary directory. First each peer is tuned: short runs choose
its pack, layout, processes and threads, one option at a time. Cliffline is not tuned; it runs at its defaults. Then
rounds alternate between the programs, so that drift of the machine meets all of them alike.

What is counted: for Cliffline the whole `run reference` command, by the clock, from exec to exit: the world, the
gradient check, evaluation and tables included. For a peer, training alone (see workload.py), which favours it; its
whole process is in a column of its own. The last tables compare what was learnt: a peer that ends elsewhere than
Cliffline does not compute the same thing.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import machine
import pyarrow.parquet as parquet
import report
import worlds

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PACKS = (1, 2, 4, 8, 16, 32, 64)
# Name, then program, fixed flags and the options to tune with their candidates, the first of each to start from.
PEERS = {
    "jax_vmap": ("jax_vmap", [], {"layout": ("shared", "folded", "separate"), "pack": PACKS}),
    # As most write it: one process with the framework's own threads.
    "jax_vmap_one_process": (
        "jax_vmap", [], {"split": [(1, 0)], "layout": ("shared", "folded", "separate"), "pack": PACKS}
    ),
    "torch_loop": ("torch_loop", [], {}),
    "torch_loop_one_process": ("torch_loop", [], {"split": [(1, 0)]}),
    "torch_batched": ("torch_batched", [], {"layout": ("separate", "folded"), "pack": PACKS}),
    "torch_compiled": ("torch_batched", ["--compile"], {"layout": ("folded", "separate"), "pack": PACKS}),
}
START_PACK = 8


def log(text):
    print(text, file=sys.stderr, flush=True)


def run_peer(name, options, data, steps, device):
    """The JSON line of one run of a peer, or None with the reason on standard error."""
    program, flags, _ = PEERS[name]
    command = [sys.executable, HERE / f"{program}.py", "--data", data, "--steps", str(steps), *flags]
    command += [f"--device={device}"] + [f"--{key}={value}" for key, value in options.items()]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        log(f"{name} {options} failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])


def tune(name, data, workload, steps, device):
    """The fastest options found by changing one at a time until a pass over all of them changes nothing."""
    cores, seeds = machine.cores(), len(workload["seeds"])
    cells = seeds * len(workload["temperatures"])
    # One process with the framework's own threads, or more that share the cores; each has as many seeds.
    several = [(n, cores // n) for n in range(2, min(cores, seeds) + 1) if seeds % n == 0]
    candidates = {"split": [(1, 0), *several]} | PEERS[name][2]
    chosen = {option: values[0] for option, values in candidates.items()}
    if "pack" in chosen:
        chosen["pack"] = START_PACK
    tried = {}

    def options(choice):
        processes, threads = choice["split"]
        return {k: v for k, v in choice.items() if k != "split"} | {"processes": processes, "threads": threads}

    def speed(choice):
        key = json.dumps(choice)
        if key not in tried and choice.get("pack", 1) * choice["split"][0] <= cells:
            line = run_peer(name, options(choice), data, steps, device)
            tried[key] = line["cell_steps_per_s"] if line else 0.0
            log(f"tuning {name} {options(choice)}: {tried[key]:.0f} cell-steps/s")
        return tried.get(key, 0.0)

    while True:
        before = dict(chosen)
        for option, values in candidates.items():
            chosen[option] = max(values, key=lambda value: speed(chosen | {option: value}))
        if chosen == before:
            return options(chosen) if speed(chosen) > 0 else None


def run_cliffline(binary, backend, steps, cells):
    """One whole command in a fresh directory under a fresh parent: runs reuse cells of their neighbours."""
    with tempfile.TemporaryDirectory() as parent:
        run = Path(parent) / "run"
        command = [binary, "run", worlds.SPEC, "--backend", backend, "-o", run]
        command += ["--set", f"train.steps={steps}"] if steps else []
        start = time.monotonic()
        subprocess.run(command, check=True, capture_output=True)
        wall = time.monotonic() - start
        manifest = json.loads((run / "manifest.json").read_text())
        table = parquet.read_table(run / "cells.parquet").to_pandas()
    assert len(table) == cells and (table.status == "ok").all(), "not every cell finished"
    taken = int(table.steps.sum())
    training = manifest["timings"]["train_cell_steps_per_s"]
    return {"whole": taken / wall, "training": training, "wall_s": wall, "manifest": manifest, "cells": table}


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cliffline", help="the binary [default: release binary of the target directory]")
    parser.add_argument("--backend", default="auto", help="Cliffline's --backend")
    parser.add_argument("--device", default="", help="the peers' --device")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help=f"comma-separated, of {', '.join(PEERS)}")
    parser.add_argument("--steps", type=int, help="steps per cell, for trying this script [default: the workload's]")
    parser.add_argument("--tune-steps", type=int, default=50, help="steps of a tuning run")
    parser.add_argument("--tuned", type=Path, help="JSON file of chosen options: read if there, else tuned and written")
    parser.add_argument("--save", action="store_true", help="write benches/results/<date>-<cpu>.md too")
    return parser.parse_args()


def target_binary():
    metadata = ["cargo", "metadata", "--no-deps", "--format-version=1"]
    found = subprocess.run(metadata, cwd=ROOT, check=True, capture_output=True, text=True)
    return Path(json.loads(found.stdout)["target_directory"]) / "release" / "cliffline"


def main():
    args = parse()
    binary = Path(args.cliffline or target_binary()).resolve()
    names = args.only.split(",") if args.only else list(PEERS)
    unknown = [name for name in names if name not in PEERS]
    if unknown or not binary.is_file():
        raise SystemExit(f"no such peer: {', '.join(unknown)}" if unknown else f"no binary at {binary}")
    with tempfile.TemporaryDirectory() as scratch:
        data, workload = worlds.export(binary, Path(scratch), args.steps)
        steps, cells = workload["steps"], len(workload["seeds"]) * len(workload["temperatures"])
        options = json.loads(args.tuned.read_text()) if args.tuned and args.tuned.exists() else {}
        for name in names:
            options[name] = options.get(name) or tune(name, data, workload, args.tune_steps, args.device)
        if args.tuned:
            args.tuned.write_text(json.dumps(options, indent=1) + "\n")
        names = [name for name in names if options[name]]
        version = subprocess.run([binary, "--version"], check=True, capture_output=True, text=True).stdout.strip()
        runs = {"cliffline": []} | {name: [] for name in names}
        for number in range(1, args.rounds + 1):
            runs["cliffline"].append(run_cliffline(binary, args.backend, args.steps, cells))
            log(f"round {number}, cliffline: {runs['cliffline'][-1]['whole']:.0f} cell-steps/s, whole command")
            for name in names:
                line = run_peer(name, options[name], data, steps, args.device)
                if line is None:
                    raise SystemExit(f"{name} failed in round {number}")
                runs[name].append(line)
                log(f"round {number}, {name}: {line['cell_steps_per_s']:.0f} cell-steps/s, training")
    limits = {threads: machine.limits(threads) for threads in sorted({1, machine.cores()})}
    text = report.markdown(workload, runs, options, limits, version)
    print(text)
    if args.save:
        path = report.path(ROOT / "benches" / "results")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
        log(f"written to {path}")


if __name__ == "__main__":
    main()
