"""Cliffline's own worlds and settings as files that a peer reads: what `workload.load` expects in a directory."""

import json
import subprocess

import numpy as np
import pyarrow.parquet as parquet

SPEC = "reference"
# What the peers do not implement, and the value at which there is nothing to implement.
PLAIN = {"train_optimiser": "sgd", "train_momentum": 0.0, "train_weight_decay": 0.0, "train_clip_norm": 0.0}


def settings(cliffline, scratch):
    """The resolved workload: its cells from the table of a run without steps, its steps from the plan."""
    run = scratch / "settings"
    command = [cliffline, "run", SPEC, "--set", "train.steps=0", "--backend", "flex", "-o", run]
    subprocess.run(command, check=True, capture_output=True)
    cells = parquet.read_table(run / "cells.parquet").to_pandas()
    for name, value in PLAIN.items():
        assert (cells[f"param_{name}"] == value).all(), f"the peers do not know {name} other than {value}"

    def one(name):
        values = cells[f"param_{name}"].unique()
        assert len(values) == 1, f"{name} varies within the workload"
        return values[0].item()

    plan = subprocess.run([cliffline, "plan", SPEC, "--json"], check=True, capture_output=True)
    estimate = json.loads(plan.stdout)["estimate"]
    names = ("batch_size", "weight_i2t", "weight_t2i", "learning_rate")
    workload = {name: one(f"train_{name}") for name in names}
    workload |= {name: one(f"model_{name}") for name in ("hidden_img", "hidden_txt", "embedding")}
    workload["steps"] = estimate["cell_steps"] // estimate["cells"]
    workload["seeds"] = sorted(int(s) for s in cells.param_seed.unique())
    workload["temperatures"] = sorted(float(t) for t in cells.param_train_temperature.unique())
    assert len(cells) == len(workload["seeds"]) * len(workload["temperatures"]), "the workload is not a full grid"
    return workload


def export(cliffline, scratch, steps=None):
    """Writes the workload, of `steps` steps if given, into a directory in `scratch`. Returns that and the workload."""
    workload = settings(cliffline, scratch)
    workload["steps"] = steps or workload["steps"]
    data = scratch / "data"
    data.mkdir()
    for seed in workload["seeds"]:
        table = scratch / "world.parquet"
        command = [cliffline, "world", "export", SPEC, "--axis", f"seed={seed}", "-o", table]
        subprocess.run(command, check=True, capture_output=True)
        world = parquet.read_table(table, columns=["index", "split", "text_of", "x_img", "x_txt"]).to_pandas()
        world = world.set_index("index", drop=False)
        for split in ("train", "test"):
            rows = world[world.split == split]
            # Row b of both arrays is a pair.
            img, txt = np.stack(rows.x_img), np.stack(world.x_txt.loc[rows.text_of])
            np.save(data / f"{split}_img_{seed}.npy", img.astype(np.float32))
            np.save(data / f"{split}_txt_{seed}.npy", txt.astype(np.float32))
        workload |= {"inputs_img": img.shape[1], "inputs_txt": txt.shape[1]}
        table.unlink()
    (data / "workload.json").write_text(json.dumps(workload, indent=1))
    return data, workload
