"""How a module's fused training pass is compared with autograd of the plain formulas."""

from torch import Tensor, nn

from ecmnet_training.layers import PReLU


def assert_equal_with_gradients(
    fused: nn.Module,
    exact: nn.Module,
    pairs: dict[str, tuple[Tensor, Tensor]],
    *,
    within: float,
    least: float = 1e-2,
) -> None:
    """`pairs`, the parameters' gradients and the running statistics differ by less than `within`.

    Relative to the exact value's norm, or to `least` where that is smaller.
    """
    pairs = dict(pairs)
    for name, parameter in exact.named_parameters():
        pairs[name] = (fused.get_parameter(name).grad, parameter.grad)
    for name, statistic in exact.named_buffers():
        if "running" in name:
            pairs[name] = (fused.get_buffer(name), statistic)
    for name, (a, b) in pairs.items():
        error = (a.detach().cpu().double() - b.detach()).norm() / b.detach().norm().clamp(min=least)
        assert error < within, f"{name}: {error:.1e}"


def distances_from_kinks(exact: nn.Module) -> list[float]:
    """Of each PReLU, once `exact` has run: how far from zero its input's nearest value is."""
    distances = []
    for module in exact.modules():
        if isinstance(module, PReLU):
            module.register_forward_pre_hook(
                lambda _, values: distances.append(values[0].abs().min().item())
            )
    return distances
