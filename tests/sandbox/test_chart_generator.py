"""The shipped chart tool: what is drawn is where it must be, in SVG and in PNG."""

from __future__ import annotations

import base64
import itertools
import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
from chart_images import SVG, Drawing, Picture, read_png, read_svg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shipped_tool import ShippedTool, check_description

from sandbox import FolderGrant, Grants
from sandbox.wasmtime_engine import WasmtimeEngine

IN_PLACE = settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

KINDS = ["line", "bar", "pie", "scatter", "area", "histogram"]
BLUE, ORANGE = (47, 111, 219), (232, 131, 58)
BLUE_HEX, ORANGE_HEX = "#2f6fdb", "#e8833a"
WHITE, DARK = (255, 255, 255), (20, 24, 31)
MINUS = "\u2212"


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[WasmtimeEngine, Path]:
    """The tool, compiled once."""
    return ShippedTool.compiled("chart_generator", tmp_path_factory.mktemp("tool"))


@pytest.fixture
def tool(compiled: tuple[WasmtimeEngine, Path], tmp_path: Path) -> ShippedTool:
    """The tool on an empty folder."""
    (tmp_path / "data").mkdir()
    return ShippedTool(*compiled, tmp_path / "data")


def svg(tool: ShippedTool, **arguments: object) -> Drawing:
    """A chart as SVG."""
    got = tool.ask(**arguments)
    assert (got["format"], got["media_type"]) == ("svg", "image/svg+xml")
    assert got["bytes"] == len(got["svg"].encode())
    return read_svg(got["svg"])


def png(tool: ShippedTool, **arguments: object) -> Picture:
    """A chart as PNG."""
    got = tool.ask(format="png", **arguments)
    assert (got["format"], got["media_type"]) == ("png", "image/png")
    data = base64.b64decode(got["base64"], validate=True)
    assert got["bytes"] == len(data)
    picture = read_png(data)
    assert (picture.width, picture.height) == (got["width"], got["height"])
    return picture


def one(*values: object, **more: object) -> list[dict[str, object]]:
    """One series."""
    return [{"values": list(values), **more}]


def points(text: str) -> list[tuple[float, float]]:
    """The coordinates of a polyline."""
    pairs = (pair.split(",") for pair in text.split())
    return [(float(x), float(y)) for x, y in pairs]


class TestBars:
    """Heights by value, in both formats."""

    def test_heights_are_in_proportion(self, tool: ShippedTool) -> None:
        """From one baseline, side by side, with what they show."""
        drawing = svg(tool, type="bar", labels=["a", "b", "c"], series=one(10, 20, 5))
        bars = drawing.filled(BLUE_HEX)
        heights = [float(bar.get("height") or 0) for bar in bars]
        bottoms = [float(bar.get("y") or 0) + h for bar, h in zip(bars, heights, strict=True)]
        assert heights[1] == pytest.approx(2 * heights[0], abs=0.02)
        assert heights[2] == pytest.approx(heights[0] / 2, abs=0.02)
        assert max(bottoms) - min(bottoms) < 0.02
        assert drawing.tips() == ["a: 10", "b: 20", "c: 5"]
        lefts = [float(bar.get("x") or 0) for bar in bars]
        assert lefts == sorted(lefts)

    def test_png_has_the_bars_of_the_svg(self, tool: ShippedTool) -> None:
        """Inside each rectangle its colour, above it the background."""
        arguments: dict[str, Any] = {
            "type": "bar",
            "labels": ["a", "b"],
            "series": [{"name": "p", "values": [10, -4]}, {"name": "q", "values": [7, 3]}],
        }
        drawing, picture = svg(tool, **arguments), png(tool, **arguments)
        assert (picture.width, picture.height) == (800, 450)
        assert picture.at(2, 2) == WHITE
        for colour, name in ((BLUE, BLUE_HEX), (ORANGE, ORANGE_HEX)):
            for bar in drawing.filled(name):
                x, y = float(bar.get("x") or 0), float(bar.get("y") or 0)
                width, height = float(bar.get("width") or 0), float(bar.get("height") or 0)
                assert picture.at(x + width / 2, y + height / 2) == colour
                assert picture.at(x + 2, y + 2) == colour
                assert picture.at(x + width / 2, y - 3) != colour
                assert picture.at(x + width + 3, y + height / 2) != colour

    def test_groups_stand_side_by_side_and_stacks_on_each_other(self, tool: ShippedTool) -> None:
        """Negative values are stacked below zero."""
        series = [
            {"name": "p", "values": [10, -5]},
            {"name": "q", "values": [10, -5]},
            {"name": "r", "values": [-10, 5]},
        ]
        grouped = svg(tool, type="bar", labels=["a", "b"], series=series)
        first = [grouped.filled(c)[0] for c in (BLUE_HEX, ORANGE_HEX)]
        assert float(first[0].get("x") or 0) + float(first[0].get("width") or 0) <= float(
            first[1].get("x") or 0
        )
        stacked = svg(tool, type="bar", labels=["a", "b"], series=series, stacked=True)
        low, high = (stacked.filled(c)[0] for c in (BLUE_HEX, ORANGE_HEX))
        below = stacked.filled("#2a9d6f")[0]
        assert low.get("x") == high.get("x") == below.get("x")
        top = float(low.get("y") or 0)
        assert float(high.get("y") or 0) + float(high.get("height") or 0) == pytest.approx(top)
        base = top + float(low.get("height") or 0)
        assert float(below.get("y") or 0) == pytest.approx(base, abs=0.02)
        assert f"{MINUS}10" in stacked.texts()
        assert "20" in stacked.texts()

    def test_values_are_written_where_they_fit(self, tool: ShippedTool) -> None:
        """On request only."""
        arguments: dict[str, Any] = {"type": "bar", "labels": ["a", "b"], "series": one(12.5, -3)}
        assert "12.5" not in svg(tool, **arguments).texts()
        assert {"12.5", f"{MINUS}3"} <= set(svg(tool, **arguments, show_values=True).texts())
        crowded = {"type": "bar", "series": one(*[12_345.6] * 200), "show_values": True}
        assert "12,345.6" not in svg(tool, **crowded).texts()

    def test_missing_bars_are_not_drawn(self, tool: ShippedTool) -> None:
        """A null is no bar; the others keep their places."""
        whole = svg(tool, type="bar", labels=["a", "b", "c"], series=one(1, 1, 1))
        gap = svg(tool, type="bar", labels=["a", "b", "c"], series=one(1, None, 1))
        xs = [bar.get("x") for bar in whole.filled(BLUE_HEX)]
        assert [bar.get("x") for bar in gap.filled(BLUE_HEX)] == [xs[0], xs[2]]


class TestLines:
    """Places, gaps and many points."""

    def test_missing_values_are_gaps(self, tool: ShippedTool) -> None:
        """Two lines, and a dot for a value alone between gaps."""
        drawing = svg(tool, type="line", series=one(1, 2, None, 5, None, 3, 4, 3))
        lines = [
            points(item.get("points") or "")
            for item in drawing.all("polyline")
            if item.get("stroke") == BLUE_HEX
        ]
        assert [len(line) for line in lines] == [2, 3]
        alone = [tip for tip in drawing.tips() if tip == "4: 5"]
        assert alone

    def test_x_is_to_scale_and_in_order(self, tool: ShippedTool) -> None:
        """However the points are given."""
        series = one(1, 3, 2, x=[0, 100, 10])
        drawing = svg(tool, type="line", series=series)
        line = next(
            points(item.get("points") or "")
            for item in drawing.all("polyline")
            if item.get("stroke") == BLUE_HEX
        )
        (x0, y0), (x1, y1), (x2, y2) = line
        assert (x1 - x0) * 10 == pytest.approx(x2 - x0, abs=0.1)
        assert y0 > y1 > y2

    def test_ten_thousand_points_keep_their_extremes(self, tool: ShippedTool) -> None:
        """Thinned, but no peak is lost; the answer stays small."""
        values = [math.sin(i / 300) * 10 for i in range(10_000)]
        values[5_000], values[7_000] = 40, -40
        drawing = svg(tool, type="line", series=one(*values))
        line = max((points(item.get("points") or "") for item in drawing.all("polyline")), key=len)
        assert 500 < len(line) < 4_000
        assert [x for x, _ in line] == sorted(x for x, _ in line)
        ys = sorted(y for _, y in line)
        assert ys[1] - ys[0] > 100
        assert ys[-1] - ys[-2] > 100
        assert tool.ask(type="line", series=one(*values))["points"] == 10_000

    def test_axis_limits_cut_what_is_outside(self, tool: ShippedTool) -> None:
        """Nothing is drawn beyond the plot."""
        arguments: dict[str, Any] = {"type": "bar", "labels": ["a"], "series": one(1000)}
        top = png(tool, **arguments, y_max=10).box(BLUE)[1]
        assert top == png(tool, type="bar", labels=["a"], series=one(10)).box(BLUE)[1]
        texts = svg(tool, type="line", series=one(1e9, 5), y_min=0, y_max=10).texts()
        assert {"0", "10"} <= set(texts)


class TestOtherKinds:
    """Pies, scatter plots, areas and histograms."""

    def test_slices_are_in_proportion(self, tool: ShippedTool) -> None:
        """By pixels, and with their shares in words."""
        arguments: dict[str, Any] = {
            "type": "pie",
            "labels": ["a", "b", "c"],
            "series": one(75, 25, None),
            "legend": False,
        }
        picture = png(tool, **arguments)
        big, small = picture.count(BLUE), picture.count(ORANGE)
        assert big / (big + small) == pytest.approx(0.75, abs=0.02)
        assert svg(tool, **arguments).tips() == ["a: 75 (75%)", "b: 25 (25%)"]
        whole = svg(tool, type="pie", labels=["a", "b"], series=one(5, 0))
        assert len(whole.all("circle")) == 1
        assert "a: 5 (100%)" in whole.texts()

    def test_many_slices_are_joined(self, tool: ShippedTool) -> None:
        """The smallest become one; together they are still everything."""
        drawing = svg(tool, type="pie", series=one(*range(1, 41)))
        assert len(drawing.tips()) == 12
        assert drawing.tips()[-1].startswith("Other (29): 435 ")
        shares = [float(tip.split("(")[-1].rstrip("%)")) for tip in drawing.tips()]
        assert sum(shares) == pytest.approx(100, abs=0.5)

    def test_scatter_points_are_to_scale(self, tool: ShippedTool) -> None:
        """One disc a point."""
        drawing = svg(tool, type="scatter", series=one(0, 10, 5, None, x=[0, 10, 5, 7]))
        discs = [
            (float(item.get("cx") or 0), float(item.get("cy") or 0))
            for item in drawing.all("circle")
            if item.find(SVG + "title") is not None
        ]
        (x0, y0), (x1, y1), (x2, y2) = discs
        assert (x2, y2) == pytest.approx(((x0 + x1) / 2, (y0 + y1) / 2), abs=0.02)

    def test_ten_thousand_scatter_points_fit(self, tool: ShippedTool) -> None:
        """Every one is in the file, which stays below 200 kB."""
        shuffled = random.Random(5)
        xs = [shuffled.gauss(0, 1) for _ in range(10_000)]
        ys = [shuffled.gauss(0, 1) for _ in range(10_000)]
        got = tool.ask(type="scatter", series=one(*ys, x=xs))
        drawn = sum((item.get("d") or "").count("M") for item in read_svg(got["svg"]).all("path"))
        assert drawn == 10_000
        assert got["bytes"] < 200_000
        assert tool.fuel_used < tool.limits.fuel / 4

    def test_areas_are_filled_down_to_zero(self, tool: ShippedTool) -> None:
        """And stacked ones up to their sum."""
        arguments: dict[str, Any] = {"type": "area", "series": one(10, 5, 10)}
        picture = png(tool, **arguments)
        shape = points(svg(tool, **arguments).all("polygon")[0].get("points") or "")
        (x0, y0), (x1, y1), (x2, y2) = shape[:3]
        base = shape[3][1]
        assert base - y0 == pytest.approx(2 * (base - y1), abs=0.05)
        inside = picture.at(x1 + 2, base - 5)
        assert inside == picture.at(x0 + 5, (y0 + base) / 2) != WHITE
        assert picture.at(x1 + 2, y1 + 8) == inside
        assert picture.at(x1 + 2, y1 - 8) == WHITE
        assert picture.at(x2 - 3, y2 + 12) == inside
        assert picture.at(x2 + 4, y2 + 12) == WHITE
        series = [{"name": "p", "values": [10, 10]}, {"name": "q", "values": [None, 10]}]
        drawing = svg(tool, type="area", stacked=True, labels=["a", "b"], series=series)
        lower, upper = (points(item.get("points") or "") for item in drawing.all("polygon"))
        assert lower[0][1] == pytest.approx(upper[0][1])
        assert lower[0][1] - upper[1][1] == pytest.approx(lower[2][1] - lower[1][1], abs=0.02)

    def test_histograms_count(self, tool: ShippedTool) -> None:
        """Every value once, in bins with round edges or as many as asked for."""
        values = [1, 1, 2, 2, 2, 3, 9.5]
        drawing = svg(tool, type="histogram", series=one(*values), bins=4)
        assert drawing.tips() == ["1 to 3.125: 6", "7.375 to 9.5: 1"]
        shuffled = random.Random(3)
        many = [shuffled.gauss(100, 15) for _ in range(5_000)]
        tips = svg(tool, type="histogram", series=one(*many)).tips()
        counts = [int(tip.rsplit(": ", 1)[1]) for tip in tips]
        assert sum(counts) == 5_000
        for tip in tips:
            low, high = tip.split(":")[0].split(" to ")
            low_value, high_value = float(low), float(high)
            inside = sum(low_value <= value < high_value for value in many)
            assert inside == int(tip.rsplit(": ", 1)[1])

    @pytest.mark.parametrize(("values", "bins"), [((5,), 1), ((5, 5, 5), 1), ((0, 1, 2), 3)])
    def test_histograms_of_few_values(
        self, tool: ShippedTool, values: tuple[int, ...], bins: int
    ) -> None:
        """One bin for one value; whole numbers have a bin each."""
        drawing = svg(tool, type="histogram", series=one(*values))
        assert len(drawing.tips()) == bins


class TestData:
    """Series and labels, rows and columns."""

    def test_rows_with_columns(self, tool: ShippedTool) -> None:
        """As the database tool gives them: the first column names, numbers are drawn."""
        got = svg(
            tool,
            type="bar",
            columns=["city", "note", "sales", "costs"],
            rows=[["Oslo", "x", 5, 3], ["Rome", "y", None, 4.5]],
        )
        assert got.tips() == ["Oslo, sales: 5", "Oslo, costs: 3", "Rome, costs: 4.5"] or (
            sorted(got.tips()) == ["Oslo, costs: 3", "Oslo, sales: 5", "Rome, costs: 4.5"]
        )
        assert {"Oslo", "Rome", "sales", "costs"} <= set(got.texts())

    def test_rows_of_objects_and_chosen_columns(self, tool: ShippedTool) -> None:
        """Members that are missing are missing values."""
        rows = [{"m": "a", "v": 1, "w": 9}, {"m": "b", "w": 8}, {"v": 3, "m": "c", "z": 0}]
        got = svg(tool, type="bar", rows=rows, x="m", y=["v"])
        assert got.tips() == ["a, v: 1", "c, v: 3"]

    def test_numbers_may_be_spelled_as_text(self, tool: ShippedTool) -> None:
        """As they come out of a CSV file; an empty cell is missing."""
        rows = [["a", " 1.5 "], ["b", ""], ["c", "-2e1"], ["d", "+.5"], ["e", "1."]]
        got = svg(tool, type="bar", columns=["n", "v"], rows=rows)
        assert got.tips() == ["a, v: 1.5", f"c, v: {MINUS}20", "d, v: 0.5", "e, v: 1"]
        for word in ("1,5", "0x1", "nan", "1e", "1 2", "--1", "e5", ".", "1e999"):
            code, message = tool.error(
                type="bar", columns=["n", "v"], rows=[["a", 1], ["b", word]], y=["v"]
            )
            assert code == "bad_data"
            assert message.startswith("v, value 2: ")

    @given(st.floats(-1e300, 1e300))
    @IN_PLACE
    def test_numbers_are_read_as_they_are(self, tool: ShippedTool, value: float) -> None:
        """To the six digits that are shown."""
        tip = svg(tool, type="scatter", series=one(value, x=[1])).tips()[0]
        shown = float(tip.removeprefix("1: ").replace(MINUS, "-").replace(",", ""))
        assert shown == pytest.approx(value, rel=5.1e-6, abs=5e-7 if abs(value) >= 1e-4 else 0)

    def test_years_are_not_grouped(self, tool: ShippedTool) -> None:
        """Thousands are separated from ten thousand on."""
        got = svg(tool, type="line", labels=[2000, 2010, 2020], series=one(10_000, 20_000, 30_000))
        assert {"2000", "2010", "2020", "10,000", "30,000"} <= set(got.texts())

    @pytest.mark.parametrize(
        ("values", "wanted"),
        [
            ([0, 1], ["0", "0.2", "1.0"]),
            ([0, 0.003], ["0", "0.0005", "0.0030"]),
            ([0, 2_500_000], ["0", "0.5M", "2.5M"]),
            ([0, 3e9], ["0", "1.0B", "3.0B"]),
            ([0, 25e12], ["0", "5T", "25T"]),
            ([-4, 4], [f"{MINUS}4", "0", "4"]),
            ([0, 5e20], ["0", "1e20", "5e20"]),
            ([0, 4e-9], ["0", "1e\u22129", "4e\u22129"]),
            ([1e15, 1e15 + 4], ["1,000,000,000,000,000"]),
        ],
    )
    def test_ticks_are_round(
        self, tool: ShippedTool, values: list[float], wanted: list[str]
    ) -> None:
        """In words that fit the axis."""
        texts = svg(tool, type="scatter", series=one(*values)).texts()
        if values[0] < 1e14:
            assert set(wanted) <= set(texts)
        else:
            labels = [text for text in texts if "e15" in text]
            assert len(set(labels)) == len(labels) > 2

    def test_what_cannot_be_drawn_is_named(self, tool: ShippedTool) -> None:
        """Each mistake has its code."""
        rows = [["a", 1]]
        columns = ["n", "v"]
        wrong: list[tuple[str, dict[str, object]]] = [
            ("missing_argument", {"type": "bar"}),
            ("missing_argument", {"series": one(1)}),
            ("missing_argument", {"type": "bar", "rows": rows}),
            ("missing_argument", {"type": "bar", "rows": rows, "columns": columns,
                                  "series": one(1)}),
            ("unknown_argument", {"type": "bar", "series": one(1), "color": "red"}),
            ("unknown_argument", {"type": "bar", "series": one(1, colour="red")}),
            ("bad_argument", {"type": "radar", "series": one(1)}),
            ("bad_argument", {"type": "bar", "series": one(True)}),
            ("bad_argument", {"type": "bar", "series": []}),
            ("bad_argument", {"type": "bar", "series": one(1, x=[1])}),
            ("bad_argument", {"type": "bar", "series": one(1), "columns": columns}),
            ("bad_argument", {"type": "bar", "rows": rows, "columns": columns, "labels": ["a"]}),
            ("bad_argument", {"type": "line", "series": one(1, x=[1]), "labels": ["a"]}),
            ("bad_argument", {"type": "line", "series": one(1), "stacked": True}),
            ("bad_argument", {"type": "line", "series": one(1), "bins": 5}),
            ("bad_argument", {"type": "line", "series": one(1), "show_values": True}),
            ("bad_argument", {"type": "pie", "series": one(1), "y_label": "x"}),
            ("bad_argument", {"type": "bar", "series": one(1), "y_min": 5, "y_max": 5}),
            ("bad_argument", {"type": "bar", "series": one(1), "width": 199}),
            ("bad_argument", {"type": "bar", "series": one(1), "scale": 2}),
            ("bad_argument", {"type": "bar", "series": one(1), "colors": ["#12345g"]}),
            ("bad_argument", {"type": "bar", "series": one(1), "format": "gif"}),
            ("bad_argument", {"type": "bar", "series": one(1), "path": "data/a.png",
                              "format": "svg"}),
            ("bad_data", {"type": "pie", "series": one(1, -1)}),
            ("bad_data", {"type": "pie", "series": one(1) + one(2)}),
            ("bad_data", {"type": "line", "series": one(1, 2, x=[1])}),
            ("bad_data", {"type": "line", "series": one("many")}),
            ("bad_data", {"type": "line", "series": one(1e301)}),
            ("bad_data", {"type": "bar", "series": one(1, 2), "labels": ["a"]}),
            ("bad_data", {"type": "bar", "rows": [["a", 1, 2]], "columns": columns}),
            ("bad_data", {"type": "bar", "rows": rows, "columns": ["v", "v"]}),
            ("bad_data", {"type": "area", "stacked": True,
                          "series": one(1, x=[1]) + one(1, x=[2])}),
            ("unknown_column", {"type": "bar", "rows": rows, "columns": columns, "x": "w"}),
            ("unknown_column", {"type": "bar", "rows": rows, "columns": columns, "y": ["w"]}),
            ("no_data", {"type": "bar", "rows": [], "columns": columns}),
            ("no_data", {"type": "bar", "rows": [["a", "b"]], "columns": columns}),
            ("no_data", {"type": "line", "series": one(None, None)}),
            ("no_data", {"type": "line", "series": one()}),
            ("no_data", {"type": "pie", "series": one(0, 0)}),
            ("too_large", {"type": "line", "series": one(*[1] * 60_000) * 2}),
            ("too_large", {"type": "line", "series": one(1), "format": "png", "scale": 4,
                           "width": 2000, "height": 2000}),
        ]  # fmt: skip
        for code, arguments in wrong:
            assert tool.code(**arguments) == code, arguments
        message = tool.error(type="bar", rows=rows, columns=columns, y=["w"])[1]
        assert message == 'there is no column "w"; there is n, v'


class TestLooks:
    """Titles, legends, labels, themes, and sizes."""

    def test_text_is_escaped(self, tool: ShippedTool) -> None:
        """Markup, quotes, control characters and lone code points of no use in XML."""
        nasty = "<b a='1' c=\"2\">&amp;</b>\x00\x08\ufffe]]>\n\tž"
        clean = "<b a='1' c=\"2\">&amp;</b>\ufffd\ufffd\ufffd]]>  ž"
        drawing = svg(
            tool, type="bar", title=nasty, description=nasty, labels=[nasty], x_label=nasty,
            y_label=nasty, series=one(1, name=nasty), legend=True, width=2000,
        )  # fmt: skip
        assert drawing.root[0].text == clean
        assert drawing.root[1].text == clean
        assert drawing.texts().count(clean) == 5
        assert drawing.tips() == [f"{clean}, {clean}: 1"]

    def test_a_chart_is_described_in_words(self, tool: ShippedTool) -> None:
        """In the SVG and in the answer, unless a description is given."""
        series = [{"name": "a", "values": [1, None, 3]}, {"values": [7]}]
        got = tool.ask(type="line", series=series)
        assert got["description"] == "Line chart. a: 2 values, from 1 to 3. Series 2: 1 value, 7."
        assert read_svg(got["svg"]).root[1].text == got["description"]
        assert (got["points"], got["missing"]) == (3, 1)
        got = tool.ask(type="bar", stacked=True, series=one(1), description="Mine")
        assert got["description"] == "Mine"

    def test_legends_are_for_several_series(self, tool: ShippedTool) -> None:
        """Or on request; what does not fit is counted."""
        two = [{"name": "first", "values": [1]}, {"name": "second", "values": [2]}]
        assert {"first", "second"} <= set(svg(tool, type="bar", series=two).texts())
        assert "first" not in svg(tool, type="bar", series=two, legend=False).texts()
        assert "first" not in svg(tool, type="bar", series=two[:1]).texts()
        assert "first" in svg(tool, type="bar", series=two[:1], legend=True).texts()
        many = [{"name": f"a rather long name {n}", "values": [n]} for n in range(50)]
        texts = svg(tool, type="line", series=many).texts()
        shown = [text for text in texts if text.startswith("a rather")]
        assert f"+{50 - len(shown)}" in texts

    def test_labels_that_do_not_fit_lean_or_are_left_out(self, tool: ShippedTool) -> None:
        """Few are all shown, of many some."""
        few = [f"a label of some length {n}" for n in range(12)]
        drawing = svg(tool, type="bar", labels=few, series=one(*range(12)))
        leaning = [item for item in drawing.all("text") if item.get("transform")]
        assert len(leaning) == 12
        days = [f"2024-{n // 28 + 1:02}-{n % 28 + 1:02}" for n in range(336)]
        drawing = svg(tool, type="line", labels=days, series=one(*range(336)))
        shown = [
            float(item.get("x") or 0) for item in drawing.all("text") if item.text in set(days)
        ]
        assert 5 <= len(shown) <= 12
        assert all(b - a > 60 for a, b in itertools.pairwise(shown))

    def test_long_text_is_cut(self, tool: ShippedTool) -> None:
        """With an ellipsis; the whole is in the title element."""
        title = "word " * 100
        drawing = svg(tool, type="bar", series=one(1), title=title)
        assert drawing.root[0].text == title
        assert drawing.texts()[0].endswith("…")
        assert len(drawing.texts()[0]) < 110

    def test_themes_and_colours(self, tool: ShippedTool) -> None:
        """Dark on light or light on dark, and one's own colours in turn."""
        dark = png(tool, type="bar", series=one(1), theme="dark")
        assert dark.at(1, 1) == DARK
        assert dark.count(BLUE) == 0
        own = png(tool, type="bar", series=one(1) + one(2), colors=["#ff0000", "#00FF80"])
        assert own.count((255, 0, 0)) > 1000
        assert own.count((0, 255, 128)) > 1000
        inks = [
            item.get("fill")
            for item in svg(tool, type="bar", series=one(1) * 25, legend=False).all("rect")
        ]
        assert len({ink for ink in inks[1:] if ink}) == 25

    def test_contrast_of_text_is_enough(self, tool: ShippedTool) -> None:
        """At least 4.5 to 1 against the background, by the WCAG's formula."""
        for theme in ("light", "dark"):
            drawing = svg(tool, type="bar", title="t", y_label="y", series=one(1), theme=theme)
            back = luminance(drawing.all("rect")[0].get("fill") or "")
            for item in drawing.all("text"):
                ink = luminance(item.get("fill") or "")
                high, low = max(ink, back), min(ink, back)
                assert (high + 0.05) / (low + 0.05) >= 4.5

    def test_sizes_and_scale(self, tool: ShippedTool) -> None:
        """A scale draws the same chart with more pixels."""
        small = png(tool, type="bar", series=one(1, 2), width=300, height=200)
        large = png(tool, type="bar", series=one(1, 2), width=300, height=200, scale=3)
        assert (small.width, small.height, large.width, large.height) == (300, 200, 900, 600)
        for a, b in zip(small.box(BLUE), large.box(BLUE), strict=True):
            assert abs(3 * a - b) <= 3
        code, message = tool.error(
            type="bar", series=one(1), width=200, height=120, title="t", x_label="x", y_label="y",
            labels=["x" * 50] , legend=True,
        )  # fmt: skip
        assert code == "bad_argument"
        assert "200 x 120" in message

    def test_ids_differ_between_charts(self, tool: ShippedTool) -> None:
        """So that several can stand in one page; the same arguments give the same bytes."""
        first, again = (tool.ask(type="line", series=one(1, 2))["svg"] for _ in range(2))
        other = tool.ask(type="line", series=one(1, 3))["svg"]
        assert first == again
        assert read_svg(first).root[0].get("id") != read_svg(other).root[0].get("id")


def luminance(colour: str) -> float:
    """The relative luminance of #rrggbb."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


class TestFont:
    """The letters of PNG charts."""

    @staticmethod
    def ink(tool: ShippedTool, text: str) -> list[bytes]:
        """The rows of pixels a title takes."""
        got = tool.ask(
            type="bar", series=one(1), title=text, width=200, height=120, scale=2, format="png"
        )
        return read_png(base64.b64decode(got["base64"]), rows=84).rows[20:]

    @pytest.mark.repeats
    def test_every_character_of_latin_1_has_its_own_shape(self, tool: ShippedTool) -> None:
        """ASCII and Latin-1, apart from spaces and the soft hyphen, and no box among them."""
        codes = [*range(0x21, 0x7F), *(c for c in range(0xA1, 0x100) if c != 0xAD)]
        shapes = {chr(code): b"".join(self.ink(tool, chr(code))) for code in codes}
        assert len(set(shapes.values())) == len(codes)
        box = b"".join(self.ink(tool, "\u2603"))
        assert box not in shapes.values()
        assert b"".join(self.ink(tool, "\u1234")) == box
        wide = b"".join(self.ink(tool, "東"))
        assert wide == b"".join(self.ink(tool, "🐎"))
        assert wide not in (box, *shapes.values())

    def test_accents_are_drawn_over_their_letters(self, tool: ShippedTool) -> None:
        """Lines are anti-aliased: between ink and background there are other colours."""
        plain, accented = self.ink(tool, "e"), self.ink(tool, "é")
        changed = [y for y, (a, b) in enumerate(zip(plain, accented, strict=True)) if a != b]
        same = [y for y, row in enumerate(plain) if row != plain[0] and row == accented[y]]
        assert changed
        assert max(changed) < max(same)
        shades = {row[i : i + 3] for row in accented for i in range(0, len(row), 3)}
        assert len(shades) > 10


class TestFiles:
    """Charts in a granted folder."""

    @pytest.mark.parametrize("kind", ["svg", "png"])
    def test_a_chart_is_written(self, tool: ShippedTool, kind: str) -> None:
        """The name says the format; nothing is left beside it."""
        got = tool.ask(type="bar", series=one(1), path=f"data/chart.{kind}")
        data = (tool.folder / f"chart.{kind}").read_bytes()
        assert (got["format"], got["bytes"], got["path"]) == (
            kind, len(data), f"data/chart.{kind}",
        )  # fmt: skip
        assert not {"svg", "base64"} & set(got)
        if kind == "svg":
            read_svg(data.decode())
        else:
            read_png(data)
        tool.ask(type="bar", series=one(2), path=f"data/chart.{kind}")
        assert (tool.folder / f"chart.{kind}").read_bytes() != data
        assert [item.name for item in tool.folder.iterdir()] == [f"chart.{kind}"]

    def test_paths_outside_are_refused(self, tool: ShippedTool) -> None:
        """By .., from the root, through links, into folders that are only read or not there."""
        (tool.folder.parent / "kept").write_text("kept")
        (tool.folder / "out").symlink_to("..")
        (tool.folder / "file.svg").symlink_to("../kept")
        chart: dict[str, Any] = {"type": "bar", "series": one(1)}
        for path in ("../a.svg", "data/../a.svg", "/etc/a.svg", "a.svg", "data/out/kept"):
            assert tool.code(**chart, path=path) == "not_granted", path
        assert tool.code(**chart, path="data/no/a.svg") == "file_not_found"
        # A link is replaced by the chart, not followed.
        tool.ask(**chart, path="data/file.svg")
        assert not (tool.folder / "file.svg").is_symlink()
        assert (tool.folder.parent / "kept").read_text() == "kept"
        tool.grants = Grants(folders=(FolderGrant(tool.folder, "data"),))
        assert tool.code(**chart, path="data/b.svg") == "not_granted"
        assert sorted(item.name for item in tool.folder.iterdir()) == ["file.svg", "out"]


EXTREMES: list[list[float | None]] = [
    [0], [5], [-5], [0, 0], [5, 5, 5], [-3, -3], [1e300, -1e300], [5e-324, 0], [1e-300, 2e-300],
    [1e15, 1e15 + 1], [0.1, 0.1 + 1e-17], [None, 7, None], [1e300], [-1e300, -1e300],
    [1, 1.0000000000001], [123456789, 123456790], [float(2**53), float(2**53 + 2)],
]  # fmt: skip


@pytest.mark.parametrize("values", EXTREMES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_extreme_values_have_an_axis(
    tool: ShippedTool, kind: str, values: list[float | None]
) -> None:
    """One point, equal values, the ends of what numbers can be: labels differ from each other."""
    if kind == "pie":
        values = [abs(value) if value is not None else None for value in values]
        if not any(values):
            assert tool.code(type=kind, series=one(*values)) == "no_data"
            return
    drawing = svg(tool, type=kind, series=one(*values))
    if kind != "pie":
        left = [item.text for item in drawing.all("text") if item.get("text-anchor") == "end"]
        assert len(set(left)) == len(left) >= 2
    for stacked in (True, False) if kind in ("bar", "area") else (False,):
        png(tool, type=kind, series=one(*values) * (1 if kind == "pie" else 2), stacked=stacked)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "pie"])
def test_ten_thousand_points_within_default_limits(tool: ShippedTool, kind: str) -> None:
    """In both formats."""
    shuffled = random.Random(1)
    values = [round(shuffled.gauss(0, 50), 3) for _ in range(10_000)]
    got = tool.ask(type=kind, series=one(*values))
    assert got["bytes"] < 400_000
    png(tool, type=kind, series=one(*values))
    assert tool.fuel_used < tool.limits.fuel / 3


def test_the_largest_picture_is_within_default_limits(tool: ShippedTool) -> None:
    """Four million pixels, with the most noise a chart has."""
    shuffled = random.Random(2)
    values = [shuffled.random() for _ in range(20_000)]
    got = tool.ask(
        type="scatter", series=one(*values), width=1000, height=1000, scale=2, format="png",
        path="data/large.png",
    )  # fmt: skip
    assert (got["width"], got["height"]) == (2000, 2000)
    assert tool.fuel_used < tool.limits.fuel * 0.85


numbers = st.none() | st.integers(-(10**6), 10**6) | st.floats(-1e300, 1e300)
names = st.text(st.characters(codec="utf-8"), max_size=20)
series_lists = st.lists(
    st.fixed_dictionaries(
        {"values": st.lists(numbers, min_size=1, max_size=8)}, optional={"name": names}
    ),
    min_size=1,
    max_size=4,
)
options = st.fixed_dictionaries(
    {"type": st.sampled_from(KINDS), "series": series_lists},
    optional={
        "title": names,
        "x_label": names,
        "y_label": names,
        "labels": st.lists(names | st.integers(), min_size=8, max_size=9),
        "stacked": st.booleans(),
        "show_values": st.booleans(),
        "legend": st.booleans(),
        "y_min": st.floats(-100, 0),
        "y_max": st.floats(1, 100),
        "width": st.integers(200, 400),
        "height": st.integers(120, 300),
        "theme": st.sampled_from(["light", "dark"]),
    },
)


@IN_PLACE
@given(options, st.sampled_from(["svg", "png"]))
def test_any_chart_is_valid_or_a_named_error(
    tool: ShippedTool, arguments: dict[str, Any], kind: str
) -> None:
    """Nothing traps, and what is drawn can be read."""
    got = tool.raw(json.dumps({**arguments, "format": kind}).encode())
    if "error" in got:
        assert got["error"]["code"] in {"bad_argument", "bad_data", "no_data"}
    elif kind == "svg":
        read_svg(got["svg"])
    else:
        read_png(base64.b64decode(got["base64"]))


@IN_PLACE
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | names,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
        max_leaves=12,
    )
)
def test_any_rows_are_drawn_or_a_named_error(tool: ShippedTool, rows: Any) -> None:
    """Whatever stands where data should."""
    got = tool.raw(json.dumps({"type": "line", "columns": ["a", "b"], "rows": rows}).encode())
    assert ("svg" in got) or got["error"]["code"]


def test_the_description_is_the_sidecar(tool: ShippedTool) -> None:
    """--describe prints tool.json, and the module is the recorded one."""
    check_description(tool, "chart_generator")
