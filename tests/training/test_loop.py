"""Does it all work: learn, resume, share a batch among devices, stop on a bad loss."""

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
import pytest

import vpn_jax
from configs import custom
from vpn_jax import device_mesh, ops
from vpn_jax.evaluation import predictions as predictions_lib
from vpn_jax.inputs import protocol_data
from vpn_jax.jobs import train
from vpn_jax.models import networks
from vpn_jax.training import checkpoint, initialization, loop, session, train_step
from vpn_jax.training import optimizer as optimizer_lib
from vpn_jax.training.provenance import Provenance


def read_losses(workdir):
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  values = [json.loads(line) for line in lines]
  return {v["step"]: v["train/loss"] for v in values if "train/loss" in v}


def test_resumed_run_equals_an_undisturbed_one(small_config, tmp_path):
  c = small_config
  c.model.dropout = 0.3  # randomness of the step must continue too
  c.data.balanced, c.loss.label_smoothing = True, 0.1
  c.data.example.augment.update(noise=0.01, temporal_crop=0.5)
  c.train.steps = 4
  whole = loop.train(c, str(tmp_path / "whole"))
  c.train.steps = 2
  loop.train(c, str(tmp_path / "parts"))
  c.train.steps = 4
  parts = loop.train(c, str(tmp_path / "parts"))
  assert read_losses(tmp_path / "whole") == read_losses(tmp_path / "parts")
  assert len(read_losses(tmp_path / "whole")) == 4
  states = [
    checkpoint.Checkpoints(tmp_path / run).restore_variables()
    for run in ("whole", "parts")
  ]
  jax.tree.map(np.testing.assert_array_equal, *states)
  assert whole["top1"] == parts["top1"]

  # evaluating the checkpoint gives the numbers of the end of training
  again = vpn_jax.evaluate(c, str(tmp_path / "whole"))
  assert again.metrics["top1"] == whole["top1"]
  assert again.step == 4
  files = {p.name for p in (tmp_path / "whole" / "test").iterdir()}
  assert files == {"metrics.json", "predictions.csv", "confusion.csv", "scores.npz"}
  scores = predictions_lib.read(tmp_path / "whole" / "test")
  np.testing.assert_allclose(scores.scores.sum(axis=1), 1.0, rtol=1e-5)


def test_two_runs_are_equal_to_the_bit(small_config, tmp_path):
  """With the operations of a CPU, as `make demo` has them, and random crops."""
  c = small_config
  c.model.dropout = 0.3
  c.data.example.update(crop=0.8, flip=True)
  c.train.steps = 3
  found = []
  with ops.use_formulation("cpu"):
    for run in ("first", "second"):
      loop.train(c, str(tmp_path / run))
      with checkpoint.reading(tmp_path / run) as runs:
        found.append(runs.restore_variables())
  jax.tree.map(np.testing.assert_array_equal, *found)
  assert read_losses(tmp_path / "first") == read_losses(tmp_path / "second")


def test_the_best_checkpoint_is_chosen_on_validation(small_config, tmp_path):
  """Validated after steps 2 and 3; the best checkpoint is the better of the two."""
  c = small_config
  c.data.update(validation="34%", validation_seed=1)  # one subject of three
  c.train.update(steps=3, eval_every_epochs=1.0, save_every=2)
  loop.train(c, str(tmp_path))
  lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
  found = [json.loads(line) for line in lines]
  validated = {v["step"]: v["validation/top1"] for v in found if "validation/top1" in v}
  assert set(validated) == {2, 3}  # 16 clips make an epoch of 2 steps
  runs = checkpoint.Checkpoints(tmp_path)
  assert validated[runs.best_step()] == max(validated.values())
  fitted = [v["validation/temperature"] for v in found if "validation/top1" in v]
  assert all(0.05 < value < 50 for value in fitted)
  assert not any("test/temperature" in v for v in found)
  runs.close()


def test_lstm_is_trained_alone_and_frozen_under_vpn(small_config, tmp_path):
  """Rows l4 and l6: two commands, the second leaves the weights of the first."""
  small = {"recurrent_layers": 2, "recurrent_features": 16}
  alone = custom.get_config("split,model=pose,pose_backbone=lstm,size=tiny")
  alone.data = small_config.data
  alone.model.pose.update(small)
  alone.train.update(batch_size=8, eval_batch_size=8, steps=3, tensorboard=False)
  with jax.numpy_dtype_promotion("standard"):  # optax's Adam raises a float to an int
    loop.train(alone, str(tmp_path / "lstm"))

  c = small_config
  c.model.pose.update(small, kind="lstm", frozen=True)
  c.train.steps = 2
  with pytest.raises(ValueError, match="random weights would never change"):
    loop.train(c, str(tmp_path / "none"))
  c.init.pose_backbone = str(tmp_path / "lstm")
  loop.train(c, str(tmp_path / "vpn"))
  found = []
  for run in ("lstm", "vpn"):
    with checkpoint.reading(tmp_path / run) as runs:
      found.append(runs.restore_variables()["params"])
  jax.tree.map(
    np.testing.assert_array_equal, found[0]["pose_backbone"], found[1]["pose_backbone"]
  )
  fresh = networks.build(c.network, {**c.model.to_dict(), "num_classes": 4})
  variables = {"params": {"pose_backbone": found[1]["pose_backbone"]}}
  with checkpoint.reading(tmp_path / "lstm") as runs:
    kinect_v2 = runs.about().provenance
  kinect_v1 = dataclasses.replace(kinect_v2, skeleton="kinect_v1")
  with pytest.raises(ValueError, match="trained on poses of kinect_v2, the records"):
    initialization.pretrain(fresh, variables, c.init, kinect_v1)


def one_step(config, devices):
  """Losses of two steps on the first `devices` devices, from the same start."""
  _, data = protocol_data.open_parts(config.data)
  part = data["train"]
  config.model.num_classes = 4
  model = networks.build(config.network, config.model.to_dict())
  variables = initialization.fresh(model, part.settings, jax.random.key(0), 25)
  optimizer = optimizer_lib.make_optimizer(config.optimizer, 3.0, 30)
  state = train_step.TrainState.start(variables, optimizer)
  grid = jax.sharding.Mesh(np.array(jax.devices()[:devices]), ("data",))
  state = jax.device_put(state, device_mesh.whole(grid))
  step = train_step.compile_step(
    train_step.make_train_step(model, optimizer, config.loss.to_dict()), grid
  )
  place, losses = device_mesh.make_placer(grid), []
  batches = part.train_batches(8, seed=0)
  for _ in range(2):
    batch = next(batches)
    batch.pop("index")
    state, metrics = step(state, place(batch), jax.random.key(1))
    losses.append({k: float(v) for k, v in metrics.items()})
  return losses, state


def test_one_and_four_devices_give_the_same_losses(small_config):
  assert jax.device_count() == 4
  alone, state = one_step(small_config, 1)
  shared, split = one_step(small_config, 4)
  for a, b in zip(alone, shared):
    for name in a:
      np.testing.assert_allclose(a[name], b[name], rtol=1e-5, err_msg=name)
  stats = (jax.device_get(s.batch_stats) for s in (state, split))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), *stats
  )


def test_eight_clips_are_learnt_by_heart(small_config, tmp_path):
  c = small_config
  c.data.train = "subject:1"  # eight clips
  c.data.test = "subject:4"
  c.model.endpoint = "Mixed_3b"
  c.train.steps = 40
  c.optimizer.learning_rate = 0.05
  loop.train(c, str(tmp_path))
  losses = read_losses(tmp_path)
  assert losses[40] < 0.5 * losses[1]
  lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
  last = [json.loads(x) for x in lines if "train/accuracy" in x][-1]
  assert last["train/accuracy"] == 100.0


def test_records_without_test_clips_train_all_the_same(small_config, tmp_path, capsys):
  small_config.data.test = "subject:9"
  small_config.train.steps = 1
  train.run(small_config, str(tmp_path))
  assert "no test clips among the records" in capsys.readouterr().out
  assert not (tmp_path / "test").exists()


HOLD = """
import sys
from vpn_jax import file_locks
with file_locks.FileLock(sys.argv[1], "") as lock:
  lock.hold(range(1))
  print("held", flush=True)
  sys.stdin.read()
"""


def test_two_runs_do_not_share_a_folder(small_config, tmp_path):
  """The second one is refused until the first one ends, or is killed."""
  root = pathlib.Path(__file__).parents[2]
  process = subprocess.Popen(
    [sys.executable, "-c", HOLD, str(tmp_path)],
    env={**os.environ, "PYTHONPATH": str(root)},
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
  )
  with process:
    assert process.stdout.readline() == b"held\n"
    with pytest.raises(ValueError, match=f"another run is training in {tmp_path}: wai"):
      loop.train(small_config, str(tmp_path))
    process.kill()
  fields = {"config": small_config, "provenance": None, "say": print}
  with session.Session(str(tmp_path), total_steps=8, **fields) as run:
    run.done = 17  # a longer run, of which fewer steps are asked for now
    assert run.cost({})["steps"] == 17


def test_bad_loss_stops_with_step_and_clips(small_config, tmp_path):
  c = small_config
  c.optimizer.learning_rate = 1e30
  c.train.steps = 4
  with pytest.raises(FloatingPointError, match=r"is (nan|inf) at step \d.*clip0"):
    loop.train(c, str(tmp_path))


def test_attention_does_not_saturate_at_the_start(small_config):
  """P_e starts at zero, where the gradient of L_e is steep: A_S must survive it."""
  _, state = one_step(small_config, 1)
  bias = state.params["attention"]["spatial_logits"]["bias"]
  assert 0 < float(jnp.abs(bias).max()) < 3.0


def test_messages(small_config, tmp_path):
  small_config.train.batch_size = 6
  with pytest.raises(ValueError, match="batch_size is 6, expected a positive multiple"):
    loop.train(small_config, str(tmp_path))
  with pytest.raises(ValueError, match="--workdir is empty"):
    train.run(small_config, "")
  with pytest.raises(FileNotFoundError, match=r"no checkpoint in .*train first"):
    vpn_jax.evaluate(small_config, str(tmp_path / "none"))
  assert not (tmp_path / "none").exists()


def frozen_config(config):
  config.model.frozen_until = "Conv3d_1a_7x7"
  config.model.pose.dropout = config.model.dropout = 0.3
  return config


def save_in_former_layout(config, workdir):
  """Step 1 of a run whose optimizer had a place for frozen parameters as well."""
  index, data = protocol_data.open_parts(config.data)
  part = data["train"]
  c = ml_collections.ConfigDict(config)
  c.model.num_classes = len(part.class_names)
  model = networks.build(c.network, c.model.to_dict())
  variables = initialization.fresh(model, part.settings, jax.random.key(c.seed), 25)
  optimizer = optax.sgd(lambda count: jnp.float32(0.02), momentum=0.9)
  state = train_step.TrainState.start(variables, optimizer)
  step = jax.jit(train_step.make_train_step(model, optimizer, c.loss.to_dict()))
  batches = part.train_batches(8, seed=c.seed)
  batch = next(batches)
  batch.pop("index")
  state, _ = step(state, batch, jax.random.key(c.seed))
  with contextlib.closing(checkpoint.Checkpoints(workdir)) as runs:
    provenance = Provenance.of(index, part.protocol)
    runs.save(1, state, config=c.to_dict(), provenance=provenance)


def test_former_layout_goes_on_and_another_optimizer_is_refused(small_config, tmp_path):
  """What trains finds its momentum in the state for everything."""
  c = frozen_config(small_config)
  save_in_former_layout(c, tmp_path / "former")
  shutil.copytree(tmp_path / "former", tmp_path / "rates")
  c.train.steps = 3
  loop.train(c, str(tmp_path / "former"))
  loop.train(c, str(tmp_path / "now"))
  found = []
  for run in ("former", "now"):
    with checkpoint.reading(tmp_path / run) as runs:
      found.append(runs.restore_variables())
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), *found
  )

  c.optimizer.rates.new = 2.0
  message = (
    r"rates, step 1: the state of the optimizer is of another version or config.*no "
    r"opt_state/inner_states/.*: go on with .* or start in a new workdir .*init"
  )
  with pytest.raises(ValueError, match=message):
    loop.train(c, str(tmp_path / "rates"))
  c.optimizer.rates.new = 1.0
  c.model.frozen_until = ""
  c.train.steps = 4
  message = "no opt_state/0/trace/backbone/Conv3d_1a_7x7/.*: go on with"
  with pytest.raises(ValueError, match=message):
    loop.train(c, str(tmp_path / "now"))


def test_run_with_rates_of_its_own_goes_on(small_config, tmp_path):
  """Each part has a state of its own in the checkpoint; one part is frozen."""
  c = frozen_config(small_config)
  c.optimizer.update(warmup_epochs=0.34, weight_decay=1e-3)  # one step
  c.optimizer.rates.update(visual_backbone=0.1, pose_backbone=0.0)
  c.train.steps = 4
  loop.train(c, str(tmp_path / "whole"))
  for c.train.steps in (2, 4):
    loop.train(c, str(tmp_path / "parts"))
  assert read_losses(tmp_path / "whole") == read_losses(tmp_path / "parts")


def test_a_summary_of_fewer_steps_is_replaced(small_config, tmp_path):
  """As of a run that was made longer and stopped in its last test."""
  c, workdir = small_config, tmp_path / "run"
  c.train.steps = 2
  loop.train(c, str(workdir))
  path = workdir / "summary.json"
  whole = path.read_text()
  loop.train(c, str(workdir))
  assert path.read_text() == whole
  summary = json.loads(whole)
  summary["result"].update(steps=1, top1=-1.0)
  path.write_text(json.dumps(summary))
  loop.train(c, str(workdir))
  result = json.loads(path.read_text())["result"]
  assert (result["steps"], result["top1"] >= 0) == (2, True)
