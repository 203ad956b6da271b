"""A cluster's tasks making one dataset, event by event: what scaling.py counts.

Tasks do here what docs/architecture.md and sdbatch/runner/helping.py say: each makes the shards of
its own stride in order, those that somebody else has in hand last; then it helps. What a task
sees is what it would see on a shared disk: attempts show up a moment after they began, and those of
lost machines stay.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scaling_folder import Folder
from scaling_terms import Account, Cluster, Policy, Result, Work


@dataclass
class _Task:
    """One task as it stands.

    Attributes:
        own: shards of its stride, the next one last; some of them may be done.
        slowness: of its device; 1 is full speed.
        shard: in hand, from `since` and, undisturbed, until `until`; None while it loads.
        run: tells what was to happen in an earlier run of it.
        attempt: the same for earlier attempts at shards.
        leaving: it was warned, and finishes the shard in hand.
    """

    own: list[int]
    slowness: float
    started: float = 0.0
    shard: int | None = None
    since: float = 0.0
    until: float = 0.0
    run: int = 0
    attempt: int = 0
    leaving: bool = False
    ended: float = math.inf


def simulate(
    work: Work, cluster: Cluster, policy: Policy, spread: Sequence[float], seed: int = 0
) -> Result:
    """Have it made.

    Args:
        work: what.
        cluster: where.
        policy: how.
        spread: seconds over their median, of measured shards.
        seed: the same gives the same result.
    """
    return _Simulation(work, cluster, policy, spread, seed).run()


class _Simulation:
    def __init__(
        self, work: Work, cluster: Cluster, policy: Policy, spread: Sequence[float], seed: int
    ):
        self._cluster, self._policy = cluster, policy
        self._dice = random.Random(seed)
        drawn = np.random.default_rng(seed)
        self._seconds = work.durations(spread, drawn)
        self._folder = Folder(len(self._seconds))
        slow = drawn.random(cluster.tasks) < cluster.slow_share
        self._tasks = [
            _Task(list(range(number, len(self._seconds), cluster.tasks))[::-1],
                  cluster.slow_factor if slow[number] else 1.0)
            for number in range(cluster.tasks)
        ]  # fmt: skip
        self._events: list[tuple[float, int, Callable[[float, int, int], None], int, int]] = []
        self._pushed = 0
        self._account, self._done, self._last, self._stops = Account(), 0, 0.0, 0
        self._begun: list[float] = []
        self._listings: Counter[int] = Counter()
        self._entries: Counter[int] = Counter()

    def run(self) -> Result:
        for number in range(len(self._tasks)):
            self._come(0.0, number, self._cluster.start_s)
        while self._events:
            now, _, happens, number, stamp = heapq.heappop(self._events)
            happens(now, number, stamp)
        return self._result()

    def _at(
        self, when: float, happens: Callable[[float, int, int], None], number: int, stamp: int
    ) -> None:
        self._pushed += 1
        heapq.heappush(self._events, (when, self._pushed, happens, number, stamp))

    # A task's runs ---------------------------------------------------------------------------

    def _come(self, now: float, number: int, median_s: float, more_s: float = 0.0) -> None:
        """A task waits for a device."""
        task, sigma = self._tasks[number], self._cluster.delay_sigma
        delay = more_s + median_s * math.exp(self._dice.gauss(0.0, sigma))
        self._account.away += delay
        task.shard, task.leaving = None, False
        task.run += 1
        task.attempt += 1
        self._at(now + delay, self._start, number, task.run)

    def _start(self, now: float, number: int, _: int) -> None:
        task, cluster = self._tasks[number], self._cluster
        self._list(now, 1, self._done)
        if self._choose(now, task) is None:
            task.ended = now
            return
        task.started = now
        lost_in, warned_in = (
            self._dice.expovariate(rate / 3600) if rate else math.inf
            for rate in (cluster.losses_per_hour, cluster.preemptions_per_hour)
        )
        warned_in = min(warned_in, cluster.limit_s - cluster.warning_s)
        if lost_in < warned_in:
            self._at(now + lost_in, self._lose, number, task.run)
        elif warned_in < math.inf:
            self._at(now + warned_in, self._warn, number, task.run)
        self._at(now + cluster.load_s, self._loaded, number, task.run)

    def _loaded(self, now: float, number: int, run: int) -> None:
        task = self._tasks[number]
        if run == task.run:
            self._account.loading += now - task.started
            if run == 1:
                self._begun.append(now)
            self._next(now, number)

    def _next(self, now: float, number: int) -> None:
        task = self._tasks[number]
        if task.leaving:
            self._come(now, number, self._cluster.requeue_s)
            return
        task.shard = shard = self._choose(now, task)
        task.attempt += 1
        if shard is None:
            task.ended = now
            task.run += 1
            return
        self._folder.begin(shard, number, now + self._policy.visible_s)
        task.since, task.until = now, now + self._seconds[shard] * task.slowness
        self._at(task.until, self._finish, number, task.attempt)

    def _finish(self, now: float, number: int, attempt: int) -> None:
        task, folder = self._tasks[number], self._folder
        if attempt != task.attempt:
            return
        shard = task.shard
        if folder.made_by[shard] < 0:
            folder.finish(shard, number)
            self._account.useful += now - task.since
            self._done += 1
            self._last = now
        else:
            self._account.twice += now - task.since
        folder.leave(shard, number)
        if self._policy.gives_up:
            for other in list(folder.in_hand.get(shard, ())):
                self._account.twice += now - self._tasks[other].since
                folder.leave(shard, other)
                self._next(now, other)
        self._next(now, number)

    # Trouble ---------------------------------------------------------------------------------

    def _lose(self, now: float, number: int, run: int) -> None:
        """The machine vanishes; what it had in hand stays behind on the disk."""
        task = self._tasks[number]
        if run != task.run:
            return
        if task.shard is not None and self._folder.made_by[task.shard] < 0:
            self._folder.left_behind[task.shard] = now
        self._drop(now, number)
        self._come(now, number, self._cluster.requeue_s, self._cluster.detect_s)

    def _warn(self, now: float, number: int, run: int) -> None:
        """The scheduler wants the device back."""
        task = self._tasks[number]
        if run != task.run:
            return
        if task.shard is not None and task.until <= now + self._cluster.grace_s:
            self._stops += 1
            task.leaving = True
            return
        self._drop(now, number)
        self._come(now, number, self._cluster.requeue_s)

    def _drop(self, now: float, number: int) -> None:
        task = self._tasks[number]
        self._stops += 1
        if task.shard is None:
            self._account.loading += now - task.started
        else:
            self._account.lost += now - task.since
            self._folder.leave(task.shard, number)

    # What to make ----------------------------------------------------------------------------

    def _choose(self, now: float, task: _Task) -> int | None:
        """The next shard, by what the folder shows; None: there is nothing to be done."""
        folder = self._folder
        folder.see(now)
        self._list(now, 1, self._attempts)
        own, made_by, place = task.own, folder.made_by, folder.place
        while own and made_by[own[-1]] >= 0:
            own.pop()
        if own and place[own[-1]] >= 0:
            return own[-1]
        task.own = own = [shard for shard in own if made_by[shard] < 0]
        free = next((shard for shard in reversed(own) if place[shard] >= 0), None)
        if free is None and not (own and self._policy.own_first) and self._policy.helps:
            free = self._help(now)
        return own[-1] if free is None and own else free

    def _help(self, now: float) -> int | None:
        folder, policy = self._folder, self._policy
        self._list(now, 2, self._done + self._attempts)
        if folder.free:
            return folder.first_free() if policy.in_order else self._dice.choice(folder.free)
        self._list(now, 1, 3 * self._attempts)  # each is listed, and looked at twice
        alone = [shard for shard in folder.left_behind if shard not in folder.in_hand]
        found = [s for s in alone if folder.left_behind[s] + policy.silent_s <= now]
        if not found and policy.repeats:
            once = [shard for shard, tasks in folder.in_hand.items() if len(tasks) == 1]
            found = alone + [shard for shard in once if folder.made_by[shard] < 0]
        return self._dice.choice(found) if found else None

    @property
    def _attempts(self) -> int:
        return len(self._folder.in_hand) + len(self._folder.left_behind)

    def _list(self, now: float, listings: int, entries: int) -> None:
        self._listings[int(now)] += listings
        self._entries[int(now)] += entries

    def _result(self) -> Result:
        end = max(task.ended for task in self._tasks)
        self._account.idle = sum(end - task.ended for task in self._tasks)
        made_by = self._folder.made_by
        return Result(
            ideal_s=sum(self._seconds) / sum(1 / task.slowness for task in self._tasks),
            first_start_s=sum(self._begun) / max(1, len(self._begun)),
            last_shard_s=self._last,
            end_s=end,
            made_by=made_by,
            helped=sum(task != n % len(self._tasks) for n, task in enumerate(made_by)),
            stops=self._stops,
            listings=max(self._listings.values()),
            entries=max(self._entries.values()),
            all_entries=sum(self._entries.values()),
            account=self._account,
        )
