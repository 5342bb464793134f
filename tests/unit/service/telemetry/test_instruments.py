"""What the door counts with, held against the library's own instruments."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.metrics import MetricWrapperBase

from service.telemetry.instruments import Distribution, Instruments, OnesCounter

EDGES = (0.1, 1.0)
SECONDS = (0.0, 0.1, 0.100001, 1.0, 7.0, float("inf"))

Told = list[tuple[str, dict[str, str], float, object]]


def told(metric: MetricWrapperBase) -> Told:
    return [
        (s.name, s.labels, s.value, s.exemplar and (s.exemplar.labels, s.exemplar.value))
        for family in metric.collect()
        for s in family.samples
        if not s.name.endswith("_created")
    ]


def histograms() -> tuple[Histogram, Histogram]:
    ours, theirs = (Histogram("seconds", "", buckets=EDGES, registry=CollectorRegistry()) for _ in range(2))
    return ours, theirs


def test_a_distribution_counts_what_the_histogram_itself_would() -> None:
    ours, theirs = histograms()
    distribution, touched = Distribution(ours, EDGES), list[Distribution]()
    chosen = []
    for seconds in SECONDS:
        chosen.append(distribution.observe(seconds, (b"\xaa" * 16, b"\xbb" * 8), touched))
        theirs.observe(seconds, {"trace_id": "a" * 32, "span_id": "b" * 16} if chosen[-1] else None)
    assert chosen == [True, False, True, False, True, False]
    assert touched == [distribution]
    distribution.tell()
    assert told(ours) == told(theirs)


def test_a_new_round_has_exemplars_of_its_own_and_counts_nothing_twice() -> None:
    ours, _ = histograms()
    distribution, touched = Distribution(ours, EDGES), list[Distribution]()
    for number in range(3):
        assert distribution.observe(0.5, (bytes([number]) * 16, b"s" * 8), touched)
        assert not distribution.observe(0.6, (b"x" * 16, b"s" * 8), touched)
        distribution.tell()
        (bucket,) = [sample for sample in told(ours) if sample[3]]
        assert bucket[2:] == (2.0 * (number + 1), ({"trace_id": f"0{number}" * 16, "span_id": "73" * 8}, 0.5))


def test_what_a_child_of_a_fork_finds_gathered_is_its_parents() -> None:
    ours, theirs = histograms()
    distribution, touched = Distribution(ours, EDGES), list[Distribution]()
    ids = (b"a" * 16, b"s" * 8)
    distribution.observe(0.5, ids, touched)
    distribution.forget()
    touched.clear()
    distribution.observe(0.2, ids, touched)
    assert touched == [distribution]
    distribution.tell()
    theirs.observe(0.2, {"trace_id": ids[0].hex(), "span_id": ids[1].hex()})
    assert told(ours) == told(theirs)


def test_a_tally_counts_what_the_histogram_itself_would() -> None:
    ours, theirs = histograms()
    instruments = Instruments()
    tally = instruments.tally(ours, EDGES)
    assert instruments.tally(ours, EDGES) is tally, "a client more is no tally more"
    for _ in range(2):
        for seconds in SECONDS:
            tally.note(seconds)
            theirs.observe(seconds)
        assert told(ours) != told(theirs)
        tally.tell()
        assert told(ours) == told(theirs)


def test_a_counter_of_ones_counts_what_the_library_s_would() -> None:
    ours, theirs = OnesCounter("n", "", registry=CollectorRegistry()), Counter("n", "", registry=CollectorRegistry())
    for amount in (1, 1, 2.5, 1, 0):
        ours.inc(amount)
        theirs.inc(amount)
        assert told(ours) == told(theirs)
        assert told(ours) == told(theirs), "looking changes nothing"
    for counter in (ours, theirs):
        counter.inc(1, {"trace_id": "a"})
        counter.inc()
    assert told(ours) == told(theirs)
    for counter in (ours, theirs):
        counter.inc()
        counter.reset()
        counter.inc()
    assert told(ours) == told(theirs)


def test_a_counter_of_ones_loses_nothing_among_threads() -> None:
    counter = OnesCounter("n", "", ["who"], registry=CollectorRegistry()).labels("all")

    def count(_: int) -> None:
        for _ in range(20_000):
            counter.inc()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(count, range(4)))
    assert counter._child_samples()[0].value == 80_000
