"""`benchmarks.gpu_check`: what a part loses when another fails, and what it reads."""

import collections
import importlib
import importlib.util
import itertools
import json
import sys
import types

import jax
import numpy as np
import pytest

from benchmarks import absent, ops, step, timing
from benchmarks.gpu_check import __main__ as main_lib
from benchmarks.gpu_check import (
  hlo,
  kernels,
  parity,
  programs,
  report,
  transfer,
)
from benchmarks.gpu_check import plan as plan_lib


def test_the_full_size_has_every_program_once():
  names = [plan_lib.title(case) for case in plan_lib.FULL.speed]
  assert len(names) == len(set(names))
  for network, dtype, batch in itertools.product(
    ("i3d", "vpn", "vpn_rnx"), ("float32", "bfloat16"), (4, 8, 16, 32)
  ):
    assert f"{network} train {dtype} batch={batch}" in names
    assert f"{network} train {dtype} batch={batch} remat=True" in names
    assert f"{network} forward {dtype} batch={batch}" in names
  assert set(plan_lib.NETWORKS) <= set(step.MODELS)
  assert plan_lib.SECONDS < 8 * 60
  for plan in plan_lib.PLANS.values():
    assert set(plan.layers) <= {name for name, *_ in ops.layers(*plan.clips)}
    for part in plan_lib.PARTS:
      module = importlib.import_module(f"benchmarks.gpu_check.{part}")
      cases = [plan_lib.title(case) for case in module.cases(plan)]
      assert cases
      assert len(cases) == len(set(cases))


def test_stand_ins_for_what_is_not_installed():
  finders = list(sys.meta_path)
  try:
    name = "no_such_package_of_pictures"
    assert absent.stand_in((name, "numpy")) == (name,)
    module = importlib.import_module(f"{name}.part")
    assert module.Picture | None  # as in an annotation
    message = r"no_such_package_of_pictures\.part\.Picture\.read is called, and the"
    with pytest.raises(ModuleNotFoundError, match=message):
      module.Picture.read("picture.jpg")
    assert not hasattr(module, "__version__")
    assert np.ones(2).sum() == 2
  finally:
    sys.meta_path[:] = finders
    for known in [n for n in sys.modules if n.startswith(name)]:
      del sys.modules[known]


# Results


def test_lines_survive_the_end_of_their_process(tmp_path):
  lines = report.Lines(tmp_path / "speed.jsonl")
  assert lines.read() == {}
  lines.add("a", begin=True)
  lines.add("a", rows=[{"s": 1.0}])
  lines.add("b", begin=True)
  with lines.path.open("a") as f:
    f.write('{"case": "b", "ro')  # the end of the process
  assert lines.done() == {"a"}
  assert lines.begun() == ["b"]
  lines.path.write_text(lines.path.read_text() + "\n")
  lines.add("b", failed="it ended")
  assert lines.read() == {"a": {"rows": [{"s": 1.0}]}, "b": {"failed": "it ended"}}
  assert report.failures(lines.read()) == ["b: it ended"]
  lines.add("a", rows=[{"s": 1.0}, {"failed": "error 0.1"}])
  assert lines.done() == set()


def test_the_page_says_what_was_found_and_what_was_not(tmp_path):
  cases = {
    "i3d train": {"rows": [{"s": 0.25, "of the peak": 0.5, "clips/s": 1234.56}]},
    "vpn train": {"failed": "out of\nmemory"},
    "rnx train": {"skipped": "no | here"},
    "bad": {"rows": [{"s": 1.0, "failed": "error 0.1"}]},
  }
  found = {"speed": {"cases": cases, "seconds": 12.3, "not_reached": ["x", "y"]}}
  page = report.save(tmp_path, {"line": "a card"}, found)
  assert (tmp_path / report.PAGE).read_text() == page
  assert json.loads((tmp_path / report.RESULTS).read_text())["parts"] == found
  lines = page.splitlines()
  assert lines[0] == "a card"
  assert "| case | s | clips/s | of the peak | peak, GiB |" in lines
  assert "| i3d train | 0.25 | 1235 | 50% |  |" in lines
  assert "| vpn train | failed: out of |  |  |  |" in lines
  assert "| rnx train | skipped: no / here |  |  |  |" in lines
  assert "| bad | 1 |  |  | failed: error 0.1 |" in lines
  assert "Not reached in time: x; y." in lines
  assert report.failures(cases) == ["vpn train: out of\nmemory", "bad: error 0.1"]


# The runner


@pytest.fixture
def runner(tmp_path):
  made = main_lib.Runner(plan_lib.TINY, tmp_path, 100.0, ["speed", "hlo"])
  made.about = {"line": ""}
  return made


def test_a_crash_costs_its_case_alone(runner, monkeypatch):
  """The first process ends in the second case; another one does the rest."""
  names = [plan_lib.title(case) for case in plan_lib.TINY.speed]
  lines = report.Lines(runner.folder / "speed.jsonl")
  asked = []

  def child(part, seconds, tried=()):
    asked.append(list(tried))
    for name in names:
      if name not in lines.done() | set(tried):
        lines.add(name, begin=True)
        if name == names[1]:
          return -11, runner.folder / "speed.log"
        lines.add(name, rows=[{}])
    return 0, runner.folder / "speed.log"

  monkeypatch.setattr(runner, "_child", child)
  runner._part("speed", 60.0)
  assert asked == [[], [names[1]]]
  found = runner.found["speed"]
  assert lines.done() == {*names} - {names[1]}
  assert "its process ended with -11, see" in found["cases"][names[1]]["failed"]
  assert found["not_reached"] == []


def test_a_process_that_ends_at_once_is_a_failure(runner, monkeypatch):
  monkeypatch.setattr(runner, "_child", lambda *args: (1, runner.folder / "x.log"))
  runner._part("hlo", 60.0)
  assert "ended with 1" in runner.found["hlo"]["cases"]["hlo"]["failed"]


def test_a_part_has_what_those_before_it_left(runner, monkeypatch):
  given = {}
  monkeypatch.setattr(runner, "_begin", lambda: None)
  monkeypatch.setattr(runner, "_part", lambda part, s: given.setdefault(part, s))
  runner.run()
  later = plan_lib.PARTS["hlo"] * 100 / plan_lib.SECONDS
  assert given["speed"] == pytest.approx(100 - later, abs=1)
  assert given["hlo"] == pytest.approx(100, abs=1)


def test_a_part_is_ended_when_its_time_is_over(runner, monkeypatch):
  monkeypatch.setattr(sys, "executable", "sh")
  monkeypatch.setattr(main_lib, "COMMAND", ("-c", "sleep 60"))
  status, log = runner._child("speed", 0.0)
  assert status is None
  assert log == runner.folder / "speed.log"


def test_results_go_on_here_and_begin_anew_elsewhere(runner, monkeypatch):
  about = {"size": "tiny", "device": "cpu", "driver": "", "commit": "a", "line": ""}
  about["platform"] = "cpu"
  found = {"speed": {"cases": {"x": {"rows": [{}]}}, "seconds": 1, "not_reached": []}}
  lines = report.Lines(runner.folder / "speed.jsonl")

  def begin(commit, status=0):
    path = runner.folder / "about.json"
    path.write_text(json.dumps({**about, "commit": commit}))
    log = runner.folder / "about.log"
    log.write_text("Traceback\nModuleNotFoundError: No module named 'flax'\n")
    monkeypatch.setattr(runner, "_child", lambda *args: (status, log))
    runner._begin()

  begin("a")
  report.save(runner.folder, about, found)  # all that was brought here
  begin("a")
  assert lines.done() == {"x"}
  lines.add("y", rows=[])  # of a run that was ended before it saved
  begin("a")
  assert lines.done() == {"x", "y"}
  assert runner.found == found
  begin("b")
  assert lines.done() == set()
  assert runner.found == {}
  with pytest.raises(RuntimeError, match=r"described \(Mod.* 'flax'; all of it in /"):
    begin("b", 1)
  with pytest.raises(RuntimeError, match=r"described \(out of time; all"):
    begin("b", None)
  runner.plan = plan_lib.FULL
  with pytest.raises(RuntimeError, match="JAX sees no GPU, expected one for the full"):
    begin("b")


def test_cases_that_fail_or_lack_something_leave_the_others(monkeypatch, tmp_path):
  plan, lines = plan_lib.TINY, report.Lines(tmp_path / "part.jsonl")
  names = ["done", "fails", "lacks", "works"]

  def measure(plan, case):
    if case["case"] == "fails":
      raise ValueError("first line\nsecond")
    if case["case"] == "lacks":
      raise plan_lib.Skip("no card")
    return [{"s": 1.0}]

  part = types.ModuleType("benchmarks.gpu_check.made")
  part.cases, part.measure = lambda plan: [{"case": n} for n in names], measure
  monkeypatch.setitem(sys.modules, "benchmarks.gpu_check.made", part)
  lines.add("done", rows=[])
  main_lib.one_part("made", plan, lines)
  assert lines.read() == {
    "done": {"rows": []},
    "fails": {"failed": "ValueError: first line"},
    "lacks": {"skipped": "no card"},
    "works": {"rows": [{"s": 1.0}]},
  }


def test_unknown_parts_list_the_known(monkeypatch, capsys):
  monkeypatch.setattr("sys.argv", ["gpu_check", "--parts=speed,sound"])
  with pytest.raises(SystemExit):
    main_lib.main()
  assert "unknown --parts ['sound'], expected some of" in capsys.readouterr().err


# What is read off programs and profiles

PROGRAM = """HloModule jit_train_step, is_scheduled=true

%fused_transpose (param_0.1: f32[64,1024]) -> f32[1024,64] {
  %param_0.1 = f32[64,1024]{1,0} parameter(0)
  ROOT %transpose.9 = f32[1024,64]{1,0} transpose(%param_0.1), dimensions={1,0}
}

ENTRY %main (p: bf16[2,256,256]) -> (bf16[2,256,256], f32[]) {
  %p = bf16[2,256,256]{2,1,0} parameter(0)
  %copy.1 = bf16[2,256,256]{1,2,0:T(8,128)} copy(%p), metadata={op_name="a"}
  %copy.2 = bf16[2,256,256]{2,1,0} copy(%p)
  %copy.3 = bf16[2,2]{0,1} copy(%p)
  %conv.1 = (bf16[2,256,256]{2,1,0}, u8[512]{0}) custom-call(%p, %copy.1), window={size=3}, dim_labels=b012f_012io->b012f, custom_call_target="__cudnn$convForward", metadata={op_name="jit(train_step)/jvp(VPN)/backbone/einsum bmn,bt->btmn/conv" stack_frame_id=2}
  %get = bf16[2,256,256]{2,1,0} get-tuple-element(%conv.1), index=0
  %print = () custom-call(%p), custom_call_target="xla_ffi_python_gpu_callback"
  %loop_fusion.4 = f32[1024,64]{1,0} fusion(%get), kind=kLoop, calls=%fused_transpose, metadata={op_name="jit(train_step)/transpose(jvp(VPN))/backbone/bn/add"}
  ROOT %out = (bf16[2,256,256]{2,1,0}, f32[]) tuple(%get, %p)
}
"""  # noqa: E501


def test_copies_transposes_and_calls_of_a_program_counted_by_hand():
  found = hlo.summary(PROGRAM)
  size = 2 * 256 * 256 * 2  # bytes of bfloat16
  assert found == {
    "copies to another layout": 1,  # copy.2 keeps the layout, copy.3 is small
    "GiB copied": size / 2**30,
    "transposes": 1,
    "GiB transposed": 4 * 64 * 1024 / 2**30,
    "convolutions, by layout": {"b012f_012io->b012f bf16": 1},
    "foreign calls": {"__cudnn$convForward": 1, "xla_ffi_python_gpu_callback": 1},
    "with the host": {"xla_ffi_python_gpu_callback": 1},
  }


def profile(**lines):
  """Planes of a host and of a device; events are (operation, module, nanoseconds)."""
  Plane = collections.namedtuple("Plane", "name lines")
  Line = collections.namedtuple("Line", "name events")
  Event = collections.namedtuple("Event", "name stats duration_ns")

  def line(name, events):
    made = [
      Event("kernel", [("hlo_op", op), ("hlo_module", module)], duration)
      for op, module, duration in events
    ]
    return Line(name, [*made, Event("memcpy", [], 10**9)])

  host = Plane("/host:CPU", [line("python", [("conv.1", "jit_train_step", 10**9)])])
  device = [line(name, events) for name, events in lines.items()]
  return types.SimpleNamespace(planes=[host, Plane("/device:GPU:0", device)])


def test_the_operations_that_take_longest():
  step_events = [
    ("conv.1", "jit_train_step", 3e6),
    ("loop_fusion.4", "jit_train_step", 1e6),
  ]
  other = [("conv.1", "jit_other", 5e5)]
  found = kernels.times(profile(Stream=step_events + other, XLA_Ops=step_events))
  assert found == {"conv.1": pytest.approx(3e-3), "loop_fusion.4": pytest.approx(1e-3)}
  unnamed = profile(Stream=[("", "", 5e8)])
  assert kernels.times(unnamed) == {"kernel": 0.5, "memcpy": 1.0}
  rows = kernels.rows({**found, "call.7": 1.0}, PROGRAM + "  %call.7 = f32[] call()", 2)
  first, second, *kinds = rows
  assert first == {
    "what": "operation",
    "operation": "conv.1",
    "kind": "__cudnn$convForward",
    "of": "jvp(VPN)/backbone/einsum bmn,bt->btmn/conv",
    "ms a step": pytest.approx(1.5),
    "share": pytest.approx(0.75),
  }
  assert second["of"] == "backward: transpose(jvp(VPN))/backbone/bn/add"
  assert [row["kind"] for row in kinds] == ["__cudnn$convForward", "loop_fusion"]
  with pytest.raises(RuntimeError, match=r"no operation in \['/host:CPU'\]: CUPTI"):
    kernels.times(
      types.SimpleNamespace(planes=[types.SimpleNamespace(name="/host:CPU", lines=[])])
    )


# Parity


def test_scores_off_the_stored_ones_fail():
  stored = np.float32([3.0, 4.0])
  row = parity._row("logits", stored + np.float32([0.0, 0.05]), stored, 0.02)
  assert row["error"] == pytest.approx(0.01, rel=1e-4)
  assert row["largest difference"] == pytest.approx(0.05, rel=1e-4)
  assert "failed" not in row
  assert (
    "expected 0.005 or less" in parity._row("x", stored * 1.01, stored, 5e-3)["failed"]
  )
  assert "error nan" in parity._row("x", stored * np.nan, stored, 1.0)["failed"]


def test_without_the_stored_scores_the_case_is_skipped(monkeypatch, tmp_path):
  monkeypatch.setenv(parity.REFERENCE, str(tmp_path / "none.npz"))
  with pytest.raises(
    plan_lib.Skip, match=r"no .*none\.npz: set GPU_CHECK_REFERENCE to"
  ):
    parity.measure(plan_lib.TINY, {"case": "kinetics float32"})


# A step of its own


def test_a_step_is_read_profiled_and_fed(monkeypatch, plain_operations):
  monkeypatch.setitem(programs._ENDPOINTS, "i3d", "Conv3d_1a_7x7")
  plan, case = plan_lib.TINY, plan_lib.case("i3d", dtype="float32", batch=2)
  program = programs.program(plan, case)
  monkeypatch.setattr(programs, "program", lambda plan, case: program)
  # 8 x 32 x 32 pixels: 4 x 16 x 16 places, 8 channels, 7 x 7 x 7 taps on 3 channels;
  # the kernel's gradient costs the same, the frames have none. Then 60 classes.
  convolution = 2 * 4 * 16 * 16 * 8 * 7**3 * 3
  assert program.flops == 2 * (2 * convolution + 3 * 2 * 8 * step.CLASSES)
  assert isinstance(program, timing.Program)
  assert programs.planned_gib(program) > 0
  (row,) = hlo.measure(plan, case)
  assert row["state donated"] == "100%"
  assert row["with the host"] == "none"
  shares = [row["share"] for row in kernels.measure(plan, case)]
  assert 0 < sum(shares[: kernels.TOP]) <= 1 + 1e-6
  sent, *_, training = transfer.measure(plan, case)
  assert sent["MiB"] == 2 * 8 * 32 * 32 * 3 / 2**20
  assert training["what"] == "as in training"
  assert jax.tree.leaves(program.start())
