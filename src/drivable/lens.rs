//! Lens models of `sensor_msgs/CameraInfo`: where a ray meets the image plane at focal length 1.

/// Newton steps; a lens that needs more at a point is not inverted there.
const STEPS: usize = 30;
/// Newton stops where the distorted point is met this closely, in focal lengths.
const TOLERANCE: f64 = 1e-10;
/// Radii up to which the distortion is looked at: tangents of 89.4 degrees off the axis.
const WIDEST_TANGENT: f64 = 100.0;
/// Angles off the axis up to which a fisheye is looked at, radians.
const WIDEST_ANGLE: f64 = std::f64::consts::PI;

/// The parameters of a lens, and how far off its axis they hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lens {
    model: Model,
    /// Tangent (fisheye: angle) off the axis below which the radius in the image still grows.
    limit: f64,
    /// The radius in the image there, focal lengths.
    image_limit: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Model {
    /// Straight lines stay straight.
    Pinhole,
    /// OpenCV's rational model `[k1, k2, p1, p2, k3, k4, k5, k6]`; plumb_bob is its first five.
    Rational([f64; 8]),
    /// Kannala-Brandt `[k1, k2, k3, k4]` over the angle off the axis.
    Equidistant([f64; 4]),
}

impl Lens {
    /// Returns a lens without distortion.
    pub fn pinhole() -> Self {
        Self::new(Model::Pinhole)
    }

    /// Returns `plumb_bob`'s lens of `[k1, k2, p1, p2, k3]`.
    pub fn plumb_bob([k1, k2, p1, p2, k3]: [f64; 5]) -> Self {
        Self::rational([k1, k2, p1, p2, k3, 0.0, 0.0, 0.0])
    }

    /// Returns `rational_polynomial`'s lens of `[k1, k2, p1, p2, k3, k4, k5, k6]`.
    pub fn rational(k: [f64; 8]) -> Self {
        if k.iter().all(|k| *k == 0.0) {
            return Self::pinhole();
        }
        Self::new(Model::Rational(k))
    }

    /// Returns `equidistant`'s fisheye lens of `[k1, k2, k3, k4]`.
    pub fn equidistant(k: [f64; 4]) -> Self {
        Self::new(Model::Equidistant(k))
    }

    fn new(model: Model) -> Self {
        let limit = limit(&model);
        Self {
            model,
            limit,
            image_limit: radius(&model, limit),
        }
    }

    /// Returns the distorted image-plane point, in focal lengths, of a ray in the optical frame
    /// (x right, y down, z forward, any length), or None where the lens has no image of it: behind
    /// a pinhole, or so far off the axis that the polynomial folds back.
    #[inline]
    pub fn plane_from_ray(&self, ray: [f64; 3]) -> Option<[f64; 2]> {
        let point = match &self.model {
            Model::Pinhole => pinhole(ray),
            Model::Rational(k) => rational(k, self.limit, ray),
            Model::Equidistant(k) => equidistant(k, self.limit, ray),
        };
        (!point[0].is_nan()).then_some(point)
    }

    /// As `plane_from_ray` for many rays, coordinate by coordinate; NaN where the lens has no image.
    pub(super) fn plane_from_rays(&self, rays: [&[f64]; 3], plane: [&mut [f64]; 2]) {
        let Self { model, limit, .. } = *self;
        // One loop for each model, over copies of its numbers: so it runs over several rays at once.
        match model {
            Model::Pinhole => each(rays, plane, pinhole),
            Model::Rational(k) => each(rays, plane, move |ray| rational(&k, limit, ray)),
            Model::Equidistant(k) => each(rays, plane, move |ray| equidistant(&k, limit, ray)),
        }
    }

    /// Returns the unit ray that a distorted image-plane point shows, or None where no ray within
    /// the lens's limit does. Exact to 1e-10 focal lengths in the image.
    pub fn ray_from_plane(&self, [x, y]: [f64; 2]) -> Option<[f64; 3]> {
        match self.model {
            Model::Pinhole => Some(unit([x, y, 1.0])),
            Model::Rational(k) => {
                let [x, y] = undistorted(&k, [x, y])?;
                (x * x + y * y <= self.limit * self.limit).then(|| unit([x, y, 1.0]))
            }
            Model::Equidistant(k) => {
                let across = x.hypot(y);
                if across > self.image_limit {
                    return None;
                }
                if across == 0.0 {
                    return Some([0.0, 0.0, 1.0]);
                }
                let angle = fisheye_angle(&k, across, self.limit)?;
                let (sin, cos) = angle.sin_cos();
                Some([x / across * sin, y / across * sin, cos])
            }
        }
    }
}

#[inline(always)]
fn each([x, y, z]: [&[f64]; 3], [u, v]: [&mut [f64]; 2], project: impl Fn([f64; 3]) -> [f64; 2]) {
    let rays = x.iter().zip(y).zip(z);
    for (((x, y), z), (u, v)) in rays.zip(u.iter_mut().zip(v)) {
        [*u, *v] = project([*x, *y, *z]);
    }
}

/// The image-plane point, NaN where there is none: without a branch, as in `rational`.
#[inline(always)]
fn pinhole([x, y, z]: [f64; 3]) -> [f64; 2] {
    let is_before = z > 0.0;
    [x / z, y / z].map(|v| if is_before { v } else { f64::NAN })
}

#[inline(always)]
fn rational(k: &[f64; 8], limit: f64, [x, y, z]: [f64; 3]) -> [f64; 2] {
    let (x, y) = (x / z, y / z);
    let is_within = (z > 0.0) & (x * x + y * y <= limit * limit);
    distorted(k, x, y).map(|v| if is_within { v } else { f64::NAN })
}

#[inline(always)]
fn equidistant(k: &[f64; 4], limit: f64, [x, y, z]: [f64; 3]) -> [f64; 2] {
    let across = x.hypot(y);
    let angle = across.atan2(z);
    if angle > limit {
        return [f64::NAN; 2];
    }
    if across == 0.0 {
        return [0.0; 2];
    }
    let scale = fisheye_radius(k, angle) / across;
    [x * scale, y * scale]
}

/// Where the radius in the image stops growing, by steps of 0.1 %, on the safe side.
fn limit(model: &Model) -> f64 {
    let widest = match model {
        Model::Pinhole => return WIDEST_TANGENT,
        Model::Rational(_) => WIDEST_TANGENT,
        Model::Equidistant(_) => WIDEST_ANGLE,
    };
    let (mut at, mut image) = (0.0, 0.0);
    while at < widest {
        let next = at + 1e-3 * (1.0 + at);
        let grown = radius(model, next);
        // Written so that NaN, from a pole of the rational model, ends it too.
        if !(grown > image && grown.is_finite()) {
            break;
        }
        (at, image) = (next, grown);
    }
    at.min(widest)
}

fn radius(model: &Model, off_axis: f64) -> f64 {
    match model {
        Model::Pinhole => off_axis,
        Model::Rational(k) => off_axis * radial(k, off_axis * off_axis),
        Model::Equidistant(k) => fisheye_radius(k, off_axis),
    }
}

#[inline]
fn radial([k1, k2, _, _, k3, k4, k5, k6]: &[f64; 8], r2: f64) -> f64 {
    (1.0 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1.0 + r2 * (k4 + r2 * (k5 + r2 * k6)))
}

#[inline]
fn distorted(k: &[f64; 8], x: f64, y: f64) -> [f64; 2] {
    let [p1, p2] = [k[2], k[3]];
    let r2 = x * x + y * y;
    let radial = radial(k, r2);
    [
        x * radial + 2.0 * p1 * x * y + p2 * (r2 + 2.0 * x * x),
        y * radial + p1 * (r2 + 2.0 * y * y) + 2.0 * p2 * x * y,
    ]
}

/// Newton's method on the two coordinates; None where it does not arrive.
fn undistorted(k: &[f64; 8], [u, v]: [f64; 2]) -> Option<[f64; 2]> {
    let (mut x, mut y) = (u, v);
    for _ in 0..STEPS {
        let [a, b] = distorted(k, x, y);
        let (da, db) = (u - a, v - b);
        if da.abs() + db.abs() < TOLERANCE {
            return Some([x, y]);
        }
        let [[ax, ay], [bx, by]] = slopes(k, x, y);
        let det = ax * by - ay * bx;
        if det.is_nan() || det.abs() < 1e-9 {
            return None;
        }
        // A long step would leave the part of the polynomial that holds.
        let step = [(da * by - db * ay) / det, (db * ax - da * bx) / det];
        let longest = 0.5 * (1.0 + x.hypot(y));
        let shrink = (longest / step[0].hypot(step[1])).min(1.0);
        x += step[0] * shrink;
        y += step[1] * shrink;
    }
    None
}

/// Derivatives of `distorted` by x and y, row by row.
fn slopes(k: &[f64; 8], x: f64, y: f64) -> [[f64; 2]; 2] {
    let [k1, k2, p1, p2, k3, k4, k5, k6] = *k;
    let r2 = x * x + y * y;
    let over = 1.0 + r2 * (k1 + r2 * (k2 + r2 * k3));
    let under = 1.0 + r2 * (k4 + r2 * (k5 + r2 * k6));
    let radial = over / under;
    let over_slope = k1 + r2 * (2.0 * k2 + 3.0 * r2 * k3);
    let under_slope = k4 + r2 * (2.0 * k5 + 3.0 * r2 * k6);
    // d radial / d r2, doubled: r2 grows by 2x a step of x.
    let slope = 2.0 * (over_slope - radial * under_slope) / under;
    let cross = x * y * slope + 2.0 * (p1 * x + p2 * y);
    [
        [radial + x * x * slope + 2.0 * p1 * y + 6.0 * p2 * x, cross],
        [cross, radial + y * y * slope + 6.0 * p1 * y + 2.0 * p2 * x],
    ]
}

#[inline]
fn fisheye_radius([k1, k2, k3, k4]: &[f64; 4], angle: f64) -> f64 {
    let a2 = angle * angle;
    angle * (1.0 + a2 * (k1 + a2 * (k2 + a2 * (k3 + a2 * k4))))
}

/// Bisection kept safe steps of Newton: the radius grows all the way to `limit`.
fn fisheye_angle(k: &[f64; 4], across: f64, limit: f64) -> Option<f64> {
    let (mut low, mut high) = (0.0, limit);
    let mut angle = across.min(limit);
    for _ in 0..2 * STEPS {
        let miss = fisheye_radius(k, angle) - across;
        if miss.abs() < TOLERANCE {
            return Some(angle);
        }
        if miss > 0.0 {
            high = angle;
        } else {
            low = angle;
        }
        let [k1, k2, k3, k4] = *k;
        let a2 = angle * angle;
        let slope = 1.0 + a2 * (3.0 * k1 + a2 * (5.0 * k2 + a2 * (7.0 * k3 + a2 * 9.0 * k4)));
        let newton = angle - miss / slope;
        angle = if newton > low && newton < high {
            newton
        } else {
            0.5 * (low + high)
        };
    }
    None
}

fn unit(p: [f64; 3]) -> [f64; 3] {
    let length = (p[0] * p[0] + p[1] * p[1] + p[2] * p[2]).sqrt();
    p.map(|v| v / length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context, Result, ensure};

    /// Lenses as calibrations give them: a webcam, a wide rational one, a fisheye of 190 degrees.
    fn lenses() -> Vec<(&'static str, Lens, f64)> {
        vec![
            ("pinhole", Lens::pinhole(), 1.5),
            (
                "plumb_bob",
                Lens::plumb_bob([-0.36, 0.17, 0.0007, -0.0004, -0.04]),
                0.7,
            ),
            (
                "barrel",
                Lens::plumb_bob([-0.08, 0.02, 0.0004, -0.0003, 0.0]),
                0.9,
            ),
            (
                "pincushion",
                Lens::plumb_bob([0.12, 0.05, 0.0, 0.001, 0.01]),
                0.9,
            ),
            (
                "rational",
                Lens::rational([8.1, 5.5, 0.0001, -0.0001, 0.3, 8.5, 7.6, 1.5]),
                1.2,
            ),
            (
                "equidistant",
                Lens::equidistant([-0.02, 0.006, -0.004, 0.0008]),
                1.4,
            ),
        ]
    }

    #[test]
    fn a_point_of_the_image_plane_gives_the_ray_whose_image_it_is() -> Result<()> {
        for (name, lens, reach) in lenses() {
            for i in -20..=20 {
                for j in -20..=20 {
                    let direction = f64::from(j) * 0.31;
                    let off_axis = reach * f64::from(i) / 20.0;
                    let across = off_axis * if name == "equidistant" { 0.9 } else { 1.0 };
                    let ray = match name {
                        "equidistant" => [
                            across.sin() * direction.cos(),
                            across.sin() * direction.sin(),
                            across.cos(),
                        ],
                        _ => [across * direction.cos(), across * direction.sin(), 1.0],
                    };
                    let plane = lens.plane_from_ray(ray).context("no image")?;
                    let back = lens.ray_from_plane(plane).context("no ray")?;
                    let ray = unit(ray);
                    // Newton's tolerance over the flattest slope of these lenses.
                    let miss = (0..3).map(|k| (ray[k] - back[k]).abs()).fold(0.0, f64::max);
                    ensure!(miss < 1e-8, "{name} {ray:?}: {miss:e}");
                }
            }
        }
        Ok(())
    }

    #[test]
    fn beyond_the_fold_of_the_polynomial_there_is_neither_image_nor_ray() -> Result<()> {
        // r (1 - 0.3 r2) grows up to r = 1.054, where it is 0.703.
        let lens = Lens::plumb_bob([-0.3, 0.0, 0.0, 0.0, 0.0]);
        ensure!(lens.plane_from_ray([1.04, 0.0, 1.0]).is_some());
        ensure!(lens.plane_from_ray([1.06, 0.0, 1.0]).is_none());
        ensure!(lens.plane_from_ray([1.5, 0.9, 1.0]).is_none());
        ensure!(lens.ray_from_plane([0.70, 0.0]).is_some());
        for x in [0.704, 0.8, 1.5, 9.0] {
            ensure!(lens.ray_from_plane([x, 0.0]).is_none(), "{x}");
        }
        let fisheye = Lens::equidistant([-0.1, 0.0, 0.0, 0.0]);
        // a (1 - 0.1 a2) grows up to a = 1.826, where it is 1.217.
        ensure!(fisheye.ray_from_plane([1.21, 0.0]).is_some());
        ensure!(fisheye.ray_from_plane([0.0, 1.22]).is_none());
        Ok(())
    }

    #[test]
    fn a_fisheye_sees_behind_its_own_plane_and_a_pinhole_does_not() -> Result<()> {
        let fisheye = Lens::equidistant([0.0; 4]);
        let [x, y] = fisheye
            .plane_from_ray([1.0, 0.0, -0.1])
            .context("no image")?;
        ensure!((x - (std::f64::consts::FRAC_PI_2 + 0.1f64.atan())).abs() < 1e-12 && y == 0.0);
        ensure!(Lens::pinhole().plane_from_ray([1.0, 0.0, -0.1]).is_none());
        ensure!(
            Lens::plumb_bob([0.1; 5])
                .plane_from_ray([0.0, 0.0, -1.0])
                .is_none()
        );
        Ok(())
    }

    #[test]
    fn plumb_bob_distorts_as_the_textbook_says() -> Result<()> {
        let lens = Lens::plumb_bob([-0.1, 0.02, 0.001, -0.002, 0.003]);
        let [u, v] = lens.plane_from_ray([0.6, -0.4, 2.0]).context("no image")?;
        // By hand at (0.3, -0.2): r2 = 0.13, radial = 0.987344591.
        ensure!((u - 0.295_463_377_3).abs() < 1e-9, "{u}");
        ensure!((v - -0.197_018_918_2).abs() < 1e-9, "{v}");
        Ok(())
    }
}
