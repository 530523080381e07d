//! Vectors and rigid poses. World axes follow REP-103: x forward, y left, z up, metres.

use std::ops::{Add, Mul, Neg, Sub};

/// A point or direction, metres.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub(crate) struct Vec3 {
    pub(crate) x: f32,
    pub(crate) y: f32,
    pub(crate) z: f32,
}

pub(crate) const UP: Vec3 = vec3(0.0, 0.0, 1.0);

pub(crate) const fn vec3(x: f32, y: f32, z: f32) -> Vec3 {
    Vec3 { x, y, z }
}

impl Vec3 {
    #[inline]
    pub(crate) fn dot(self, o: Self) -> f32 {
        self.x * o.x + self.y * o.y + self.z * o.z
    }

    #[inline]
    pub(crate) fn cross(self, o: Self) -> Self {
        vec3(
            self.y * o.z - self.z * o.y,
            self.z * o.x - self.x * o.z,
            self.x * o.y - self.y * o.x,
        )
    }

    #[inline]
    pub(crate) fn length(self) -> f32 {
        self.dot(self).sqrt()
    }

    /// Unit vector; a zero vector stays zero.
    #[inline]
    pub(crate) fn unit(self) -> Self {
        self * (1.0 / self.length().max(1e-12))
    }

    #[inline]
    pub(crate) fn mix(self, o: Self, w: f32) -> Self {
        self * (1.0 - w) + o * w
    }

    /// Component-wise product, for colours.
    #[inline]
    pub(crate) fn times(self, o: Self) -> Self {
        vec3(self.x * o.x, self.y * o.y, self.z * o.z)
    }
}

impl Add for Vec3 {
    type Output = Self;
    #[inline]
    fn add(self, o: Self) -> Self {
        vec3(self.x + o.x, self.y + o.y, self.z + o.z)
    }
}

impl Sub for Vec3 {
    type Output = Self;
    #[inline]
    fn sub(self, o: Self) -> Self {
        vec3(self.x - o.x, self.y - o.y, self.z - o.z)
    }
}

impl Mul<f32> for Vec3 {
    type Output = Self;
    #[inline]
    fn mul(self, k: f32) -> Self {
        vec3(self.x * k, self.y * k, self.z * k)
    }
}

impl Neg for Vec3 {
    type Output = Self;
    #[inline]
    fn neg(self) -> Self {
        self * -1.0
    }
}

/// A rigid transform: `parent = rotation * child + translation`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pose {
    /// Row-major rotation matrix, child axes in its columns.
    pub rotation: [[f64; 3]; 3],
    /// The child's origin in the parent, metres.
    pub translation: [f64; 3],
}

impl Pose {
    /// The pose at `translation` with z-y-x Euler angles in radians (REP-103: positive pitch is
    /// nose down).
    pub fn from_euler(translation: [f64; 3], roll: f64, pitch: f64, yaw: f64) -> Self {
        let (sr, cr) = roll.sin_cos();
        let (sp, cp) = pitch.sin_cos();
        let (sy, cy) = yaw.sin_cos();
        let rotation = [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
            [-sp, cp * sr, cp * cr],
        ];
        Self {
            rotation,
            translation,
        }
    }

    /// This pose followed by `child`, which is given in this pose's frame.
    pub fn then(&self, child: &Pose) -> Pose {
        let mut rotation = [[0.0; 3]; 3];
        for (i, row) in rotation.iter_mut().enumerate() {
            for (j, cell) in row.iter_mut().enumerate() {
                *cell = (0..3)
                    .map(|k| self.rotation[i][k] * child.rotation[k][j])
                    .sum();
            }
        }
        Pose {
            rotation,
            translation: self.apply(child.translation),
        }
    }

    /// A point of the child frame, in the parent frame.
    pub fn apply(&self, p: [f64; 3]) -> [f64; 3] {
        let mut out = self.translation;
        for (i, cell) in out.iter_mut().enumerate() {
            *cell += (0..3).map(|k| self.rotation[i][k] * p[k]).sum::<f64>();
        }
        out
    }

    /// The transform from parent to child.
    pub fn inverse(&self) -> Pose {
        let r = &self.rotation;
        let t = &self.translation;
        let mut rotation = [[0.0; 3]; 3];
        let mut translation = [0.0; 3];
        for i in 0..3 {
            for j in 0..3 {
                rotation[i][j] = r[j][i];
            }
            translation[i] = -(0..3).map(|k| r[k][i] * t[k]).sum::<f64>();
        }
        Pose {
            rotation,
            translation,
        }
    }

    /// Unit quaternion `[x, y, z, w]` with w >= 0.
    pub fn quaternion(&self) -> [f64; 4] {
        let r = &self.rotation;
        let square = [
            1.0 + r[0][0] - r[1][1] - r[2][2],
            1.0 - r[0][0] + r[1][1] - r[2][2],
            1.0 - r[0][0] - r[1][1] + r[2][2],
            1.0 + r[0][0] + r[1][1] + r[2][2],
        ];
        let largest = (0..4).fold(0, |m, i| if square[i] > square[m] { i } else { m });
        let root = square[largest].max(0.0).sqrt() * 2.0;
        let (a, b, c) = (r[2][1], r[0][2], r[1][0]);
        let (ta, tb, tc) = (r[1][2], r[2][0], r[0][1]);
        let q = match largest {
            0 => [
                root / 4.0,
                (tc + c) / root,
                (b + tb) / root,
                (a - ta) / root,
            ],
            1 => [
                (tc + c) / root,
                root / 4.0,
                (ta + a) / root,
                (b - tb) / root,
            ],
            2 => [
                (b + tb) / root,
                (ta + a) / root,
                root / 4.0,
                (c - tc) / root,
            ],
            _ => [
                (a - ta) / root,
                (b - tb) / root,
                (c - tc) / root,
                root / 4.0,
            ],
        };
        let sign = if q[3] < 0.0 { -1.0 } else { 1.0 };
        q.map(|v| v * sign)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rotation by a quaternion, by the textbook formula.
    fn rotate(q: [f64; 4], p: [f64; 3]) -> [f64; 3] {
        let [x, y, z, w] = q;
        let cross = |a: [f64; 3], b: [f64; 3]| {
            [
                a[1] * b[2] - a[2] * b[1],
                a[2] * b[0] - a[0] * b[2],
                a[0] * b[1] - a[1] * b[0],
            ]
        };
        let t = cross([x, y, z], p).map(|v| 2.0 * v);
        let u = cross([x, y, z], t);
        [
            p[0] + w * t[0] + u[0],
            p[1] + w * t[1] + u[1],
            p[2] + w * t[2] + u[2],
        ]
    }

    #[test]
    fn the_quaternion_turns_points_as_the_matrix_does() {
        for (roll, pitch, yaw) in [
            (0.0, 0.0, 0.0),
            (0.1, -0.2, 3.0),
            (3.1, 0.2, -1.0),
            (-1.6, 1.2, 2.0),
        ] {
            let pose = Pose::from_euler([0.0; 3], roll, pitch, yaw);
            let p = [1.0, -2.0, 0.5];
            let (a, b) = (pose.apply(p), rotate(pose.quaternion(), p));
            for i in 0..3 {
                assert!((a[i] - b[i]).abs() < 1e-12, "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn a_pose_and_its_inverse_cancel() {
        let pose = Pose::from_euler([4.0, -3.0, 2.0], 0.1, 0.2, 0.3);
        let back = pose.inverse().apply(pose.apply([1.0, 2.0, 3.0]));
        for (a, b) in back.iter().zip([1.0, 2.0, 3.0]) {
            assert!((a - b).abs() < 1e-12);
        }
    }
}
