"""Runs every notebook from top to bottom, as a reader does: `make notebooks`.

What an earlier run left in runs/notebooks is removed first, so that everything is made
anew; the executed copies, with their pictures, go there. The first cell that fails ends
the program with its error, and so does a command (`!python ...`) that fails, which
Jupyter by itself passes over.

With --save, the notebooks themselves get the outputs, their pictures reduced to
`WIDTH` pixels and `COLORS` colors, and without embedded videos.
"""

import argparse
import base64
import io
import pathlib
import resource
import shutil
import time

import nbclient
import nbformat
from PIL import Image
from traitlets.config import Config

FOLDER = pathlib.Path(__file__).resolve().parent
ROOT = FOLDER.parent
OUT = ROOT / "runs" / "notebooks"
START_LIMIT, CELL_LIMIT = 180, 600  # seconds, of a kernel and of a cell
WIDTH, COLORS = 720, 64  # of a picture in a notebook
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


def reduce_picture(png: str) -> str:
  """A picture in base64, with fewer pixels and colors."""
  with Image.open(io.BytesIO(base64.b64decode(png))) as picture:
    picture = picture.convert("RGB")
    if picture.width > WIDTH:
      picture = picture.resize((WIDTH, WIDTH * picture.height // picture.width))
    blob = io.BytesIO()
    picture.quantize(COLORS).save(blob, "png", optimize=True)
  return base64.b64encode(blob.getvalue()).decode()


def joined(outputs: list) -> list:
  """Outputs with the text between two pictures in one, a progress bar by its end."""
  kept = []
  for output in outputs:
    if output.output_type != "stream":
      kept.append(output)
    elif kept and kept[-1].output_type == "stream":
      kept[-1].text += output.text
    else:
      kept.append(nbformat.v4.new_output("stream", name="stdout", text=output.text))
  for output in kept:
    if "text" in output:
      lines = output.text.replace(str(ROOT), ".").split("\n")
      lines = [line.rstrip("\r").rpartition("\r")[2] for line in lines]
      output.text = "\n".join(lines)
  return kept


def save(notebook: nbformat.NotebookNode, path: pathlib.Path) -> None:
  """Writes a notebook with reduced outputs, and without the folder it was run in."""
  for cell in notebook.cells:
    cell.metadata = {}
    if cell.cell_type != "code":
      continue
    cell.outputs = joined(cell.outputs)
    for output in cell.outputs:
      data = output.get("data", {})
      if "<video" in data.get("text/html", ""):
        del data["text/html"]
      if "image/png" in data:
        data["image/png"] = reduce_picture(data["image/png"])
  nbformat.write(notebook, path)


def pictures(notebook: nbformat.NotebookNode) -> int:
  """Number of pictures among the outputs."""
  outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
  return sum("image/png" in output.get("data", {}) for output in outputs)


def cpu_seconds() -> float:
  """CPU time of all kernels and commands so far, for busy machines."""
  used = resource.getrusage(resource.RUSAGE_CHILDREN)
  return used.ru_utime + used.ru_stime


def main() -> None:
  parser = argparse.ArgumentParser(description="Runs every notebook.")
  parser.add_argument("--save", action="store_true", help="keep the outputs in them")
  arguments = parser.parse_args()
  shutil.rmtree(OUT, ignore_errors=True)
  OUT.mkdir(parents=True)
  for path in sorted(FOLDER.glob("*.ipynb")):
    began, used = time.monotonic(), cpu_seconds()
    notebook = execute(path)
    took, used = time.monotonic() - began, cpu_seconds() - used
    if arguments.save:
      save(notebook, path)
    print(
      f"{path.name}: {took:.0f} s, {used:.0f} s of CPU, {pictures(notebook)} pictures",
      flush=True,
    )
  print(f"executed copies in {OUT.relative_to(ROOT)}")


if __name__ == "__main__":
  main()
