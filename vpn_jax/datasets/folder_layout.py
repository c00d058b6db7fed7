"""Which folders are parts (train, validation, test) and which are classes.

Read from the paths of the clips alone:

    <class>/<clip>                  also with groups, <class>/<group>/<clip>
    <part>/<class>/<clip>           parts under any of their usual names: `part_of`
    <class>/<part>/<clip>

each with folders around it that hold everything, which are passed through. What could
be read in two ways is refused.
"""

import dataclasses
import re
from collections.abc import Iterable

from vpn_jax.datasets.base import BadClip

_WORDS = {
  "train": ("train", "training"),
  "test": ("test", "testing"),
  "validation": ("val", "valid", "validation", "validate", "dev", "eval", "evaluation"),
}
_PART = re.compile(
  rf"(?P<word>{'|'.join(w for words in _WORDS.values() for w in words)})"
  r"[\W_]*(set|split|data|part|videos?|clips)?[\W_]*\d*"
)
Path = tuple[str, ...]  # folders from the root, and the name of the clip


def part_of(folder: str) -> str:
  """The part that the name of a folder stands for; "" for any other name.

  >>> [part_of(name) for name in ("Train", "val", "dev_set", "training wheels")]
  ['train', 'validation', 'validation', '']
  """
  found = _PART.fullmatch(folder.strip().casefold())
  if not found:
    return ""
  return next(part for part, words in _WORDS.items() if found["word"] in words)


@dataclasses.dataclass(frozen=True)
class Layout:
  """How the folders below a root are read.

  Attributes:
    around: folders that hold everything.
    order: the folders below these: ("class",), ("part", "class") or ("class", "part").
    parts: folders that are parts -> which part, in the order ("part", "class").
    inside: the same folders -> further folders that hold all of the part.
  """

  around: Path
  order: tuple[str, ...]
  parts: dict[str, str] = dataclasses.field(default_factory=dict)
  inside: dict[str, Path] = dataclasses.field(default_factory=dict)

  def place(self, path: Path) -> tuple[str, str]:
    """The part of a clip, "" without parts, and the name of its class' folder.

    Args:
      path: of the clip, or of a folder of a class with any name behind it.
    Raises: BadClip with the reason when the clip lies in no class.
    """
    rest = path[len(self.around) :]
    if path[: len(self.around)] != self.around or len(rest) < 2:
      raise BadClip("it lies in no class folder")
    if self.order == ("class",):
      return "", rest[0]
    if self.order == ("class", "part"):
      return part_of(rest[1]), rest[0]
    around = self.inside[rest[0]]
    inner = rest[1 + len(around) :]
    if rest[1 : 1 + len(around)] != around or len(inner) < 2:
      raise BadClip(f"it lies in {rest[0]}, but in no class folder there")
    return self.parts[rest[0]], inner[0]

  def notes(self) -> list[str]:
    """What is not plain to see, in words."""
    lines = []
    if self.around:
      lines.append(f"everything lies in {'/'.join(self.around)}, which is not a class")
    for folder, around in sorted(self.inside.items()):
      if around:
        whole = "/".join((folder, *around))
        lines.append(f"all of {folder} lies in {whole}, which is not a class")
    if "part" in self.order:
      lines.append(f"the folders are <{'>/<'.join(self.order)}>/<clip>")
    return lines


def find(paths: Iterable[Path], root: str) -> Layout:
  """Finds the layout of clips.

  Args:
    paths: of the clips.
    root: of the folders, for messages.
  Raises: ValueError when parts stand beside other folders, a part has two names, or
    clips of a part lie in no class.
  """
  paths = list(paths)
  around = _around(paths)
  rests = [p[len(around) :] for p in paths if p[: len(around)] == around]
  rests = [p for p in rests if len(p) > 1]
  where = "/".join((root, *around))
  tops = sorted({p[0] for p in rests})
  nested = {p[0] for p in rests if len(p) > 2}
  parts = _parts(tops)
  if parts and _are_parts(rests, parts, nested):
    _check_parts(parts, [top for top in tops if top not in parts], nested, where)
    inside = {top: _around([p[1:] for p in rests if p[0] == top]) for top in parts}
    return Layout(around, ("part", "class"), parts, inside)
  seconds = {part_of(p[1]) for p in rests if len(p) > 2} - {""}
  if "train" not in seconds or len(seconds) < 2:
    return Layout(around, ("class",))
  for path in rests:
    if len(path) < 3 or not part_of(path[1]):
      raise ValueError(
        f"classes in {where} have folders for {' and '.join(sorted(seconds))}, but "
        f"{'/'.join(path)} lies in none of them: move it into one."
      )
  return Layout(around, ("class", "part"))


def _parts(tops: list[str]) -> dict[str, str]:
  """Folders with the names of parts -> which; all may share a beginning or an end.

  >>> _parts(["ucf_test", "ucf_train"])
  {'ucf_test': 'test', 'ucf_train': 'train'}
  """
  plain = {top: part for top in tops if (part := part_of(top))}
  if plain or len(tops) < 2:
    return plain
  first = _start(tops)
  last = _start([top[len(first) :][::-1] for top in tops])
  found = {top: part_of(top[len(first) : len(top) - len(last)]) for top in tops}
  return found if all(found.values()) else {}


def _start(names: list[str]) -> str:
  """What names have in common at their start, up to a mark between words."""
  count = 0
  for letters in zip(*names):
    if len(set(letters)) > 1:
      break
    count += 1
  return re.sub(r"[^\W_]*$", "", names[0][:count])


def _around(paths: list[Path]) -> Path:
  """The folders that hold all clips of one class or more, none of them directly."""
  around: Path = ()
  while True:
    inside = [p[len(around) :] for p in paths if p[: len(around)] == around]
    tops = {p[0] for p in inside if len(p) > 1}
    direct = around and any(len(p) == 1 for p in inside)
    if len(tops) != 1 or direct or any(map(part_of, tops)):
      return around
    (top,) = tops
    if any(len(p) == 2 for p in inside if p[0] == top):
      return around  # it holds clips, so it is a class
    around = (*around, top)


def _are_parts(rests: list[Path], parts: dict[str, str], nested: set[str]) -> bool:
  """Whether folders with the names of parts are parts, rather than classes."""
  tops = {p[0] for p in rests}
  if tops == set(parts):
    return bool(nested) or "train" in parts.values()
  held = nested & set(parts)
  if any(parts[top] == "train" for top in held) or len(held) > 1:
    return True
  below = {p[1] for p in rests if p[0] in held and len(p) > 2}
  return bool(below & (tops - set(parts)))


def _check_parts(
  parts: dict[str, str], others: list[str], nested: set[str], where: str
) -> None:
  """ValueError unless these folders can be read as parts."""
  names = " and ".join(parts)
  if others:
    listed = ", ".join(others[:5]) + (", ..." if len(others) > 5 else "")
    raise ValueError(
      f"{where} holds {names}, which name parts of the data, beside {listed}: move "
      "those into the parts or out of this folder, or, if all of them are classes, "
      "name the clips in an index (config.data.index)."
    )
  if not nested:
    raise ValueError(
      f"the clips in {names} of {where} lie in no class folder, expected "
      f"{min(parts)}/<class>/<clip>: sort them into folders by class."
    )
  for part in _WORDS:
    same = [folder for folder in parts if parts[folder] == part]
    if len(same) > 1:
      raise ValueError(
        f"{where} holds {' and '.join(same)}, which both name the {part} part: join "
        "them, or move one out of this folder."
      )
