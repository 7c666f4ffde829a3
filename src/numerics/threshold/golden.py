"""Prints the golden values of tests.rs: `python3 src/numerics/threshold/golden.py`.

Logistic thresholds known to within brackets, with scipy: the likelihood as the distribution defines it, in the location
and the scale's logarithm, its maximum by Nelder and Mead's method and the profile's ends by Brent's.
scipy.stats.logistic.fit of CensoredData must agree where the scale is above zero.
"""

import numpy as np
import scipy
from scipy import optimize, special, stats

INF = np.inf
SAMPLES = {
    "grid": [(0, 1)] * 2 + [(1, 2)] * 5 + [(2, 3)] * 6 + [(3, 4)] * 2 + [(5, 6)],
    "open": [(-INF, -2)] * 3 + [(-2, -1.5), (-1.5, -1), (-1.5, -1), (-1, -0.5), (-0.5, 0.25)] + [(0.25, INF)] * 4,
    "mixed": [(1000.25, 1000.25), (1000.5, 1001.5), (999, 1000), (1000.75, 1000.75), (999.5, 999.5), (1001.5, INF)],
    "overlapping": [(0.1, 0.9), (0.2, 0.3), (0.25, 0.7), (0.6, 0.65), (-1, 0.4), (0.35, 2)],
    "three": [(0, 1), (1, 2), (3, 4)],
    "exact": [(x, x) for x in (0.3, -1.2, 2.5, 0.0, 0.7, -0.4, 1.1, 0.2)],
    "meeting": [(-1.5, 1.5)] * 7 + [(1.5, 4.5)],
    "few_alike": [(2, 3)] * 3,
    "one_sided": [(-INF, 1)] * 5 + [(1, INF)] * 2 + [(-INF, 4)] * 4 + [(2, INF)] * 5,
    "one_sided_steep": [(-INF, 1), (2, INF)] + [(-INF, 4)] * 7 + [(0, INF)] * 7,
}


def log_likelihood(sample, location, scale):
    low, high = np.array(sample, dtype=float).T
    exact = low == high
    low, high = (low - location) / scale, (high - location) / scale
    cdf = special.expit
    # The difference of the tails that are small.
    mass = np.where(low > 0, cdf(-low) - cdf(-high), cdf(high) - cdf(low))
    density = cdf(high) * cdf(-high) / scale
    with np.errstate(divide="ignore"):
        return np.log(np.where(exact, density, mass)).sum()


def maximum(sample):
    ends = np.array(sample)[np.isfinite(sample)]
    best = None
    for scale in (0.03, 0.3, 1, 3):
        start = [np.median(ends), np.log(scale)]
        for _ in range(4):
            options = {"xatol": 1e-11, "fatol": 1e-14, "maxiter": 4000, "maxfev": 4000}
            cost = lambda x: -log_likelihood(sample, x[0], np.exp(x[1]))
            found = optimize.minimize(cost, start, method="Nelder-Mead", options=options)
            start = found.x
        best = found if best is None or found.fun < best.fun else best
    return best.x[0], np.exp(best.x[1]), -best.fun


def profile(sample, location):
    """The likelihood is unimodal in the scale: a coarse search, then Brent's method about its best."""
    grid = np.linspace(-14, 25, 157)
    cost = lambda log_scale: -log_likelihood(sample, location, np.exp(log_scale))
    at = int(np.argmin([cost(x) for x in grid]))
    bounds = grid[max(at - 1, 0)], grid[min(at + 1, len(grid) - 1)]
    return -optimize.minimize_scalar(cost, bounds=bounds, method="bounded", options={"xatol": 1e-10}).fun


def drop(sample):
    """Half of the deviance at the ends: as for the mean of n normal values, less brackets that share levels."""
    wide = [(a, b) for a, b in sample if a < b]
    ends = sorted({x for pair in wide for x in pair})
    middles = [np.clip(a, -1e9, 1e9) / 2 + np.clip(b, -1e9, 1e9) / 2 for a, b in zip(ends, ends[1:])]
    shared = max((sum(a < x < b for a, b in wide) for x in middles), default=0)
    n = max(len(sample) + 1 - max(shared, 1), 3)
    return n / 2 * np.log1p(stats.t.ppf(0.975, n - 1) ** 2 / (n - 1))


def end(sample, start, greatest, side):
    fall = lambda away: greatest - drop(sample) - profile(sample, start + side * away)
    away = 1e-6
    while fall(away) < 0:
        away *= 2
        if away > 1e6:
            return side * INF
    return start + side * optimize.brentq(fall, away / 2 if away > 1e-6 else 0, away, xtol=1e-11)


def step(sample):
    """Location and log-likelihood where the scale goes to zero."""
    low, high = max(a for a, _ in sample), min(b for _, b in sample)
    if low < high:
        return (low + high) / 2, 0.0
    counts = np.array([sum(b == low for _, b in sample), sum(a == low for a, _ in sample)])
    return low, stats.multinomial.logpmf(counts, counts.sum(), counts / counts.sum()) - np.log(
        special.comb(counts.sum(), counts[0])
    )


def main():
    for name, sample in SAMPLES.items():
        low, high = max(a for a, _ in sample), min(b for _, b in sample)
        if low > high:
            location, scale, greatest = maximum(sample)
            left = [b for a, b in sample if a == -INF]
            right = [a for a, b in sample if b == INF]
            interval = [(a, b) for a, b in sample if -INF < a < b < INF]
            exact = [a for a, b in sample if a == b]
            censored = stats.CensoredData(
                uncensored=exact, left=left, right=right, interval=np.array(interval).reshape(-1, 2)
            )
            fitted = stats.logistic.fit(censored)
            assert np.allclose(fitted, (location, scale), rtol=1e-6, atol=1e-3), (fitted, location, scale)
            ends = low_end, high_end = end(sample, location, greatest, -1), end(sample, location, greatest, 1)
        else:
            (location, greatest), scale = step(sample), 0
            ends = end(sample, low, greatest, -1), end(sample, high, greatest, 1)
        print(f'("{name}", {[float(x) for x in (location, scale, *ends, greatest)]}),')
    print(f"scipy {scipy.__version__}")


if __name__ == "__main__":
    main()
