"""The page on operations: its commands run, its alerts and metrics are the real ones."""

from __future__ import annotations

import re
from pathlib import Path

import promql_parser
import yaml
from prometheus_client import Metric
from prometheus_client.metrics import MetricWrapperBase
from tallywire import metrics

from .following import clone_in, follow_page
from .pages import ROOT, Block
from .test_pages import PROGRAMS

PAGE = "docs/operations.md"
METRICS = [
    (metric, collector)
    for collector in vars(metrics).values()
    if isinstance(collector, MetricWrapperBase)
    for metric in collector.describe()
]


def _name(metric: Metric) -> str:
    return f"{metric.name}_total" if metric.type == "counter" else metric.name


def _series(metric: Metric) -> set[str]:
    """The names under which Prometheus has it."""
    if metric.type == "histogram":
        return {f"{metric.name}_{part}" for part in ("bucket", "count", "sum")}
    return {_name(metric)}


def _metrics_of(expression: str) -> set[str]:
    """The metrics that an expression of PromQL asks for; ValueError where it is none."""
    found: set[str] = set()

    def note(part: promql_parser.Expr) -> bool:
        if isinstance(part, promql_parser.VectorSelector):
            assert part.name is not None
            found.add(part.name)
        return True

    promql_parser.walk(promql_parser.parse(expression), note)
    return found


async def test_the_page(sqlite_url: str, tmp_path: Path) -> None:
    alerts: dict[str, set[str]] = {}

    def load(block: Block) -> None:
        for group in yaml.safe_load(block.text)["groups"]:
            for rule in group["rules"]:
                assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
                promql_parser.parse_duration(rule.get("for", "1s"))
                assert rule["annotations"]["summary"]
                alerts[rule["alert"]] = _metrics_of(rule["expr"])

    await follow_page(
        clone_in(tmp_path),
        (ROOT / PAGE).read_text(),
        name=PAGE,
        environment={**PROGRAMS, "DATABASE_URL": sqlite_url},
        others={"yaml": load},
        before="make run",
    )
    known = {name for metric, _ in METRICS for name in _series(metric)}
    assert alerts
    for name, asked in alerts.items():
        assert asked and asked <= known, name


def test_every_metric_is_on_the_page() -> None:
    text = (ROOT / PAGE).read_text()
    listed = re.findall(r"^\| `(tallywire_\w+)(?:\{(.*?)\})?` \|", text, re.MULTILINE)
    real = [(_name(metric), ",".join(each._labelnames)) for metric, each in METRICS]
    assert sorted(listed) == sorted(real)
