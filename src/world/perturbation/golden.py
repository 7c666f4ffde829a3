"""Prints `golden.rs`: blurred and compressed images, from scipy 1.17.1 and numpy 2.4.6.

python golden.py > golden.rs
"""

import numpy as np
from scipy.fft import dctn, idctn
from scipy.ndimage import gaussian_filter

SIDE = 11
TABLE = np.array(
    """16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62
    18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99""".split(),
    float,
).reshape(8, 8)

# Exact in few decimals, so that the file is the input.
image = np.round(np.random.default_rng(0).uniform(-1, 1, (SIDE, SIDE)), 3)


def compressed(strength):
    padded = np.pad(image, (0, -SIDE % 8), mode="edge")
    step = strength * TABLE * 2 / 255
    for top in range(0, len(padded), 8):
        for left in range(0, len(padded), 8):
            block = padded[top : top + 8, left : left + 8]
            rounded = np.rint(dctn(block, type=2, norm="ortho") / step) * step
            padded[top : top + 8, left : left + 8] = idctn(rounded, type=2, norm="ortho")
    return padded[:SIDE, :SIDE]


def blurred(sd):
    return gaussian_filter(image, sd, mode="constant", cval=0.0, truncate=4.0)


def rows(values):
    return "\n".join("    " + ", ".join(f"{v:.15}" if v else "0.0" for v in row) + "," for row in values)


def constant(name, doc, values):
    print(f"\n/// {doc}\n#[rustfmt::skip]\npub const {name}: [f64; {values.size}] = [\n{rows(values)}\n];")


def levels(name, doc, of, strengths):
    print(f"\n/// {doc}\n#[rustfmt::skip]\npub const {name}: &[(f64, &[f64])] = &[")
    for s in strengths:
        print(f"    ({s}, &[\n{rows(of(s))}\n    ]),")
    print("];")


print("//! Goldens of `golden.py` beside this file: scipy 1.17.1, numpy 2.4.6.")
print(f"\npub const IMAGE_SIDE: usize = {SIDE};")
constant("IMAGE", "An image of no particular content.", image)
constant("COEFFICIENTS", "`scipy.fft.dctn` of its first 8 x 8 block.", dctn(image[:8, :8], type=2, norm="ortho"))
levels("COMPRESSED", "Strengths, and the image compressed.", compressed, [0.5, 1.0, 6.0])
levels("BLURRED", "Standard deviations, and the image blurred.", blurred, [0.1, 0.7, 1.5, 4.0])
