"""A pipeline file as a picture: Mermaid and DOT, both as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from serenity.qos.pipeline import PipelineFile

# Fill colours by what a stage is; dark text is legible on all of them.
_COLOURS = {
    "end": "#eeeeee",
    "filter": "#d6e8fa",
    "detector": "#fde2c8",
    "strategy": "#d9f2d9",
    "slack": "#ecdff5",
}


@dataclass(frozen=True, slots=True)
class _Box:
    id: str
    kind: str
    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Graph:
    boxes: tuple[_Box, ...]
    arrows: tuple[tuple[str, str], ...]


def graph(file: PipelineFile) -> Graph:
    """The chains of a checked file: frames through filters to each detector, to the strategy; and the slack's."""
    boxes = [_Box("frames", "end", "frames", ())]
    arrows: list[tuple[str, str]] = []
    last = _chain(file.qos.get("filters", []), "qos_filter", boxes, arrows)
    strategy = _box("strategy", "strategy", file.qos.get("strategy", {}))
    for number, entry in enumerate(file.qos.get("detectors", []), 1):
        box = _box(f"detector{number}", "detector", entry)
        boxes.append(box)
        arrows += [(last, box.id), (box.id, strategy.id)]
    boxes += [strategy, _Box("findings", "end", "findings: contention, suspects", ())]
    arrows.append((strategy.id, "findings"))
    if file.slack:
        last = _chain(file.slack.get("filters", []), "slack_filter", boxes, arrows)
        for key in ("predictor", "limits", "report"):
            if key in file.slack:
                box = _box(key, "slack", {"name": key, **file.slack[key]} if key != "predictor" else file.slack[key])
                boxes.append(box)
                arrows.append((last, box.id))
                last = box.id
        boxes.append(_Box("slack", "end", "slack", ()))
        arrows.append((last, "slack"))
    return Graph(tuple(boxes), tuple(arrows))


def mermaid(drawn: Graph) -> str:
    return "\n".join(_mermaid_lines(drawn)) + "\n"


def dot(drawn: Graph) -> str:
    return "\n".join(_dot_lines(drawn)) + "\n"


def _chain(entries: Any, prefix: str, boxes: list[_Box], arrows: list[tuple[str, str]]) -> str:
    last = "frames"
    for number, entry in enumerate(entries, 1):
        box = _box(f"{prefix}{number}", "filter", entry)
        boxes.append(box)
        arrows.append((last, box.id))
        last = box.id
    return last


def _box(name: str, kind: str, entry: Mapping[str, Any]) -> _Box:
    lines = tuple(f"{key} = {_text(value)}" for key, value in entry.items() if key != "name")
    return _Box(name, kind, f"{kind}: {entry.get('name', '')}", lines)


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else f"{value:g}" if _is_number(value) else str(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _mermaid_lines(drawn: Graph) -> Iterator[str]:
    yield "flowchart LR"
    for box in drawn.boxes:
        words = [box.title, *box.lines]
        escaped = "<br/>".join(word.replace("&", "#amp;").replace('"', "#quot;").replace("<", "#lt;") for word in words)
        yield f'    {box.id}["{escaped}"]:::{box.kind}'
    for start, end in drawn.arrows:
        yield f"    {start} --> {end}"
    for kind, colour in _COLOURS.items():
        yield f"    classDef {kind} fill:{colour},stroke:#555,color:#111,text-align:left"


def _dot_lines(drawn: Graph) -> Iterator[str]:
    yield "digraph pipeline {"
    yield "    rankdir = LR;"
    yield '    node [shape = box, style = "filled,rounded", fontname = "Helvetica", fontsize = 11, color = "#555555"];'
    for box in drawn.boxes:
        words = [box.title, "", *box.lines] if box.lines else [box.title]
        # \l ends a line that is flush left.
        label = "".join(word.replace("\\", "\\\\").replace('"', '\\"') + "\\l" for word in words)
        yield f'    {box.id} [label = "{label}", fillcolor = "{_COLOURS[box.kind]}"];'
    for start, end in drawn.arrows:
        yield f"    {start} -> {end};"
    yield "}"
