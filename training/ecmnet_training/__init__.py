"""The PyTorch twin of ecmnet_ros's network: training, evaluation, export and parity fixtures."""
