"""What a run is of a whole launch: all of it, or one task of several.

The contract with whatever starts tasks: `launcher=task launcher.index=I launcher.count=N`, the same
output folder for all, and every task runs until it ends or is started again (docs/slurm.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sdbatch.config.choices import LauncherName
from sdbatch.config.schema import LauncherConfig
from sdbatch.dataset.shard import ShardStore
from sdbatch.errors import UserError
from sdbatch.launch_record import Launch, read_launch
from sdbatch.plan import Plan
from sdbatch.runner.share import Share


@dataclass(frozen=True)
class Task:
    """One run's part.

    Attributes:
        share: of the work.
        launch: the record of the submission that it belongs to, where there is one.
        log_folder: its own, which it goes on with when it is started again.
    """

    share: Share
    launch: Launch | None = None
    log_folder: Path | None = None

    @classmethod
    def of(cls, launcher: LauncherConfig) -> Task:
        """As the config says.

        Raises:
            UserError: the record that it names cannot be read, or is of other tasks.
        """
        if launcher.name is LauncherName.local:
            return cls(Share(0, 1))
        if launcher.record is None:
            return cls(Share(launcher.index, launcher.count))
        folder = Path(launcher.record)
        launch = read_launch(folder)
        if launch.tasks != launcher.count:
            raise UserError(
                f"launcher.count: {launcher.count}: expected {launch.tasks}, as {folder} was "
                "launched for"
            )
        share = Share(launcher.index, launcher.count, launch.todo)
        return cls(share, launch, folder / f"{launcher.index:05d}")

    def merges(self, store: ShardStore, plan: Plan) -> bool:
        """Whether this run writes the merged metadata.

        A launch has a job for that; else it is whoever finds every shard there.
        """
        if self.launch is not None:
            return False
        return self.share.count == 1 or len(store.done()) >= plan.shards
