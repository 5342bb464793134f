"""Which regular expressions the compiler takes is what Prometheus takes, asked of Prometheus' own parser."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from slo.patterns import check_pattern
from tests.rules.promtool import Promtool

TAKEN = [
    "5..", "(?i)get|post", "(?i:g)et", "^a$", r"a\b.b", r"\Aa.*\z", "[[:alpha:]]+", "[^[:^space:]]", r"\pL",
    r"\p{Greek}", r"\Qa.b\E", "(?P<name>a)", "(?<name>a)", "(?U)a+", "a{1000}", "(a{10}){100}",
    r"\x{10FFFF}", r"\a\f\v",
    "a||b", "",
]  # fmt: skip
REFUSED = [
    "(?=5)..", "(?!5)..", "(?<=a)b", "(?<!a)b", r"(5)\1", "(?P=n)", "a++", "a**", "(?>a)", "a{1001}",
    "(a{1000}){2}", "(?x)a", r"a\Z", r"\C", r"\u0041", r"\N{DIGIT ONE}", "(?#a)", "(", ")", "[a", "[b-a]",
    "*", r"\p{Klingon}", "(?(1)a)",
]  # fmt: skip


@pytest.fixture(scope="module")
def refused_by_prometheus(promtool: Promtool, tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    folder: Path = tmp_path_factory.mktemp("patterns")
    found = set()
    for pattern in (*TAKEN, *REFUSED):
        quoted = pattern.replace("\\", "\\\\")
        rule = {"record": "a:b:c", "expr": f'requests_total{{code=~"{quoted}"}}'}
        (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "one", "rules": [rule]}]}))
        if promtool.run("check", "rules", "rules.yaml", cwd=folder).returncode:
            found.add(pattern)
    return found


@pytest.mark.parametrize("pattern", [*TAKEN, *REFUSED])
def test_prometheus_says_the_same(refused_by_prometheus: set[str], pattern: str) -> None:
    assert (pattern in refused_by_prometheus) == (pattern in REFUSED)
    if pattern in REFUSED:
        with pytest.raises(ValueError, match="; write"):
            check_pattern(pattern)
    else:
        check_pattern(pattern)
