"""Prints the golden values of golden.rs: `python3 src/metric/golden.py`.

Computes every metric of embeddings alone from its definition with numpy and scipy, by other routes than the Rust code
where there are any: full sorts, all pairs, numpy.cov and the SVD.
"""

import numpy as np
import scipy
from scipy import stats

N, D, TEMPERATURE, K = 24, 6, 0.07, 10


def raw():
    i, k = np.meshgrid(np.arange(N), np.arange(D), indexing="ij")
    img = ((i * 37 + k * 101 + i * k * 13) % 97 - 48) / 16
    txt = img + ((i * 53 + k * 29 + i * i * 7) % 89 - 44) / 16
    # Equal embeddings, so that there are ties in both directions.
    txt[7], img[10] = txt[3], img[2]
    return img, txt


def normalise(u):
    return (u / np.sqrt((u * u).sum(1, keepdims=True) + 1e-12)).astype(np.float32).astype(np.float64)


def gini(x):
    return np.abs(x[:, None] - x[None, :]).sum() / (2 * len(x) * x.sum())


def modality(name, u, z):
    off = ~np.eye(N, dtype=bool)
    yield f"mean_cosine_{name}", (z @ z.T)[off].mean()
    variances = z.var(0, ddof=1)
    yield f"variance_min_{name}", variances.min()
    yield f"variance_p05_{name}", np.quantile(variances, 0.05)
    yield f"variance_median_{name}", np.median(variances)
    # The spectrum by way of the SVD of the centred embeddings; numpy.linalg.eigvalsh must agree.
    eigenvalues = np.linalg.svd(z - z.mean(0), compute_uv=False) ** 2 / (N - 1)
    assert np.allclose(eigenvalues[::-1], np.linalg.eigvalsh(np.cov(z.T)), rtol=1e-12, atol=1e-14)
    for k, eigenvalue in enumerate(eigenvalues):
        yield f"eigenvalue_{k}_{name}", eigenvalue
    p = eigenvalues / eigenvalues.sum()
    yield f"effective_rank_{name}", np.exp(stats.entropy(p))
    yield f"top_eigen_share_{name}", p.max()
    yield f"participation_ratio_{name}", 1 / (p**2).sum()
    norms = np.linalg.norm(u, axis=1)
    yield f"norm_mean_{name}", norms.mean()
    yield f"norm_sd_{name}", norms.std(ddof=1)


def direction(name, s):
    """`s` has a row per query."""
    own = np.diag(s)
    rank = (s >= own[:, None]).sum(1)
    yield f"retrieval_at_1_{name}", (rank <= 1).mean()
    yield f"retrieval_at_5_{name}", (rank <= 5).mean()
    yield f"mean_rank_{name}", rank.mean()
    yield f"median_rank_{name}", np.median(rank)
    hits = np.bincount(s.argmax(1), minlength=N).astype(float)
    yield f"hub_gini_{name}", gini(hits)
    yield f"hub_top1_share_{name}", hits.max() / N
    yield f"hub_top5_share_{name}", np.sort(hits)[-5:].sum() / N
    near = np.argsort(-s, axis=1, kind="stable")[:, :K]
    yield f"k_occurrence_skewness_{name}", stats.skew(np.bincount(near.ravel(), minlength=N))
    others = np.where(np.eye(N, dtype=bool), -np.inf, s)
    margins = (own - others.max(1)) / TEMPERATURE
    yield f"logit_margin_mean_{name}", margins.mean()
    yield f"logit_margin_p05_{name}", np.quantile(margins, 0.05)


def main():
    u_img, u_txt = raw()
    z_img, z_txt = normalise(u_img), normalise(u_txt)
    # Elementwise products and one reduction: equal rows tie exactly, which a matrix product does not promise.
    s = (z_img[:, None, :] * z_txt[None, :, :]).sum(2)
    values = dict(modality("img", u_img, z_img)) | dict(modality("txt", u_txt, z_txt))
    values |= dict(direction("i2t", s)) | dict(direction("t2i", s.T))
    off = ~np.eye(N, dtype=bool)
    values["mean_cosine_cross"] = s[off].mean()
    for k in (1, 5):
        values[f"symmetry_gap_at_{k}"] = values[f"retrieval_at_{k}_i2t"] - values[f"retrieval_at_{k}_t2i"]
    values["rank_divergence"] = values["effective_rank_img"] - values["effective_rank_txt"]
    for name, cosines in (("diagonal", np.diag(s)), ("off_diagonal", s[off])):
        logits = cosines / TEMPERATURE
        values[f"logit_{name}_mean"] = logits.mean()
        for percent in (5, 50, 95):
            values[f"logit_{name}_p{percent:02}"] = np.quantile(logits, percent / 100)
    print(f"// numpy {np.__version__}, scipy {scipy.__version__}")
    for name in sorted(values):
        print(f'    ("{name}", {float(values[name])!r}),')


main()
