"""Two videos with joints, and networks for them."""

import dataclasses

import fake_run
import numpy as np

from configs import custom
from vpn_jax.datasets import protocol_settings, video_writer
from vpn_jax.records import prepare
from vpn_jax.training.provenance import Provenance

LENGTHS = {"nod": 20, "wave": 13}  # frames; the network takes 8


def small(root, **model):
  """A config whose network compiles in seconds, on clips below root."""
  c = custom.get_config("split,size=tiny")
  c.data.update(
    index=str(root / "index.csv"),
    world_joints="world.npz",
    image_joints="image.npz",
    image_units="pixel",
    records=str(root / "records"),
    skeleton="kinect_v2",
    train="subject:1",
    test="subject:2",
  )
  c.data.example.update(num_frames=8, frame_size=32, pose_steps=4)
  c.prepare.update(size=40, workers=0)
  c.model.update(width=0.125, endpoint="Conv3d_2b_1x1", frozen_until="")
  c.model.update(embedding_dim=8, attention_hidden=8)
  c.init.backbone = "none"
  c.model.update(num_classes=2, **model)
  c.train.eval_batch_size = 4
  return c


def frames(count):
  """A moving pattern, uint8 [count, 48, 64, 3]."""
  y, x = np.mgrid[:48, :64]
  made = [
    np.stack([x * 4 - t * 5, y * 5, (x + y + 9 * t) * 2], -1) % 256
    for t in range(count)
  ]
  return np.uint8(made)


def write(root, name, count, seed=0):
  """`name`.avi with joints of one person in `name`.npz; returns (world, image)."""
  rng = np.random.default_rng(seed)
  video_writer.write_video(root / f"{name}.avi", frames(count), 10)
  image = rng.uniform((15, 10), (50, 40), (count, 25, 2)).astype(np.float32)
  world = rng.normal(0.0, 0.2, (count, 25, 3)).astype(np.float32)
  np.savez(root / f"{name}.npz", world=world, image=image)
  return world, image


def make(root):
  """Writes videos and joints as files and as records, and three networks.

  The networks are "run", "visual" (whole frames alone) and "visual_crop" (cropped
  frames alone). Returns root.
  """
  lines, world, image = ["clip,video,label,subject"], {}, {}
  for seed, (name, count) in enumerate(LENGTHS.items()):
    joints = write(root, name, count, seed)
    for subject in (1, 2):
      lines.append(f"{name}{subject},{name}.avi,{name},{subject}")
      world[f"{name}{subject}"], image[f"{name}{subject}"] = joints
  (root / "index.csv").write_text("\n".join(lines) + "\n")
  np.savez(root / "world.npz", **world)
  np.savez(root / "image.npz", **image)
  config = small(root)
  index = prepare.prepare(config.data, config.prepare)
  provenance = Provenance.of(index, protocol_settings.from_config(config.data))
  fake_run.save_network(config, root / "run", provenance)
  full = dataclasses.replace(provenance, crop={**provenance.crop, "kind": "full"})
  visual = small(root, attention="none", embedding=False)
  fake_run.save_network(visual, root / "visual", full)
  fake_run.save_network(visual, root / "visual_crop", provenance)
  return root


def asked(root, name="nod", **fields):
  """A config of the job predict for one of the videos with its joints."""
  c = small(root)
  c.predict.update(
    video=str(root / f"{name}.avi"),
    pose=str(root / f"{name}.npz"),
    image_units="pixel",
  )
  c.predict.update(fields)
  return c
