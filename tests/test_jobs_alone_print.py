"""Only the jobs print and look at the command line: the rooms return values."""

import ast
import pathlib

PACKAGE = pathlib.Path(__file__).parents[1] / "vpn_jax"
# A program of its own.
EXCEPTIONS = {"inference/serve.py"}


def talks(path):
  """Whether a file calls `print` or mentions `sys.argv`."""
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "print":
      return True
    if isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.argv":
      return True
  return False


def test_jobs_alone_print():
  found = {str(p.relative_to(PACKAGE)) for p in PACKAGE.rglob("*.py") if talks(p)}
  found = {name for name in found if not name.startswith("jobs/")}
  assert found <= EXCEPTIONS


def test_jobs_read_the_command_line_in_run_alone():
  for path in (PACKAGE / "jobs").glob("*.py"):
    for function in ast.walk(ast.parse(path.read_text())):
      if isinstance(function, ast.FunctionDef) and function.name not in (
        "run",
        "parse",
      ):
        nodes = [ast.unparse(node) for node in ast.walk(function)]
        assert "sys.argv" not in nodes, (path, function.name)
