"""Computes the metrics of a cell again from its exported embeddings, by nothing but what `cliffline reference` prints:

    cliffline embed DIR CELL -o cell.parquet [--condition NAME]
    cliffline show DIR CELL > cell.json
    cliffline reference --json > reference.json
    python3 src/metric/recompute.py cell.parquet cell.json reference.json [NAME]

Prints the largest difference to what the run recorded, by family, and exits 1 where one is more than rounding. What the
run says is missing must be missing here. Sensitivities need the model and are left out. Needs numpy, polars and blake3.
"""

import json
import sys
from math import pi

import numpy as np
import polars
from blake3 import blake3

FACTORS = {"shape": None, "orientation": (0, 2 * pi, 16), "frequency": (1, 3, 8), "phase": (0, 2 * pi, 16),
           "thickness": (0.03, 0.1, 8)}
SHAPES = ["disc", "square", "triangle", "cross"]
# Sums of some thousand terms in another order.
TOLERANCE = 1e-9
# How far rounding of embeddings to 32 bits takes a value past an end of its range.
PAST = 2**-22


class Missing(Exception):
    pass


def need(holds):
    if not holds:
        raise Missing


# Labels and groups


def group(name, values, most=10**9):
    """The group of each sample, counted from 0 in the order of labels."""
    values = np.asarray(values)
    if FACTORS.get(name) is not None:
        low, high, bins = FACTORS[name]
        bins = min(bins, most)
        values = np.clip(np.floor((values - low) / (high - low) * bins), 0, bins - 1)
    found, groups = np.unique(values, return_inverse=True)
    need(len(found) > 1 and len(values) >= 2 * len(found))
    return groups


# Permutations


def chacha8(key, stream, words):
    """64-bit words of a stream."""
    blocks = words // 8 + 2
    state = np.zeros((16, blocks), np.uint32)
    state[:4] = np.frombuffer(b"expand 32-byte k", np.uint32)[:, None]
    state[4:12] = np.frombuffer(key, np.uint32)[:, None]
    state[12], state[14] = np.arange(blocks), stream
    x = state.copy()

    def quarter(a, b, c, d):
        for p, q, r, by in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            x[p] += x[q]
            x[r] ^= x[p]
            x[r] = (x[r] << np.uint32(by)) | (x[r] >> np.uint32(32 - by))

    for _ in range(4):
        for i in range(4):
            quarter(i, 4 + i, 8 + i, 12 + i)
        for i in range(4):
            quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
    return (x + state).T.reshape(-1).view(np.uint64)


def permutations(seed, n):
    message = int(seed).to_bytes(8, "little") + b"metric.permutation"
    key = blake3(message, derive_key_context="cliffline 2026-11 stream v1").digest()
    for stream in range(200):
        words = iter(chacha8(key, stream, n + 64).tolist())

        def below(bound):
            while True:
                product = next(words) * bound
                if product % 2**64 >= 2**64 % bound:
                    return product >> 64

        order = list(range(n))
        for i in range(n - 1, 0, -1):
            j = below(i + 1)
            order[i], order[j] = order[j], order[i]
        yield np.array(order)


def dealt(groups, order):
    """The label of each sample when the samples in this order are dealt to the groups."""
    label = np.empty_like(groups)
    label[order] = np.sort(groups)
    return label


def excess(value, null):
    sd = np.std(null, ddof=1)
    need(sd > 1e-13 * abs(np.mean(null)))
    return value - np.mean(null), sd


# Families


class Cell:
    def __init__(self, table, seed, temperature, partial):
        lists = lambda name: np.array(table[name].to_list(), np.float64)
        self.raw = {m: lists(f"raw_{m}") for m in ("img", "txt")}
        self.z = {m: lists(f"z_{m}") for m in ("img", "txt")}
        self.n, self.d = self.z["img"].shape
        self.temperature, self.partial = temperature, partial
        self.orders = list(permutations(seed, self.n))
        row = {index: i for i, index in enumerate(table["index"])}
        text_of = [row[index] for index in table["index_txt"]]
        self.label = {"img": {}, "txt": {}}
        for name in FACTORS:
            values = np.array([SHAPES.index(s) for s in table[name]]) if name == "shape" else table[name].to_numpy()
            self.label["img"][name], self.label["txt"][name] = values, values[text_of]
        for m in ("img", "txt"):
            if f"confounder_{m}" in table.columns:
                # None comes last.
                self.label[m]["confounder"] = table[f"confounder_{m}"].fill_null(10**6).to_numpy()
        for m in ("img", "txt"):
            u = self.raw[m]
            z = u / np.sqrt((u * u).sum(1, keepdims=True) + 1e-12)
            assert np.array_equal(z.astype(np.float32), self.z[m].astype(np.float32)), "z is not normalised raw"
        # Elementwise products and one reduction in the order of columns: equal rows tie exactly.
        s = sum(self.z["img"][:, None, k] * self.z["txt"][None, :, k] for k in range(self.d))
        self.s = {"i2t": s, "t2i": s.T}

    def directed(self, *modalities):
        for m in modalities or ("img", "txt"):
            need(np.linalg.norm(self.raw[m], axis=1).min() >= 1e-6)

    def spread(self, *modalities):
        for m in modalities or ("img", "txt"):
            need(self.z[m].var(0, ddof=1).sum() > 1e-12)

    def groups(self, m, name, most=10**9):
        need(name in self.label[m])
        return group(name, self.label[m][name], most)


SIDES = {"i2t": ("img", "txt"), "t2i": ("txt", "img")}


def retrieval(c):
    c.directed()
    out = {}
    for way, s in c.s.items():
        rank = (s >= np.diag(s)[:, None]).sum(1)
        for k in (1, 5):
            out[f"retrieval_at_{k}_{way}"] = (rank <= k).mean() if c.n > k else None
        out[f"mean_rank_{way}"], out[f"median_rank_{way}"] = rank.mean(), np.median(rank)
    for k in (1, 5):
        i2t, t2i = out[f"retrieval_at_{k}_i2t"], out[f"retrieval_at_{k}_t2i"]
        out[f"symmetry_gap_at_{k}"] = None if i2t is None else i2t - t2i
    return out


def cosine(c):
    off = ~np.eye(c.n, dtype=bool)
    pairs = {"img": ("img", "img"), "txt": ("txt", "txt"), "cross": ("img", "txt")}
    return {f"mean_cosine_{name}": value(c, a, b, off) for name, (a, b) in pairs.items()}


def value(c, a, b, off):
    try:
        c.directed(a, b)
    except Missing:
        return None
    return (c.z[a] @ c.z[b].T)[off].mean()


def variance(c):
    out = {}
    for m in c.z:
        v = c.z[m].var(0, ddof=1)
        for name, q in (("min", 0), ("p05", 0.05), ("median", 0.5)):
            out[f"variance_{name}_{m}"] = np.quantile(v, q)
    return out


def eigenvalues(c, m):
    return np.clip(np.linalg.eigvalsh(np.cov(c.z[m].T).reshape(c.d, c.d))[::-1], 0, None)


def spectrum(c):
    out = {}
    for m in c.z:
        l = eigenvalues(c, m)
        p = l[l > 0] / l.sum()
        there = l.sum() > 1e-12
        out[f"effective_rank_{m}"] = np.exp(-(p * np.log(p)).sum()) if there else None
        out[f"top_eigen_share_{m}"] = p.max() if there else None
        out[f"participation_ratio_{m}"] = l.sum() ** 2 / (l**2).sum() if there else None
    ranks = [out[f"effective_rank_{m}"] for m in c.z]
    out["rank_divergence"] = None if None in ranks else ranks[0] - ranks[1]
    return out


def hubness(c):
    c.directed()
    out = {}
    for way, s in c.s.items():
        h = np.bincount(s.argmax(1), minlength=c.n)
        out[f"hub_gini_{way}"] = np.abs(h[:, None] - h[None, :]).sum() / (2 * c.n * h.sum())
        for m in (1, 5):
            out[f"hub_top{m}_share_{way}"] = np.sort(h)[-m:].sum() / c.n if c.n > m else None
        near = np.argsort(-s, axis=1, kind="stable")[:, :10]
        k = np.bincount(near.ravel(), minlength=c.n) - near.size / c.n
        sound = c.n >= 21 and (k**2).sum() > 0
        out[f"k_occurrence_skewness_{way}"] = (k**3).mean() / (k**2).mean() ** 1.5 if sound else None
    return out


def norm(c):
    out = {}
    for m in c.raw:
        length = np.linalg.norm(c.raw[m], axis=1)
        out[f"norm_mean_{m}"], out[f"norm_sd_{m}"] = length.mean(), length.std(ddof=1)
    return out


def logits(c):
    c.directed()
    out, off = {}, ~np.eye(c.n, dtype=bool)
    for name, values in (("diagonal", np.diag(c.s["i2t"])), ("off_diagonal", c.s["i2t"][off])):
        out[f"logit_{name}_mean"] = values.mean() / c.temperature
        for percent in (5, 50, 95):
            out[f"logit_{name}_p{percent:02}"] = np.quantile(values, percent / 100) / c.temperature
    for way, s in c.s.items():
        margin = (np.diag(s) - np.where(off, s, -np.inf).max(1)) / c.temperature
        out[f"logit_margin_mean_{way}"], out[f"logit_margin_p05_{way}"] = margin.mean(), np.quantile(margin, 0.05)
    return out


def alignment(c):
    c.directed()
    c.spread()
    apart = c.z["img"] - c.z["txt"]
    return {"alignment": (apart**2).sum(1).mean(), "modality_gap": np.linalg.norm(apart.mean(0))}


def uniformity(c):
    out, pairs = {}, np.triu_indices(c.n, 1)
    for m in c.z:
        try:
            c.directed(m)
            d = 2 - 2 * (c.z[m] @ c.z[m].T)[pairs]
            out[f"uniformity_{m}"] = np.log(np.exp(-2 * d).mean())
        except Missing:
            out[f"uniformity_{m}"] = None
    return out


def symmetry(c):
    c.spread()
    lengths = [np.sort(np.linalg.norm(c.raw[m], axis=1)) for m in ("img", "txt")]
    p, q = (eigenvalues(c, m) / eigenvalues(c, m).sum() for m in ("img", "txt"))
    part = lambda a: sum(x * np.log(2 * x / (x + y)) for x, y in a if x > 0)
    return {
        "norm_divergence": np.abs(lengths[0] - lengths[1]).mean() / np.mean(lengths),
        "spectrum_divergence": (part(zip(p, q)) + part(zip(q, p))) / 2,
    }


def neighbours(c):
    need(c.n >= 21)
    c.spread()
    c.directed()
    out = {}
    for way, s in c.s.items():
        asking, answering = (c.label[m] for m in SIDES[way])
        near = np.argsort(-s, axis=1, kind="stable")[:, :10]
        query, candidate = np.nonzero(np.arange(c.n)[:, None] != near)
        candidate = near[query, candidate]
        out[f"neighbour_shape_{way}"] = (asking["shape"][query] == answering["shape"][candidate]).mean()
        turn = np.abs(asking["orientation"][query] - answering["orientation"][candidate]) % (2 * pi)
        out[f"neighbour_orientation_{way}"] = np.minimum(turn, 2 * pi - turn).mean()
    for name in ("shape", "orientation"):
        out[f"neighbour_{name}_gap"] = out[f"neighbour_{name}_i2t"] - out[f"neighbour_{name}_t2i"]
    return out


def separable(z, groups):
    between = within = 0.0
    for g in np.unique(groups):
        own = z[groups == g]
        between += len(own) * ((own.mean(0) - z.mean(0)) ** 2).sum()
        within += ((own - own.mean(0)) ** 2).sum()
    need(within > 1e-12 * (len(z) - len(np.unique(groups))))
    return between / within


def separability(c):
    out = {}
    for m in c.z:
        for name in FACTORS:
            stem = f"separability_{name}_{m}"
            out |= dict.fromkeys([stem, f"{stem}_excess", f"{stem}_null_sd"])
            try:
                c.spread(m)
                groups = c.groups(m, name)
                out[stem] = separable(c.z[m], groups)
                null = [separable(c.z[m], dealt(groups, order)) for order in c.orders]
                out[f"{stem}_excess"], out[f"{stem}_null_sd"] = excess(out[stem], null)
            except Missing:
                pass
    return out


def signature(z, m):
    l, vectors = np.linalg.eigh(np.cov(z.T).reshape(z.shape[1], z.shape[1]))
    cell, kept = np.zeros(len(z), int), 0
    for at in np.argsort(-l)[:3]:
        if l[at] <= 1e-12:
            continue
        x = (z - z.mean(0)) @ vectors[:, at]
        x = x if (x**3).sum() >= 0 else -x
        edges = [np.sort(x)[k * len(z) // m] for k in range(1, m)]
        cell, kept = cell * m + sum((x >= edge).astype(int) for edge in edges), kept + 1
    return cell, m**kept


def mutual(cell, label):
    n = len(cell)
    joint = np.zeros((cell.max() + 1, label.max() + 1))
    np.add.at(joint, (cell, label), 1)
    a, b = joint.sum(1), joint.sum(0)
    there = joint > 0
    expected = np.outer(a, b)[there] / n
    occurring = (a > 0).sum() + (b > 0).sum() - there.sum() - 1
    return (joint[there] / n * np.log(joint[there] / expected)).sum() + occurring / (2 * n)


def information(c):
    out = {}
    for side in c.z:
        for name in [*FACTORS, "confounder"]:
            stem = f"mi_{name}_{side}"
            out |= dict.fromkeys([stem, f"{stem}_excess", f"{stem}_null_sd", f"{stem}_bin_span"])
            try:
                c.spread(side)
                label = c.groups(side, name, 8)
                need(c.n >= 4 * (label.max() + 1))
                excesses = []
                for m in (3, 2, 4):
                    cell, cells = signature(c.z[side], m)
                    need(c.n >= 4 * cells and len(np.unique(cell)) > 1)
                    mi = mutual(cell, label)
                    if m == 3:
                        out[stem] = mi
                    found = excess(mi, [mutual(cell, dealt(label, order)) for order in c.orders])
                    excesses.append(found[0])
                    if m == 3:
                        out[f"{stem}_excess"], out[f"{stem}_null_sd"] = found
                out[f"{stem}_bin_span"] = max(excesses) - min(excesses)
            except Missing:
                pass
    return out


def whitener(z, ridge):
    c = np.cov(z.T)
    l, vectors = np.linalg.eigh(c + ridge * np.trace(c) / len(c) * np.eye(len(c)))
    return vectors @ np.diag(l**-0.5) @ vectors.T


def correlation(c):
    need(c.n >= 2 * c.d + 2)
    c.spread()
    x, y = (c.z[m] - c.z[m].mean(0) for m in ("img", "txt"))

    def canonical(y, roots):
        found = np.minimum(np.linalg.svd(roots[0] @ (x.T @ y / (c.n - 1)) @ roots[1], compute_uv=False), 1)
        return found[0], found[:5].mean()

    roots = {ridge: (whitener(x, ridge), whitener(y, ridge)) for ridge in (1e-4, 1e-3, 1e-2, 1e-1)}
    by_ridge = {ridge: canonical(y, both) for ridge, both in roots.items()}
    null = [canonical(y[order], roots[1e-3]) for order in c.orders]
    out = {}
    for at, stem in enumerate(("cca_1", "cca_mean")):
        over = [found[at] for found in by_ridge.values()]
        out[stem], out[f"{stem}_ridge_span"] = by_ridge[1e-3][at], max(over) - min(over)
        out[f"{stem}_excess"], out[f"{stem}_null_sd"] = excess(out[stem], [found[at] for found in null])
    return out


def cross_group(c):
    need(not c.partial)
    c.spread()
    c.directed()
    groups = {m: c.groups(m, "confounder") for m in c.z}
    need(min(np.bincount(g).min() for g in groups.values()) >= 8)
    out = {}
    for way, s in c.s.items():
        of = groups[SIDES[way][1]]
        counts = {"within": [], "across": []}
        for i in range(c.n):
            same = of == of[i]
            same[i] = False
            for name, among in (("within", same), ("across", of != of[i])):
                n, b = among.sum(), (s[i, among] >= s[i, i]).sum()
                counts[name].append(np.prod([max(n - b - k, 0) / (n - k) for k in range(7)]))
        for name, found in counts.items():
            out[f"retrieval_{name}_group_{way}"] = np.mean(found)
        out[f"cross_group_gap_{way}"] = np.mean(counts["across"]) - np.mean(counts["within"])
    return out


FAMILIES = [retrieval, cosine, variance, spectrum, hubness, norm, logits, alignment, uniformity, symmetry, neighbours,
            separability, information, correlation, cross_group]


def held(value, low, high):
    """What rounding takes past an end of the range is that end."""
    if low is not None and low - PAST * max(1, abs(low)) <= value < low:
        return low
    if high is not None and high < value <= high + PAST * max(1, abs(high)):
        return high
    return value


def main(embeddings, shown, reference, condition=None):
    with open(shown) as file:
        shown = json.load(file)
    with open(reference) as file:
        ranges = {metric["name"]: metric["range"] for metric in json.load(file)["metrics"]}
    config, recorded = shown["config"], shown["metrics"]
    changes = {}
    if condition:
        found = shown["conditions"][condition]
        recorded, changes = found["metrics"], found["changes"]
    scoring = changes.get("score.temperature", config["score"]["temperature"])
    partial = changes.get("confounder.kind", config["confounder"]["kind"]) == "id_codebook"
    table = polars.read_parquet(embeddings)
    cell = Cell(table, config["seed"], scoring or config["train"]["temperature"], partial)
    compared, wrong = set(), []
    for family in FAMILIES:
        worst = (0.0, "")
        try:
            values = family(cell)
        except Missing:
            values = {}
        for name, value in values.items():
            said = recorded.get(name)
            if value is None or said is None:
                if value is not None and name in recorded:
                    wrong.append(f"{name}: {value} here, missing there")
                continue
            apart = abs(held(value, *ranges[name]) - said) / max(1.0, abs(said))
            worst = max(worst, (apart, name))
            compared.add(name)
            if apart > TOLERANCE:
                wrong.append(f"{name}: {value} here, {said} there")
        missing = [name for name in values if values[name] is None]
        print(f"{family.__name__:14} {len(values):3} metrics, {len(missing):3} missing, worst {worst[0]:.1e} {worst[1]}")
    for name, said in recorded.items():
        if said is not None and name not in compared and not name.startswith("sensitivity"):
            wrong.append(f"{name}: missing here, {said} there")
    print(f"{len(compared)} values compared, {len(wrong)} wrong")
    print("\n".join(wrong))
    sys.exit(bool(wrong))


main(*sys.argv[1:])
