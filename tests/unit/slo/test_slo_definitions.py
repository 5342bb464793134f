"""OpenSLO documents: what is executed, and how everything else is refused, with its place."""

from __future__ import annotations

import contextlib
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slo.emit.alerts import alert_rules
from slo.errors import DefinitionErrors, Location, Problem
from slo.model import Matcher, Promise
from slo.parse.tree import parse_tree

SERVICE = """\
apiVersion: openslo/v1
kind: Service
metadata: {name: shop, displayName: The shop, labels: {team: [sales]}}
spec: {description: Sells.}
"""
SLO = """\
apiVersion: openslo/v1
kind: SLO
metadata:
  name: shop-answers
  displayName: Shop answers
  labels: {tier: "1"}
  annotations:
    example.com/other: is left alone
    signalbox.dev/min-events: "5"
spec:
  description: It answers.
  service: shop
  indicator:
    metadata: {name: answers}
    spec:
      ratioMetric:
        counter: true
        bad:
          metricSource: {type: Prometheus, spec: {query: 'sum(requests_total{job="shop",code=~"5.."})'}}
        total:
          metricSource: {type: Prometheus, spec: {query: 'requests_total{job="shop"}'}}
  timeWindow:
    - {duration: 30d, isRolling: true}
  budgetingMethod: Occurrences
  objectives:
    - target: 0.999
"""
SLO_BY_REFERENCE = SLO[: SLO.index("  indicator:\n")] + "  indicatorRef: answers\n" + SLO[SLO.index("  timeWindow:") :]


def parse(folder: Path, *texts: str) -> tuple[Promise, ...]:
    for number, text in enumerate(texts):
        (folder / f"{number}.yaml").write_text(text)
    return parse_tree(folder)


def problems(folder: Path, *texts: str) -> list[Problem]:
    with pytest.raises(DefinitionErrors) as caught:
        parse(folder, *texts)
    return list(caught.value.errors)


def test_a_complete_definition(tmp_path: Path) -> None:
    (promise,) = parse(tmp_path, SERVICE, SLO)
    assert promise.name == "shop-answers"
    assert promise.title == "Shop answers"
    assert promise.service.title == "The shop"
    assert promise.team == "sales"
    assert promise.objective == Decimal("0.999")
    assert promise.budget == Decimal("0.001")
    assert promise.min_bad_events == 5
    assert promise.liveness == "absent"
    assert promise.job == "shop"
    assert promise.indicator.counts == "bad"
    assert promise.indicator.counted.matchers == (Matcher("job", "=", "shop"), Matcher("code", "=~", "5.."))
    assert [str(promise.threshold(tier)) for tier in promise.windows.tiers] == ["0.0144", "0.006", "0.003", "0.001"]
    assert promise.alert_prefix == "ShopAnswers"


def test_an_indicator_by_reference_and_a_target_in_percent(tmp_path: Path) -> None:
    sli = (
        "apiVersion: openslo/v1\nkind: SLI\nmetadata: {name: answers}\nspec:\n  ratioMetric:\n    counter: true\n"
        "    good: {metricSource: {type: Prometheus, spec: {query: good_total}}}\n"
        "    total: {metricSource: {type: Prometheus, spec: {query: all_total}}}\n"
    )
    by_reference = SLO_BY_REFERENCE.replace("target: 0.999", "targetPercent: 99.95")
    (promise,) = parse(tmp_path, f"{by_reference}---\n{sli}---\n{SERVICE}")  # in any order
    assert promise.indicator.counts == "good"
    assert promise.objective == Decimal("0.9995")
    assert promise.job is None


def test_several_objectives_are_several_promises(tmp_path: Path) -> None:
    two = SLO.replace(
        "    - target: 0.999\n",
        "    - {displayName: Most days, target: 0.99}\n    - {displayName: Best, target: 0.9999}\n",
    )
    promises = parse(tmp_path, SERVICE, two)
    assert [(promise.name, promise.objective) for promise in promises] == [
        ("shop-answers-best", Decimal("0.9999")),
        ("shop-answers-most-days", Decimal("0.99")),
    ]
    assert {promise.alert_prefix for promise in promises} == {"ShopAnswersBest", "ShopAnswersMostDays"}


SOURCE = "{type: Prometheus, spec: {query: x}}"
NOT_RUN = "not-executable"
SLI = "spec.indicator.spec"
RATIO, THRESHOLD = f"{SLI}.ratioMetric", f"{SLI}.thresholdMetric"
WINDOW, GOAL = "spec.timeWindow[0]", "spec.objectives[0]"
CALENDAR = "calendar: {timeZone: Etc/UTC, startTime: 2026-01-01 00:00:00}"
SLICED = (
    "Occurrences\n  objectives:\n    - target: 0.999",
    "Timeslices\n  objectives:\n    - {target: 0.99, timeSliceTarget: 0.9, timeSliceWindow: 1m}",
)
TARGET = "    - target: 0.999\n"
TOTAL = "{type: Prometheus, spec: {query: 'requests_total"
# What is replaced by what, with § where the problem must be found; the field; the code.
REFUSALS = [
    ("openslo/v1", "§openslo/v2alpha", "apiVersion", "field-form"),
    ("kind: SLO", "kind: §SLOO", "kind", "field-form"),
    ("kind: SLO", "kind: §[SLO]", "kind", "field-form"),
    ("name: shop-answers", "name: §Shop_answers", "metadata.name", "field-form"),
    ("name: shop-answers", "name: §[a]", "metadata.name", "field-form"),
    ("  name: shop-answers\n  display", "  §display", "metadata.name", "field-missing"),
    ("displayName: Shop answers", 'displayName: §"Shop\\u0007"', "metadata.displayName", "field-form"),
    ('min-events: "5"', "min-events: §some", "metadata.annotations.signalbox.dev/min-events", "field-form"),
    ('min-events: "5"', "min-events: §0", "metadata.annotations.signalbox.dev/min-events", "field-form"),
    ('min-events: "5"', "min-evens: §5", "metadata.annotations.signalbox.dev/min-evens", "field-unknown"),
    ('min-events: "5"', "liveness: §maybe", "metadata.annotations.signalbox.dev/liveness", "field-form"),
    ("service: shop\n", "service: §shoop\n", "spec.service", "reference-unknown"),
    ('labels: {tier: "1"}', "labels: {team: §'{{ .Value }}'}", "metadata.labels.team", "field-form"),
    ('labels: {tier: "1"}', f"labels: {{team: §'{'x' * 64}'}}", "metadata.labels.team", "field-form"),
    ("  description: It answers.", "  §descripton: It answers.", "spec.descripton", "field-unknown"),
    ("description: It answers.", f"description: §{'x' * 5000}", "spec.description", "field-form"),
    ("counter: true", "counter: §maybe", f"{RATIO}.counter", "field-form"),
    ("ratioMetric:\n        c", "thresholdMetric:\n        §c", f"{THRESHOLD}.counter", "field-unknown"),
    ("      ratioMetric:", "      §thresholdMetrik:\n      ratioMetric:", f"{SLI}.thresholdMetrik", "field-unknown"),
    ("bad:\n          m", f"rawType: success\n        raw: {{metricSource: {SOURCE}}}\n        bad:\n          §m",
     f"{RATIO}.bad", NOT_RUN),
    ("counter: true\n", "raw: §{}\n        counter: true\n", f"{RATIO}.raw.metricSource", "field-missing"),
    ("        bad:\n", f"        good: §{{metricSource: {SOURCE}}}\n        bad:\n", f"{RATIO}.good", "field-form"),
    ("'sum(requests_total{", "§'rate(requests_total{", f"{RATIO}.bad.metricSource.spec.query", "field-form"),
    (TOTAL, TOTAL.replace("Prometheus", "§Datadog"), f"{RATIO}.total.metricSource.type", "field-form"),
    (TOTAL, TOTAL.replace("type", "metricSourceRef: §x, type"), f"{RATIO}.total.metricSource.metricSourceRef",
     "reference-unknown"),
    ("{duration: 30d, isRolling: true", "§{duration: 30d, isRolling: false", f"{WINDOW}.calendar", "field-missing"),
    ("isRolling: true", f"isRolling: §true, {CALENDAR}", f"{WINDOW}.isRolling", "field-form"),
    ("isRolling: true", "calendar: {timeZone: §Mars/Base, startTime: 2026-01-01 00:00:00}",
     f"{WINDOW}.calendar.timeZone", "field-form"),
    ("isRolling: true", "calendar: {timeZone: §../../etc/passwd, startTime: 2026-01-01 00:00:00}",
     f"{WINDOW}.calendar.timeZone", "field-form"),
    ("isRolling: true", "calendar: {timeZone: Etc/UTC, startTime: §tomorrow}", f"{WINDOW}.calendar.startTime",
     "field-form"),
    ("isRolling: true", "calendar: {timeZone: Etc/UTC, startTime: §9999-01-01 00:00:00}",
     f"{WINDOW}.calendar.startTime", "field-form"),
    ("duration: 30d, isRolling: true", f"duration: §12h, {CALENDAR}", f"{WINDOW}.duration", "field-form"),
    ("duration: 30d, isRolling: true", f"duration: §9Y, {CALENDAR}", f"{WINDOW}.duration", "field-form"),
    ("duration: 30d", "duration: §1M", f"{WINDOW}.duration", "field-form"),
    ("duration: 30d", "duration: §12h", f"{WINDOW}.duration", "field-form"),
    ("    - {d", "    §- {duration: 7d, isRolling: true}\n    - {d", "spec.timeWindow", "field-form"),
    ("Occurrences", "§Sometimes", "spec.budgetingMethod", "field-form"),
    ("Occurrences\n  objectives:\n    - target", "Timeslices\n  objectives:\n    - §target", f"{GOAL}.timeSliceTarget",
     "field-missing"),
    (SLICED[0], SLICED[1].replace("0.9,", "§1.1,"), f"{GOAL}.timeSliceTarget", "field-form"),
    (SLICED[0], SLICED[1].replace("1m", "§30s"), f"{GOAL}.timeSliceWindow", "field-form"),
    (SLICED[0], SLICED[1].replace("1m", "§2d"), f"{GOAL}.timeSliceWindow", "field-form"),
    (SLICED[0], SLICED[1].replace("1m", "1m, op: §lt"), f"{GOAL}.op", "field-form"),
    (SLICED[0], SLICED[1].replace("0.9,", "1, op: §gt,"), f"{GOAL}.op", "field-form"),
    (SLICED[0], SLICED[1].replace("Timeslices", "RatioTimeslices").replace("0.9,", "§0.9,"), f"{GOAL}.timeSliceTarget",
     NOT_RUN),
    (f"\n{TARGET}", " §[]\n", "spec.objectives", "field-missing"),
    (TARGET, "    - target: §1\n", "spec.objectives[0].target", "field-form"),
    (TARGET, "    - target: §99.9\n", "spec.objectives[0].target", "field-form"),
    (TARGET, "    - target: §0.99.9\n", "spec.objectives[0].target", "field-form"),
    (TARGET, f"    - target: §0.{'9' * 3000}\n", "spec.objectives[0].target", "field-form"),
    (TARGET, "    - target: §1e-999999\n", "spec.objectives[0].target", "field-form"),
    (TARGET, "    - {target: §0.9, targetPercent: 90}\n", "spec.objectives[0].target", "field-missing"),
    (TARGET, "    - {target: 0.999, timeSliceTarget: §0.9}\n", "spec.objectives[0].timeSliceTarget", NOT_RUN),
    (TARGET, "    - {target: 0.999, timeSliceWindow: §1m}\n", f"{GOAL}.timeSliceWindow", NOT_RUN),
    (TARGET, "    - {target: 0.999, value: §1}\n", f"{GOAL}.value", NOT_RUN),
    (TARGET, "    - {target: 0.999, indicatorRef: §x}\n", f"{GOAL}.indicatorRef", NOT_RUN),
    (TARGET, "    - {target: 0.999, compositeWeight: §1}\n", "spec.objectives[0].compositeWeight", NOT_RUN),
    (TARGET, "    - {target: 0.999, op: §lte, value: 1}\n", "spec.objectives[0].op", NOT_RUN),
    (TARGET, "    - §target: 0.9\n    - {target: 0.99}\n", "spec.objectives[0].displayName", "field-missing"),
    (TARGET, "    - target: §0.8\n", "spec.objectives[0].target", "severity-unreachable"),
    (TARGET, "    - target: §0.999999991\n", "spec.objectives[0].target", "not-executable"),
    (TARGET, "    - target: §0.9_99\n", "spec.objectives[0].target", "field-form"),
    (TARGET, "    - target: §٠.٩٩٩\n", "spec.objectives[0].target", "field-form"),
    (TARGET, f"{TARGET}---\n{SLO.replace('shop-answers', '§shop-answers')}", "metadata.name", "name-taken"),
    (SLO, "- §not a mapping\n", "", "field-form"),
]  # fmt: skip


MINUTES = ", timeSliceTarget: 0.9, timeSliceWindow: 5m"


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("displayName: Shop answers", "displayName: *name", "yaml-alias"),
        ("  service: shop\n", "  service: shop\n  service: other\n", "yaml-duplicate-key"),
        ("target: 0.999", "target: *goal", "yaml-alias"),
        ("target: 0.999", "target: !!float 0.999", ""),
        ("target: 0.999", "target: !goal 0.999", "yaml-tag"),
    ],
)
def test_a_value_that_is_not_read_is_one_problem(tmp_path: Path, old: str, new: str, code: str) -> None:
    assert SLO.count(old) == 1, old
    found = problems(tmp_path, SLO.replace(old, new), SERVICE.replace("description", "describtion"))
    assert [problem.code for problem in found if problem.code.startswith("yaml")] == ([code] if code else [])
    assert {problem.field for problem in found if not problem.code.startswith("yaml")} == {"spec.describtion"}


def test_what_the_rest_of_a_file_may_hold_is_not_said_to_be_missing(tmp_path: Path) -> None:
    cut = SLO.replace("service: shop", "service: shop\n  describtion: x") + "---\na: [\n---\n" + SERVICE
    found = problems(tmp_path, cut)
    assert [(problem.code, problem.field) for problem in found] == [
        ("reference-unknown", "spec.service"),
        ("field-unknown", "spec.describtion"),
        ("yaml-syntax", ""),
    ]
    assert found[0].what == "there is no Service 'shop' in what could be read"


def test_a_document_without_a_spec_is_there_all_the_same(tmp_path: Path) -> None:
    sli = "apiVersion: openslo/v1\nkind: SLI\nmetadata: {name: answers}\n"
    assert [(p.code, p.field) for p in problems(tmp_path, SLO_BY_REFERENCE, SERVICE, sli)] == [
        ("field-missing", "spec")
    ]


COMPOSITE_REFUSALS = [
    ("Timeslices", (MINUTES, f"{MINUTES}, compositeWeight: §2"), "spec.objectives[1].compositeWeight"),
    ("Timeslices", (MINUTES, ", timeSliceTarget: 0.9, timeSliceWindow: §1m"), "spec.objectives[1].timeSliceWindow"),
    ("Occurrences", (", compositeWeight: §1000000", ""), "spec.objectives[0].compositeWeight"),
    (
        "Occurrences",
        (", compositeWeight: §0.0000001", ", compositeWeight: 0.0000001"),
        "spec.objectives[0].compositeWeight",
    ),
]


@pytest.mark.parametrize(("method", "more", "field"), COMPOSITE_REFUSALS)
def test_a_composite_that_cannot_be_executed_is_refused(
    tmp_path: Path, method: str, more: tuple[str, str], field: str
) -> None:
    head = SLO[: SLO.index("  indicator:\n")] + f"  budgetingMethod: {method}\n"
    query = "{metricSource: {type: Prometheus, spec: {query: shop_total}}}"
    goals = "".join(
        f"    - displayName: {name}\n      target: 0.999999\n      indicator: {{spec: {{ratioMetric: {{counter: true, "
        f"bad: {query}, total: {query}}}}}}}\n" + each.replace(", ", "\n      ").lstrip("\n") + "\n"
        for name, each in zip(("one", "two"), more, strict=True)
    )
    text, *place = found_mark(f"{head}  timeWindow: [{{duration: 30d, isRolling: true}}]\n  objectives:\n{goals}")
    found = problems(tmp_path, text, SERVICE)
    assert [(p.at, p.field, p.code) for p in found] == [(Location(str(tmp_path / "0.yaml"), *place), field, NOT_RUN)]


def marked(old: str, new: str) -> tuple[str, int, int]:
    """The definition with a replacement, and the line and column of its mark."""
    assert SLO.count(old) == 1, old
    return found_mark(SLO.replace(old, new))


def found_mark(text: str) -> tuple[str, int, int]:
    """The text without its mark, and the mark's line and column."""
    before, _, after = text.partition("§")
    return before + after, before.count("\n") + 1, len(before) - before.rfind("\n")


@pytest.mark.parametrize(("old", "new", "field", "code"), REFUSALS)
def test_what_cannot_be_executed_is_refused_where_it_stands(
    tmp_path: Path, old: str, new: str, field: str, code: str
) -> None:
    definition, line, column = marked(old, new)
    found = problems(tmp_path, definition, SERVICE)
    place = Location(str(tmp_path / "0.yaml"), line, column)
    assert [(p.at, p.field, p.code) for p in found if p.field == field] == [(place, field, code)], found
    assert all(problem.what and problem.remedy for problem in found)


def test_a_problem_names_file_place_field_and_remedy(tmp_path: Path) -> None:
    definition, _, _ = marked("  budgetingMethod:", "  budgetingMetod: x\n  budgetingMethod:")
    (found,) = problems(tmp_path, definition, SERVICE)
    assert str(found) == (
        f"{tmp_path}/0.yaml:24:3: spec.budgetingMetod: unknown field. "
        "Remove it or correct its name (did you mean 'budgetingMethod'?). [field-unknown]"
    )


def test_all_problems_of_all_files_come_at_once_in_order(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        SLO.replace("Occurrences", "Sometimes").replace("target: 0.999", "target: 2"),
        SERVICE.replace("kind: Service", "kind: Servic"),
        "a: &x 1\n",
        "apiVersion: openslo/v1\nkind: DataSource\nmetadata: {name: d}\nspec: {type: Datadog}\n",
    )
    assert [(problem.at.file[-6], problem.code) for problem in found] == [
        ("0", "reference-unknown"),
        ("0", "field-form"),
        ("0", "field-form"),
        ("1", "field-form"),
        ("2", "field-missing"),
        ("2", "yaml-alias"),
        ("3", "field-form"),
    ]


def test_the_only_objective_may_have_a_name_of_its_own_and_the_promise_keeps_its(tmp_path: Path) -> None:
    (promise,) = parse(tmp_path, SERVICE, SLO.replace("    - target", "    - displayName: Every request\n      target"))
    assert (promise.name, promise.title) == ("shop-answers", "Shop answers (Every request)")


def test_two_slos_may_not_share_alerts(tmp_path: Path) -> None:
    one, other = (SLO.replace("name: shop-answers", f"name: {name}") for name in ("a-b1", "a-b-1"))
    assert [problem.code for problem in problems(tmp_path, one, other, SERVICE)] == ["name-taken"]


@pytest.mark.parametrize("name", ["shop-answers-budget", "calendars"])
def test_two_slos_may_not_share_a_group_of_rules(tmp_path: Path, name: str) -> None:
    other = SLO.replace("name: shop-answers", f"name: {name}")
    (found,) = problems(tmp_path, SLO, other, SERVICE)
    assert (found.code, Path(found.at.file).name) == ("name-taken", "1.yaml")


def test_objectives_of_one_name_are_told_where_they_stand(tmp_path: Path) -> None:
    objectives = "    - {displayName: Best, target: 0.999}\n    - {displayName: best, target: 0.99}\n"
    (found,) = problems(tmp_path, SLO.replace("    - target: 0.999\n", objectives), SERVICE)
    assert (found.field, found.code) == ("spec.objectives[1].displayName", "name-taken")


def test_a_threshold_whose_query_is_wrong_has_that_problem_alone(tmp_path: Path) -> None:
    begin, end = SLO.index("      ratioMetric:"), SLO.index("  timeWindow:")
    query = "      thresholdMetric: {metricSource: {type: Prometheus, spec: {query: 'depth['}}}\n"
    text = (SLO[:begin] + query + SLO[end:]).replace("target: 0.999", "{target: 0.999, op: lte, value: 5}")
    (found,) = problems(tmp_path, text, SERVICE)
    assert found.field.endswith("spec.query")


def test_text_that_reads_in_another_order_than_it_stands_is_refused(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, SLO.replace("Shop answers", "Shop \u202eanswers"), SERVICE)
    assert (found.field, found.code) == ("metadata.displayName", "field-form")
    assert "U+202E" in found.what


@pytest.mark.parametrize("length", ["2h", "12h", "1d"])
def test_slices_as_long_as_both_windows_of_a_tier_alert(tmp_path: Path, length: str) -> None:
    objective = f"{{target: 0.95, timeSliceTarget: 0.9, timeSliceWindow: {length}}}"
    text = SLO.replace("Occurrences", "Timeslices").replace("target: 0.999", objective)
    (promise,) = parse(tmp_path, text, SERVICE)
    names = [rule["alert"] for rule in alert_rules(promise)]
    assert names == ["ShopAnswersBurnPage", "ShopAnswersBurnTicket", "ShopAnswersNoData"]


def test_an_slo_without_a_team_is_nobodys(tmp_path: Path) -> None:
    found = problems(tmp_path, SLO, SERVICE.replace(", labels: {team: [sales]}", ""))
    assert [(problem.field, problem.code) for problem in found] == [("metadata.labels", "field-missing")]


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    assert [problem.code for problem in problems(tmp_path)] == ["no-definitions"]
    assert [problem.code for problem in problems(tmp_path, SERVICE)] == ["no-definitions"]


LINES = SLO.splitlines()


@settings(max_examples=200, deadline=None)
@given(
    line=st.integers(min_value=0, max_value=len(LINES) - 1),
    junk=st.sampled_from(
        ["", "~", "[]", "{}", "- x", "0", "1e400", "ns: {a: [b]}", '"\\0"', "&a x", "é", "!!int 3", "|", "x" * 70]
    ),
    keep=st.booleans(),
)
def test_damaged_definitions_are_refused_and_never_crash(
    tmp_path_factory: pytest.TempPathFactory, line: int, junk: str, keep: bool
) -> None:
    key = LINES[line].split(":")[0] + ": " if keep else ""
    text = "\n".join([*LINES[:line], key + junk, *LINES[line + 1 :]])
    folder = tmp_path_factory.mktemp("damaged")
    with contextlib.suppress(DefinitionErrors):
        assert parse(folder, text, SERVICE)
        return
    assert all(problem.at.line >= 1 and problem.remedy for problem in problems(folder))
