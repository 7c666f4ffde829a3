"""The workload in JAX: vmap over the cells of a pack, one jitted lax.scan over steps, donated buffers, float32.

    python jax_vmap.py --data DIR [--pack N] [--layout folded|shared|separate] [--processes N --threads N]

Layouts: `separate` gives every cell its own copy of the minibatch and its own matrix products; in `shared`, cells that
differ in temperature alone read one minibatch (vmap with in_axes=None); `folded` does so too and keeps the weights of
the first layer as `[P, cells, H]`, so that it is one wide matrix product for all cells of a seed. Minibatches are
gathered inside the scan. The gradient is JAX's own: two hand-written ones (exponentials kept, or computed again from
the log-sum-exp) were slower on a CPU with AVX-512. On a machine with CUDA, JAX takes the GPU; `--device cpu` keeps it off.
"""

import os
from functools import partial

import numpy as np

import workload as shared

# Steps per compiled call at most; one call is the warm-up.
CHUNK = 50


class Peer:
    def __init__(self, workload, args):
        if args.device:
            os.environ["JAX_PLATFORMS"] = {"gpu": "cuda"}.get(args.device, args.device)
        import jax
        import jax.numpy as jnp
        import jaxlib

        self.jax, self.jnp, self.w, self.layout = jax, jnp, workload, args.layout
        self.versions = {"jax": jax.__version__, "jaxlib": jaxlib.__version__, "device": str(jax.devices()[0])}
        self.packs = shared.packs(workload, args.pack)
        self.rows = np.stack([shared.batches(workload, seed) for seed in workload.seeds])
        self.chunk = max(n for n in range(1, CHUNK + 1) if workload.steps % n == 0)
        self.data = {m: jnp.asarray(getattr(workload, f"train_{m}")) for m in shared.MODALITIES}
        self.temperatures = np.asarray(workload.temperatures, np.float32)
        # Position of the cell axis (temperatures of one seed) in each tensor of an encoder.
        self.axes = {"w1": 1 if self.layout == "folded" else 0, "b1": 0, "w2": 0, "b2": 0}
        self.run = jax.jit(self.scan, donate_argnums=0)

    def embed(self, encoder, x):
        jnp = self.jnp
        raw = jnp.tanh(x @ encoder["w1"] + encoder["b1"]) @ encoder["w2"] + encoder["b2"]
        return raw * self.jax.lax.rsqrt(jnp.sum(raw * raw, -1, keepdims=True) + 1e-12)

    def loss(self, parameters, x_img, x_txt, temperature):
        """One cell: symmetric InfoNCE of a minibatch."""
        jnp, logsumexp = self.jnp, self.jax.nn.logsumexp
        z_img, z_txt = self.embed(parameters["img"], x_img) / temperature, self.embed(parameters["txt"], x_txt)
        logits, own = z_img @ z_txt.T, jnp.sum(z_img * z_txt, 1)
        i2t, t2i = jnp.mean(logsumexp(logits, axis=1) - own), jnp.mean(logsumexp(logits, axis=0) - own)
        return self.w.weight_i2t * i2t + self.w.weight_t2i * t2i

    def seed_losses(self, parameters, x_img, x_txt, temperature):
        """All cells of a pack that belong to one seed: `[T]`."""
        axes = {m: self.axes for m in shared.MODALITIES}
        if self.layout == "separate":
            x_img, x_txt = (self.jnp.broadcast_to(x, (temperature.size, *x.shape)) for x in (x_img, x_txt))
            # The copies must be made, as they would be for cells that share nothing.
            x_img, x_txt = self.jax.lax.optimization_barrier((x_img, x_txt))
            return self.jax.vmap(self.loss, (axes, 0, 0, 0))(parameters, x_img, x_txt, temperature)
        return self.jax.vmap(self.loss, (axes, None, None, 0))(parameters, x_img, x_txt, temperature)

    def scan(self, parameters, data, rows, temperature):
        """`parameters` with leading axis [S]; data [S, N, P]; rows [S, steps, B]. Trains, returns the last losses."""
        jax, jnp = self.jax, self.jnp

        def total(parameters, x_img, x_txt):
            losses = jax.vmap(self.seed_losses, (0, 0, 0, None))(parameters, x_img, x_txt, temperature)
            return losses.sum(), losses

        def step(parameters, rows):
            x_img, x_txt = (jax.vmap(lambda x, r: x[r])(data[m], rows) for m in shared.MODALITIES)
            (_, losses), gradients = jax.value_and_grad(total, has_aux=True)(parameters, x_img, x_txt)
            update = lambda p, g: p - self.w.learning_rate * g
            return jax.tree.map(update, parameters, gradients), losses

        parameters, losses = jax.lax.scan(step, parameters, jnp.swapaxes(rows, 0, 1))
        return parameters, losses[-1]

    def start(self, pack):
        """Initial parameters of a pack, and its inputs."""
        seeds, temperatures = pack
        temperature = self.temperatures[temperatures]
        of_seeds = [shared.initial(self.w, seed) for seed in self.w.seeds[seeds]]
        cells = lambda name, x: np.stack([x] * temperature.size, axis=self.axes[name])
        parameters = {
            m: {name: self.jnp.stack([cells(name, p[m][name]) for p in of_seeds]) for name in self.axes}
            for m in shared.MODALITIES
        }
        return parameters, {m: x[seeds] for m, x in self.data.items()}, self.rows[seeds], temperature

    def warm_up(self):
        self.starts = [self.start(pack) for pack in self.packs]
        parameters, data, rows, temperature = self.start(self.packs[0])
        self.jax.block_until_ready((self.run(parameters, data, rows[:, : self.chunk], temperature), self.starts))

    def train(self):
        loss = np.zeros((len(self.w.seeds), self.temperatures.size))
        self.trained = []
        for pack, (parameters, data, rows, temperature) in zip(self.packs, self.starts):
            for at in range(0, self.w.steps, self.chunk):
                parameters, last = self.run(parameters, data, rows[:, at : at + self.chunk], temperature)
            loss[pack] = last  # waits for the pack
            self.trained.append(parameters)
        return loss

    def retrieval(self):
        jax, jnp = self.jax, self.jnp
        axes = {m: self.axes for m in shared.MODALITIES}

        @partial(jax.vmap, in_axes=(0, 0, 0))
        @partial(jax.vmap, in_axes=(axes, None, None))
        def at_1(parameters, img, txt):
            cosine = self.embed(parameters["img"], img) @ self.embed(parameters["txt"], txt).T
            own = jnp.diag(cosine)
            # Ties count against the model.
            return [jnp.mean(jnp.sum(s >= own[:, None], 1) == 1) for s in (cosine, cosine.T)]

        out = np.zeros((2, len(self.w.seeds), self.temperatures.size))
        for (seeds, temperatures), parameters in zip(self.packs, self.trained):
            found = at_1(parameters, self.w.test_img[seeds], self.w.test_txt[seeds])
            out[0][seeds, temperatures], out[1][seeds, temperatures] = found
        return out


if __name__ == "__main__":
    shared.main("jax_vmap", shared.arguments(__doc__, ["folded", "shared", "separate"]).parse_args())
