"""Runs every notebook from top to bottom, as a reader does: `make notebooks`.

What an earlier run left in runs/notebooks is removed first, so that everything is made
anew; the executed copies, with their pictures, go there. The first cell that fails ends
the program with its error, and so does a command (`!python ...`) that fails, which
Jupyter by itself passes over.
"""

import pathlib
import resource
import shutil
import time

import nbclient
import nbformat
from traitlets.config import Config

FOLDER = pathlib.Path(__file__).resolve().parent
OUT = FOLDER.parent / "runs" / "notebooks"
START_LIMIT, CELL_LIMIT = 180, 600  # seconds, of a kernel and of a cell
# A kernel and this program exchange messages through a local port.
ENCRYPTED = Config({"KernelManager": {"transport_encryption": "auto"}})
CHECK = "assert _exit_code == 0, f'the command ended with {_exit_code}'"


def execute(path: pathlib.Path) -> nbformat.NotebookNode:
  """A notebook with the outputs of its cells.

  Raises: nbformat.ValidationError for a file that is not a notebook;
    nbclient.exceptions.CellExecutionError for a cell or command that fails. The
    cells executed until then are in `OUT`, too.
  """
  notebook = nbformat.read(path, as_version=4)
  nbformat.validate(notebook)
  cells = notebook.cells
  checked = []
  for cell in cells:
    checked.append(cell)
    if cell.source.startswith("!"):
      checked.append(nbformat.v4.new_code_cell(CHECK))
  notebook.cells = checked
  where = {"metadata": {"path": str(FOLDER)}}
  client = nbclient.NotebookClient(
    notebook,
    startup_timeout=START_LIMIT,
    timeout=CELL_LIMIT,
    resources=where,
    config=ENCRYPTED,
  )
  try:
    client.execute()
  except nbclient.exceptions.CellExecutionError:
    texts = [[o.get("text", "") for o in cell.get("outputs", [])] for cell in cells]
    print("".join([text for text in texts if text][-1]))  # of the failed command
    raise
  finally:
    notebook.cells = cells
    nbformat.write(notebook, OUT / path.name)
  return notebook


def pictures(notebook: nbformat.NotebookNode) -> int:
  """Number of pictures among the outputs."""
  outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
  return sum("image/png" in output.get("data", {}) for output in outputs)


def cpu_seconds() -> float:
  """CPU time of all kernels and commands so far, for busy machines."""
  used = resource.getrusage(resource.RUSAGE_CHILDREN)
  return used.ru_utime + used.ru_stime


def main() -> None:
  shutil.rmtree(OUT, ignore_errors=True)
  OUT.mkdir(parents=True)
  for path in sorted(FOLDER.glob("*.ipynb")):
    began, used = time.monotonic(), cpu_seconds()
    notebook = execute(path)
    took, used = time.monotonic() - began, cpu_seconds() - used
    print(
      f"{path.name}: {took:.0f} s, {used:.0f} s of CPU, {pictures(notebook)} pictures",
      flush=True,
    )
  print(f"executed copies in {OUT.relative_to(FOLDER.parent)}")


if __name__ == "__main__":
  main()
