"""Encodings: what decides, in which order, and that every encoding of the standard reads as it says."""

from __future__ import annotations

import time

import pytest

from foxden.children.content.encoding import (
    charset_of_content,
    choose_encoding,
    decode,
    decode_as,
    prescan,
    xml_encoding,
)
from foxden.children.content.encodings_table import CODECS, LABELS, MULTI_BYTE, SINGLE_BYTE, encoding_for


def test_table_has_the_standards_forty_encodings_and_their_labels() -> None:
    assert len(CODECS) == 40  # with replacement and x-user-defined
    assert len(LABELS) == 228
    assert all(label == label.lower().strip() for label in LABELS)
    assert all(name.lower() in LABELS for name in CODECS)


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("utf8", "UTF-8"), ("  LATIN1\n", "windows-1252"), ("us-ascii", "windows-1252"), ("iso-8859-9", "windows-1254"),
        ("iso-8859-11", "windows-874"), ("gb2312", "GBK"), ("ks_c_5601-1987", "EUC-KR"), ("x-sjis", "Shift_JIS"),
        ("unicode", "UTF-16LE"), ("logical", "ISO-8859-8-I"), ("hz-gb-2312", "replacement"), ("koi8-ru", "KOI8-U"),
        ("utf-7", None), ("", None), ("utf_8", None),
    ],
)  # fmt: skip
def test_label_names_its_encoding(label: str, name: str | None) -> None:
    assert encoding_for(label) == name


@pytest.mark.parametrize(
    ("encoding", "data", "text"),
    [
        ("UTF-8", b"\xc3\xa9\xff\xe2\x82", "é\ufffd\ufffd"),
        ("UTF-8", b"\xed\xa0\x80", "\ufffd\ufffd\ufffd"),  # a surrogate
        ("windows-1252", b"\x80\x81\xe9", "€\x81é"),
        ("windows-1253", b"\xe1\xaa\x81", "α\ufffd\x81"),
        ("windows-1255", b"\xca\xd9", "\u05ba\ufffd"),
        ("ISO-8859-8-I", b"\xe0\xa1", "א\ufffd"),
        ("ISO-8859-6", b"\xc7\xa1", "ا\ufffd"),
        ("KOI8-U", b"\xc1\xae\xbe", "аўЎ"),
        ("KOI8-R", b"\xc1\xae", "а╝"),
        ("macintosh", b"\x8e\xdb", "é€"),
        ("x-mac-cyrillic", b"\x80\xa2\xff", "АҐ€"),
        ("IBM866", b"\x80", "А"),
        ("windows-874", b"\xa1\x85\xdb", "ก…\ufffd"),
        ("x-user-defined", b"a\x80\xff", "a\uf780\uf7ff"),
        ("GBK", b"\xc4\xe3\xba\xc3", "你好"),
        ("gb18030", b"\x81\x30\x81\x30", "\x80"),
        ("Big5", b"\xa7\x41\x88\x62", "你\u00ca\u0304"),
        ("EUC-JP", b"\xa4\xa2\xad\xa1\xa1\xc1\x8e\xb1", "あ①～ｱ"),
        ("Shift_JIS", b"\x82\xa0\x87\x40\x81\x60\xb1", "あ①～ｱ"),
        ("ISO-2022-JP", b'\x1b$B$"\x1b(I1\x1b(Ba', "あｱa"),
        ("EUC-KR", b"\xb0\xa1\x81\x41", "가갂"),
        ("UTF-16LE", b"a\0\0\xd8b\0", "a\ufffdb"),
        ("UTF-16BE", b"\0a\xd8\x3d\xde\x00\0", "a😀\ufffd"),
        ("replacement", b"anything", "\ufffd"),
        ("replacement", b"", ""),
    ],
)
def test_bytes_become_the_text_of_the_standard(encoding: str, data: bytes, text: str) -> None:
    assert decode_as(data, encoding) == text


@pytest.mark.parametrize("encoding", sorted(SINGLE_BYTE))
def test_single_byte_encoding_reads_ascii_as_ascii(encoding: str) -> None:
    ascii_bytes = bytes(range(128))
    assert decode_as(ascii_bytes, encoding) == ascii_bytes.decode("ascii")
    assert len(decode_as(bytes(range(256)), encoding)) == 256


@pytest.mark.parametrize("encoding", sorted(MULTI_BYTE | {"UTF-8", "UTF-16LE", "UTF-16BE"}))
@pytest.mark.parametrize("unit", [b"\xff", b"\x81", b"\x8f\xa2", b"\x1b$B", b"\x81\x30", b"\0\xd8"])
def test_a_megabyte_of_broken_bytes_is_read_at_once(encoding: str, unit: bytes) -> None:
    began = time.process_time()
    text = decode_as(unit * ((1 << 20) // len(unit)), encoding)
    assert time.process_time() - began < 2
    assert not any("\ud800" <= character <= "\udfff" for character in set(text))


# --- what decides -----------------------------------------------------------------------------------------------

META = b"<meta charset=koi8-r>"
XML = b"<?xml version='1.0' encoding='koi8-r'?>"


@pytest.mark.parametrize(
    ("data", "header", "hint", "encoding", "reason"),
    [
        (b"\xef\xbb\xbf" + META, "text/html;charset=gbk", "", "UTF-8", "byte order mark"),
        (b"\xff\xfea\0", "text/html;charset=gbk", "", "UTF-16LE", "byte order mark"),
        (b"\xfe\xff\0a", None, "", "UTF-16BE", "byte order mark"),
        (META, "text/html;charset=gbk", "", "GBK", "Content-Type"),
        (META, "text/html;charset=nonsense", "", "KOI8-R", "declared in the document"),
        (META + "é".encode(), "text/html", "gbk", "KOI8-R", "declared in the document"),
        (META, None, "", "KOI8-R", "declared in the document"),
        (XML, "text/html", "", "KOI8-R", "declared in the document"),
        (META, "text/plain", "", "windows-1252", "nothing was declared"),
        ("é".encode(), "text/html", "", "UTF-8", "the bytes are valid UTF-8"),
        ("é".encode(), "text/plain", "koi8-r", "UTF-8", "the bytes are valid UTF-8"),
        ("aé".encode()[:-1], "text/html", "", "UTF-8", "the bytes are valid UTF-8"),  # cut inside a character
        (b"\xe9", "text/html", "", "windows-1252", "nothing was declared"),
        (b"\xe9", "text/html", "koi8-r", "KOI8-R", "hint"),
        (b"\xe9", "text/html", "nonsense", "windows-1252", "nothing was declared"),
        (b"ascii", "text/html", "", "windows-1252", "nothing was declared"),
        (b"", None, "", "windows-1252", "nothing was declared"),
        (XML, "application/xml", "", "KOI8-R", "XML declaration"),
        (b"<a/>\xe9", "text/xml", "koi8-r", "UTF-8", "XML is UTF-8"),
        (b"<\0?\0x\0m\0l\0", "text/xml", "", "UTF-16LE", "XML declaration"),
        (b"\xe9", "application/json;charset=koi8-r", "", "UTF-8", "JSON is UTF-8"),
    ],
)
def test_first_word_on_the_encoding_decides(
    data: bytes, header: str | None, hint: str, encoding: str, reason: str
) -> None:
    found = decode(data, header, hint)
    assert (found.encoding, found.reason) == (encoding, reason)


def test_byte_order_mark_is_no_part_of_the_text() -> None:
    assert decode(b"\xef\xbb\xbfx").text == "x"
    assert choose_encoding(b"\xff\xfe", None).bom_size == 2


@pytest.mark.parametrize(
    ("head", "encoding"),
    [
        (b'<META CharSet="UTF-8">', "UTF-8"),
        (b"<meta/charset='gbk'/>", "GBK"),
        (b"<meta charset = gbk >", "GBK"),
        (b'<meta http-equiv=Content-Type content="text/html; charset=gbk">', "GBK"),
        (b'<meta content="text/html; charset=gbk" http-equiv="content-type">', "GBK"),
        (b'<meta content="text/html; charset=gbk">', None),  # without a pragma it says nothing
        (b'<meta http-equiv=refresh content="text/html; charset=gbk">', None),
        (b'<meta http-equiv=content-type content="0" charset=gbk>', "GBK"),
        (b"<meta charset=x charset=gbk><meta charset=koi8-r>", "KOI8-R"),  # an attribute counts once
        (b"<!-- <meta charset=gbk> --><meta charset=koi8-r>", "KOI8-R"),
        (b"<!--><meta charset=gbk>", "GBK"),
        (b"<!-- <meta charset=gbk>", None),
        (b"<a title='<meta charset=gbk>'><meta charset=koi8-r>", "KOI8-R"),
        (b"<a title='<meta charset=gbk>", None),
        (b"</a b='><meta charset=gbk>'><meta charset=koi8-r>", "KOI8-R"),
        (b"<!x '><meta charset=gbk>", "GBK"), (b"<?x ><meta charset=gbk>", "GBK"), (b"</ ><meta charset=gbk>", "GBK"),
        (b"<!x", None), (b"< <meta charset=gbk>", "GBK"), (b"<metacharset=gbk>", None),
        (b"<meta charset=utf-16>", "UTF-8"), (b"<meta charset=utf-16be>", "UTF-8"),
        (b"<meta charset=x-user-defined>", "windows-1252"),
        (b"<meta =x charset=gbk>", "GBK"), (b"<meta charset>", None),
        (b" " * 1000 + META, "KOI8-R"), (b" " * 1010 + META, None),
        (b"<?xml encoding='gbk'?>", "GBK"), (b"<?xml encoding='gbk'?><meta charset=koi8-r>", "KOI8-R"),
        (b"<?xml version='1.0' encoding=\"utf-16\"?>", "UTF-8"), (b"<?xmlx encoding='gbk'?>", None),
        (b"<\0?\0x\0", "UTF-16LE"), (b"\0<\0?\0x", "UTF-16BE"),
        (b"", None), (b"<", None),
    ],
)  # fmt: skip
def test_prescan_finds_what_the_document_declares(head: bytes, encoding: str | None) -> None:
    assert prescan(head) == encoding


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        ("text/html; charset=gbk", "GBK"), ("charset = 'gbk'x", "GBK"), ('charset="gbk"', "GBK"),
        ('charset="gbk', None),
        ("charset charset=gbk;x", "GBK"), ("charset", None), ("charset=", None), ("", None), ("CHARSET=gbk x", "GBK"),
    ],
)  # fmt: skip
def test_charset_is_taken_out_of_a_content_attribute(content: str, encoding: str | None) -> None:
    assert charset_of_content(content) == encoding


def test_xml_declaration_must_be_the_first_thing() -> None:
    assert xml_encoding(b"<?xml version='1.0'\nencoding = 'gbk'?>") == "GBK"
    assert xml_encoding(b" <?xml encoding='gbk'?>") is None
