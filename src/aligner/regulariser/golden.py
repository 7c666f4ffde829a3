"""Prints golden.rs: `python3 src/aligner/regulariser/golden.py > src/aligner/regulariser/golden.rs && cargo fmt`.

Values and gradients with respect to raw embeddings of every regulariser, in float64, by torch's autograd from the
formulas of the papers' published code; and three updates under warm-up by torch's optimisers and scheduler.
"""

import numpy as np
import torch

B, D, OFF_DIAGONAL = 6, 3, 0.05
torch.set_default_dtype(torch.float64)


def raw():
    i, k = torch.meshgrid(torch.arange(B), torch.arange(D), indexing="ij")
    img = ((i * 37 + k * 41 + i * k * 13) % 97 - 48) / 16
    txt = img + ((i * 53 + k * 29 + i * i * 7) % 89 - 44) / 32
    return img.double(), txt.double()


def scaled(u):
    return u / ((u * u).sum(1, keepdim=True) + 1e-12).sqrt() * D**0.5


def off_diagonal(x):
    n, _ = x.shape
    return x.flatten()[:-1].view(n - 1, n + 1)[:, 1:].flatten()


def embedding_l2(img, txt):
    return ((img**2).sum(1).mean() + (txt**2).sum(1).mean()) / 2


def variance(img, txt):
    def one(s):
        return torch.relu(1 - torch.sqrt(s.var(dim=0) + 1e-4)).mean()

    return one(scaled(img)) + one(scaled(txt))


def covariance(img, txt):
    def one(s):
        s = s - s.mean(dim=0)
        return off_diagonal(s.T @ s / (B - 1)).pow(2).sum() / D

    return one(scaled(img)) + one(scaled(txt))


def redundancy(img, txt):
    standardise = torch.nn.BatchNorm1d(D, affine=False)
    c = standardise(scaled(img)).T @ standardise(scaled(txt)) / B
    return (torch.diagonal(c) - 1).pow(2).sum() + OFF_DIAGONAL * off_diagonal(c).pow(2).sum()


def warm(make):
    p = torch.tensor([0.5, -1.25, 2.0], requires_grad=True)
    optimiser = make([p])
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda t: min(1.0, (t + 1) / 4))
    for gradient in [[0.1, -0.2, 0.3], [-0.05, 0.4, 0.1], [0.2, 0.1, -0.6]]:
        p.grad = torch.tensor(gradient)
        optimiser.step()
        scheduler.step()
    return p.detach()


def numbers(t):
    return ", ".join(f"{v:.9f}" for v in t.flatten().tolist())


def singles(t):
    return ", ".join(np.format_float_positional(np.float32(v)) for v in t.tolist())


def main():
    print(f"//! Made by golden.py with torch {torch.__version__.split('+')[0]}, float64.")
    print("\nuse super::tests::Golden;\n")
    img, txt = raw()
    print(f"pub const OFF_DIAGONAL: f64 = {OFF_DIAGONAL};")
    print(f"pub const IMG: [[f32; {D}]; {B}] = {[[v.item() for v in row] for row in img]};")
    print(f"pub const TXT: [[f32; {D}]; {B}] = {[[v.item() for v in row] for row in txt]};\n")
    print("/// In the order of the registry.\npub const GOLDEN: &[Golden] = &[")
    for term in [embedding_l2, variance, covariance, redundancy]:
        u = [img.clone().requires_grad_(), txt.clone().requires_grad_()]
        value = term(*u)
        value.backward()
        print(f'Golden {{ series: "loss_{term.__name__}", value: {value.item():.9f},')
        print(f"d_img: &[{numbers(u[0].grad)}], d_txt: &[{numbers(u[1].grad)}] }},")
    print("];\n")
    print("/// Three steps of a warm-up over four; the updates are those of the optimiser's tests.")
    sgd = warm(lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01))
    print(f"pub const WARM_SGD: [f32; 3] = [{singles(sgd)}];")
    adamw = warm(lambda p: torch.optim.AdamW(p, lr=0.1, betas=(0.8, 0.99), eps=1e-3, weight_decay=0.01))
    print(f"pub const WARM_ADAMW: [f32; 3] = [{singles(adamw)}];")


main()
