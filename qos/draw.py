"""A pipeline file as a picture: Mermaid and DOT, both as text."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from serenity.qos.detectors import DETECTORS
from serenity.qos.filters import FILTERS
from serenity.qos.pipeline import PipelineFile
from serenity.qos.stages import Kind
from serenity.qos.strategies import STRATEGIES

# Fill colours by kind of stage; dark text is legible on all of them.
_COLOURS = {
    "data": "#eeeeee",  # Not "end", which Mermaid keeps for itself.
    "filter": "#d6e8fa",
    "detector": "#fde2c8",
    "strategy": "#d9f2d9",
    "slack": "#ecdff5",
}
_MERMAID = str.maketrans({"#": "#35;", "&": "#amp;", '"': "#quot;", "<": "#lt;"})


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


def graph(file: PipelineFile, slack_stages: Mapping[str, tuple[str, type]]) -> Graph:
    """The chains of a checked file: frames through filters to each detector, to the strategy; and the slack chain.

    Shows all parameters, also those that the file leaves at their defaults.  `slack_stages`, in their order: key in
    ``[slack]`` → title in the picture, parameter dataclass.
    """
    boxes = [_Box("frames", "data", "frames", ())]
    arrows: list[tuple[str, str]] = []
    if not file.for_estimator_alone:
        last = _chain(file.qos.get("filters", []), "qos_filter", boxes, arrows)
        strategy = _stage("strategy", "strategy", file.qos["strategy"], STRATEGIES)
        for number, entry in enumerate(file.qos["detectors"], 1):
            box = _stage(f"detector{number}", "detector", entry, DETECTORS)
            boxes.append(box)
            arrows += [(last, box.id), (box.id, strategy.id)]
        boxes += [strategy, _Box("findings", "data", "findings: contention, suspects", ())]
        arrows.append((strategy.id, "findings"))
    if file.slack:
        last = _chain(file.slack.get("filters", []), "slack_filter", boxes, arrows)
        for key, (title, parameters) in slack_stages.items():
            boxes.append(_Box(key, "slack", title, _lines(file.slack.get(key, {}), parameters)))
            arrows.append((last, key))
            last = key
        boxes.append(_Box("slack", "data", "slack", ()))
        arrows.append((last, "slack"))
    return Graph(tuple(boxes), tuple(arrows))


def mermaid(drawn: Graph) -> str:
    return "\n".join(_mermaid_lines(drawn)) + "\n"


def dot(drawn: Graph) -> str:
    return "\n".join(_dot_lines(drawn)) + "\n"


def _chain(entries: Any, prefix: str, boxes: list[_Box], arrows: list[tuple[str, str]]) -> str:
    last = "frames"
    for number, entry in enumerate(entries, 1):
        box = _stage(f"{prefix}{number}", "filter", entry, FILTERS)
        boxes.append(box)
        arrows.append((last, box.id))
        last = box.id
    return last


def _stage(name: str, kind: str, entry: Mapping[str, Any], kinds: Mapping[str, Kind[Any]]) -> _Box:
    return _Box(name, kind, f"{kind}: {entry['name']}", _lines(entry, kinds[entry["name"]].parameters))


def _lines(entry: Mapping[str, Any], parameters: type) -> tuple[str, ...]:
    values = {each.name: entry.get(each.name, each.default) for each in dataclasses.fields(parameters)}
    return tuple(f"{name} = {_text(value)}" for name, value in values.items())


def _text(value: Any) -> str:
    return (
        ", ".join(map(str, value))
        if isinstance(value, list | tuple)
        else f"{value:g}"
        if _is_number(value)
        else str(value)
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _mermaid_lines(drawn: Graph) -> Iterator[str]:
    yield "flowchart LR"
    for box in drawn.boxes:
        words = [box.title, *box.lines]
        yield f'    {box.id}["{"<br/>".join(word.translate(_MERMAID) for word in words)}"]:::{box.kind}'
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
