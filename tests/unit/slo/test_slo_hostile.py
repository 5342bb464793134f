"""Folders that mean harm, as a whole: an error in time, never a traceback. Single files are in test_slo_nodes."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from slo.compiler import compile_promises
from slo.errors import MOST_PROBLEMS, DefinitionErrors, Problem
from slo.parse.tree import parse_tree
from tests.unit.slo.test_slo_definitions import SERVICE, SLO

LIMIT_S = 2.0


def refused(folder: Path) -> list[Problem]:
    """The problems of a folder, found within the limit (CPU time: the machine may be busy)."""
    started = time.process_time()
    with pytest.raises(DefinitionErrors) as caught:
        parse_tree(folder)
    assert time.process_time() - started < LIMIT_S
    assert all(problem.what and problem.remedy and problem.at.line >= 1 for problem in caught.value.errors)
    return list(caught.value.errors)


def test_fifty_megabytes_are_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.yaml").open("wb") as file:
        file.truncate(50 * 1024 * 1024)
        file.write(b"kind: SLO")
    assert [problem.code for problem in refused(tmp_path)] == ["yaml-size"]


def test_links_that_lead_round_or_nowhere_are_said(tmp_path: Path) -> None:
    (tmp_path / "round").mkdir()
    (tmp_path / "round" / "again").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "a.yaml").symlink_to("b.yaml")
    (tmp_path / "b.yaml").symlink_to("a.yaml")
    (tmp_path / "gone.yml").symlink_to("nothing")
    problems = refused(tmp_path)
    assert {(Path(problem.at.file).name, problem.code) for problem in problems} == {
        ("a.yaml", "unreadable"),
        ("b.yaml", "unreadable"),
        ("gone.yml", "unreadable"),
    }


def test_a_pipe_and_a_device_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "zero.yaml").symlink_to("/dev/zero")
    assert {problem.code for problem in refused(tmp_path)} == {"unreadable"}


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("target: 0.999", f"target: 0.{'9' * 4000}", "field-form"),
        ("target: 0.999", "target: 1e999999999", "field-form"),
        ("duration: 30d", "duration: 999999w999999w", "field-form"),
        ("duration: 30d, isRolling: true", "duration: 9999Y, calendar: {startTime: x, timeZone: y}", "field-form"),
        ("name: shop-answers", "name: shop\u202eanswers", "field-form"),
        ("name: shop-answers", "name: ｓｈｏｐ", "field-form"),
        ("name: shop-answers", f"name: {'a' * 64}", "field-form"),
        ("displayName: Shop answers", 'displayName: "\\0"', "field-form"),
        ("service: shop\n", "service: {{ .Values.service }}\n", "yaml-key"),
        ('requests_total{job="shop"}\'}', f'requests_total{{job=~"{"(a+)+" * 400}"}}\'}}', ""),
        ('requests_total{job="shop"}\'}', f'requests_total{{job=~"(a+)+b|{"a" * 90}"}}\'}}', ""),
        ('requests_total{job="shop"}\'}', f'requests_total{{job=~"{".?" * 1900}"}}\'}}', ""),
        ('requests_total{job="shop"}\'}', f"sum({' ' * 3900}x'}}", "field-form"),
        ('requests_total{job="shop"}\'}', 'requests_total{job=~"(?=a)b"}\'}', "field-form"),
        ("objectives:\n", "objectives:\n" + "    - {}\n" * 3000, "field-missing"),
    ],
)
def test_values_that_mean_harm(tmp_path: Path, old: str, new: str, code: str) -> None:
    assert SLO.count(old) == 1, old
    (tmp_path / "a.yaml").write_text(SLO.replace(old, new))
    (tmp_path / "b.yaml").write_text(SERVICE)
    if code:
        assert code in {problem.code for problem in refused(tmp_path)}
    else:
        started = time.process_time()
        compile_promises(parse_tree(tmp_path))
        assert time.process_time() - started < LIMIT_S


@pytest.mark.parametrize(
    "text",
    [
        f"[{'{},' * 59_000}]",
        SLO + "".join(f"  servicx{number}: 1\n" for number in range(28_000)),
        "\n---\n".join(f"apiVersion: openslo/v{number}" for number in range(30_000)),
    ],
)
def test_what_is_wrong_everywhere_is_not_told_for_ever(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    found = refused(tmp_path)
    assert len(found) == MOST_PROBLEMS + 1
    assert [problem.code for problem in found].count("too-many-problems") == 1


def test_a_list_that_has_no_end_is_said_once(tmp_path: Path) -> None:
    objectives = "".join(f"    - {{displayName: o{number}, target: 0.9{number % 9}}}\n" for number in range(10_000))
    (tmp_path / "a.yaml").write_text(SLO.replace("    - target: 0.999\n", objectives))
    (tmp_path / "b.yaml").write_text(SERVICE)
    assert "has more than 1,000 entries" in [problem.what for problem in refused(tmp_path)]


def test_empty_documents_are_none(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"---\n{SERVICE}---\n---\n~\n---\n{SLO}---\n")
    assert len(parse_tree(tmp_path)) == 1


def test_a_thousand_broken_files_are_all_reported(tmp_path: Path) -> None:
    for number in range(1000):
        (tmp_path / f"{number:04d}.yaml").write_bytes(b"\xff\xfe\x00binary")
    assert len(refused(tmp_path)) == 1000
