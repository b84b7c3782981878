"""A cell: the part of an actor that outlives its instances."""

from actors.cell.cell import Cell
from actors.cell.life import constructing

__all__ = ["Cell", "constructing"]
