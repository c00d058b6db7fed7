"""Video-Pose Networks (Das et al., ECCV 2020) in JAX and Flax.

  net = vpn_jax.load("runs/vpn")              # the best checkpoint of a run
  net.class_names, net.input_shapes           # what comes out, what goes in
  scores, out = net(frames, pose)             # arrays: softmax [B, K], attention maps
  result = vpn_jax.predict(net, "walk.mp4", pose="walk.npz")  # a video with its joints
  result.ranked(5)                            # [("walk", 0.93), ...]
  dict(vpn_jax.predict_folder(net, "videos")) # path -> result
  vpn_jax.train(config, "runs/vpn")           # trains or resumes; the metrics
  vpn_jax.evaluate(config, "runs/vpn")        # metrics and predictions of the test part

docs/api.md describes them.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
  from vpn_jax.inference.predict import predict, predict_folder
  from vpn_jax.inference.trained_network import load
  from vpn_jax.training.evaluate import evaluate
  from vpn_jax.training.stages import train

__all__ = ["evaluate", "load", "predict", "predict_folder", "train"]

_MODULES = {
  "evaluate": "training.evaluate",
  "load": "inference.trained_network",
  "predict": "inference.predict",
  "predict_folder": "inference.predict",
  "train": "training.stages",
}


def __getattr__(name: str):
  """Imports what a function needs, JAX among it, when it is first asked for."""
  if name not in _MODULES:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
  module = importlib.import_module(f"{__name__}.{_MODULES[name]}")
  return getattr(module, name)


def __dir__() -> list[str]:
  return sorted({*globals(), *__all__})
