"""The workload in PyTorch batched by hand: a leading cell axis and bmm; eager, or with torch.compile.

    python torch_batched.py --data DIR [--pack N] [--layout folded|separate] [--compile] [--processes N --threads N]

Layouts: `separate` gives every cell its own copy of the minibatch; `folded` makes the first layer one wide matrix
product for all cells of a seed, which differ in temperature alone. Autograd either way, torch.optim.SGD (foreach).
`--compile` compiles forward and backward with Inductor (on the CPU it needs a C++ compiler).
"""

import workload as shared


def embed(layer, x, cells, layout):
    """Normalised embeddings `[C, B, D]` of `x [S, B, P]`, for S seeds of `cells` cells each."""
    w1, b1, w2, b2 = layer
    seeds, batch, inputs = x.shape
    if layout == "folded":
        # w1 [S, P, T * H]
        hidden = x.bmm(w1).view(seeds, batch, cells, -1).transpose(1, 2).reshape(seeds * cells, batch, -1)
        hidden = hidden + b1
    else:
        # w1 [C, P, H]
        copies = x[:, None].expand(seeds, cells, batch, inputs).reshape(-1, batch, inputs)
        hidden = b1.baddbmm(copies, w1)
    raw = b2.baddbmm(hidden.tanh(), w2)
    return raw * (raw.square().sum(2, keepdim=True) + 1e-12).rsqrt()


def losses(parameters, x_img, x_txt, inverse_temperature, cells, layout, weights):
    """Symmetric InfoNCE of every cell, `[C]`."""
    z_img = embed(parameters[:4], x_img, cells, layout) * inverse_temperature
    z_txt = embed(parameters[4:], x_txt, cells, layout)
    logits, own = z_img.bmm(z_txt.transpose(1, 2)), (z_img * z_txt).sum(2)
    i2t, t2i = ((logits.logsumexp(dim) - own).mean(1) for dim in (2, 1))
    return weights[0] * i2t + weights[1] * t2i


class Peer:
    def __init__(self, workload, args):
        import torch

        if args.threads:
            torch.set_num_threads(args.threads)
        self.torch, self.w, self.layout = torch, workload, args.layout
        self.device = torch.device(args.device.replace("gpu", "cuda") or "cpu")
        self.versions = {"torch": torch.__version__, "device": str(self.device)}
        self.packs = shared.packs(workload, args.pack)
        tensor = lambda name: torch.from_numpy(getattr(workload, name)).to(self.device)
        self.data = {f"{s}_{m}": tensor(f"{s}_{m}") for s in ("train", "test") for m in shared.MODALITIES}
        rows = [torch.from_numpy(shared.batches(workload, s)).long() for s in workload.seeds]
        self.rows = torch.stack(rows).to(self.device)
        self.losses = torch.compile(losses) if args.compile else losses

    def start(self, pack):
        """Initial parameters of a pack: w1, b1, w2, b2 of both towers."""
        torch, (seeds, temperatures) = self.torch, pack
        cells = len(self.w.temperatures[temperatures])
        parameters = []
        for m in shared.MODALITIES:
            for name in ("w1", "b1", "w2", "b2"):
                values = [torch.from_numpy(shared.initial(self.w, s)[m][name]) for s in self.w.seeds[seeds]]
                if name == "w1" and self.layout == "folded":
                    value = torch.stack([v.repeat(1, cells) for v in values])
                else:
                    value = torch.stack([v if v.ndim == 2 else v[None] for v in values]).repeat_interleave(cells, 0)
                parameters.append(value.contiguous().to(self.device).requires_grad_())
        return parameters

    def train_pack(self, pack, steps):
        torch, (seeds, temperatures) = self.torch, pack
        parameters = self.start(pack)
        optimiser = torch.optim.SGD(parameters, lr=self.w.learning_rate, foreach=True)
        own = torch.tensor(self.w.temperatures[temperatures], device=self.device)
        count = len(self.w.seeds[seeds])
        inverse = (1 / own).repeat(count)[:, None, None]
        x_img, x_txt, rows = self.data["train_img"][seeds], self.data["train_txt"][seeds], self.rows[seeds]
        index = torch.arange(count, device=self.device)[:, None]
        fixed = (inverse, len(own), self.layout, (self.w.weight_i2t, self.w.weight_t2i))
        for step in range(steps):
            at = rows[:, step]
            result = self.losses(parameters, x_img[index, at], x_txt[index, at], *fixed)
            optimiser.zero_grad()
            result.sum().backward()
            optimiser.step()
        return parameters, result.detach().view(count, -1)

    def warm_up(self):
        self.train_pack(self.packs[0], 5)

    def train(self):
        out, self.trained = self.torch.zeros(len(self.w.seeds), len(self.w.temperatures)), []
        for pack in self.packs:
            parameters, out[pack] = self.train_pack(pack, self.w.steps)
            self.trained.append(parameters)
        return out

    def retrieval(self):
        torch = self.torch
        out = torch.zeros(2, len(self.w.seeds), len(self.w.temperatures))
        with torch.no_grad():
            for (seeds, temperatures), parameters in zip(self.packs, self.trained):
                cells = len(self.w.temperatures[temperatures])
                z_img = embed(parameters[:4], self.data["test_img"][seeds], cells, self.layout)
                z_txt = embed(parameters[4:], self.data["test_txt"][seeds], cells, self.layout)
                cosine = z_img.bmm(z_txt.transpose(1, 2))
                own = cosine.diagonal(dim1=1, dim2=2)[:, :, None]
                for direction, s in enumerate((cosine, cosine.transpose(1, 2))):
                    # Ties count against the model.
                    share = ((s >= own).sum(2) == 1).float().mean(1)
                    out[direction][seeds, temperatures] = share.view(-1, cells)
        return out


if __name__ == "__main__":
    parser = shared.arguments(__doc__, ["folded", "separate"])
    parser.add_argument("--compile", action="store_true", help="torch.compile the loss and its gradient")
    shared.main("torch_batched", parser.parse_args())
