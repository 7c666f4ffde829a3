"""Prints the golden values of golden_probes.rs and of numerics/information.rs: `python3 src/metric/golden_probes.py`.

By other routes than the Rust code where there are any: sums of squares from statsmodels' analysis of variance, mutual
information from scikit-learn, canonical correlations from statsmodels and from matrix square roots, distances between
distributions and hypergeometric probabilities from scipy.
"""

import numpy as np
import pandas
import scipy
import sklearn
import statsmodels
from scipy import stats
from scipy.linalg import sqrtm
from scipy.spatial.distance import jensenshannon, pdist
from sklearn.cross_decomposition import CCA
from sklearn.metrics import mutual_info_score
from statsmodels.formula.api import ols
from statsmodels.multivariate.cancorr import CanCorr
from statsmodels.stats.anova import anova_lm

N, D, K, OTHERS = 300, 6, 10, 7
FACTORS = ["shape", "orientation", "frequency", "phase", "thickness"]


def raw():
    i, k = np.meshgrid(np.arange(N), np.arange(D), indexing="ij")
    img = ((i * 37 + k * 101 + i * k * 13 + i * i * (k + 1)) % 97 - 48) / 16
    txt = img + ((i * 53 + k * 29 + i * i * 7) % 89 - 44) / 16
    return img, txt


def labels():
    """Value, bins, and whether the ends of the range 0 to 64 are the same."""
    i = np.arange(N)
    img, _ = raw()
    # Related to the embeddings, in integers.
    known = (img[:, :2] * 16).astype(int)
    return {
        "shape": ((known[:, 0] // 25 + 4 + i // 90) % 4, None),
        "orientation": ((known[:, 1] + 48 + i * i % 17) % 64, 16),
        "frequency": ((i * 19 + known[:, 0]) % 64, 8),
        "phase": (i * 29 % 64, 16),
        "thickness": ((known[:, 1] + 48) * 5 // 8 % 64, 8),
        "confounder": ((known[:, 0] + 48) // 40, None),
    }


def binned(value, bins, most=10**6):
    return value if bins is None else value * min(bins, most) // 64


def normalise(u):
    return (u / np.sqrt((u * u).sum(1, keepdims=True) + 1e-12)).astype(np.float32).astype(np.float64)


def separability(z, groups):
    """Sums of squares of one analysis of variance per coordinate; the F of each must be scipy's."""
    between = within = 0
    for column in z.T:
        frame = pandas.DataFrame({"x": column, "group": groups})
        table = anova_lm(ols("x ~ C(group)", frame).fit())
        f = stats.f_oneway(*(column[groups == g] for g in np.unique(groups)))
        assert np.isclose(f.statistic, table["F"].iloc[0], rtol=1e-9)
        between += table["sum_sq"].iloc[0]
        within += table["sum_sq"].iloc[1]
    return between / within


def signature(z, bins):
    """Cells of quantile bins along three principal components, by way of the SVD."""
    centred = z - z.mean(0)
    cell = np.zeros(N, int)
    for direction in np.linalg.svd(centred)[2][:3]:
        values = centred @ direction
        values *= np.sign((values**3).sum())
        edges = np.sort(values)[[edge * N // bins for edge in range(1, bins)]]
        cell = cell * bins + np.searchsorted(edges, values, side="right")
    return cell


def corrected(cells, groups):
    occurring = [len(np.unique(x, axis=0)) for x in (cells, groups, np.stack([cells, groups], 1))]
    return mutual_info_score(cells, groups) + (occurring[0] + occurring[1] - occurring[2] - 1) / (2 * N)


def modality(name, u, z):
    # By cosines: lengths are rounded, so that distances between rows differ from these in the ninth digit.
    assert np.allclose(pdist(z, "sqeuclidean"), 2 - 2 * (z @ z.T)[np.triu_indices(N, 1)], atol=3e-7)
    yield f"uniformity_{name}", np.log(np.exp(4 * (z @ z.T)[np.triu_indices(N, 1)] - 4).mean())
    for factor, (value, bins) in labels().items():
        if factor != "confounder":
            yield f"separability_{factor}_{name}", separability(z, binned(value, bins))
        for m in (2, 3, 4):
            yield f"mi_{factor}_{name}" + f"_{m}_bins" * (m != 3), corrected(signature(z, m), binned(value, bins, 8))


def canonical(x, y, ridge):
    """Singular values between embeddings whitened with the inverse square root of each covariance."""
    x, y = x - x.mean(0), y - y.mean(0)
    root = []
    for z in (x, y):
        c = z.T @ z / (N - 1)
        root.append(np.linalg.inv(sqrtm(c + ridge * np.trace(c) / D * np.eye(D)).real))
    return np.linalg.svd(root[0] @ (x.T @ y / (N - 1)) @ root[1], compute_uv=False)


def direction(name, s):
    """`s` has a row per query."""
    shape, orientation = labels()["shape"][0], labels()["orientation"][0]
    group = labels()["confounder"][0]
    same, turn, within, across = [], [], [], []
    for i in range(N):
        near = [j for j in np.argsort(-s[i], kind="stable")[:K] if j != i]
        same += list(shape[near] == shape[i])
        turn += list(np.abs(np.angle(np.exp(2j * np.pi * (orientation[near] - orientation[i]) / 64))))
        for out, candidates in ((within, group == group[i]), (across, group != group[i])):
            candidates[i] = False
            better = (s[i, candidates] >= s[i, i]).sum()
            # None of the better ones among those drawn.
            out.append(stats.hypergeom(candidates.sum(), better, OTHERS).pmf(0))
    yield f"neighbour_shape_{name}", np.mean(same)
    yield f"neighbour_orientation_{name}", np.mean(turn)
    yield f"retrieval_within_group_{name}", np.mean(within)
    yield f"retrieval_across_group_{name}", np.mean(across)
    yield f"cross_group_gap_{name}", np.mean(across) - np.mean(within)


def main():
    u = dict(zip(("img", "txt"), raw()))
    z = {name: normalise(rows) for name, rows in u.items()}
    values = dict(modality("img", u["img"], z["img"])) | dict(modality("txt", u["txt"], z["txt"]))
    s = (z["img"][:, None, :] * z["txt"][None, :, :]).sum(2)
    values |= dict(direction("i2t", s)) | dict(direction("t2i", s.T))
    for stem in ("neighbour_shape", "neighbour_orientation"):
        values[f"{stem}_gap"] = values[f"{stem}_i2t"] - values[f"{stem}_t2i"]
    values["alignment"] = ((z["img"] - z["txt"]) ** 2).sum(1).mean()
    values["modality_gap"] = np.linalg.norm(z["img"].mean(0) - z["txt"].mean(0))
    norms = [np.linalg.norm(rows, axis=1) for rows in u.values()]
    values["norm_divergence"] = stats.wasserstein_distance(*norms) / np.mean(norms)
    spectra = [np.linalg.svd(rows - rows.mean(0), compute_uv=False) ** 2 for rows in z.values()]
    values["spectrum_divergence"] = jensenshannon(*spectra) ** 2
    by_ridge = [canonical(z["img"], z["txt"], ridge) for ridge in (1e-4, 1e-3, 1e-2, 1e-1)]
    for stem, summary in (("cca_1", lambda c: c[0]), ("cca_mean", lambda c: c[:5].mean())):
        over = [summary(c) for c in by_ridge]
        values[stem], values[f"{stem}_ridge_span"] = over[1], max(over) - min(over)
    # Without a ridge: two that have none. scikit-learn iterates, to its tolerance.
    plain = CanCorr(z["img"], z["txt"]).cancorr
    assert np.allclose(plain, canonical(z["img"], z["txt"], 0), rtol=1e-11)
    scores = CCA(D, scale=False, max_iter=100000, tol=1e-14).fit(z["img"], z["txt"]).transform(z["img"], z["txt"])
    assert np.allclose(plain, [np.corrcoef(a, b)[0, 1] for a, b in zip(scores[0].T, scores[1].T)], rtol=1e-5)
    for k, correlation in enumerate(plain):
        values[f"correlation_{k}"] = correlation
    versions = (np, scipy, sklearn, statsmodels)
    print("// " + ", ".join(f"{module.__name__} {module.__version__}" for module in versions))
    for name in sorted(values):
        print(f'    ("{name}", {float(values[name])!r}),')
    i = np.arange(200)
    a, b = (i * i + 3 * i) % 7 % 5, (i * i + 5 * (i // 9)) % 11 % 4
    print("// information.rs:", mutual_info_score(a, b), mutual_info_score(a, (a + b // 3) % 6))


main()
