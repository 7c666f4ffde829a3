"""The workload in PyTorch as most people write it: one model at a time, eager, nn.Module, torch.optim.SGD.

    python torch_loop.py --data DIR [--processes N --threads N]

What is generous: all data is in memory as tensors, and minibatches are rows of them by index, without a DataLoader.
"""

import workload as shared


class Peer:
    def __init__(self, workload, args):
        import torch

        if args.threads:
            torch.set_num_threads(args.threads)
        self.torch, self.w, self.device = torch, workload, torch.device(args.device.replace("gpu", "cuda") or "cpu")
        self.versions = {"torch": torch.__version__, "device": str(self.device)}
        tensor = lambda name: torch.from_numpy(getattr(workload, name)).to(self.device)
        self.data = {f"{s}_{m}": tensor(f"{s}_{m}") for s in ("train", "test") for m in shared.MODALITIES}
        self.target = torch.arange(workload.batch_size, device=self.device)
        self.rows = [torch.from_numpy(shared.batches(workload, s)).to(self.device) for s in workload.seeds]

    def tower(self, initial):
        torch = self.torch
        w1, w2 = initial["w1"], initial["w2"]
        tower = torch.nn.Sequential(torch.nn.Linear(*w1.shape), torch.nn.Tanh(), torch.nn.Linear(*w2.shape))
        with torch.no_grad():
            for parameter, value in zip(tower.parameters(), (w1.T, initial["b1"], w2.T, initial["b2"])):
                parameter.copy_(torch.from_numpy(value.copy()))
        return tower.to(self.device)

    def train_cell(self, index, temperature, steps):
        torch, functional = self.torch, self.torch.nn.functional
        towers = torch.nn.ModuleDict({m: self.tower(p) for m, p in shared.initial(self.w, self.w.seeds[index]).items()})
        optimiser = torch.optim.SGD(towers.parameters(), lr=self.w.learning_rate)
        x_img, x_txt = self.data["train_img"][index], self.data["train_txt"][index]
        for rows in self.rows[index][:steps]:
            z_img = functional.normalize(towers["img"](x_img[rows]), dim=1)
            z_txt = functional.normalize(towers["txt"](x_txt[rows]), dim=1)
            logits = z_img @ z_txt.T / temperature
            i2t, t2i = (functional.cross_entropy(s, self.target) for s in (logits, logits.T))
            loss = self.w.weight_i2t * i2t + self.w.weight_t2i * t2i
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        return towers, loss.item()

    def warm_up(self):
        self.train_cell(0, self.w.temperatures[0], 20)

    def train(self):
        cells = [[self.train_cell(i, t, self.w.steps) for t in self.w.temperatures] for i in range(len(self.w.seeds))]
        self.trained = [[towers for towers, _ in row] for row in cells]
        return [[loss for _, loss in row] for row in cells]

    def retrieval(self):
        torch, normalize = self.torch, self.torch.nn.functional.normalize
        out = [[], []]
        with torch.no_grad():
            for index, row in enumerate(self.trained):
                shares = []
                for towers in row:
                    z = [normalize(towers[m](self.data[f"test_{m}"][index]), dim=1) for m in shared.MODALITIES]
                    cosine = z[0] @ z[1].T
                    # Ties count against the model.
                    hits = [(s >= cosine.diag()[:, None]).sum(1) == 1 for s in (cosine, cosine.T)]
                    shares.append([h.float().mean().item() for h in hits])
                out[0].append([i2t for i2t, _ in shares])
                out[1].append([t2i for _, t2i in shares])
        return out


if __name__ == "__main__":
    shared.main("torch_loop", shared.arguments(__doc__).parse_args())
