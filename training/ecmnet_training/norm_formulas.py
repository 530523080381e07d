"""What the fused kernels share: batch norm with PReLU as they compute it.

    x_hat = (x - mean) rstd,   z = gamma x_hat + beta,   y = z where z > 0, slope z elsewhere

Tensors are rows `[p, c]` of a channels-last picture, p = b h w. A layer's `params` are f32
`[3, c]`: gamma, beta, slope; its `stats` `[2, c]`: the batch's sums of x and of x^2; its `grads`,
laid out as `params`: the sums of dz x_hat, of dz, and of dy z where z <= 0. The kernel that writes
a tensor adds up its sums in f32, before it rounds; the kernels that read it turn them into mean and
rstd themselves.
"""

import triton
import triton.language as tl


@triton.jit
def moments_of(stats_ptr, c, ok, rows, eps, C: tl.constexpr):  # noqa: ANN001, ANN201
    """(mean, rstd) of the channels `c`. Every thread does this for its own: no divisions."""
    share = 1.0 / rows
    mean = tl.load(stats_ptr + c, mask=ok, other=0.0) * share
    second = tl.load(stats_ptr + C + c, mask=ok, other=0.0) * share
    return mean, tl.rsqrt(tl.maximum(second - mean * mean, 0.0) + eps)


@triton.jit
def terms_of(params_ptr, stats_ptr, c, ok, rows, eps, C: tl.constexpr):  # noqa: ANN001, ANN201
    """(scale, shift, slope) of the channels `c`, each of `c`'s shape: z = scale x + shift."""
    mean, rstd = moments_of(stats_ptr, c, ok, rows, eps, C)
    scale = tl.load(params_ptr + c, mask=ok, other=0.0) * rstd
    shift = tl.load(params_ptr + C + c, mask=ok, other=0.0) - mean * scale
    return scale, shift, tl.load(params_ptr + 2 * C + c, mask=ok, other=0.0)


@triton.jit
def backward_terms_of(params_ptr, stats_ptr, grads_ptr, c, ok, rows, eps, C: tl.constexpr):  # noqa: ANN001, ANN201
    """(scale, shift, slope, of_x, constant): dx = scale dz - of_x x + constant.

    That is gamma rstd (dz - mean(dz) - x_hat mean(dz x_hat)), sorted by what changes from pixel to
    pixel.
    """
    scale, shift, slope = terms_of(params_ptr, stats_ptr, c, ok, rows, eps, C)
    mean, rstd = moments_of(stats_ptr, c, ok, rows, eps, C)
    share = 1.0 / rows
    mean_product = tl.load(grads_ptr + c, mask=ok, other=0.0) * share
    mean_dz = tl.load(grads_ptr + C + c, mask=ok, other=0.0) * share
    of_x = scale * rstd * mean_product
    return scale, shift, slope, of_x, of_x * mean - scale * mean_dz


@triton.jit
def activated(x, scale, shift, slope):  # noqa: ANN001, ANN201
    """y in f32."""
    z = scale * x.to(tl.float32) + shift
    return tl.where(z > 0, z, slope * z)


@triton.jit
def through_activation(dy, x, scale, shift, slope):  # noqa: ANN001, ANN201
    """(dz, dz x, dy z where z <= 0) of the gradient `dy`; `add_gradients` takes their sums."""
    x = x.to(tl.float32)
    z = scale * x + shift
    dz = tl.where(z > 0, dy, slope * dy)
    return dz, dz * x, tl.where(z > 0, 0.0, dy * z)


@triton.jit
def through_norm(dy, x, scale, shift, slope, of_x, constant):  # noqa: ANN001, ANN201
    """dx from the gradient of y."""
    x = x.to(tl.float32)
    dz = tl.where(scale * x + shift > 0, dy, slope * dy)
    return scale * dz - of_x * x + constant


@triton.jit
def add_gradients(grads_ptr, stats_ptr, c, ok, dz, dz_x, slope, rows, eps, C: tl.constexpr):  # noqa: ANN001, ANN201
    """Adds a program's sums of dz, dz x and the slope's share to the layer's gradients."""
    mean, rstd = moments_of(stats_ptr, c, ok, rows, eps, C)
    tl.atomic_add(grads_ptr + c, rstd * (dz_x - mean * dz), mask=ok, sem="relaxed")
    tl.atomic_add(grads_ptr + C + c, dz, mask=ok, sem="relaxed")
    tl.atomic_add(grads_ptr + 2 * C + c, slope, mask=ok, sem="relaxed")


@triton.jit
def add_stats(stats_ptr, c, ok, first, second, C: tl.constexpr):  # noqa: ANN001, ANN201
    """Adds a program's sums of a tensor and of its square to the `stats` of the norm behind it."""
    tl.atomic_add(stats_ptr + c, first, mask=ok, sem="relaxed")
    tl.atomic_add(stats_ptr + C + c, second, mask=ok, sem="relaxed")


@triton.jit(do_not_specialize=["rows"])
def move_running(stats_ptr, mean_ptr, var_ptr, rows, momentum, C: tl.constexpr, CP: tl.constexpr):  # noqa: ANN001, ANN201
    """Moves a norm's running mean and (unbiased) variance; `CP` is C or more, a power of two."""
    c = tl.arange(0, CP)
    ok = c < C
    mean = tl.load(stats_ptr + c, mask=ok, other=0.0) / rows
    second = tl.load(stats_ptr + C + c, mask=ok, other=0.0) / rows
    var = tl.maximum(second - mean * mean, 0.0) * (rows / (rows - 1.0))
    old_mean = tl.load(mean_ptr + c, mask=ok, other=0.0)
    old_var = tl.load(var_ptr + c, mask=ok, other=0.0)
    tl.store(mean_ptr + c, old_mean + momentum * (mean - old_mean), mask=ok)
    tl.store(var_ptr + c, old_var + momentum * (var - old_var), mask=ok)


def rows_summed(pixels: int) -> int:
    """Of how many rows of a product's tile a thread has some: sums over these move nothing."""
    return min(pixels, 16 if pixels >= 64 else 32)


@triton.jit
def threads_sums(x, ROWS: tl.constexpr):  # noqa: ANN001, ANN201
    """x `[R, C]` summed over each thread's own of `ROWS` rows, `[R / ROWS, 8, C]`."""
    R: tl.constexpr = x.shape[0]
    C: tl.constexpr = x.shape[1]
    return tl.sum(tl.reshape(x, (R // ROWS, ROWS // 8, 8, C)), 1)


@triton.jit
def sum_all(x):  # noqa: ANN001, ANN201
    """What `threads_sums` has left, `[C]`."""
    return tl.sum(tl.sum(x, 0), 0)
