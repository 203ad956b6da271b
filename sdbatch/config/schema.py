"""The schema behind `conf/*.yaml`: Hydra refuses unknown keys and wrong types against it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from sdbatch.config.choices import (
    CornerName,
    EngineName,
    FamilyName,
    FinalSigmaName,
    ImageFormatName,
    KeywordsName,
    LabelName,
    LangName,
    LauncherName,
    NoiseName,
    OnChineseName,
    OutputFormat,
    PolicyName,
    PrecisionName,
    PredictionName,
    ResumeName,
    SafetyName,
    ScoreName,
    SigmasName,
    SolverName,
    SpacingName,
)
from sdbatch.labels.mark import Mark


@dataclass
class PromptsConfig:
    """The prompt table: a Parquet file, and how many of its first rows to take (null: all)."""

    path: str = MISSING
    limit: int | None = None


@dataclass
class LoraConfig:
    """A LoRA to be merged into the networks; `weight` 1 is its full strength."""

    path: str = MISSING
    weight: float = 1.0


@dataclass
class EmbeddingConfig:
    """A textual inversion; `token` is the word for it in prompts (null: as the file says)."""

    path: str = MISSING
    token: str | None = None


@dataclass
class ModelConfig:
    """The checkpoint: a folder or a single file; what its files do not say; what is added to it."""

    path: str = MISSING
    family: FamilyName | None = None
    prediction: PredictionName | None = None
    ema: bool = False
    variant: str | None = None
    vae: str | None = None
    base: str | None = None
    loras: list[LoraConfig] = field(default_factory=list)
    embeddings: list[EmbeddingConfig] = field(default_factory=list)


@dataclass
class SchedulerConfig:
    """The sampler; null is as the checkpoint's scheduler config says."""

    solver: SolverName = SolverName.checkpoint
    sigmas: SigmasName | None = None
    spacing: SpacingName | None = None
    steps_offset: int | None = None
    final_sigma: FinalSigmaName | None = None
    lower_order_final: bool | None = None
    eta: float | None = None
    zero_snr: bool | None = None


@dataclass
class TextConfig:
    """How prompts are read."""

    weighting: bool = False
    restore_mean: bool = False
    max_chunks: int = 4
    comma_backtrack: int = 0
    clip_skip: int = 0
    cache_mb: int = 256
    unicode: bool = False
    simplify: bool = False
    words: bool = False
    user_dict: str | None = None
    spaced: bool = False
    keywords: int = 0
    keywords_by: KeywordsName = KeywordsName.tfidf
    on_chinese: OnChineseName = OnChineseName.error
    translation_column: str = "prompt_en"
    translator: str | None = None


@dataclass
class ShortcutsConfig:
    """What is left out of the network's calls."""

    guidance_interval: list[float] | None = None
    token_merging: float = 0.0
    feature_reuse: int = 1


@dataclass
class PrecisionConfig:
    """The number format."""

    name: PrecisionName = PrecisionName.auto


@dataclass
class EngineConfig:
    """The execution engine; where compiled programs are kept (null: the user's cache folder)."""

    name: EngineName = EngineName.auto
    cache: str | None = None
    cache_mb: int = 512
    cinn: bool = False
    tensorrt: bool = False
    explain: bool = False
    card: str | None = None


@dataclass
class OutputConfig:
    """The dataset folder; `shard_size` counts rows of the prompt table."""

    format: OutputFormat = OutputFormat.files
    dir: str = MISSING
    shard_size: Any = "auto"
    image_format: ImageFormatName = ImageFormatName.png
    png_compression: int = 6
    jpeg_quality: int = 95
    webp_quality: int = 90
    webp_lossless: bool = False


@dataclass
class LabelConfig:
    """What pictures say of themselves: in the file (producer, propagator), and to the eye."""

    name: LabelName = LabelName.none
    producer: str | None = None
    propagator: str | None = None
    mark: bool = True
    text: str = Mark.text
    corner: CornerName = CornerName[Mark.corner]
    height: float = Mark.height
    opacity: float = Mark.opacity
    font: str | None = None


@dataclass
class ScoreConfig:
    """A folder with a CLIP model; rows with more than `keep_above` are marked."""

    name: ScoreName = ScoreName.none
    model: str | None = None
    keep_above: float | None = None


@dataclass
class SafetyConfig:
    """A folder with a safety checker (null: that of the checkpoint), and what follows from it."""

    name: SafetyName = SafetyName.none
    model: str | None = None
    policy: PolicyName = PolicyName.flag


@dataclass
class LauncherConfig:
    """The launcher. Those of one launcher's keys that the job's does not have are refused."""

    name: LauncherName = LauncherName.local
    # slurm
    tasks: Any = "auto"
    max_parallel: int | None = 16
    gpus: int = 1
    gpu_type: str | None = None
    cpus: int = 8
    memory: str | None = "32G"
    time: str | None = "12:00:00"
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    flags: list[str] = field(default_factory=list)
    modules: list[str] = field(default_factory=list)
    setup: list[str] = field(default_factory=list)
    container: str | None = None
    prefix: str | None = None
    python: str | None = None
    job_name: str | None = None
    warning_s: int = 120
    max_requeues: int = 20
    merge_memory: str | None = "8G"
    merge_time: str | None = "1:00:00"
    merge_partition: str | None = None
    merge_flags: list[str] = field(default_factory=list)
    dry_run: bool = False
    resubmit: bool = False
    # ray
    address: str | None = None
    # task
    index: int = 0
    count: int = 1
    record: str | None = None


@dataclass
class Config:
    """The whole job, as `conf/config.yaml` composes it."""

    prompts: PromptsConfig = field(default_factory=PromptsConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    scheduler: SchedulerConfig = field(default_factory=SchedulerConfig)
    text: TextConfig = field(default_factory=TextConfig)
    shortcuts: ShortcutsConfig = field(default_factory=ShortcutsConfig)
    precision: PrecisionConfig = field(default_factory=PrecisionConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    output: OutputConfig = field(default_factory=OutputConfig)
    label: LabelConfig = field(default_factory=LabelConfig)
    score: ScoreConfig = field(default_factory=ScoreConfig)
    safety: SafetyConfig = field(default_factory=SafetyConfig)
    launcher: LauncherConfig = field(default_factory=LauncherConfig)
    steps: int = 20
    guidance_scale: float = 7.5
    guidance_rescale: float = 0.0
    strength: float | None = None
    negative_prompt: str = ""
    images_per_prompt: int = 1
    width: int | None = None
    height: int | None = None
    seed: int = 0
    noise: NoiseName = NoiseName.torch_cpu
    max_input_mb: int = 64
    max_input_megapixels: int = 64
    batch_size: Any = "auto"
    device: str = "auto"
    devices: Any = "auto"
    workers: Any = "auto"
    resume: ResumeName = ResumeName.if_compatible
    retry_failed: bool = False
    grace_s: float = 60.0
    stop_at: str | None = None
    max_hours: float | None = None
    watchdog_s: float = 900.0
    check_space: bool = True
    metrics: str | None = None
    lang: LangName = LangName.auto
