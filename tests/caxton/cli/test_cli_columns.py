from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from caxton.cli.columns import Column, clean, first_sentence, lay_out, shorten

Row = tuple[str, str, str]

COLUMNS: tuple[Column[Row], ...] = (
    Column("NAME", lambda r: r[0], least=4),
    Column("STATE", lambda r: r[1], lambda r: "ok" if r[1] == "up" else "fail"),
    Column("NOTE", lambda r: r[2], drop=1, brief=lambda r: r[2][:3], right=True),
)


def text(lines) -> list[str]:
    return ["|".join(cell for cell, _ in line) for line in lines]


def test_without_a_width_nothing_is_cut() -> None:
    """In a pipe each column is as wide as its widest value."""
    rows = [("a-long-name", "up", "a very long note"), ("b", "down", "")]
    assert text(lay_out(COLUMNS, rows, None)) == [
        "NAME       |STATE|            NOTE",
        "a-long-name|up   |a very long note",
        "b          |down |                ",
    ]


def test_with_little_room_brief_forms_come_first() -> None:
    """Values with a brief form take it before anything is cut."""
    rows = [("a-long-name", "up", "a very long note")]
    assert text(lay_out(COLUMNS, rows, 26))[1] == "a-long-name|up   | a v"


def test_with_less_room_columns_are_cut_then_dropped() -> None:
    """Then columns shrink to their least width, and the least important ones go."""
    rows = [("a-long-name", "up", "a very long note")]
    assert text(lay_out(COLUMNS, rows, 20))[1] == "a-long~|up   | a v"
    assert text(lay_out(COLUMNS, rows, 14))[1] == "a-long~|up   "


def test_a_long_form_uses_the_room_that_is_left() -> None:
    """After columns have gone, a long form comes back: whole, or cut when enough can be read."""
    columns: tuple[Column[Row], ...] = (
        Column("NAME", lambda r: r[0], drop=1),
        Column("STATE", lambda r: r[1]),
        Column("NOTE", lambda r: r[2], least=4, brief=lambda r: r[2][:4]),
    )
    rows = [("a-very-very-very-long-name", "up", "note " * 10)]
    assert text(lay_out(columns, rows, 60))[1].endswith("|note note note note note~")
    assert text(lay_out(columns, rows, 40))[1].endswith("|note")


def test_what_cannot_shrink_stays() -> None:
    """A width below every least width still shows the columns that are never dropped."""
    lines = text(lay_out(COLUMNS, [("a-long-name", "up", "x")], 5))
    assert lines[0] == "NAME|STATE"


def test_no_rows_still_have_titles() -> None:
    """An empty table is its titles."""
    assert text(lay_out(COLUMNS, [], None)) == ["NAME|STATE|NOTE"]


def test_styles_follow_the_row() -> None:
    """The style of a cell is chosen by its row."""
    lines = lay_out(COLUMNS, [("a", "up", ""), ("b", "down", "")], None)
    assert [line[1][1] for line in lines] == ["title", "ok", "fail"]


@given(st.text())
def test_clean_text_commands_no_terminal(given: str) -> None:
    """No control character of any input reaches the terminal."""
    assert clean(given).isprintable()
    assert len(clean(given)) == len(given)


@given(st.text(max_size=30), st.integers(1, 20))
def test_shortened_text_fits(given: str, width: int) -> None:
    """Shortened text is never longer than its width, and says that it was cut."""
    short = shorten(given, width)
    assert len(short) <= width
    assert short == given or short.endswith("~")


@given(
    st.lists(
        st.tuples(st.text("abc", max_size=12), st.sampled_from(["up", "down"]), st.text("ab")),
        min_size=1,
        max_size=5,
    ),
    st.integers(16, 80),
)
def test_all_lines_of_a_table_are_as_long(rows: list[Row], width: int) -> None:
    """Whatever the values, lines have one length and fit when they can."""
    lines = ["  ".join(cell for cell, _ in line) for line in lay_out(COLUMNS, rows, width)]
    assert len({len(line) for line in lines}) == 1
    assert len(lines[0]) <= width


def test_lists_show_the_first_sentence() -> None:
    """Of descriptions that models need in full."""
    assert first_sentence("Reads files. Or not. Maybe") == "Reads files"
    assert first_sentence("Reads v1.2 files.") == "Reads v1.2 files"
    assert first_sentence("One line\nand more") == "One line"
    assert first_sentence("") == ""
