"""Tests of vpn_jax/text.py."""

from vpn_jax import text


def test_split_words():
  assert text.split_words(" a, b,,c d ,") == ("a", "b", "c d")
  assert text.split_words("a|b; c", ";") == ("a|b", "c")
  assert text.split_words("") == ()


def test_padded():
  assert text.padded([("a", "bbb"), ("cc", "")]) == [["a ", "bbb"], ["cc", "   "]]
