import pytest

from drkd.utils.text import printable, printable_lines, spreadsheet_cell

FOREIGN = ["\x1b[31mred", "a\nb", "a\rb", "\u202egnp.exe", "\ud800", "caf\udce9", "\x9b31m", "a\u2028b", "\x00"]


@pytest.mark.parametrize("text", FOREIGN)
def test_what_a_terminal_would_obey_becomes_an_escape(text):
    shown = printable(text)
    assert shown.isprintable()
    assert "\\" in shown
    shown.encode()


def test_other_text_is_unchanged():
    for text in ("[/red]", "$x^2$", "猫", "caf\u00e9", "می\u200cخواهم", "a b"):
        assert printable(text) == text
    assert printable_lines("a\n\tb\x1b") == "a\n\tb\\x1b"


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(1)", " =1", "\t=1", "\r=1"])
def test_a_spreadsheet_computes_no_name(text):
    assert spreadsheet_cell(text).startswith("'")
    assert spreadsheet_cell(text).isprintable()
