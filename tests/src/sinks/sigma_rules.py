"""Parses, checks and converts Sigma rules with pySigma: sigma_rules.py RULES SCHEMA. Every field must stand in the schema."""

import json
import pathlib
import sys

from sigma.backends.elasticsearch import LuceneBackend
from sigma.backends.loki import LogQLBackend
from sigma.backends.splunk import SplunkBackend
from sigma.collection import SigmaCollection
from sigma.correlations import SigmaCorrelationRule
from sigma.rule import SigmaDetection

schema = json.loads(pathlib.Path(sys.argv[2]).read_text())


def stands(path, where=None):
    """Whether a dotted path is published."""
    where = where or schema
    head, _, rest = path.partition(".")
    found = where.get("properties", {}).get(head)
    if found is None:
        return False
    for _ in range(8):
        if "anyOf" in found:
            found = next(one for one in found["anyOf"] if one.get("type") != "null")
        elif "$ref" in found:
            found = schema["$defs"][found["$ref"].rsplit("/", 1)[1]]
    return not rest or stands(rest, found)


def fields(detection):
    for item in detection.detection_items:
        if isinstance(item, SigmaDetection):
            yield from fields(item)
        else:
            yield item.field


def load():
    return SigmaCollection.load_ruleset([sys.argv[1]])


rules = load()
assert not rules.errors, rules.errors
names, unknown = 0, []
for rule in rules.rules:
    names += 1
    if isinstance(rule, SigmaCorrelationRule):
        unknown += [field for field in rule.group_by or [] if not stands(field)]
    else:
        assert not rule.errors, rule.errors
        for detection in rule.detection.detections.values():
            unknown += [field for field in fields(detection) if not stands(field)]
assert not unknown, f"not in the schema: {unknown}"

for rule in rules.rules:
    # What a parser lets pass and a reader misses.
    assert rule.id and rule.title and rule.description and rule.level and rule.status and rule.falsepositives, rule
    assert any(tag.namespace == "attack" for tag in rule.tags), rule.title
assert len({rule.id for rule in rules.rules}) == names, "an id stands twice"

queries = 0
for backend in (SplunkBackend(), LuceneBackend(), LogQLBackend()):
    plain = load()
    # Not every backend knows correlations in order.
    plain.rules = [rule for rule in plain.rules if not isinstance(rule, SigmaCorrelationRule)]
    queries += len(backend.convert(plain))
print(f"{names} rules, {queries} queries for Splunk, Lucene and Loki")
