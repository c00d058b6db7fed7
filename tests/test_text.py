"""Tests of vpn_jax/text.py."""

from vpn_jax import text


def test_split_words():
  assert text.split_words(" a, b,,c d ,") == ("a", "b", "c d")
  assert text.split_words("a|b; c", ";") == ("a|b", "c")
  assert text.split_words("") == ()


def test_padded():
  assert text.padded([("a", "bbb"), ("cc", "")]) == [["a ", "bbb"], ["cc", "   "]]


def test_split_paths(tmp_path, monkeypatch):
  """A folder that exists may have a comma in its name."""
  monkeypatch.chdir(tmp_path)
  (tmp_path / "run,1").mkdir()
  assert text.split_paths("run,1") == ("run,1",)
  assert text.split_paths("run,2") == ("run", "2")
  assert text.split_paths("") == ()


def test_flags_and_their_values_are_joined():
  words = ["launch.py", "--config", "a.py:cs,b=1", "--x=1", "--traceback", "--n", "-1"]
  assert text.joined_flags(words) == [
    "launch.py", "--config=a.py:cs,b=1", "--x=1", "--traceback", "--n=-1",
  ]  # fmt: skip
  assert text.joined_flags([]) == []


def test_flags_with_a_single_dash_get_two():
  """As absl reads them."""
  words = ["launch.py", "-config=a.py:cs", "-n", "-1", "-job", "sweep"]
  assert text.joined_flags(words) == [
    "launch.py", "--config=a.py:cs", "--n=-1", "--job=sweep",
  ]  # fmt: skip
