"""One thread for every test's networks: at their sizes a second one waits longer than it works."""

import torch

torch.set_num_threads(1)
# On a GPU the library rounds f32 to ten bits otherwise, which no comparison with f64 here allows.
torch.backends.cudnn.allow_tf32 = False
