"""Figures for Prometheus: what the engines say of themselves at the moment they are asked, and what requests took."""

import time
from collections import deque
from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from kwen.serve.models import Models
from kwen.serve.replies import Usage

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_WINDOW_S = 10.0  # tokens a second are those of so long a time
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)

_GAUGES = {
    "waiting": ("kwen_requests_waiting", "Answers that wait for a slot."),
    "running": ("kwen_requests_running", "Answers in the batch."),
    "slots": ("kwen_slots", "Answers that the batch can hold."),
    "blocks": ("kwen_cache_blocks", "Blocks of the key-value cache."),
    "blocks_used": ("kwen_cache_blocks_used", "Blocks that hold something."),
}
_TOTALS = {
    "prompt_tokens": ("kwen_prompt_tokens", "Tokens of prompts."),
    "cached_tokens": ("kwen_cached_tokens", "Tokens of prompts that the prefix cache had."),
    "generated_tokens": ("kwen_generated_tokens", "Tokens generated."),
    "steps": ("kwen_steps", "Passes through the model."),
    "preemptions": ("kwen_preemptions", "Answers set back because the cache was full."),
    "cancelled": ("kwen_cancelled", "Answers cancelled."),
}


class Metrics:
    """All figures of a server, in a registry of its own."""

    def __init__(self, models: Models) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Engines(models))
        self._first_token = Histogram(
            "kwen_time_to_first_token_seconds",
            "From a request's hand-over to the first token.",
            ["model"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._requests = Counter("kwen_http_requests", "HTTP requests answered.", ["path", "status"], registry=self._registry)
        self._seconds = Histogram(
            "kwen_http_request_seconds", "What they took.", ["path"], buckets=_SECONDS, registry=self._registry
        )
        self._reasoning = Counter("kwen_reasoning_tokens", "Tokens of thoughts.", ["model"], registry=self._registry)

    def answered(self, model: str, first_token_s: float | None, usage: Usage) -> None:
        """A request's answers have ended."""
        if first_token_s is not None:
            self._first_token.labels(model).observe(first_token_s)
        if usage.reasoning:
            self._reasoning.labels(model).inc(usage.reasoning)

    def served(self, path: str, status: int, seconds: float) -> None:
        """A request to one of the server's own paths has been answered."""
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def text(self) -> bytes:
        """Prometheus' text form."""
        return generate_latest(self._registry)


class _Engines:
    """Collects from the engines when it is asked."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._seen: dict[str, deque[tuple[float, int]]] = {name: deque([(time.monotonic(), 0)]) for name in models}

    def collect(self) -> Iterator[Any]:
        """One family a figure, one sample a model."""
        told = {name: served.service.statistics() for name, served in self._models.items()}
        for field, (name, text) in _GAUGES.items():
            yield _family(GaugeMetricFamily(name, text, labels=["model"]), told, field)
        for field, (name, text) in _TOTALS.items():
            yield _family(CounterMetricFamily(name, text, labels=["model"]), told, field)
        rate = GaugeMetricFamily(
            "kwen_tokens_per_second", f"Tokens generated a second, over about {_WINDOW_S:g} s.", labels=["model"]
        )
        for name, statistics in told.items():
            rate.add_metric([name], self._rate(name, statistics.generated_tokens))
        yield rate

    def _rate(self, name: str, generated: int) -> float:
        now, seen = time.monotonic(), self._seen[name]
        seen.append((now, generated))
        while len(seen) > 2 and now - seen[1][0] > _WINDOW_S:
            seen.popleft()
        (since, before), seconds = seen[0], now - seen[0][0]
        return (generated - before) / seconds if seconds > 0 and since < now else 0.0


def _family(family: Any, told: dict[str, Any], field: str) -> Any:
    for name, statistics in told.items():
        family.add_metric([name], getattr(statistics, field))
    return family
