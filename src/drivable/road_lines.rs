//! Pieces of the lines that lie on the ground: kerbs, markings, borders of the road.
//!
//! An edge of a row of pixels is followed from row to row, down the picture, and a line laid through what
//! was followed. A line through places is as exact as they are; a gradient's direction, far from upright
//! as kerbs are in the picture, is not.

use super::level_picture::LevelPicture;
use super::pitch::PitchFrame;
use super::surface::Surface;

/// Rows and columns that are looked at of a larger picture, about.
const FULL_ROWS: usize = 720;
/// Of those rows, one in so many: the least and the most, by how many rows a picture is to have of them.
const ROW_STEPS: [usize; 2] = [2, 4];
const LOOKED_AT: usize = 180;
/// Nearer rows are farther apart, by this share of their way from the horizon.
const STEP_SHARE: f64 = 0.035;
/// Rows under the horizon before the first: nearer to it a road has no width.
const UNDER_HORIZON: f64 = 12.0;
/// Least difference of brightness of an edge, summed over two pairs of pixels.
const LEAST_EDGE: i16 = 16;
/// Edges of a piece, and the ratio of its last row's way from the horizon to its first's: what bends is
/// straight over so short a way.
const FEWEST_EDGES: u32 = 4;
const FARTHEST_RATIO: f64 = 1.3;
/// How far an edge may be from where it is looked for, columns, once its piece has a direction.
const TOLERANCE: f64 = 1.5;
/// How far from straight ahead, as a tangent, the first direction of a piece may point.
const ASIDE: f64 = 0.3;
const MOST_ASIDE: f64 = 15.0;
/// Rows in which an edge may be missing.
const MOST_MISSED: u32 = 1;
/// How exactly an edge's place is known at best, and the greatest deviation from a line, columns.
const EDGE_SIGMA: f64 = 0.2;
const MOST_DEVIATION: f64 = 0.6;

/// A short piece of a line, in the level picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct RoadLine {
    /// Its middle: x to the right and y down, tangents.
    pub(super) at: [f64; 2],
    /// x that it goes aside for one y down.
    pub(super) slope: f64,
    /// Standard deviation of the slope.
    pub(super) slope_sigma: f64,
}

/// Returns the lines on what the frame's mask calls flat ground; none where the mask is not of the
/// camera's size.
pub(super) fn road_lines(frame: &PitchFrame<'_>, level: &LevelPicture<'_>) -> Vec<RoadLine> {
    let [width, height] = frame.camera.size().map(|side| side as usize);
    let mask = frame.mask;
    let fits = [mask.width, mask.height] == [width, height] && mask.ids.len() == width * height;
    let Some(horizon) = level.horizon_pixel().filter(|_| fits) else {
        return Vec::new();
    };
    let stride = (height / FULL_ROWS).max(1);
    let [least, most] = ROW_STEPS;
    let row_step = stride * (height / stride / LOOKED_AT).clamp(least, most);
    let mut trails = Trails::new(horizon, stride as f64);
    // A cast of a number that is too large or none saturates.
    let first_row = (horizon[1] + UNDER_HORIZON * stride as f64).max(0.0) as usize;
    let mut luma = vec![0; width];
    let mut edges = Vec::new();
    let mut row = first_row;
    while row < height {
        (frame.luma_row)(row, &mut luma);
        let looked_at = luma.iter().step_by(stride);
        let brightness: Vec<i16> = looked_at.map(|value| i16::from(*value)).collect();
        let is_ground = |index: usize| {
            let id = mask.ids.get(row * width + index * stride);
            id.is_some_and(|id| matches!(frame.surfaces.surface(*id), Surface::Flat(_)))
        };
        find_edges(&brightness, is_ground, &mut edges);
        trails.take_in(row as f64, &mut edges);
        let under_horizon = row as f64 - horizon[1];
        row = row.saturating_add(row_step.max((STEP_SHARE * under_horizon) as usize));
    }
    let pieces = trails.finish();
    (pieces.iter())
        .filter_map(|piece| piece.in_level(level))
        .collect()
}

/// Where brightness changes along a row.
#[derive(Clone, Copy, Debug)]
struct Edge {
    /// Column, in those that are looked at.
    column: f64,
    /// Whether it is brighter to the right.
    rises: bool,
    is_taken: bool,
}

/// Finds the strongest places of a row's changes of brightness, from left to right.
fn find_edges(brightness: &[i16], is_ground: impl Fn(usize) -> bool, edges: &mut Vec<Edge>) {
    edges.clear();
    let changes: Vec<i16> = (brightness.windows(5))
        .map(|w| w[4] + w[3] - w[1] - w[0])
        .collect();
    for (index, w) in changes.windows(5).enumerate() {
        let strength = w[2].abs();
        if strength < LEAST_EDGE {
            continue;
        }
        let is_strongest = [w[0], w[1]].iter().all(|other| other.abs() <= strength)
            && [w[3], w[4]].iter().all(|other| other.abs() < strength);
        // Two windows of five have their middles four columns in.
        let column = index + 4;
        if is_strongest && is_ground(column) {
            let [before, at, after] = [w[1], w[2], w[3]].map(|change| f64::from(change.abs()));
            // The top of the parabola through the three.
            let aside = 0.5 * (after - before) / (2.0 * at - before - after).max(1.0);
            edges.push(Edge {
                column: column as f64 + aside.clamp(-0.5, 0.5),
                rises: w[2] > 0,
                is_taken: false,
            });
        }
    }
}

/// An edge that is followed down the picture; sums are about its first place.
#[derive(Clone, Copy, Debug)]
struct Trail {
    rises: bool,
    first: [f64; 2],
    last: [f64; 2],
    missed: u32,
    count: u32,
    row: f64,
    column: f64,
    row_row: f64,
    row_column: f64,
    column_column: f64,
}

/// All edges that are followed; places are column and row in pixels of the picture.
#[derive(Debug)]
struct Trails {
    horizon: [f64; 2],
    stride: f64,
    open: Vec<Trail>,
    pieces: Vec<Piece>,
}

impl Trails {
    fn new(horizon: [f64; 2], stride: f64) -> Self {
        Self {
            horizon,
            stride,
            open: Vec::new(),
            pieces: Vec::new(),
        }
    }

    /// Follows the trails into a row, whose edges are in order; those that continue none begin one.
    fn take_in(&mut self, row: f64, edges: &mut [Edge]) {
        let (horizon, stride) = (self.horizon, self.stride);
        let pieces = &mut self.pieces;
        self.open.retain_mut(|trail| {
            let (expected, tolerance) = trail.expected(row, horizon, stride);
            let miss = |edge: &Edge| edge.column * stride - expected;
            let begin = edges.partition_point(|edge| miss(edge) < -tolerance);
            let nearest = (edges.iter_mut().skip(begin))
                .take_while(|edge| miss(edge) <= tolerance)
                .filter(|edge| !edge.is_taken && edge.rises == trail.rises)
                .min_by(|a, b| miss(a).abs().total_cmp(&miss(b).abs()));
            match nearest {
                Some(edge) => {
                    edge.is_taken = true;
                    trail.extend([edge.column * stride, row]);
                }
                None => trail.missed += 1,
            }
            let most_missed = if trail.count == 1 { 0 } else { MOST_MISSED };
            let is_lost = trail.missed > most_missed;
            let [from, to] = [trail.first, trail.last].map(|place| place[1] - horizon[1]);
            let is_long = trail.count >= FEWEST_EDGES && to > FARTHEST_RATIO * from;
            if is_lost || is_long {
                pieces.extend(trail.piece(stride));
                *trail = Trail::new(trail.last, trail.rises);
            }
            !is_lost
        });
        let begun = (edges.iter().filter(|edge| !edge.is_taken))
            .map(|edge| Trail::new([edge.column * stride, row], edge.rises));
        self.open.extend(begun);
    }

    fn finish(mut self) -> Vec<Piece> {
        let last = self
            .open
            .iter()
            .filter_map(|trail| trail.piece(self.stride));
        self.pieces.extend(last);
        self.pieces
    }
}

impl Trail {
    fn new(place: [f64; 2], rises: bool) -> Self {
        Self {
            rises,
            first: place,
            last: place,
            missed: 0,
            count: 1,
            row: 0.0,
            column: 0.0,
            row_row: 0.0,
            row_column: 0.0,
            column_column: 0.0,
        }
    }

    fn extend(&mut self, place: [f64; 2]) {
        let [column, row] = [0, 1].map(|i| place[i] - self.first[i]);
        self.last = place;
        self.missed = 0;
        self.count += 1;
        self.row += row;
        self.column += column;
        self.row_row += row * row;
        self.row_column += row * column;
        self.column_column += column * column;
    }

    /// Sums of squares about the means: of rows, of rows and columns, of columns.
    fn spread(&self) -> [f64; 3] {
        let count = f64::from(self.count);
        [
            self.row_row - self.row * self.row / count,
            self.row_column - self.row * self.column / count,
            self.column_column - self.column * self.column / count,
        ]
    }

    /// The column in which the trail goes on in a row, and how far from it that may be.
    fn expected(&self, row: f64, horizon: [f64; 2], stride: f64) -> (f64, f64) {
        let [last_column, last_row] = self.last;
        let down = row - last_row;
        if self.count == 1 {
            // As if to the point straight ahead, or somewhat aside of it.
            let share = down / (last_row - horizon[1]);
            let aside = ASIDE * share * FULL_ROWS as f64 * stride;
            let expected = last_column + (last_column - horizon[0]) * share;
            return (expected, (aside + 2.0 * stride).min(MOST_ASIDE * stride));
        }
        let [row_row, row_column, _] = self.spread();
        let tolerance = if self.count < 4 { 2.0 } else { 1.0 } * TOLERANCE * stride;
        (last_column + row_column / row_row * down, tolerance)
    }

    /// The line through the trail, where it is one.
    fn piece(&self, stride: f64) -> Option<Piece> {
        if self.count < FEWEST_EDGES {
            return None;
        }
        let count = f64::from(self.count);
        let [row_row, row_column, column_column] = self.spread();
        let slope = row_column / row_row;
        let deviation = ((column_column - slope * row_column).max(0.0) / (count - 2.0)).sqrt();
        // Across the line an edge is as sharp as any; along a row of pixels it is longer the flatter
        // the line.
        let flat = stride * (1.0 + slope * slope).sqrt();
        let sigma = deviation.hypot(EDGE_SIGMA * flat) / row_row.sqrt();
        (deviation <= MOST_DEVIATION * flat).then(|| Piece {
            middle: [
                self.first[0] + self.column / count,
                self.first[1] + self.row / count,
            ],
            half_rows: (row_row / count).sqrt(),
            slope,
            sigma,
        })
    }
}

/// A line through the places of a trail, in the picture.
#[derive(Clone, Copy, Debug)]
struct Piece {
    middle: [f64; 2],
    half_rows: f64,
    /// Columns a row.
    slope: f64,
    sigma: f64,
}

impl Piece {
    fn in_level(&self, level: &LevelPicture<'_>) -> Option<RoadLine> {
        let [column, row] = self.middle;
        let end = |rows: f64| level.point_from_pixel([column + self.slope * rows, row + rows]);
        let (above, below) = (end(-self.half_rows)?, end(self.half_rows)?);
        let [across, down] = [0, 1].map(|i| below[i] - above[i]);
        let scale = (1.0 + self.slope * self.slope).sqrt();
        let slope = across / down;
        let line = RoadLine {
            at: [0, 1].map(|i| 0.5 * (above[i] + below[i])),
            slope,
            // A roll of the camera turns the line and what is not known of it.
            slope_sigma: self.sigma * ((1.0 + slope * slope).sqrt() / scale).powi(2),
        };
        (line.slope.is_finite() && line.slope_sigma.is_finite()).then_some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivable::camera::Camera;
    use crate::drivable::drawn_road::{DrawnRoad, looking_down};
    use crate::labels::LabelMask;
    use crate::msg::CameraInfo;
    use crate::pose::Pose;
    use anyhow::{Context, Result, ensure};

    fn lines_seen(road: &DrawnRoad, optical: Pose) -> Result<Vec<RoadLine>> {
        let lines = road.with_frame(0, &optical, optical, |frame| {
            let level = LevelPicture::new(frame.camera, &frame.optical_in_fixed, frame.up)?;
            Some(road_lines(frame, &level))
        });
        lines.context("no level picture")
    }

    #[test]
    fn lines_are_found_in_the_level_picture_whatever_the_cameras_pitch_and_roll() -> Result<()> {
        let road = DrawnRoad::new(0.0, 70.0)?;
        for (pitch_rad, roll_rad) in [(0.02, 0.0), (0.1, 0.05), (-0.05, -0.1)] {
            let lines = lines_seen(&road, looking_down(pitch_rad, roll_rad))?;
            ensure!(lines.len() > 60, "{} lines", lines.len());
            let misses = lines.iter().map(|line| {
                // A straight line on level ground runs to where the level picture has its middle.
                let miss = (line.slope - line.at[0] / line.at[1]).abs() / line.slope_sigma;
                miss < 3.0
            });
            let right = misses.filter(|is_right| *is_right).count();
            // Some edges are followed from one line to another where lines are a pixel wide.
            ensure!(10 * right > 9 * lines.len(), "{right} of {}", lines.len());
        }
        Ok(())
    }

    #[test]
    fn what_the_mask_does_not_call_ground_has_no_lines() -> Result<()> {
        let mut road = DrawnRoad::new(0.0, 70.0)?;
        road.mask.width = 1279;
        ensure!(lines_seen(&road, looking_down(0.0, 0.0))?.is_empty());
        road.mask.width = 1280;
        road.hide_ground();
        ensure!(lines_seen(&road, looking_down(0.0, 0.0))?.is_empty());
        Ok(())
    }

    #[test]
    fn a_horizon_out_of_the_picture_and_pictures_of_a_few_pixels_give_lines_or_none() -> Result<()>
    {
        let road = DrawnRoad::new(0.0, 70.0)?;
        // Down to where the horizon is 100 rows over the picture.
        ensure!(lines_seen(&road, looking_down(0.48, 0.0))?.len() > 20);
        ensure!(lines_seen(&road, looking_down(-0.6, 0.0))?.is_empty());
        let stripes = |row: usize, luma: &mut [u8]| {
            for (column, value) in luma.iter_mut().enumerate() {
                *value = if (row + column).is_multiple_of(3) {
                    255
                } else {
                    0
                };
            }
        };
        for (width, height) in [(1, 1), (2, 9), (5, 1), (7, 40), (64, 2)] {
            let info = CameraInfo {
                width,
                height,
                k: [9.0, 0.0, 2.0, 0.0, 9.0, 0.0, 0.0, 0.0, 1.0],
                ..CameraInfo::default()
            };
            let camera = Camera::of_own_images(&info)?;
            let mask = LabelMask {
                width: width as usize,
                height: height as usize,
                ids: vec![0; (width * height) as usize],
            };
            let optical = looking_down(0.0, 0.0);
            let level = LevelPicture::new(&camera, &optical, [0.0, 0.0, 1.0]);
            let level = level.context("no level picture")?;
            let lines = road.with_frame(0, &optical, optical, |frame| {
                let frame = PitchFrame {
                    camera: &camera,
                    luma_row: &stripes,
                    mask: &mask,
                    ..*frame
                };
                road_lines(&frame, &level)
            });
            ensure!(lines.len() < 40, "{width}x{height}");
        }
        Ok(())
    }
}
