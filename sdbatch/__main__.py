"""`python -m sdbatch`: compose the config, validate it, hand over. Nothing else."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from sdbatch import config, lang, sweep
from sdbatch.command import complain
from sdbatch.config.choices import LauncherName
from sdbatch.disk import is_full
from sdbatch.errors import EXIT_INTERRUPTED, EXIT_USER_ERROR, Interruption, UserError
from sdbatch.explain import explain
from sdbatch.launch.command import Given
from sdbatch.runner.interrupt import heard


def main() -> None:
    """Run the job of the command line and exit with the contract's code."""
    # Hydra would print its own report of several lines; asked for raw exceptions, it lets us
    # print one line instead.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    lang.ask_as_typed(sys.argv[1:])
    config.register()
    sweeping = sweep.is_sweep(sys.argv[1:])
    sys.argv[1:] = map(sweep.readable if sweeping else config.readable, sys.argv[1:])
    if sweeping:
        sys.argv += sweep.begin(sys.argv[1:])
        sweep.listen()
    codes: list[int] = []
    composed_once = False

    @hydra.main(version_base="1.3", config_path=str(config.conf_dir()), config_name="config")
    def task(composed: DictConfig) -> None:
        nonlocal composed_once
        composed_once = True
        lang.ask(_lang(composed))
        # Who stops a job of a sweep means the sweep.
        stopped = EXIT_INTERRUPTED in codes or heard() or sweep.stopped()
        codes.append(EXIT_INTERRUPTED if stopped else _run(composed))

    try:
        # Launchers of sweeps, submitit for one, print to stdout as they like.
        with _stdout_to_stderr() if sweeping else contextlib.nullcontext():
            task()
    except SystemExit as error:
        # argparse exits with 2 for an unknown flag; a bad command line is 1 in the contract.
        sys.exit(EXIT_USER_ERROR if error.code not in (None, 0) else 0)
    except Exception as error:
        # What fails before there is a config is the command line or a YAML file: Hydra raises
        # plain ValueErrors and YAML's own errors too. After that it is a fault of ours.
        if composed_once and not isinstance(error, (HydraException, OmegaConfBaseException)):
            raise
        if sweeping and (text := sweep.lost(error)):
            codes.append(complain(text, EXIT_INTERRUPTED))
        else:
            codes.append(complain(explain(error), EXIT_USER_ERROR))
    except KeyboardInterrupt:  # before a job runs here, or while jobs run elsewhere
        codes.append(complain("interrupted; the same command goes on from here", EXIT_INTERRUPTED))
    if sweeping:
        sweep.wait()
        codes += _tell_of(sweep.ended())
        sweep.tidy()
    sys.exit(max(codes, default=0))


def _run(composed: DictConfig) -> int:
    """One job, of a sweep or alone; returns the exit code."""
    hydra = HydraConfig.get()
    if hydra.mode != RunMode.MULTIRUN:
        code, complaint = _outcome(lambda: _make(composed))
    else:
        config.register()  # it may be in a process of its own
        code, complaint = _outcome(lambda: _make(_placed(composed)))
        sweep.note(code, _folder(composed), complaint, hydra.job.num)
    return code if complaint is None else complain(complaint, code)


def _outcome(make: Callable[[], int]) -> tuple[int, str | None]:
    """The exit code, and in one line what was wrong, if it is something a user can mend."""
    try:
        return make(), None
    except UserError as error:
        return EXIT_USER_ERROR, str(error)
    except Interruption as error:
        return EXIT_INTERRUPTED, str(error)
    except OmegaConfBaseException as error:
        return EXIT_USER_ERROR, explain(error)
    except OSError as error:
        text = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        # With room made, the same command goes on; what is done is untouched.
        return EXIT_INTERRUPTED if is_full(error) else EXIT_USER_ERROR, text


def _make(composed: DictConfig) -> int:
    """Validate, run, print the dataset folder."""
    job = config.validate(composed)
    if job.engine.explain:
        return _explain(job)
    if job.launcher.name is LauncherName.slurm:
        return _submit(job)
    if job.launcher.name is LauncherName.ray:
        from sdbatch.launch.on_ray import make_on_ray

        with _stdout_to_stderr() as print_result:
            folder, code = make_on_ray(job, _given(job))
            print_result(str(folder))
        return code
    from sdbatch.runner.local import run

    with _stdout_to_stderr() as print_result:
        outcome = run(job, composed, list(HydraConfig.get().overrides.task))
        print_result(str(outcome.folder))
    return outcome.exit_code


def _placed(composed: DictConfig) -> DictConfig:
    """The job with the dataset in a folder of its own among those of its sweep."""
    hydra = HydraConfig.get()
    fixed = hydra.job.config.override_dirname.exclude_keys
    if default := _folder(composed):
        composed.output.dir = sweep.dataset_dir(default, hydra.overrides.task, fixed)
    return composed


def _folder(composed: DictConfig) -> str:
    """The job's dataset; empty where what it is made of is missing, which validation tells."""
    try:
        return str(composed.output.dir)
    except OmegaConfBaseException:
        return ""


def _lang(composed: DictConfig) -> str:
    """The language of errors, which has to be known before the rest is validated."""
    try:
        # Of a task other programs read what it says.
        is_task = composed.launcher.name is LauncherName.task
        return "en" if is_task else composed.lang.value
    except (OmegaConfBaseException, AttributeError):
        return "auto"


def _tell_of(jobs: Sequence[sweep.Ended]) -> list[int]:
    """Print the folders of a sweep's jobs, and what those of other processes complained of."""
    for job in jobs:
        if job.complaint is None:
            print(job.folder)
        elif job.elsewhere:
            where = f"{job.folder}: " if job.folder else ""
            complain(f"{where}{job.complaint}", EXIT_USER_ERROR)
    return [job.code for job in jobs]


def _explain(job: config.Config) -> int:
    """Print how the networks would be executed; run nothing."""
    from sdbatch.runner.engine_options import explain_engine

    print(explain_engine(job), file=sys.stderr)
    return 0


def _submit(job: config.Config) -> int:
    """Hand the job to Slurm; print the dataset folder, or the scripts of a dry run."""
    from sdbatch.launch.submit import submit

    submitted = submit(job, _given(job))
    if job.launcher.dry_run:
        for name, text in submitted.scripts.items():
            print(f"# {name}\n{text}")
        return 0
    print(f"sdbatch: {submitted.line()}", file=sys.stderr)
    print(submitted.dataset)
    return 0


def _given(job: config.Config) -> Given:
    """The command, as other machines need it; of a job of a sweep, the one that makes it alone."""
    hydra = HydraConfig.get()
    overrides = list(hydra.overrides.task)
    if hydra.mode == RunMode.MULTIRUN:
        overrides = [text for text in overrides if not text.startswith("output.dir=")]
        overrides.append(f"output.dir={config.quoted(job.output.dir)}")
    dirs = [one.path for one in hydra.runtime.config_sources if one.provider == "command-line"]
    flags = [word for path in dirs for word in ("--config-dir", path)]
    if hydra.job.config_name != "config":
        flags += ["--config-name", hydra.job.config_name]
    paths = [text for text in hydra.overrides.hydra if text.startswith("hydra.searchpath=")]
    return Given([*overrides, *paths], flags, Path.cwd())


@contextlib.contextmanager
def _stdout_to_stderr() -> Iterator:
    """Keep stdout for the result: libraries, C++ ones too, print to stderr meanwhile."""
    sys.stdout.flush()
    real = os.dup(1)
    os.dup2(2, 1)
    try:
        yield lambda text: os.write(real, f"{text}\n".encode())
    finally:
        sys.stdout.flush()
        os.dup2(real, 1)
        os.close(real)


if __name__ == "__main__":
    main()
