"""Which unit comes next, and what a death means: whatever happens, every unit comes to an end."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    rule,
)

from sdbatch.runner.messages import Assignment, Unit
from sdbatch.runner.schedule import DEATHS_OF_AN_IMAGE, FAILURES_OF_A_UNIT, Schedule


def shards(count: int) -> list[Unit]:
    return [Unit(number, f"{number:05d}") for number in range(count)]


def images_of(unit: Unit, count: int = 4) -> list[str]:
    return [f"{unit.name}-{n}" for n in range(count)]


def take(schedule: Schedule, elsewhere=(), *, proven: bool = True) -> Assignment | None:
    return schedule.next(elsewhere, proven=proven)


class TestOrder:
    def test_units_come_in_order_and_once(self):
        schedule = Schedule(shards(3))
        assert [take(schedule).unit for _ in range(3)] == shards(3)
        assert (schedule.left, take(schedule)) == (0, None)

    def test_what_comes_back_is_next(self):
        first, second = shards(2)
        schedule = Schedule([first, second])
        take(schedule)
        schedule.returned(first)
        assert [take(schedule).unit for _ in range(2)] == [first, second]

    def test_what_another_runner_has_in_hand_comes_last_but_comes(self):
        schedule = Schedule(shards(4))
        elsewhere = {"00000", "00002"}
        names = [take(schedule, elsewhere).unit.name for _ in range(4)]
        assert names == ["00001", "00003", "00000", "00002"]

    def test_an_untouched_unit_has_no_past(self):
        assert take(Schedule(shards(1))) == Assignment(shards(1)[0], proven=True)


class TestProof:
    def test_a_unit_is_told_whether_a_picture_was_made_before(self):
        schedule = Schedule(shards(2))
        assert not take(schedule, proven=False).proven
        assert take(schedule, proven=True).proven

    def test_a_repair_needs_none_since_its_shard_was_made(self):
        assert take(Schedule([Unit(0, "00000.r1")]), proven=False).proven


class TestDeath:
    def test_makes_the_images_in_hand_suspects_that_are_made_alone(self):
        (unit,) = shards(1)
        schedule = Schedule([unit])
        take(schedule)
        assert schedule.died(unit, {"a", "b"}, "killed by SIGKILL") == []
        again = take(schedule)
        assert (again.alone, again.given_up) == ({"a", "b"}, {})

    def test_a_second_one_of_an_image_gives_it_up_and_says_how(self):
        (unit,) = shards(1)
        schedule = Schedule([unit])
        schedule.died(unit, {"a", "b"}, "killed by SIGKILL")
        assert schedule.died(unit, {"a"}, "killed by SIGSEGV") == ["a"]
        again = take(schedule)
        assert (again.alone, again.given_up) == ({"b"}, {"a": "killed by SIGSEGV"})

    def test_leaves_other_units_alone(self):
        first, second = shards(2)
        schedule = Schedule([first, second])
        take(schedule)
        schedule.died(first, {"a"}, "killed by SIGKILL")
        take(schedule)
        assert take(schedule) == Assignment(second, proven=True)

    def test_without_an_image_in_hand_counts_against_the_unit(self):
        (unit,) = shards(1)
        schedule = Schedule([unit])
        for _ in range(FAILURES_OF_A_UNIT):
            assert take(schedule).unit == unit
            assert schedule.died(unit, (), "killed by SIGKILL") == []
        assert schedule.given_up == {unit: "killed by SIGKILL"}
        assert schedule.left == 0


def test_a_unit_that_fails_too_often_is_given_up_with_the_last_reason():
    failing, sound = shards(2)
    schedule = Schedule([failing, sound])
    for number in range(FAILURES_OF_A_UNIT):
        assert take(schedule).unit == failing
        schedule.failed(failing, f"reason {number}")
    assert schedule.given_up == {failing: f"reason {FAILURES_OF_A_UNIT - 1}"}
    assert take(schedule).unit == sound


@given(
    poison=st.lists(st.sets(st.integers(0, 7)), min_size=1, max_size=4),
    batch_size=st.integers(1, 5),
)
def test_exactly_the_images_that_kill_are_given_up(poison, batch_size):
    """Each after two deaths; an image that shared a batch with one is not blamed for it."""
    units = shards(len(poison))
    schedule = Schedule(units)
    killers = {f"{unit.name}-{n}" for unit, numbers in zip(units, poison, strict=True)
               for n in numbers}  # fmt: skip
    lost, deaths = set(), 0
    while assignment := take(schedule):
        images = [i for i in images_of(assignment.unit, 8) if i not in assignment.given_up]
        for batch in batches(images, batch_size, assignment.alone):
            if killers.intersection(batch):
                deaths += 1
                lost.update(schedule.died(assignment.unit, batch, "killed by SIGKILL"))
                break
    assert lost == killers
    assert len(killers) <= deaths <= DEATHS_OF_AN_IMAGE * len(killers)
    assert schedule.given_up == {}


def batches(images: list[str], size: int, alone: frozenset[str]) -> list[list[str]]:
    """As a worker cuts them: suspects by themselves."""
    found: list[list[str]] = []
    for image in images:
        together = found and image not in alone and alone.isdisjoint(found[-1])
        if together and len(found[-1]) < size:
            found[-1].append(image)
        else:
            found.append([image])
    return found


class AnyNight(RuleBasedStateMachine):
    """Workers that take units and die, fail, give back or finish, in any order."""

    in_hand = Bundle("in_hand")

    def __init__(self):
        super().__init__()
        self.units = shards(4) + [Unit(n, f"{n:05d}.r1") for n in (4, 5)]
        self.schedule = Schedule(self.units)
        self.waiting = list(self.units)
        self.taken: set[Unit] = set()
        self.made: list[Unit] = []
        self.deaths: Counter[str] = Counter()
        self.failures: Counter[Unit] = Counter()

    @rule(target=in_hand, data=st.data(), proven=st.booleans())
    def take(self, data, proven):
        names = [unit.name for unit in self.units]
        elsewhere = data.draw(st.sets(st.sampled_from(names)))
        found = self.schedule.next(elsewhere, proven=proven)
        if found is None:
            assert self.waiting == []
            return None
        free = [unit for unit in self.waiting if unit.name not in elsewhere]
        assert found.unit == (free or self.waiting)[0]
        dead = {image: self.deaths[image] for image in images_of(found.unit)}
        assert found.given_up.keys() == {i for i, n in dead.items() if n == DEATHS_OF_AN_IMAGE}
        assert found.alone == {i for i, n in dead.items() if 0 < n < DEATHS_OF_AN_IMAGE}
        assert found.proven == (proven or found.unit.is_repair)
        self.waiting.remove(found.unit)
        self.taken.add(found.unit)
        return found

    @rule(assignment=consumes(in_hand), data=st.data())
    def die(self, assignment, data):
        if assignment is None:
            return
        left = [i for i in images_of(assignment.unit) if i not in assignment.given_up]
        suspect = sorted(assignment.alone)
        others = [image for image in left if image not in assignment.alone]
        batches = st.sampled_from(suspect).map(lambda image: {image}) if suspect else st.nothing()
        if others:
            batches |= st.sets(st.sampled_from(others), min_size=1)
        if not left:
            self.finish(assignment.unit)
            return
        batch = data.draw(batches)
        self.deaths.update(batch)
        lost = self.schedule.died(assignment.unit, batch, "killed")
        assert set(lost) == {i for i in batch if self.deaths[i] == DEATHS_OF_AN_IMAGE}
        self.put_back(assignment.unit)

    @rule(assignment=consumes(in_hand), how=st.sampled_from(["made", "returned", "failed", "died"]))
    def go(self, assignment, how):
        if assignment is None:
            return
        unit = assignment.unit
        if how == "made":
            self.finish(unit)
        elif how == "returned":
            self.schedule.returned(unit)
            self.put_back(unit)
        else:
            self.failures[unit] += 1
            if how == "failed":
                self.schedule.failed(unit, "torn")
            else:
                self.schedule.died(unit, (), "torn")
            if self.failures[unit] < FAILURES_OF_A_UNIT:
                self.put_back(unit)
            else:
                self.taken.remove(unit)

    def finish(self, unit):
        self.taken.remove(unit)
        self.made.append(unit)

    def put_back(self, unit):
        self.taken.remove(unit)
        self.waiting.insert(0, unit)

    @invariant()
    def every_unit_is_in_one_place(self):
        places = [*self.waiting, *self.taken, *self.made, *self.schedule.given_up]
        assert Counter(places) == Counter(self.units)
        assert self.schedule.left == len(self.waiting)

    @invariant()
    def only_units_that_failed_too_often_are_given_up(self):
        often = {unit for unit, n in self.failures.items() if n == FAILURES_OF_A_UNIT}
        assert self.schedule.given_up.keys() == often

    def teardown(self):
        """In the end all come, even if another runner has every one of them."""
        for unit in list(self.taken):
            self.schedule.returned(unit)
            self.put_back(unit)
        for unit in self.waiting:
            assert take(self.schedule, {unit.name for unit in self.units}).unit == unit
        assert take(self.schedule) is None


TestAnyNight = AnyNight.TestCase
TestAnyNight.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
