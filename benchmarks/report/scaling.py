"""The table and chart of scaling laws."""

from dataclasses import dataclass
from typing import Any

from benchmarks.report.formats import Table, interval_text, magnitude
from benchmarks.scoring.scaling import PowerLaw
from benchmarks.scoring.scoreboard import Scoreboard
from benchmarks.scoring.statistics import Estimate

SCALING = "scaling.csv"
_MEASURED = {"loss": "loss", "shortfall": "1 - IQM of f"}
_VARIED = {"parameters": "parameters", "data": "environment steps", "flops": "FLOPs, each budget's best size"}
_CAPTION = (
    "y = floor + scale * x^-exponent, fitted to the means over training seeds, with 95 % intervals over the seeds; all "
    "else is as large as it was measured. Loss: nats per action on recorded episodes that were not learned."
)
_WIDTH, _HEIGHT = 180, 200


@dataclass(frozen=True)
class ScalingRow:
    """One number of a scaling study: a line of ``scaling.csv``.

    Attributes:
        measured: ``loss``, ``shortfall`` (1 less the IQM of f), or ``best size`` of a compute budget.
        varied: ``parameters``, ``data`` (environment steps) or ``flops``.
        quantity: ``exponent``, ``floor`` or ``scale`` of a power law; ``parameters`` of a best size.
        flops: the compute budget of a best size; None for a law.
        value: the number; ``low`` and ``high`` are its 95 % interval, where there is one.
    """

    measured: str
    varied: str
    quantity: str
    flops: float | None
    value: float | None
    low: float | None
    high: float | None


def scaling_rows(board: Scoreboard) -> list[ScalingRow]:
    """Rows of ``scaling.csv``; none where there are no laws."""
    if board.scaling is None:
        return []
    rows = []
    for (measured, varied), law in board.scaling.laws.items():
        for quantity, found in (("exponent", law.exponent), ("floor", law.floor)):
            rows.append(ScalingRow(measured, varied, quantity, None, found.value, found.low, found.high))
        rows.append(ScalingRow(measured, varied, "scale", None, law.scale, None, None))
    for best in board.scaling.best:
        size = best.parameters
        numbers = (size.value, size.low, size.high) if size else (None, None, None)
        rows.append(ScalingRow("best size", "flops", "parameters", best.flops, *numbers))
    return rows


def scaling_tables(board: Scoreboard) -> list[Table]:
    """The laws, and the best size of each compute budget; none where there are no laws."""
    if board.scaling is None:
        return []
    laws = [
        [_MEASURED[measured], _VARIED[varied], interval_text(law.exponent), interval_text(law.floor), _range(law)]
        for (measured, varied), law in board.scaling.laws.items()
    ]
    columns = ["y", "x", "exponent", "floor", "measured from, to"]
    tables = [Table(f"{board.results.suite}: scaling laws", columns, laws, _CAPTION, words=2)]
    if board.scaling.best:
        rows = [[magnitude(best.flops), _size(best.parameters, best.largest)] for best in board.scaling.best]
        caption = (
            "The minimum of a parabola in the logarithm of the size, with its 95 % interval over training seeds "
            "(Hoffmann et al. 2022, section 3.2)."
        )
        tables.append(Table(f"{board.results.suite}: best size by compute", ["FLOPs", "parameters"], rows, caption))
    return tables


def scaling_chart(board: Scoreboard) -> dict[str, Any] | None:
    """Loss and shortfall against parameters, data and compute, with the fitted laws."""
    if board.scaling is None or not board.scaling.laws:
        return None
    rows = []
    for measured in _MEASURED:
        charts = [_panel(board, measured, varied) for varied in _VARIED if (measured, varied) in board.scaling.laws]
        rows.append({"hconcat": charts})
    return {"vconcat": rows}


def _panel(board: Scoreboard, measured: str, varied: str) -> dict[str, Any]:
    assert board.scaling is not None
    law = board.scaling.laws[measured, varied]
    points = [{"x": getattr(point, varied), "y": getattr(point, measured)} for point in board.scaling.points]
    low, high = law.x
    line = [{"x": x, "y": law(x)} for x in (low * (high / low) ** (step / 30) for step in range(31))]
    scale = {"type": "log", "nice": False}
    encoding = {
        "x": {"field": "x", "type": "quantitative", "title": _VARIED[varied], "scale": scale, "axis": {"format": "~s"}},
        "y": {"field": "y", "type": "quantitative", "title": _MEASURED[measured], "scale": scale},
    }
    return {
        "width": _WIDTH,
        "height": _HEIGHT,
        "layer": [
            {"data": {"values": points}, "mark": {"type": "point", "opacity": 0.5}, "encoding": encoding},
            {"data": {"values": line}, "mark": {"type": "line"}, "encoding": encoding},
        ],
    }


def _range(law: PowerLaw) -> str:
    return f"{magnitude(law.x[0])}, {magnitude(law.x[1])}"


def _size(size: Estimate | None, largest: bool) -> str:
    if size is not None:
        return interval_text(size, magnitude)
    return "the largest or more" if largest else "the smallest or less"
