"""Figures as tables of Markdown, which are read as they are on a terminal, too."""

from collections.abc import Iterable, Sequence


def grid(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Lay out a table; the first column is to the left, the others to the right."""
    lines = [list(header), *([str(cell) for cell in row] for row in rows)]
    widths = [max(3, *(len(line[place]) for line in lines)) for place in range(len(header))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines.insert(1, rule)
    return "\n".join(f"| {' | '.join(_padded(line, widths))} |" for line in lines)


def _padded(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    first, *others = zip(line, widths, strict=True)
    return [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]


def whole(value: float) -> str:
    """Write a number without decimals, thousands apart."""
    return f"{value:,.0f}"


def short(value: float) -> str:
    """Write a number with about three digits."""
    if abs(value) >= 100:
        return whole(value)
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def percent(value: float) -> str:
    """Write a share."""
    return f"{100 * value:.0f} %"


def times(value: float) -> str:
    """Write a ratio."""
    return f"{value:.2f}"


def seconds(value: float | None) -> str:
    """Write seconds; None is what never happened."""
    return "never" if value is None else f"{value:.1f} s"
