# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The peer of `benchmark.py` on a GPU or CPU: the same adversarial step, written in PyTorch.

    python experiments/benchmark/pytorch_peer.py --batch=64 --dtype=bfloat16 --mode=compile

The networks are the fusion generator without segmentation and the 70x70 PatchGAN, in channels_last,
with autocast, Adam (fused on a GPU) and, in float16, loss scaling. --mode=compile compiles both
with torch.compile; eager does not. The batch is on the device. Needs PyTorch 2 in an environment of
its own, and nothing of koalagan. Prints a line with "N pictures/s".
"""

import argparse
import statistics
import time

import torch
from torch import nn

ROUNDS = 5
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Generator(nn.Module):
    """The fusion generator (see `koalagan.models.generators.inception_fusion`)."""

    ENCODER = ((64, 2), (128, 1), (128, 2), (256, 1), (256, 2), (512, 1), (512, 1), (256, 1))

    def __init__(self):
        super().__init__()
        filters = [1, *(count for count, _ in self.ENCODER)]
        self.encoder = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(before, after, 3, stride, 1), nn.ReLU())
                for before, (after, stride) in zip(filters, self.ENCODER, strict=False)
            )
        )
        self.fusion = nn.Conv2d(256 + 1001, 256, 1)
        decoder: list[nn.Module] = []
        for before, after, doubled in (
            (256, 128, True),
            (128, 64, False),
            (64, 64, True),
            (64, 32, False),
        ):
            decoder += [nn.Conv2d(before, after, 3, 1, 1), nn.ReLU()]
            decoder += [nn.Upsample(scale_factor=2)] if doubled else []
        self.decoder = nn.Sequential(
            *decoder, nn.Conv2d(32, 2, 3, 1, 1), nn.Tanh(), nn.Upsample(scale_factor=2)
        )

    def forward(self, lightness, embedding):
        """ab [B, 2, H, W] from lightness [B, 1, H, W] and embedding [B, 1001]."""
        features = self.encoder(lightness)
        vector = embedding.to(features.dtype)[:, :, None, None]
        both = torch.cat([features, vector.expand(-1, -1, *features.shape[2:])], dim=1)
        return self.decoder(torch.relu(self.fusion(both)))


def discriminator() -> nn.Module:
    """The 70x70 PatchGAN (see `koalagan.models.patchgan`)."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 4, 2, 1), nn.LeakyReLU(0.2)]
    for before, after, stride in ((64, 128, 2), (128, 256, 2), (256, 512, 1)):
        layers += [nn.Conv2d(before, after, 4, stride, 1, bias=False), nn.BatchNorm2d(after)]
        layers += [nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv2d(512, 1, 4, 1, 1))


class Step:
    """One training step of both networks on a batch that stays on the device."""

    def __init__(self, given: argparse.Namespace, device: str):
        torch.manual_seed(0)
        self.every, self.device, self.dtype = given.discriminator_every, device, DTYPES[given.dtype]
        self.G = Generator().to(device, memory_format=torch.channels_last)
        self.D = discriminator().to(device, memory_format=torch.channels_last)
        self.color, self.judge = self.G, self.D
        if given.mode == "compile":
            self.color, self.judge = torch.compile(self.G), torch.compile(self.D)
        options = {"lr": 2e-4, "betas": (0.5, 0.999), "fused": device == "cuda"}
        self.optimizers = [
            torch.optim.Adam(one.parameters(), **options) for one in (self.G, self.D)
        ]
        scaled = given.dtype == "float16"
        self.scalers = [torch.amp.GradScaler(device, enabled=scaled) for _ in "GD"]
        self.loss = nn.BCEWithLogitsLoss()
        shape = (given.size, given.size)
        self.lightness = self._uniform(given.batch, 1, *shape)
        self.ab = self._uniform(given.batch, 2, *shape)
        self.embedding = torch.randn(given.batch, 1001, device=device)

    def __call__(self, number: int) -> torch.Tensor:
        """Step `number`, from 0; returns the generator's loss."""
        with self._autocast():
            fake = self.color(self.lightness, self.embedding).float()
            self.D.requires_grad_(False)
            logits = self.judge(torch.cat([self.lightness, fake], dim=1)).float()
            loss = self.loss(logits, torch.ones_like(logits)) + 100 * (fake - self.ab).abs().mean()
        self._update(0, loss)
        if number % self.every == 0:
            self.D.requires_grad_(True)
            with self._autocast():
                fakes, reals = (
                    self.judge(torch.cat([self.lightness, color], dim=1)).float()
                    for color in (fake.detach(), self.ab)
                )
                on_fake = self.loss(fakes, torch.zeros_like(fakes))
                on_real = self.loss(reals, torch.ones_like(reals))
            self._update(1, 0.5 * (on_fake + on_real))
        return loss

    def _uniform(self, *shape: int) -> torch.Tensor:
        picture = torch.rand(shape, device=self.device) * 2 - 1
        return picture.to(memory_format=torch.channels_last)

    def _autocast(self):
        return torch.autocast(self.device, self.dtype, enabled=self.dtype != torch.float32)

    def _update(self, which: int, loss: torch.Tensor) -> None:
        optimizer, scaler = self.optimizers[which], self.scalers[which]
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--dtype", choices=DTYPES, default="bfloat16")
    parser.add_argument("--discriminator_every", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--mode", choices=("eager", "compile"), default="eager")
    given = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(given.threads)
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    step, every = Step(given, device), given.discriminator_every
    for number in range(every + 1):  # Compiles, and tries convolutions.
        step(number)
    cycles = 4 if device == "cuda" else 1
    times = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        for number in range(cycles * every):
            loss = step(number)
        float(loss.detach())  # waits for the device
        times.append((time.perf_counter() - begun) / (cycles * every))
    rate = given.batch / statistics.median(times)
    print(
        f"pytorch {torch.__version__} {given.mode} on {device}, {given.dtype}: "
        f"{rate:.2f} pictures/s median of {ROUNDS}"
    )


if __name__ == "__main__":
    main()
