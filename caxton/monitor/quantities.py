"""Numbers as people read them, in few characters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

__all__ = ["count_text", "duration_text", "latency_text", "rate_text", "size_text", "sparkline"]

BLOCKS: Final = "▁▂▃▄▅▆▇█"
PLAIN_BLOCKS: Final = "_.-~=+*#"
"""The same heights for terminals without Unicode."""


def duration_text(milliseconds: float) -> str:
    """``2h13m``, ``3d04h``, ``41 s``."""
    seconds = int(milliseconds / 1_000)
    if seconds < 60:
        return f"{seconds} s"
    minutes, seconds = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes}m{seconds:02d}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours}h{minutes:02d}m"
    return f"{hours // 24}d{hours % 24:02d}h"


def latency_text(microseconds: float) -> str:
    """``0.4 ms``, ``38 ms``, ``9.1 s``; ``-`` when nothing was measured."""
    if microseconds <= 0:
        return "-"
    if microseconds < 9_950:
        return f"{microseconds / 1_000:.1f} ms" if microseconds >= 50 else "<0.1 ms"
    if microseconds < 999_500:
        return f"{microseconds / 1_000:.0f} ms"
    return f"{microseconds / 1_000_000:.1f} s"


def size_text(size: float) -> str:
    """Bytes in binary units: ``512 B``, ``38 MiB``, ``1.2 GiB``."""
    if size < 1_024:
        return f"{size:.0f} B"
    units = ("KiB", "MiB", "GiB", "TiB")
    power = 1
    while power < len(units) and size >= 1_024 ** (power + 1):
        power += 1
    scaled = size / 1_024**power
    return f"{scaled:.1f} {units[power - 1]}" if scaled < 10 else f"{scaled:.0f} {units[power - 1]}"


def count_text(count: float) -> str:
    """``1,204``; above a million ``1.2M``."""
    if count < 1_000_000:
        return f"{count:,.0f}"
    return f"{count / 1_000_000:.1f}M" if count < 1_000_000_000 else f"{count / 1e9:.1f}G"


def rate_text(per_second: float) -> str:
    """Per second: ``1,204/s``; slow ones with a decimal."""
    return f"{per_second:.1f}/s" if 0 < per_second < 10 else f"{count_text(per_second)}/s"


def sparkline(values: Sequence[float], cells: int, *, unicode: bool) -> str:
    """The last values in ``cells`` characters, the newest at the right, scaled to the highest."""
    blocks = BLOCKS if unicode else PLAIN_BLOCKS
    if cells <= 0:
        return ""
    if not values:
        return " " * cells
    per_cell = max(1, -(-len(values) // cells))
    parts: list[float] = []
    for end in range(len(values), 0, -per_cell):
        part = values[max(0, end - per_cell) : end]
        parts.append(sum(part) / len(part))
    parts.reverse()
    top = max(parts)
    text = "".join(
        blocks[0] if top <= 0 else blocks[min(7, int(part / top * 7.999))] for part in parts
    )
    return text.rjust(cells)
