"""The sum of what many shards took."""

from sdbatch.dataset.work import WorkDone

RECORD = {
    "seconds": 10.0,
    "stages": {
        "wait": 1.0,
        "inputs": 0.5,
        "text": 0.5,
        "denoise": 6.0,
        "decode": 1.0,
        "write": 9.0,
    },
    "peak_memory_mb": 2000,
    "peak_device_memory_mb": None,
}


def total(*records) -> dict:
    work = WorkDone()
    for record in records:
        work.add(record, is_repair=False)
    return work.record()


def test_seconds_are_added_up_and_peaks_are_the_highest():
    another = {**RECORD, "peak_memory_mb": 1500, "peak_device_memory_mb": 9000}
    found = total(RECORD, another)
    assert found["device_seconds"] == 20
    assert found["stages"] == {name: 2 * seconds for name, seconds in RECORD["stages"].items()}
    assert (found["peak_memory_mb"], found["peak_device_memory_mb"]) == (2000, 9000)


def test_the_device_is_busy_while_it_computes_and_idle_while_it_waits():
    # 0.5 + 6 + 1 of 10 seconds; writing goes on beside it
    assert total(RECORD)["device_busy"] == 0.75


def test_repairs_are_work_too():
    work = WorkDone()
    work.add(RECORD, is_repair=False)
    work.add(RECORD, is_repair=True)
    assert work.record()["repairs"] == 1
    assert work.record()["device_seconds"] == 20


def test_what_no_record_tells_of_is_not_known():
    assert total({}, {"stages": None}) == {
        "repairs": 0, "stages": {}, "device_busy": None, "device_seconds": 0.0,
        "peak_memory_mb": None, "peak_device_memory_mb": None,
    }  # fmt: skip
