//! How the vehicle moves: its place, attitude and speed at any time, from the seed alone.

use super::course::Course;
use super::layout::LANE_WIDTH_M;
use super::random::{Draws, smooth_noise};
use crate::pose::Pose;

/// The vehicle's velocity in base_link (REP-103 axes).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Twist {
    /// Metres a second.
    pub linear: [f64; 3],
    /// Radians a second.
    pub angular: [f64; 3],
}

/// The drive: constant speed with slow swells, in the left lane.
pub(crate) struct Motion {
    seed: u64,
    start_m: f64,
    speed: f64,
    swells: [[f64; 3]; 3],
}

impl Motion {
    pub(crate) fn new(course: &Course, seed: u64) -> Self {
        let mut draws = Draws::new(seed, 5);
        let speed = draws.between(7.5, 11.5) as f64;
        let swells = [13.0, 29.0, 61.0].map(|period| {
            let omega = std::f64::consts::TAU / (period * draws.between(0.85, 1.2) as f64);
            // Amplitudes in metres a second; their sum stays below 0.45 of the mean speed.
            let amplitude = speed * 0.14 * draws.unit() as f64;
            [
                amplitude,
                omega,
                draws.between(0.0, std::f32::consts::TAU) as f64,
            ]
        });
        Self {
            seed,
            start_m: draws.unit() as f64 * course.length(),
            speed,
            swells,
        }
    }

    /// Distance along the loop at a time, metres; grows past the loop's length.
    pub(crate) fn distance_m(&self, seconds: f64) -> f64 {
        let swell: f64 = self
            .swells
            .iter()
            .map(|[amplitude, omega, phase]| {
                amplitude / omega * ((omega * seconds + phase).sin() - phase.sin())
            })
            .sum();
        self.start_m + self.speed * seconds + swell
    }

    /// Speed along the course, metres a second.
    pub(crate) fn speed(&self, seconds: f64) -> f64 {
        let swell: f64 = self
            .swells
            .iter()
            .map(|[a, omega, phase]| a * (omega * seconds + phase).cos())
            .sum();
        self.speed + swell
    }

    fn acceleration(&self, seconds: f64) -> f64 {
        self.swells
            .iter()
            .map(|[a, omega, phase]| -a * omega * (omega * seconds + phase).sin())
            .sum()
    }

    fn offset_m(&self, s: f64) -> f64 {
        LANE_WIDTH_M as f64 * 0.5 + 0.28 * smooth_noise(self.seed ^ 51, s / 35.0)
    }

    /// base_link on the course's own plane: x, y, heading, with pitch and roll about the ground.
    pub(crate) fn pose(&self, course: &Course, seconds: f64) -> Pose {
        let s = self.distance_m(seconds);
        let step = 0.5;
        let [x, y] = course.point(s, self.offset_m(s));
        let [xa, ya] = course.point(s - step, self.offset_m(s - step));
        let [xb, yb] = course.point(s + step, self.offset_m(s + step));
        let heading = (yb - ya).atan2(xb - xa);
        let speed = self.speed(seconds);
        let turn = course.heading_at(s + 1.0) - course.heading_at(s - 1.0);
        let curvature = ((turn + std::f64::consts::PI).rem_euclid(std::f64::consts::TAU)
            - std::f64::consts::PI)
            / 2.0;
        // Body lean per metre a second squared, and the road's bumps over metres.
        let bump = |k: u64, length: f64| smooth_noise(self.seed ^ (60 + k), s / length);
        let pitch =
            -0.006 * self.acceleration(seconds) + 0.004 * bump(1, 2.3) + 0.006 * bump(2, 9.0);
        let roll = 0.006 * speed * speed * curvature + 0.004 * bump(3, 2.9) + 0.006 * bump(4, 11.0);
        Pose::from_euler([x, y, 0.0], roll, pitch, heading)
    }

    /// Velocity in base_link at a time, from poses a millisecond apart.
    pub(crate) fn twist(&self, course: &Course, seconds: f64) -> Twist {
        let half = 5e-4;
        let now = self.pose(course, seconds);
        let (a, b) = (
            self.pose(course, seconds - half),
            self.pose(course, seconds + half),
        );
        let r = &now.rotation;
        let linear = [0, 1, 2].map(|i| {
            (0..3)
                .map(|k| r[k][i] * (b.translation[k] - a.translation[k]))
                .sum::<f64>()
                / (2.0 * half)
        });
        let turn = a.inverse().then(&b).rotation;
        let angular = [
            (turn[2][1] - turn[1][2]) * 0.5,
            (turn[0][2] - turn[2][0]) * 0.5,
            (turn[1][0] - turn[0][1]) * 0.5,
        ]
        .map(|v| v / (2.0 * half));
        Twist { linear, angular }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_twist_carries_one_pose_to_the_next() {
        let course = Course::new(3);
        let motion = Motion::new(&course, 3);
        for k in 0..50 {
            let t = k as f64 * 0.7;
            let dt = 0.01;
            let (a, b) = (motion.pose(&course, t), motion.pose(&course, t + dt));
            let twist = motion.twist(&course, t + dt / 2.0);
            let moved = a.inverse().apply(b.translation);
            for i in 0..2 {
                // Bends of the path within 10 ms stay below a millimetre or two.
                assert!(
                    (moved[i] - twist.linear[i] * dt).abs() < 3e-3,
                    "{moved:?} {twist:?}"
                );
            }
            assert!(twist.linear[0] > 2.0, "the vehicle moves forward");
        }
    }
}
