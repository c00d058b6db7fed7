"""Text with the marks of other systems, and numbers that are none."""

import math

import pytest

from vpn_jax.datasets import text_files

TEXT = "clip,label\nä,1\n"


@pytest.mark.parametrize(
  "data",
  [
    TEXT.encode(),
    TEXT.encode("utf-8-sig"),
    TEXT.encode("utf-16"),
    b"\xfe\xff" + TEXT.encode("utf-16-be"),
    TEXT.encode("utf-32"),
    TEXT.encode("utf-16-le"),  # without its mark
    TEXT.encode() + b"\x1a",
    TEXT.encode() + b"\x1a\r\n",
    TEXT.encode("utf-16") + "\x1a".encode("utf-16-le"),
    TEXT.encode() + b"\0\0\0",
  ],
)
def test_decode(data):
  assert text_files.decode(data) == TEXT


def test_other_bytes():
  with pytest.raises(UnicodeDecodeError):
    text_files.decode(b"a\xff")
  assert text_files.decode(b"a\xff", "replace") == "a\ufffd"
  assert text_files.decode(b"") == ""


def test_numbers_of_old_c_libraries():
  assert text_files.number("-1.5e3") == -1500
  for word in ("1.#QNAN", "-1.#IND", "1.#SNAN00", "nan(ind)", "NaN"):
    assert math.isnan(text_files.number(word)), word
  assert text_files.number("1.#INF") == math.inf
  assert text_files.number("-1.#INF00") == -math.inf
  for word in ("1.#", "#QNAN", "x", "1,5"):
    with pytest.raises(ValueError, match="could not convert"):
      text_files.number(word)
