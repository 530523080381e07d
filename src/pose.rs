//! Rigid poses: a frame's place and attitude in another. Axes follow REP-103, metres and radians.

/// A rigid transform: `parent = rotation * child + translation`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pose {
    /// Row-major rotation matrix, child axes in its columns.
    pub rotation: [[f64; 3]; 3],
    /// The child's origin in the parent, metres.
    pub translation: [f64; 3],
}

impl Pose {
    /// The child frame is the parent frame.
    pub const IDENTITY: Self = Self {
        rotation: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        translation: [0.0; 3],
    };

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

    /// The pose at `translation` with a quaternion `[x, y, z, w]`, scaled to a unit one; None where
    /// a number is not finite or the quaternion is nearly zero.
    pub fn from_quaternion(translation: [f64; 3], [x, y, z, w]: [f64; 4]) -> Option<Self> {
        let norm = (x * x + y * y + z * z + w * w).sqrt();
        let finite = translation.iter().all(|v| v.is_finite()) && norm.is_finite();
        if !finite || norm < 1e-6 {
            return None;
        }
        let [x, y, z, w] = [x, y, z, w].map(|v| v / norm);
        let rotation = [
            [
                1.0 - 2.0 * (y * y + z * z),
                2.0 * (x * y - z * w),
                2.0 * (x * z + y * w),
            ],
            [
                2.0 * (x * y + z * w),
                1.0 - 2.0 * (x * x + z * z),
                2.0 * (y * z - x * w),
            ],
            [
                2.0 * (x * z - y * w),
                2.0 * (y * z + x * w),
                1.0 - 2.0 * (x * x + y * y),
            ],
        ];
        Some(Self {
            rotation,
            translation,
        })
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

    /// A direction of the child frame, in the parent frame.
    pub fn rotate(&self, p: [f64; 3]) -> [f64; 3] {
        self.rotation
            .map(|row| row[0] * p[0] + row[1] * p[1] + row[2] * p[2])
    }

    /// A point of the child frame, in the parent frame.
    pub fn apply(&self, p: [f64; 3]) -> [f64; 3] {
        let mut out = self.translation;
        for (i, cell) in out.iter_mut().enumerate() {
            *cell += (0..3).map(|k| self.rotation[i][k] * p[k]).sum::<f64>();
        }
        out
    }

    /// Angle of this pose's x axis about the parent's z axis, radians.
    pub fn yaw(&self) -> f64 {
        self.rotation[1][0].atan2(self.rotation[0][0])
    }

    /// The pose at `share` (0 to 1) of the way to another: the position along the line, the
    /// rotation along the shorter arc (slerp).
    pub fn interpolated(&self, to: &Pose, share: f64) -> Pose {
        let (a, mut b) = (self.quaternion(), to.quaternion());
        let mut cos = (0..4).map(|i| a[i] * b[i]).sum::<f64>();
        if cos < 0.0 {
            b = b.map(|v| -v);
            cos = -cos;
        }
        let angle = cos.min(1.0).acos();
        // The sine of a tiny angle would divide by zero; there the line and the arc are one.
        let [wa, wb] = if angle < 1e-6 {
            [1.0 - share, share]
        } else {
            [1.0 - share, share].map(|s| (s * angle).sin() / angle.sin())
        };
        let translation = [0, 1, 2]
            .map(|i| self.translation[i] + (to.translation[i] - self.translation[i]) * share);
        let mixed = [0, 1, 2, 3].map(|i| wa * a[i] + wb * b[i]);
        Pose::from_quaternion(translation, mixed).unwrap_or(*self)
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
            let twice = pose.quaternion().map(|v| -2.0 * v);
            let again = Pose::from_quaternion([0.0; 3], twice).map(|pose| pose.apply(p));
            let (a, b) = (pose.apply(p), rotate(pose.quaternion(), p));
            for i in 0..3 {
                assert!((a[i] - b[i]).abs() < 1e-12, "{a:?} {b:?}");
                assert!(again.is_some_and(|again| (again[i] - b[i]).abs() < 1e-12));
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

    #[test]
    fn a_quaternion_of_nothing_or_of_nan_is_no_pose() {
        assert_eq!(Pose::from_quaternion([0.0; 3], [0.0; 4]), None);
        assert_eq!(
            Pose::from_quaternion([0.0; 3], [0.0, 0.0, f64::NAN, 1.0]),
            None
        );
        assert_eq!(
            Pose::from_quaternion([f64::INFINITY, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]),
            None
        );
    }
}
