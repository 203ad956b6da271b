"""Record what PyTorch diffusers' schedulers do, for the tests of the samplers.

Run in an environment with torch and diffusers (not sdbatch's own):

    pip install torch diffusers scipy
    python tools/golden_samplers.py          # writes tests/golden/samplers/

`trajectories`: latents after each step against a synthetic network, computed in
float64. Schedulers are built as they are (betas in float32); then everything they compute from is
made double, and float32 is patched to mean float64 while they run. `starts`: the same for
image-to-image. `timesteps` and `schedules`: timesteps for 1 to 100 steps, and signal shares, of the
unpatched schedulers.
"""

from __future__ import annotations

import contextlib
import json
import lzma
import sys
import warnings
from pathlib import Path
from unittest import mock

import diffusers
import numpy as np
import scipy
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    DPMSolverSinglestepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    LCMScheduler,
    PNDMScheduler,
    TCDScheduler,
    UniPCMultistepScheduler,
)
from golden_samplers_cases import cases, schedule_cases, start_cases, timestep_cases

OUT = Path(__file__).resolve().parent.parent / "tests" / "golden" / "samplers"
SHAPE = (1, 4, 1, 2)
SEED, COUNTS = 11, range(1, 101)
F32 = torch.float32

ODE, SDE = {"algorithm_type": "dpmsolver++"}, {"algorithm_type": "sde-dpmsolver++"}
CLASSES = {
    "ddpm": (DDPMScheduler, {}),
    "ddim": (DDIMScheduler, {}),
    "plms": (PNDMScheduler, {"skip_prk_steps": True}),
    "pndm": (PNDMScheduler, {"skip_prk_steps": False}),
    "euler": (EulerDiscreteScheduler, {}),
    "euler_a": (EulerAncestralDiscreteScheduler, {}),
    "heun": (HeunDiscreteScheduler, {}),
    "dpmpp_2m": (DPMSolverMultistepScheduler, {**ODE, "solver_order": 2}),
    "dpmpp_3m": (DPMSolverMultistepScheduler, {**ODE, "solver_order": 3}),
    "dpmpp_2m_sde": (DPMSolverMultistepScheduler, {**SDE, "solver_order": 2}),
    "dpmpp_2s": (DPMSolverSinglestepScheduler, {**ODE, "solver_order": 2}),
    "dpmpp_3s": (DPMSolverSinglestepScheduler, {**ODE, "solver_order": 3}),
    "unipc": (UniPCMultistepScheduler, {}),
    "lcm": (LCMScheduler, {}),
    "tcd": (TCDScheduler, {}),
}
FLAGS = {
    "karras": "use_karras_sigmas",
    "exponential": "use_exponential_sigmas",
    "beta": "use_beta_sigmas",
    "lu": "use_lu_lambdas",
}
KEYS = {
    "spacing": "timestep_spacing",
    "steps_offset": "steps_offset",
    "final_sigma": "final_sigmas_type",
    "lower_order_final": "lower_order_final",
    "zero_snr": "rescale_betas_zero_snr",
}


def scheduler_of(config: dict, options: dict):
    """The scheduler that a user of diffusers would make of the same wishes."""
    named = config.get("_class_name", "DDIMScheduler")
    solver = options.get("solver")
    cls, overrides = CLASSES[solver] if solver else (getattr(diffusers, named), {})
    overrides = dict(overrides)
    sigmas = options.get("sigmas")
    if sigmas in FLAGS and cls is not EulerAncestralDiscreteScheduler:
        overrides[FLAGS[sigmas]] = True
    overrides.update({key: options[name] for name, key in KEYS.items() if name in options})
    with warnings.catch_warnings(), mock.patch.object(torch.Tensor, "sqrt", exact_sqrt):
        warnings.simplefilter("ignore")
        return cls.from_config({"_class_name": named, **config}, **overrides)


def exact_sqrt(x: torch.Tensor) -> torch.Tensor:
    """Correctly rounded. Of long float32 arrays, PyTorch with MKL is off by a last bit in a fifth.

    Only rescaling to zero terminal SNR shows it, by up to 2e-6 of the latents.
    """
    return torch.pow(x.to(torch.float64), 0.5).to(x.dtype)


def set_timesteps(scheduler, config: dict, options: dict, steps: int) -> None:
    """`set_timesteps`, and what only the web UIs have: SGM-uniform, ancestral Karras."""
    scheduler.set_timesteps(steps)
    name = options.get("sigmas", "model")
    if name == "sgm_uniform":
        euler = scheduler_of({**config}, {"solver": "euler"})
        euler.alphas_cumprod = scheduler.alphas_cumprod
        table = (((1 - euler.alphas_cumprod) / euler.alphas_cumprod) ** 0.5).log().numpy()
        last = len(table) - 1
        fractional = np.linspace(last, 0, steps + 1)[:-1]
        sigmas = [float(np.exp(np.interp(t, np.arange(last + 1), table))) for t in fractional]
        euler.set_timesteps(sigmas=[*sigmas, 0.0])
        take_over(scheduler, euler)
    elif name in FLAGS and isinstance(scheduler, EulerAncestralDiscreteScheduler):
        euler = scheduler_of(config, {**options, "solver": "euler"})
        euler.alphas_cumprod = scheduler.alphas_cumprod
        euler.set_timesteps(steps)
        take_over(scheduler, euler)
    # For some counts (61 ...) trailing rounds to one timestep too many, which is -1.
    while scheduler.timesteps[-1] == -1:
        scheduler.timesteps = scheduler.timesteps[:-1]
        if hasattr(scheduler, "sigmas"):
            scheduler.sigmas = torch.cat([scheduler.sigmas[:-2], scheduler.sigmas[-1:]])


def take_over(scheduler, euler) -> None:
    """Give a scheduler the timesteps and sigmas of `euler`."""
    timesteps, sigmas = euler.timesteps, euler.sigmas
    if isinstance(scheduler, HeunDiscreteScheduler):
        timesteps = torch.cat([timesteps[:1], timesteps[1:].repeat_interleave(2)])
        sigmas = torch.cat([sigmas[:1], sigmas[1:-1].repeat_interleave(2), sigmas[-1:]])
    scheduler.timesteps, scheduler.sigmas = timesteps, sigmas


def make_double(scheduler) -> None:
    """Everything that a scheduler computes from, as float64 of the same float32 betas."""
    alphas = scheduler.alphas_cumprod.to(torch.float64)
    scheduler.alphas_cumprod = alphas
    if hasattr(scheduler, "final_alpha_cumprod"):
        at_one = scheduler.config.set_alpha_to_one
        scheduler.final_alpha_cumprod = torch.ones((), dtype=torch.float64) if at_one else alphas[0]
    if hasattr(scheduler, "one"):
        scheduler.one = torch.ones((), dtype=torch.float64)
    if hasattr(scheduler, "lambda_t"):
        scheduler.alpha_t, scheduler.sigma_t = alphas.sqrt(), (1 - alphas).sqrt()
        scheduler.lambda_t = scheduler.alpha_t.log() - scheduler.sigma_t.log()


@contextlib.contextmanager
def float32_is_double(scheduler):
    """Casts to float32 stay double, and noise is still that of float32 draws."""

    def randn(shape, generator=None, **_):
        return torch.randn(tuple(shape), generator=generator, dtype=F32).to(torch.float64)

    module = sys.modules[type(scheduler).__module__]
    noise = mock.patch.object(module, "randn_tensor", randn)
    with (
        noise if hasattr(module, "randn_tensor") else contextlib.nullcontext(),
        mock.patch.object(torch, "float32", torch.float64),
        mock.patch.object(np, "float32", np.float64),
    ):
        torch.set_default_dtype(torch.float64)
        try:
            yield
        finally:
            torch.set_default_dtype(F32)


def denoise(x: torch.Tensor, t: float) -> torch.Tensor:
    """A network: bounded, a little nonlinear, mixing channels, looking at the timestep."""
    mixed = x + 0.3 * torch.roll(x, 1, dims=1) + float(t) / 1000
    return 0.8 * torch.tanh(mixed) + 0.1 * x / (1 + x * x)


def follow(config: dict, options: dict, steps: int, strength: float = 1.0) -> list[np.ndarray]:
    """Latents to start from, and after every step of the scheduler, float64."""
    plain = scheduler_of(config, options)
    set_timesteps(plain, config, options, steps)
    scheduler = scheduler_of(config, options)
    make_double(scheduler)
    generator = torch.Generator().manual_seed(SEED)
    noise = torch.randn(SHAPE, generator=generator, dtype=F32).to(torch.float64)
    with float32_is_double(scheduler):
        set_timesteps(scheduler, config, options, steps)
        if not torch.is_floating_point(plain.timesteps) and options.get("sigmas") != "sgm_uniform":
            # Whole timesteps are decided in float32: a last bit can move them.
            scheduler.timesteps = plain.timesteps
        taken = min(int(steps * strength), steps)
        first = (steps - taken) * scheduler.order
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(first)
        timesteps = scheduler.timesteps[first:]
        if strength < 1:
            x = scheduler.add_noise(
                torch.cos(torch.arange(8.0)).reshape(SHAPE), noise, timesteps[:1]
            )
        else:
            x = noise * scheduler.init_noise_sigma
        states = [x]
        extra = {"eta": options["eta"]} if "eta" in options else {}
        if "randn_tensor" in vars(sys.modules[type(scheduler).__module__]):
            extra["generator"] = generator
        for t in timesteps:
            output = denoise(scheduler.scale_model_input(x, t), t)
            x = scheduler.step(output, t, x, **extra).prev_sample
            assert x.dtype is torch.double, scheduler
            states.append(x)
    for name in ("sigmas", "alphas_cumprod"):
        assert getattr(scheduler, name, x).dtype is torch.double
    found = [state.numpy().ravel() for state in states]
    assert np.isfinite(found).all(), (config, options, steps)
    return found


def trajectories() -> tuple[list[dict], np.ndarray]:
    """All states at 5 steps, the last ones at 20 and 50."""
    records, states = [], []
    for config, options in cases():
        for steps in (5, 20, 50):
            found = follow(config, options, steps)
            kept = found if steps == 5 else found[-1:]
            records.append(
                {"config": config, "options": options, "steps": steps, "kept": len(kept)}
            )
            states += kept
    return records, np.array(states)


def starts() -> tuple[list[dict], np.ndarray]:
    """Image-to-image: the noised sample and every state after it, for each solver."""
    records, states = [], []
    for config, options, steps, strength in start_cases():
        found = follow(config, options, steps, strength)
        kept = found if steps == 10 else [found[0], found[-1]]
        record = {"config": config, "options": options, "steps": steps, "strength": strength}
        records.append({**record, "kept": len(kept)})
        states += kept
    return records, np.array(states)


def timesteps() -> tuple[list[dict], np.ndarray]:
    """Of the unpatched schedulers, for every count of steps that they accept."""
    records, arrays = [], []
    for config, options in timestep_cases():
        counts, rows = [], []
        for steps in COUNTS:
            scheduler = scheduler_of(config, options)
            try:
                set_timesteps(scheduler, config, options, steps)
            except ValueError:
                continue
            counts.append(steps)
            rows.append(scheduler.timesteps.numpy())
        whole = not any((row % 1).any() for row in rows)
        scale = 1 if whole else 1000
        # Second differences are small numbers, which compress well.
        whole_rows = [np.rint(row.astype(np.float64) * scale).astype(np.int32) for row in rows]
        arrays += [np.diff(row, n=2, prepend=(0, 0)) for row in whole_rows]
        record = {"config": config, "options": options, "scale": scale, "counts": counts}
        records.append({**record, "lengths": [len(row) for row in rows]})
    return records, np.concatenate(arrays)


def schedules() -> tuple[list[dict], np.ndarray]:
    """Signal shares at every training timestep, float32, of the unpatched schedulers."""
    records, arrays = [], []
    for config, options in schedule_cases():
        cls, overrides = CLASSES[options["solver"]]
        alphas = cls.from_config({"_class_name": "DDIMScheduler", **config}, **overrides)
        arrays.append(alphas.alphas_cumprod.numpy())
        records.append({"config": config, "options": options, "length": len(arrays[-1])})
    return records, np.concatenate(arrays)


def write(name: str, records: list[dict], numbers: np.ndarray) -> None:
    """Records as compressed JSON, and beside it all their numbers in one array."""
    versions = {m.__name__: m.__version__ for m in (torch, diffusers, np, scipy)}
    text = json.dumps({"versions": versions, "records": records})
    (OUT / f"{name}.json.xz").write_bytes(lzma.compress(text.encode()))
    with lzma.open(OUT / f"{name}.npy.xz", "wb") as file:
        np.save(file, numbers)
    print(f"{name}: {len(records)} records")


def main() -> None:
    """Write the four records."""
    OUT.mkdir(parents=True, exist_ok=True)
    diffusers.utils.logging.set_verbosity_error()
    for make in (trajectories, starts, timesteps, schedules):
        write(make.__name__, *make())


if __name__ == "__main__":
    main()
