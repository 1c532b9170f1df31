"""Time of a training step, compared with the same network as a functional Keras model and in plain PyTorch.

    python benchmarks/training_step.py --out benchmarks/training_step

The default convolutional autoencoder and VAE of medzoo, 64 pixels, batches of 32, Adam. "functional": the same network
from stock Keras layers as a functional model, with a compiled loss (for the VAE: a layer that adds the KL term) and
PSNR as a metric. "plain PyTorch": the same network as a torch.nn.Module with a handwritten training loop, which reports
no metrics. Each backend runs in its own process; within it the variants alternate, one epoch of 10 steps each, and the
minimum of ten epochs is reported. All variants must have the same number of parameters; otherwise the benchmark stops.
"""

import json
import time
from pathlib import Path

import click
import numpy as np

SIDE, BATCH, STEPS, EPOCHS, LATENT = 64, 32, 10, 10, 64
WIDTHS, BLOCKS, PATCH = (48, 96), 2, 4  # medzoo's defaults
VARIANCE = 0.05  # fixed, so that all variants have the same loss


def ours(family):
    import medzoo

    if family == "vae":
        return medzoo.VAE((SIDE, SIDE, 1), latent_dim=LATENT, decoder_variance=VARIANCE)
    return medzoo.ConvAutoencoder((SIDE, SIDE, 1), latent_dim=LATENT)


def functional(family):
    """Return the network of `medzoo.layers.blocks` as a functional model of stock layers."""
    import keras
    from keras import layers, ops

    small = keras.initializers.RandomNormal(stddev=0.02)

    def residual(x, width):
        hidden = layers.Conv2D(width, 3, padding="same")(layers.Activation("silu")(x))
        return layers.add([x, layers.Conv2D(width, 3, padding="same")(layers.Activation("silu")(hidden))])

    images = keras.Input((SIDE, SIDE, 1))
    outputs = LATENT * (2 if family == "vae" else 1)
    flat = layers.Flatten()(images)
    linear = layers.Dense(LATENT, kernel_initializer=keras.initializers.RandomNormal(stddev=1.0))(
        layers.Rescaling(flat.shape[-1] ** -0.5)(flat)
    )
    x = images
    for i, width in enumerate(WIDTHS):
        stride = 2 if i else PATCH
        x = layers.Conv2D(width, stride, strides=stride)(x)
        for _ in range(BLOCKS):
            x = residual(x, width)
    grid = SIDE // (PATCH * 2 ** (len(WIDTHS) - 1))
    narrow = max(16, 1024 // grid**2)
    x = layers.Activation("silu")(layers.Flatten()(layers.Conv2D(narrow, 1)(x)))
    x = layers.Dense(outputs, kernel_initializer=small)(layers.Rescaling(x.shape[-1] ** -0.5)(x))
    z = layers.add([linear, x[..., :LATENT]])
    if family == "vae":

        class Posterior(layers.Layer):
            def call(self, mean, log_var):
                log_var = ops.clip(log_var, -20.0, 10.0)
                kl = 0.5 * ops.sum(ops.square(mean) + ops.exp(log_var) - 1.0 - log_var, axis=-1)
                self.add_loss(ops.mean(kl))
                return mean + ops.exp(log_var / 2) * keras.random.normal(ops.shape(mean))

        z = Posterior()(z, x[..., LATENT:])

    linear = layers.Dense(SIDE**2, kernel_initializer=keras.initializers.RandomNormal(stddev=1.0))(
        layers.Rescaling(SIDE**-1)(z)
    )
    x = layers.Reshape((grid, grid, narrow))(layers.Dense(grid * grid * narrow)(z))
    for i, width in enumerate(WIDTHS[::-1]):
        x = layers.Conv2D(width * (4 if i else 1), 1)(x)
        if i:
            x = layers.Lambda(lambda t: ops.depth_to_space(t, 2))(x)
        for _ in range(BLOCKS):
            x = residual(x, width)
    x = layers.Rescaling((9 * WIDTHS[0]) ** -0.5)(layers.Activation("silu")(x))
    x = layers.Conv2D(PATCH**2, 3, padding="same", kernel_initializer=small)(x)
    x = layers.Lambda(lambda t: ops.depth_to_space(t, PATCH))(x)
    return keras.Model(images, layers.add([layers.Reshape((SIDE, SIDE, 1))(linear), x]))


def compiled_loss(family):
    from keras import ops

    def loss(target, output):
        error = ops.sum(ops.square(target - output), axis=(1, 2, 3))
        return 0.5 * (error / VARIANCE + SIDE**2 * np.log(2 * np.pi * VARIANCE)) if family == "vae" else error

    def psnr(target, output):
        return -10.0 * ops.log10(ops.mean(ops.square(target - ops.clip(output, 0.0, 1.0)), axis=(1, 2, 3)))

    return loss, psnr


def plain_torch(family):
    """Return the same network without Keras, a module with a `loss`; images are `(batch, 1, height, width)`."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    class Residual(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.first, self.second = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))

        def forward(self, x):
            return x + self.second(F.silu(self.first(F.silu(x))))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.grid = SIDE // (PATCH * 2 ** (len(WIDTHS) - 1))
            self.narrow = max(16, 1024 // self.grid**2)
            down, up, previous = [], [], 1
            for i, width in enumerate(WIDTHS):
                stride = 2 if i else PATCH
                down += [nn.Conv2d(previous, width, stride, stride), *(Residual(width) for _ in range(BLOCKS))]
                previous = width
            inner, previous = self.grid**2 * self.narrow, self.narrow
            self.linear_in, self.linear_out = nn.Linear(SIDE**2, LATENT), nn.Linear(LATENT, SIDE**2)
            self.down = nn.Sequential(*down, nn.Conv2d(WIDTHS[-1], self.narrow, 1))
            self.head_in = nn.Linear(inner, LATENT * (2 if family == "vae" else 1))
            self.expand = nn.Linear(LATENT, inner)
            for i, width in enumerate(WIDTHS[::-1]):
                up += [nn.Conv2d(previous, width * (4 if i else 1), 1), *([nn.PixelShuffle(2)] if i else [])]
                up += [Residual(width) for _ in range(BLOCKS)]
                previous = width
            self.up, self.head_out = nn.Sequential(*up), nn.Conv2d(previous, PATCH**2, 3, padding=1)
            with torch.no_grad():  # initialized as in medzoo
                for layer, std in ((self.linear_in, 1), (self.linear_out, 1), (self.head_in, 0.02)):
                    layer.weight.normal_(std=std)

        def loss(self, images):
            x = F.silu(self.down(images).flatten(1))
            x = self.head_in(x * x.shape[1] ** -0.5)
            z, kl = self.linear_in(images.flatten(1) * SIDE**-1) + x[:, :LATENT], 0.0
            if family == "vae":
                log_var = x[:, LATENT:].clip(-20, 10)
                kl = 0.5 * (z.square() + log_var.exp() - 1 - log_var).sum(1)
                z = z + (log_var / 2).exp() * torch.randn_like(z)
            x = self.up(self.expand(z).view(-1, self.narrow, self.grid, self.grid))
            x = F.pixel_shuffle(self.head_out(F.silu(x) * (9 * WIDTHS[0]) ** -0.5), PATCH)
            error = (self.linear_out(z * SIDE**-1).view_as(images) + x - images).square().sum((1, 2, 3))
            if family == "vae":
                error = 0.5 * (error / VARIANCE + SIDE**2 * np.log(2 * np.pi * VARIANCE))
            return (error + kl).mean()

    return Net()


def epochs_of(family, kind, jit, images):
    """Return a function that trains for one epoch, after a first epoch, and the number of parameters."""
    import keras

    keras.utils.set_random_seed(0)
    if kind == "plain PyTorch":
        import torch

        model, x = plain_torch(family), torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
        optimizer = torch.optim.Adam(model.parameters(), 1e-4)

        def epoch():
            for rows in torch.randperm(len(x)).split(BATCH):
                optimizer.zero_grad()
                model.loss(x[rows]).backward()
                optimizer.step()

        epoch()
        return epoch, sum(p.numel() for p in model.parameters())
    model = ours(family) if kind == "medzoo" else functional(family)
    if kind == "medzoo":
        model.compile(keras.optimizers.Adam(1e-4), jit_compile=jit)
    else:
        loss, psnr = compiled_loss(family)
        model.compile(keras.optimizers.Adam(1e-4), loss, metrics=[psnr], jit_compile=jit)

    def epoch():
        # The functional model takes the images as inputs and targets; a tf.data pipeline would add a cost to it alone.
        if kind == "medzoo":
            model.fit(images, batch_size=BATCH, verbose=0)
        else:
            model.fit(images, images, batch_size=BATCH, verbose=0)

    epoch()
    return epoch, sum(int(np.prod(w.shape)) for w in model.trainable_weights)


def compare(families, kinds, jit):
    """Print milliseconds per step of each family and variant as JSON; the variants alternate."""
    images = np.random.default_rng(0).random((BATCH * STEPS, SIDE, SIDE, 1), dtype="float32")
    rows = []
    for family in families:
        made = {kind: epochs_of(family, kind, jit, images) for kind in kinds}
        assert len({count for _, count in made.values()}) == 1, {k: c for k, (_, c) in made.items()}
        spent = {kind: [] for kind in kinds}
        for turn in range(EPOCHS):
            for kind in kinds if turn % 2 else kinds[::-1]:
                start = time.perf_counter()
                made[kind][0]()
                spent[kind].append((time.perf_counter() - start) / STEPS * 1e3)
        for kind in kinds:
            rows.append({"family": family, "kind": kind, "xla": jit, "ms": round(min(spent[kind]), 1)})
            rows[-1]["parameters"] = made[kind][1]
    print(json.dumps(rows))


@click.command(help=__doc__)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Path of the results, without file extension."
)
def main(out):
    from common import bar_chart, run_in_process, write_page

    rows = []
    for backend, kinds, jit in (
        ("tensorflow", ["medzoo", "functional"], False),
        ("tensorflow", ["medzoo", "functional"], True),
        ("torch", ["medzoo", "functional", "plain PyTorch"], False),
    ):
        own = run_in_process(f"import training_step as b; b.compare(['ae', 'vae'], {kinds!r}, {jit})", backend)
        rows += [{"backend": backend, **row} for row in own]
    references = {(r["backend"], r["xla"], r["family"]): r["ms"] for r in rows if r["kind"] == "functional"}
    torch_ms = {r["family"]: r["ms"] for r in rows if r["kind"] == "plain PyTorch"}
    for row in rows:
        row["to_functional"] = round(row["ms"] / references[row["backend"], row["xla"], row["family"]], 3)
        row["to_torch"] = round(row["ms"] / torch_ms[row["family"]], 2)

    def name(row):
        if row["kind"] == "plain PyTorch":
            return row["kind"]
        return f"{row['kind']}, {row['backend']}{', XLA' if row['xla'] else ''}"

    header = ["Network", "variant", "parameters", "ms per step", "relative to functional", "relative to plain PyTorch"]
    table = [
        [r["family"], name(r), f"{r['parameters']:,}", r["ms"], r["to_functional"], r["to_torch"]]
        for r in sorted(rows, key=lambda r: r["family"])
    ]
    bar_chart(out, [f"{r[1]} ({r[0]})" for r in table], [r[5] for r in table], "Step time relative to plain PyTorch")
    write_page(out, "Training step", [("", header, table)], {"results": rows})
    for row in table:
        click.echo(str(row))


if __name__ == "__main__":
    main()
