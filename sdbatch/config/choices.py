"""The words that a key of the config can have, where there are only some."""

from __future__ import annotations

from enum import Enum

from sdbatch.labels.mark import CORNERS
from sdbatch.noise import NOISE_SOURCES
from sdbatch.samplers import SIGMA_NAMES, SOLVER_NAMES, SPACINGS
from sdbatch.text.segmenter import KEYWORD_METHODS

# `checkpoint` follows the checkpoint's scheduler_config.json.
SolverName = Enum("SolverName", {name: name for name in ("checkpoint", *SOLVER_NAMES)})

SigmasName = Enum("SigmasName", {name: name for name in SIGMA_NAMES})

SpacingName = Enum("SpacingName", {name: name for name in SPACINGS})

NoiseName = Enum("NoiseName", {name: name for name in NOISE_SOURCES})


class FinalSigmaName(Enum):
    """The noise level where sampling ends: none, or the smallest one in training."""

    zero = "zero"
    sigma_min = "sigma_min"


class PrecisionName(Enum):
    """Number format of the networks; `auto` is fp16 on a GPU and fp32 on a CPU."""

    auto = "auto"
    fp16 = "fp16"
    bf16 = "bf16"
    fp32 = "fp32"


class EngineName(Enum):
    """How the networks are executed."""

    auto = "auto"
    dygraph = "dygraph"
    static = "static"
    inference = "inference"
    random = "random"


class OutputFormat(Enum):
    """How a shard stores its images."""

    files = "files"


class ImageFormatName(Enum):
    """What an image file is."""

    png = "png"
    jpeg = "jpeg"
    webp = "webp"


class LabelName(Enum):
    """Which labels AI-made pictures get."""

    none = "none"
    gb45438 = "gb45438"


CornerName = Enum("CornerName", {name: name for name in CORNERS})

KeywordsName = Enum("KeywordsName", {name: name for name in KEYWORD_METHODS})

# What becomes of Chinese prompts where the text encoder does not read Chinese.
OnChineseName = Enum("OnChineseName", {name: name for name in ("error", "translate", "pass")})


class ScoreName(Enum):
    """What compares pictures with their prompts."""

    none = "none"
    clip = "clip"
    chinese_clip = "chinese_clip"


class SafetyName(Enum):
    """What objects to pictures."""

    none = "none"
    checker = "checker"


class PolicyName(Enum):
    """What becomes of pictures that the safety checker objects to."""

    flag = "flag"
    blur = "blur"
    drop = "drop"


class ResumeName(Enum):
    """What to do with a dataset that is there already."""

    if_compatible = "if_compatible"
    never = "never"
    always = "always"


class LauncherName(Enum):
    """Where the work runs: here, as a Slurm array, on a Ray cluster, or here as one task of it."""

    local = "local"
    slurm = "slurm"
    ray = "ray"
    task = "task"


class LangName(Enum):
    """The language of error lines; `auto`: SDBATCH_LANG, else the locale."""

    auto = "auto"
    en = "en"
    zh = "zh"


class FamilyName(Enum):
    """What a checkpoint can be."""

    sd1 = "sd1"
    sd2 = "sd2"
    sdxl = "sdxl"


class PredictionName(Enum):
    """What a UNet can have been trained to predict."""

    epsilon = "epsilon"
    v_prediction = "v_prediction"
    sample = "sample"
