"""One thread for every test's networks: at their sizes a second one waits longer than it works."""

import torch

torch.set_num_threads(1)
