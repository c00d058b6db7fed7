"""Video-Pose Networks (Das et al., ECCV 2020) in JAX and Flax."""
