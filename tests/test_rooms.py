"""The order of the rooms: a module imports from its own room and those above it."""

import ast
import pathlib

import pytest

PACKAGE = pathlib.Path(__file__).parents[1] / "vpn_jax"
# In the order in which data flows.
ROOMS = (
  "datasets", "records", "inputs", "ops", "models", "weights", "evaluation",
  "training", "inference", "analysis", "figures", "results", "jobs",
)  # fmt: skip
# What lies beside the rooms: helpers, which know no room, and the doors to all of them.
DOORS = ("__init__", "__main__")


def imported(path):
  """The rooms that a file imports from, in functions as well."""
  found = set()
  for node in ast.walk(ast.parse(path.read_text())):
    names = []
    if isinstance(node, ast.ImportFrom):
      assert not node.level, f"{path}: relative import"
      names = [f"{node.module}.{alias.name}" for alias in node.names]
    elif isinstance(node, ast.Import):
      names = [alias.name for alias in node.names]
    found |= {
      name.split(".")[1]
      for name in names
      if name.startswith("vpn_jax.") and name.split(".")[1] in ROOMS
    }
  return found


def modules(path):
  """The files of the package that a file imports."""
  for node in ast.walk(ast.parse(path.read_text())):
    if not isinstance(node, ast.ImportFrom) or not node.module.startswith("vpn_jax"):
      continue
    for alias in node.names:
      for name in (f"{node.module}.{alias.name}", node.module):
        file = PACKAGE.parent.joinpath(*name.split("."))
        if file.with_suffix(".py").exists():
          yield file.with_suffix(".py")
          break
        if (file / "__init__.py").exists():
          yield file / "__init__.py"
          break


def test_every_room_is_in_the_table():
  folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
  assert folders == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_rooms_above(room):
  allowed = set(ROOMS[: ROOMS.index(room) + 1])
  for path in (PACKAGE / room).rglob("*.py"):
    assert imported(path) <= allowed, path


def test_helpers_know_no_room():
  for path in PACKAGE.glob("*.py"):
    if path.stem not in DOORS:
      assert not imported(path), path


def test_there_are_no_circles():
  graph = {path: set(modules(path)) for path in PACKAGE.rglob("*.py")}
  left = dict(graph)
  while left:
    free = [path for path, needed in left.items() if not needed & left.keys()]
    assert free, sorted(str(path.relative_to(PACKAGE)) for path in left)
    for path in free:
      del left[path]
