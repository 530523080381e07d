//! The centre line of the road: a closed loop of straights and bends, and the map between world
//! coordinates (x, y) and road coordinates (s along, d to the left).

use super::random::{Draws, floor};

/// Points farther than this from the centre line have no road coordinates, metres.
pub(crate) const COURSE_REACH_M: f32 = 70.0;
const CELL_M: f32 = 4.0;
const NOWHERE: u16 = u16::MAX;

/// Road coordinates of a point.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RoadPoint {
    /// Arc length along the centre line, metres, in 0..length.
    pub(crate) s: f32,
    /// Offset to the left of the centre line, metres.
    pub(crate) d: f32,
}

/// A closed centre line sampled about every metre.
pub(crate) struct Course {
    x: Vec<f64>,
    y: Vec<f64>,
    heading: Vec<f64>,
    /// Position, unit tangent and curvature, for fast lookups.
    samples: Vec<[f32; 5]>,
    spacing: f64,
    origin: [f32; 2],
    columns: usize,
    rows: usize,
    nearest: Vec<u16>,
}

impl Course {
    /// The loop of `seed`, 1.8 to 3.2 km long, with no bend tighter than about 40 m.
    pub(crate) fn new(seed: u64) -> Self {
        let (x, y) = resampled(&smoothed(&polygon(seed)));
        let n = x.len();
        let spacing = ((x[1] - x[0]).powi(2) + (y[1] - y[0]).powi(2)).sqrt();
        let heading: Vec<f64> = (0..n)
            .map(|i| {
                let (a, b) = ((i + n - 1) % n, (i + 1) % n);
                (y[b] - y[a]).atan2(x[b] - x[a])
            })
            .collect();
        let mut samples = Vec::with_capacity(n);
        for i in 0..n {
            let (a, b) = ((i + n - 1) % n, (i + 1) % n);
            let turn = wrapped_angle(heading[b] - heading[a]);
            let curvature = turn / (2.0 * spacing);
            let (sin, cos) = heading[i].sin_cos();
            samples.push([
                x[i] as f32,
                y[i] as f32,
                cos as f32,
                sin as f32,
                curvature as f32,
            ]);
        }
        let mut course = Self {
            x,
            y,
            heading,
            samples,
            spacing,
            origin: [0.0; 2],
            columns: 0,
            rows: 0,
            nearest: Vec::new(),
        };
        course.index_cells();
        course
    }

    /// Length of the loop, metres.
    pub(crate) fn length(&self) -> f64 {
        self.spacing * self.x.len() as f64
    }

    /// World position of road coordinates; `s` may run past the loop's end.
    pub(crate) fn point(&self, s: f64, d: f64) -> [f64; 2] {
        let (i, j, f) = self.bracket(s);
        let heading = self.heading_at(s);
        let (x, y) = (
            self.x[i] + (self.x[j] - self.x[i]) * f,
            self.y[i] + (self.y[j] - self.y[i]) * f,
        );
        [x - heading.sin() * d, y + heading.cos() * d]
    }

    /// Heading of the centre line at `s`, radians.
    pub(crate) fn heading_at(&self, s: f64) -> f64 {
        let (i, j, f) = self.bracket(s);
        self.heading[i] + wrapped_angle(self.heading[j] - self.heading[i]) * f
    }

    /// Road coordinates of a world point, or None beyond `COURSE_REACH_M`.
    #[inline]
    pub(crate) fn locate(&self, x: f32, y: f32) -> Option<RoadPoint> {
        let (column, row) = ((x - self.origin[0]) / CELL_M, (y - self.origin[1]) / CELL_M);
        if column < 0.0 || row < 0.0 {
            return None;
        }
        let (column, row) = (column as usize, row as usize);
        if column >= self.columns || row >= self.rows {
            return None;
        }
        let start = self.nearest[row * self.columns + column];
        if start == NOWHERE {
            return None;
        }
        Some(self.refine(start as usize, x, y))
    }

    /// Road coordinates of a world point that is near the sample at `s`.
    #[inline]
    pub(crate) fn locate_near(&self, s: f32, x: f32, y: f32) -> RoadPoint {
        self.refine(
            (s / self.spacing as f32) as usize % self.samples.len(),
            x,
            y,
        )
    }

    #[inline]
    fn refine(&self, start: usize, x: f32, y: f32) -> RoadPoint {
        let n = self.samples.len() as isize;
        let spacing = self.spacing as f32;
        let mut i = start as isize;
        let mut along = 0.0;
        let mut across = 0.0;
        let mut bend = 1.0;
        let mut curvature = 0.0;
        for turn in 0..3 {
            let [px, py, tx, ty, k] = self.samples[i as usize];
            let (dx, dy) = (x - px, y - py);
            along = dx * tx + dy * ty;
            across = dy * tx - dx * ty;
            curvature = k;
            bend = (1.0 - k * across).max(0.3);
            let step = floor(along / bend / spacing + 0.5);
            if step == 0 || turn == 2 {
                break;
            }
            i = (i + step as isize).rem_euclid(n);
        }
        let s = i as f32 * spacing + along / bend;
        let length = spacing * n as f32;
        let s = if s < 0.0 {
            s + length
        } else if s >= length {
            s - length
        } else {
            s
        };
        RoadPoint {
            s,
            d: across - 0.5 * curvature * along * along,
        }
    }

    /// Shortest signed way from `from` to `to` along the loop, metres.
    pub(crate) fn gap(&self, from: f64, to: f64) -> f64 {
        let length = self.length();
        (to - from + length / 2.0).rem_euclid(length) - length / 2.0
    }

    fn bracket(&self, s: f64) -> (usize, usize, f64) {
        let n = self.x.len();
        let at = s.rem_euclid(self.length()) / self.spacing;
        let i = (at.floor() as usize).min(n - 1);
        (i, (i + 1) % n, at - i as f64)
    }

    fn index_cells(&mut self) {
        let bounds = |v: &[f64]| {
            let low = v.iter().copied().fold(f64::MAX, f64::min) as f32 - COURSE_REACH_M;
            let high = v.iter().copied().fold(f64::MIN, f64::max) as f32 + COURSE_REACH_M;
            (low, high)
        };
        let ((x0, x1), (y0, y1)) = (bounds(&self.x), bounds(&self.y));
        self.origin = [x0, y0];
        self.columns = ((x1 - x0) / CELL_M).ceil() as usize;
        self.rows = ((y1 - y0) / CELL_M).ceil() as usize;
        self.nearest = vec![NOWHERE; self.columns * self.rows];
        let mut best = vec![COURSE_REACH_M * COURSE_REACH_M; self.nearest.len()];
        let reach = (COURSE_REACH_M / CELL_M).ceil() as isize;
        for (i, sample) in self.samples.iter().enumerate() {
            let column = ((sample[0] - x0) / CELL_M) as isize;
            let row = ((sample[1] - y0) / CELL_M) as isize;
            for r in (row - reach).max(0)..(row + reach + 1).min(self.rows as isize) {
                for c in (column - reach).max(0)..(column + reach + 1).min(self.columns as isize) {
                    let dx = x0 + (c as f32 + 0.5) * CELL_M - sample[0];
                    let dy = y0 + (r as f32 + 0.5) * CELL_M - sample[1];
                    let at = r as usize * self.columns + c as usize;
                    let square = dx * dx + dy * dy;
                    if square < best[at] {
                        best[at] = square;
                        self.nearest[at] = i as u16;
                    }
                }
            }
        }
    }
}

fn wrapped_angle(a: f64) -> f64 {
    use std::f64::consts::PI;
    (a + PI).rem_euclid(2.0 * PI) - PI
}

/// A star-shaped polygon, subdivided to about a metre.
fn polygon(seed: u64) -> Vec<[f64; 2]> {
    let mut draws = Draws::new(seed, 1);
    let corners = 6 + draws.index(4);
    let clockwise = draws.chance(0.5);
    let corner: Vec<[f64; 2]> = (0..corners)
        .map(|i| {
            let turn = (i as f64 + draws.between(-0.22, 0.22) as f64) / corners as f64;
            let angle = turn * std::f64::consts::TAU * if clockwise { -1.0 } else { 1.0 };
            let radius = draws.between(280.0, 450.0) as f64;
            [radius * angle.cos(), radius * angle.sin()]
        })
        .collect();
    let mut dense = Vec::new();
    for i in 0..corners {
        let (a, b) = (corner[i], corner[(i + 1) % corners]);
        let length = ((b[0] - a[0]).powi(2) + (b[1] - a[1]).powi(2)).sqrt();
        let steps = length.round() as usize;
        for step in 0..steps {
            let f = step as f64 / steps as f64;
            dense.push([a[0] + (b[0] - a[0]) * f, a[1] + (b[1] - a[1]) * f]);
        }
    }
    dense
}

/// Corners rounded by three passes of a 61-point running mean.
fn smoothed(points: &[[f64; 2]]) -> Vec<[f64; 2]> {
    const HALF: usize = 30;
    let n = points.len();
    let mut points = points.to_vec();
    for _ in 0..3 {
        points = (0..n)
            .map(|i| {
                let mut sum = [0.0; 2];
                for k in 0..=2 * HALF {
                    let p = points[(i + n + k - HALF) % n];
                    sum = [sum[0] + p[0], sum[1] + p[1]];
                }
                sum.map(|v| v / (2 * HALF + 1) as f64)
            })
            .collect();
    }
    points
}

/// The same closed curve with samples at even arc length.
fn resampled(points: &[[f64; 2]]) -> (Vec<f64>, Vec<f64>) {
    let n = points.len();
    let chord = |i: usize| {
        let (a, b) = (points[i], points[(i + 1) % n]);
        ((b[0] - a[0]).powi(2) + (b[1] - a[1]).powi(2)).sqrt()
    };
    let length: f64 = (0..n).map(chord).sum();
    let count = length.round() as usize;
    let spacing = length / count as f64;
    let (mut x, mut y) = (Vec::with_capacity(count), Vec::with_capacity(count));
    let (mut i, mut before) = (0, 0.0);
    for k in 0..count {
        let target = k as f64 * spacing;
        while before + chord(i) < target && i + 1 < n {
            before += chord(i);
            i += 1;
        }
        let f = (target - before) / chord(i);
        let (a, b) = (points[i], points[(i + 1) % n]);
        x.push(a[0] + (b[0] - a[0]) * f);
        y.push(a[1] + (b[1] - a[1]) * f);
    }
    (x, y)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn road_coordinates_survive_the_way_to_the_world_and_back() {
        for seed in 0..4 {
            let course = Course::new(seed);
            for k in 0..400 {
                let s = course.length() * k as f64 / 400.0;
                for d in [-12.0, -3.0, 0.0, 4.0, 12.0] {
                    let [x, y] = course.point(s, d);
                    let Some(back) = course.locate(x as f32, y as f32) else {
                        panic!("seed {seed}: ({s}, {d}) has no road coordinates");
                    };
                    let off = course.gap(s, back.s as f64).abs();
                    // 4 cm: a fifth of the narrowest thing drawn in road coordinates, a kerb.
                    assert!(
                        off < 0.08 && (back.d as f64 - d).abs() < 0.04,
                        "{s} {d} {back:?}"
                    );
                }
            }
        }
    }
}
