"""New log templates: what is said now and was not said before.

Pure. Templates are mined by drain3 over both windows together, so that a line before and its like now share one. Owns
which templates count as new and what their words speak of. Refuses to know Loki.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from drain3 import TemplateMiner
from drain3.masking import MaskingInstruction
from drain3.template_miner_config import TemplateMinerConfig

from incidents.observe import LogLine
from incidents.triage.deviation import Deviation, strength
from incidents.triage.rules import Rules

LEAST_LINES = 2
MOST_RISE = 10.0
"""A template that was there before counts as new when it has become so many times as frequent."""
LONGEST = 160
_MASKS = (
    (r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "ID"),
    (r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\S*(?: [A-Z]{3,4})?", "TIME"),
    (r"\b(?:\d{1,3}\.){3}\d{1,3}(?::\d+)?\b", "ADDRESS"),
    (r"\b[0-9a-f]{16,}\b", "ID"),
    (r"(?<![\w.])\d+(?:\.\d+)?", "N"),
)
_STACK = re.compile(r"^\s+(File |at |\^)|^Traceback|^\s*$|^\t")
IGNORED = re.compile(r"\bfault\.changed\b|\bpage \S+ (opened|closed|resolved)\b")
"""What somebody broke on purpose is no evidence: triage has to find it by its traces. Nor is that an alert fires."""
NOTABLE = re.compile(
    r"error|fatal|panic|fail|exception|warn|refus|time.?out|blocked|waiting|denied|kill|expire", re.IGNORECASE
)
"""Of lines without a severity, such as those of servers, only these count; the others are mostly parts of longer."""
_MESSAGES = ("msg", "message", "event", "error")


@dataclass(frozen=True)
class Template:
    """One template of one service."""

    service: str
    text: str
    now: int
    before: int
    trace_id: str
    example: str


def new_templates(now: Iterable[LogLine], before: Iterable[LogLine], ratio: float) -> list[Template]:
    """Templates of the lines now that the lines before lack, the commonest first. `ratio`: lengths, before to now."""
    miners: dict[str, TemplateMiner] = {}
    counts: tuple[Counter[tuple[str, int]], Counter[tuple[str, int]]] = (Counter(), Counter())
    examples: dict[tuple[str, int], LogLine] = {}
    for lines, counter in ((before, counts[1]), (now, counts[0])):
        for line in lines:
            service = line.labels.get("service_name", "unknown")
            text = _text(line)
            if not text:
                continue
            miner = miners.setdefault(service, TemplateMiner(config=_config()))
            key = (service, int(miner.add_log_message(text)["cluster_id"]))
            counter[key] += 1
            if counter is counts[0]:
                examples[key] = line
    texts = {
        (service, cluster.cluster_id): cluster.get_template()
        for service, miner in miners.items()
        for cluster in miner.drain.clusters
    }
    found = []
    for key, number in counts[0].most_common():
        earlier = counts[1][key] / max(ratio, 1e-9)
        if number >= LEAST_LINES and number > MOST_RISE * earlier:
            line = examples[key]
            trace_id = line.labels.get("trace_id", "")
            found.append(
                Template(key[0], texts[key][:LONGEST], number, counts[1][key], trace_id, _text(line)[:LONGEST])
            )
    return found


def line_deviations(templates: Iterable[Template], rules: Rules) -> list[Deviation]:
    """What the new templates speak of; what nobody knows counts as errors of its service, a little."""
    by_place: dict[tuple[str, str], list[tuple[Template, float]]] = defaultdict(list)
    for template in templates:
        service = rules.topology.component(template.service)
        known = next((one for one in rules.words if one.matcher.search(template.example)), None)
        component = known.component.format(service=service) if known else service
        kind, weight = (known.kind, known.weight) if known else ("errors", rules.other_words_weight)
        if component not in rules.topology.outside or known:
            by_place[component, kind].append((template, weight))
    found = []
    for (component, kind), own in by_place.items():
        template, weight = max(own, key=lambda one: (one[1], one[0].now))
        more = f", and {len(own) - 1} more such templates" if len(own) > 1 else ""
        before = f"{template.before} before" if template.before else "never before"
        says = f"{template.service} says, {template.now} times and {before}: “{template.text}”{more}"
        query = f'{{service_name="{template.service}"}}'
        power = strength(weight, template.now)
        found.append(Deviation(component, kind, power, "logs", says, query=query, trace_id=template.trace_id))
    return found


def _text(line: LogLine) -> str:
    """The line's message with its exception's type; the first line of it only, and nothing for parts of a stack."""
    text = _message(line.text.strip("\n"))
    if _STACK.search(text) or IGNORED.search(text) or not ("severity_text" in line.labels or NOTABLE.search(text)):
        return ""
    kind = line.labels.get("exception_type", "").rpartition(".")[2]
    first = text.split("\n", 1)[0][:500]
    return f"{first} {kind}".strip()


def _message(text: str) -> str:
    """What a line says: of a JSON object its message, and its status where it has one."""
    if not text.startswith("{"):
        return text
    try:
        document = json.loads(text)
    except ValueError:
        return text
    said = next((str(document[key]) for key in _MESSAGES if document.get(key)), text)
    return f"{said} {document['status']}" if "status" in document else said


def _config() -> TemplateMinerConfig:
    config = TemplateMinerConfig()
    config.masking_instructions = [MaskingInstruction(pattern, name) for pattern, name in _MASKS]
    return config
