"""The comparison as Markdown."""

import datetime
import platform
import re
from statistics import mean, median, stdev

import machine

TASKS = ("i2t", "t2i")
# Cliffline's backends to which the processor's limit applies.
# Differences of means beyond this many standard errors are called out. With 8 seeds each (14 degrees of freedom)
# chance puts a difference there once in 760 times: one of a program's 16 is called out wrongly in 1 of 47 runs at most.
STANDARD_ERRORS = 4


def path(directory):
    slug = re.sub(r"[^a-z0-9]+", "-", machine.cpu_info()[0].lower()).strip("-")
    return directory / f"{datetime.date.today().isoformat()}-{slug}.md"


def table(head, rows):
    line = lambda cells: "| " + " | ".join(str(c) for c in cells) + " |"
    return [line(head), line(["---"] + ["---:"] * (len(head) - 1)), *map(line, rows), ""]


def setting(options):
    shown = {k: v for k, v in options.items() if k != "threads" or v}
    return ", ".join(f"{k} {v}" for k, v in shown.items())


def header(runs, options, version):
    manifest = runs["cliffline"][0]["manifest"]
    code = manifest["code"]
    commit = (code.get("git_commit") or "unknown commit")[:12]
    commit += " with local changes" if code.get("git_dirty") else ""
    model, instructions = machine.cpu_info()
    versions = {}
    for name, lines in runs.items():
        versions |= {} if name == "cliffline" else {k: v for k, v in lines[0]["versions"].items() if k != "device"}
    devices = {lines[0]["versions"]["device"] for name, lines in runs.items() if name != "cliffline"}
    missing = ", ".join(name for name, chosen in options.items() if not chosen)
    return [
        "# The reference workload, side by side",
        "",
        f"- Date: {datetime.date.today().isoformat()}",
        f"- CPU: {model}, {machine.cores()} cores; {instructions}",
        f"- OS: {platform.system()} {'.'.join(platform.release().split('.')[:2])}",
        f"- Cliffline: {version}, {commit}, class `{manifest['class']}`",
        f"- Peers: {', '.join(f'{k} {v}' for k, v in versions.items()) or 'none'}",
        f"- Devices of the peers: {', '.join(sorted(devices)) or 'none'}",
        *([f"- Left out, because they did not run here: {missing}"] if missing else []),
        "",
    ]


def speeds(workload, runs, options, limit):
    cells = len(workload["seeds"]) * len(workload["temperatures"])
    flops = machine.flops_per_step(workload)
    manifest = runs["cliffline"][0]["manifest"]
    whole = [run["whole"] for run in runs["cliffline"]]
    walls = [run["wall_s"] for run in runs["cliffline"]]
    on_cpu = manifest["backend"] != "wgpu"
    series = {
        "cliffline, whole command": (f"backend {manifest['backend']}, defaults", whole, walls, on_cpu),
        "cliffline, training": ("as it reports", [run["training"] for run in runs["cliffline"]], walls, on_cpu),
    }
    for name, chosen in options.items():
        if name in runs:
            values = [line["cell_steps_per_s"] for line in runs[name]]
            on_cpu = "cpu" in runs[name][0]["versions"]["device"].lower()
            series[f"{name}, training"] = (setting(chosen), values, [line["total_s"] for line in runs[name]], on_cpu)
    rows = []
    for name, (how, values, total, on_cpu) in series.items():
        middle = median(values)
        share = f"{middle * flops / limit:.0%}" if limit and on_cpu else "-"
        figures = [f"{x:.0f}" for x in (middle, min(values), max(values))]
        rows.append([name, how, *figures, f"{median(whole) / middle:.2f}", share, f"{median(total):.1f}"])
    head = ["program", "settings", "cell-steps/s", "min", "max", "Cliffline / it", "of the limit", "whole process, s"]
    return [
        f"{cells} cells of {workload['steps']} steps; medians of {len(whole)} alternating rounds. The ratio is the "
        "rate of Cliffline's whole command over that of the program's training alone; above 1, Cliffline is faster. "
        "Imports, compilation, data and evaluation are outside a peer's rate; its whole process has its own column.",
        "",
        *table(head, rows),
    ]


def limit_lines(workload, limits, limit):
    flops = machine.flops_per_step(workload)
    rows = [
        [f"{library}, {threads} threads", f"{rate:.0f}", f"{rate * 1e9 / flops:.0f}"]
        for threads, found in limits.items()
        for library, rate in found.items()
    ]
    return [
        "## The limit of the matrix products",
        "",
        f"One cell-step multiplies matrices for {flops / 1e6:.1f} MFLOP. At the rate of the fastest large float32 "
        f"product on {max(limits)} threads, the CPU would allow {limit / flops:.0f} cell-steps/s, were there nothing "
        "else to do; the shares above are of that.",
        "",
        *table(["large product", "GFLOP/s", "cell-steps/s"], rows),
    ]


def learnt(workload, runs):
    """Retrieval at 1 by temperature, and how far apart the programs end."""
    cells, count = runs["cliffline"][0]["cells"], len(workload["seeds"])
    names = ["cliffline"] + [name for name in runs if name != "cliffline"]
    found = {name: {} for name in names}
    for task in TASKS:
        groups = cells.groupby("param_train_temperature")[f"metric_retrieval_at_1_{task}"]
        ours = [groups.get_group(t).tolist() for t in workload["temperatures"]]
        found["cliffline"][task] = ([mean(g) for g in ours], [stdev(g) for g in ours])
        for name in names[1:]:
            line = runs[name][0]
            found[name][task] = (line[f"retrieval_at_1_{task}"], line[f"retrieval_at_1_{task}_sd"])
    lines = ["## What was learnt", "", f"Mean retrieval at 1 on the test split over {count} seeds.", ""]
    for task in TASKS:
        rows = [
            [f"{task}, {t:.4g}"] + [f"{found[name][task][0][i]:.3f}" for name in names]
            for i, t in enumerate(workload["temperatures"])
        ]
        lines += table(["direction, temperature", *names], rows)
    lines += [f"Standard errors are of a difference of two means over {count} seeds, by each program's own spread.", ""]
    rows = []
    for name in names[1:]:
        differences = []
        for task in TASKS:
            (ours, our_sd), (theirs, their_sd) = found["cliffline"][task], found[name][task]
            for a, b, s, r in zip(ours, theirs, our_sd, their_sd):
                error = ((s * s + r * r) / count) ** 0.5
                differences.append((abs(a - b) / error if error else (float("inf") if a != b else 0.0), abs(a - b)))
        worst, largest = max(d[0] for d in differences), max(d[1] for d in differences)
        rows.append([name, f"{largest:.3f}", f"{worst:.1f}", "yes" if worst <= STANDARD_ERRORS else "NO"])
    head = ["program", "largest difference", "in standard errors, at most", f"within {STANDARD_ERRORS}"]
    return lines + table(head, rows) if rows else []


def markdown(workload, runs, options, limits, version):
    rates = limits[max(limits)]
    limit = max(rates.values(), default=0) * 1e9
    parts = header(runs, options, version) + speeds(workload, runs, options, limit)
    parts += limit_lines(workload, limits, limit) if limit else []
    return "\n".join(parts + learnt(workload, runs)).rstrip()
