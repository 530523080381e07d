"""What all tests run with: one thread, f32 unrounded, products as small as a GPU takes them."""

import os

import pytest
import torch

# One thread for every test's networks: at their sizes a second one waits longer than it works.
torch.set_num_threads(1)
# On a GPU the library rounds f32 to ten bits otherwise, which no comparison with f64 here allows.
torch.backends.cudnn.allow_tf32 = False


@pytest.fixture(autouse=True, scope="session")
def _interpreted_products_have_the_least_size_of_a_gpu() -> None:
    """Interpreted kernels compute products of any size; a GPU's do not compile below the least."""
    if os.environ.get("TRITON_INTERPRET"):
        from triton.backends.compiler import GPUTarget
        from triton.backends.nvidia.compiler import min_dot_size
        from triton.runtime.interpreter import interpreter_builder

        interpreter_builder.codegen_fns["min_dot_size"] = min_dot_size(GPUTarget("cuda", 90, 32))
