"""Names of classes that are the same but for case, blanks or the form of accents."""

import collections
import unicodedata
from collections.abc import Iterable


def join(labels: Iterable[str]) -> tuple[dict[str, str], list[str]]:
  """Gives each class one name, whatever its spellings.

  Args:
    labels: the class of each clip, as written.
  Returns: spelling -> name, the most frequent spelling without blanks around it; and a
    line for each class that had several.

  >>> join(["wave", "Wave ", "wave"])[0]
  {'wave': 'wave', 'Wave ': 'wave'}
  """
  counts = collections.Counter(labels)
  groups: dict[str, list[str]] = {}
  for label in counts:
    groups.setdefault(_key(label), []).append(label)
  names, lines = {}, []
  for group in groups.values():
    group.sort(key=lambda label: (-counts[label], label))
    name = unicodedata.normalize("NFC", " ".join(group[0].split())) or group[0]
    names |= dict.fromkeys(group, name)
    if len(group) > 1:
      listed = ", ".join(f"{label!r} ({counts[label]:,})" for label in group)
      lines.append(f"one class, {name}, is spelt in several ways: {listed}")
  return names, lines


def _key(label: str) -> str:
  return " ".join(unicodedata.normalize("NFKC", label).casefold().split())
