"""Tables are as wide as what is in them, and no wider than the terminal."""

from __future__ import annotations

from foxden.front.columns import Cell, Column, lines

COLUMNS = (Column("N", right=True), Column("NAME", cut=True), Column("END"))


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert lines(COLUMNS, [("1", "a", "x"), ("22", "longer", "y")]) == [
        " N  NAME    END",
        " 1  a       x",
        "22  longer  y",
    ]


def test_column_that_may_be_cut_gives_way() -> None:
    table = lines(COLUMNS, [("1", "a very long name indeed", "x")], width=20)
    assert table[1] == "1  a very long…  x"
    assert max(map(len, table)) <= 20


def test_no_column_is_cut_to_nothing() -> None:
    assert lines(COLUMNS, [("1", "abcdefgh", "x")], width=3)[1] == "1  abc…  x"


def test_nothing_is_cut_without_a_width() -> None:
    assert lines(COLUMNS, [("1", "n" * 500, "x")])[1].count("n") == 500


def test_colour_takes_no_width() -> None:
    table = lines(COLUMNS, [("1", Cell("a", "red"), "x"), ("1", "ab", "x")], colour=True)
    assert table[1] == "1  \x1b[31ma\x1b[0m     x"
    assert lines(COLUMNS, [("1", Cell("a", "red"), "x"), ("1", "ab", "x")])[1] == "1  a     x"


def test_table_without_rows_has_its_titles() -> None:
    assert lines(COLUMNS, []) == ["N  NAME  END"]
