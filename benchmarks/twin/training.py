"""Forward and train step of the PyTorch twin, as functions that run one of them."""

from collections.abc import Callable

import jax
import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.twin import vpn
from vpn_jax.training import metrics_writer


def total_loss(logits: torch.Tensor, out: dict, labels: torch.Tensor, settings: dict):
  """`losses.total_loss`, averaged over the clips.

  Args:
    logits: float [B, K].
    out: what the network returned beside them.
    labels: int64 [B].
    settings: `config.loss.to_dict()`.
  Returns: L [], and its terms by name, each [].
  Raises: ValueError for an embedding loss that has no twin.
  """
  terms = {"classification_loss": F.cross_entropy(logits, labels)}
  loss = terms["classification_loss"]
  if "video_embedding" in out:
    if settings["embedding"] != "euclidean":
      raise ValueError(
        f"loss.embedding is {settings['embedding']!r}, the PyTorch twin is written for "
        "'euclidean': compare another row."
      )
    units = (
      x * torch.rsqrt(x.square().sum(-1, keepdim=True) + settings["epsilon"])
      for x in (out["video_embedding"], out["pose_embedding"])
    )
    terms["embedding_loss"] = (next(units) - next(units)).square().sum(-1).mean()
    weight = settings["classification_weight"]
    loss = weight * loss + (1 - weight) * terms["embedding_loss"]
  if "spatial_attention" in out:
    spatial = out["spatial_attention"].abs().sum((1, 2))
    temporal = (1 - out["temporal_attention"]).square().sum(1)
    terms["attention_penalty"] = (spatial + temporal).mean()
    loss = loss + settings["attention_weight"] * terms["attention_penalty"]
  return loss, terms


def device() -> torch.device:
  """Where PyTorch is to run beside JAX.

  Raises: RuntimeError when JAX has a GPU and PyTorch cannot use it.
  """
  if jax.default_backend() == "cpu":
    return torch.device("cpu")
  if not torch.cuda.is_available():
    raise RuntimeError(
      f"jax runs on {jax.default_backend()}, PyTorch {torch.__version__} sees no CUDA: "
      "install a build for it, or set JAX_PLATFORMS=cpu."
    )
  # What XLA does unasked: TF32 products of float32, the fastest of cuDNN's algorithms.
  torch.set_float32_matmul_precision("high")
  torch.backends.cudnn.allow_tf32 = True
  torch.backends.cudnn.benchmark = True
  return torch.device("cuda")


def use_threads(threads: int) -> None:
  """Sets the threads of PyTorch on a CPU; 0 leaves them as they are."""
  if threads:
    torch.set_num_threads(threads)


def network(config, variables: dict) -> torch.nn.Module:
  """The twin of a configuration's network, with our variables, on its device."""
  made = vpn.NETWORKS[config.network](config.model.to_dict(), variables["params"])
  return vpn.load(made, variables).to(device())


def _tensors(batch: dict) -> dict:
  return {name: torch.from_numpy(np.array(x)).to(device()) for name, x in batch.items()}


def _wait() -> None:
  if torch.cuda.is_available():
    torch.cuda.synchronize()


def peak_memory_gib(run: Callable) -> float:
  """Largest memory that PyTorch has on the GPU while a function runs, GiB.

  On a CPU that of the process.
  """
  if device().type == "cpu":
    run()
    return metrics_writer.peak_memory_gib()
  torch.cuda.reset_peak_memory_stats()
  run()
  return torch.cuda.max_memory_allocated() / 2**30


def forward(config, variables: dict, batch: dict, *, compiled: bool) -> Callable:
  """Returns a function that puts `batch` through the network in inference mode."""
  model = network(config, variables).eval()
  run = torch.compile(model, dynamic=False) if compiled else model
  batch = _tensors(batch)
  given = [batch[name] for name in model.inputs]

  def once():
    with torch.inference_mode():
      logits, _ = run(*given)
    _wait()
    return logits

  return once


def train_step(config, variables: dict, batch: dict, *, compiled: bool) -> Callable:
  """Returns a function that makes one update of the network on `batch`.

  Loss, gradients and SGD with momentum (`torch.optim.SGD`, fused), as
  `train_step.make_train_step`; the first rate of the schedule.
  """
  model = network(config, variables).train()
  settings = config.loss.to_dict()
  optimizer = torch.optim.SGD(
    model.parameters(),
    lr=config.optimizer.learning_rate,
    momentum=config.optimizer.momentum,
    fused=True,
  )

  def loss(labels, *given):
    return total_loss(*model(*given), labels, settings)[0]

  if compiled:
    loss = torch.compile(loss, dynamic=False)
  batch = _tensors(batch)
  given, labels = [batch[name] for name in model.inputs], batch["label"].long()

  def once():
    optimizer.zero_grad(set_to_none=True)
    value = loss(labels, *given)
    value.backward()
    optimizer.step()
    _wait()
    return value.detach()

  return once
