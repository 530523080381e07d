//! What the columns of a mask tell of the bodies on wheels that show in them: how high they are, and
//! where their lower edges run between the tyres.

use super::feet::{Feet, PART, are_equal};
use super::scene::Scene;
use super::surface::{Standing, Surface, Wheels};

/// Columns and rows of the mask of which one is looked at for bodies: a tyre at 20 m is wider.
const COLUMN_STRIDE: usize = 4;
const ROW_STRIDE: usize = 2;
/// Rows of something else that do not part a body's run: cracks, mirrors, a wrong pixel.
const CRACK_ROWS: usize = 8;
/// The least height of a body, metres.
const LEAST_HEIGHT_M: f64 = 1.5;
/// The least height of one that the image's edge cuts: of a van whose bonnet alone shows, metres.
const CUT_HEIGHT_M: f64 = 2.1;
/// So far beside a run its body's height is looked for, in so many steps; metres.
const REACH_M: f64 = 1.2;
const STEPS: usize = 12;
/// Steps that the narrowest body higher than a car is wide, at its roof and seen from its end.
const NARROWEST_STEPS: usize = 12;
/// Steps beside a run in which its body is looked at: for its width beside those for its height.
const REACH_STEPS: usize = STEPS + NARROWEST_STEPS;
/// Steps of a body that the image's edge cuts after which its roof would show behind a bonnet.
const BONNET_STEPS: usize = 18;
/// The widest thing that hides a part of a body, such as a person before a car, in those steps.
const WIDEST_BEFORE: usize = 10;
/// Steps that a tyre and its arch are wide.
const TYRE_STEPS: usize = 9;
/// The least share of its apparent range at which a body's lower edge is, a little more: for heights.
const EDGE_SHARE: f64 = 0.85;
/// So much lower than its edge the floor of a body 1.5 m high is, so far behind it; metres.
const FLOOR_BELOW_M: f64 = 0.1;
const FLOOR_BEHIND_M: f64 = 0.9;
/// Rows within which a pixel of a body belongs to a run in one of the columns looked at.
const NEAR_ROWS: usize = 12;

/// The outlines of a frame's bodies on wheels.
pub(super) struct Outlines<'a> {
    scene: &'a Scene<'a>,
    feet: &'a Feet,
    /// Optical coordinates of one metre upward.
    up: [f64; 3],
    /// Runs of bodies, column by column of those looked at.
    runs: Vec<Run>,
    /// For each column looked at, its first run; and the number of runs.
    first_runs: Vec<usize>,
    /// What is found of each run.
    outlines: Vec<Outline>,
}

/// What the columns around a run tell of its body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outline {
    wheels: Wheels,
    /// Its height, metres.
    height_m: f64,
    /// Row of the body's lower edge, less its tyres.
    pub(super) sill_row: usize,
}

/// A column's unbroken run of a body's pixels.
#[derive(Clone, Copy, Debug)]
struct Run {
    column: usize,
    top: usize,
    bottom: usize,
    wheels: Wheels,
}

/// What a column beside a run shows of its body.
#[derive(Clone, Copy, Debug)]
enum Beside {
    Run(Run),
    /// Something before it, or a crack.
    Hidden,
    /// Nothing: the column is beyond the image's edge.
    Outside,
    Nothing,
}

impl Beside {
    fn run(self) -> Option<Run> {
        match self {
            Self::Run(run) => Some(run),
            Self::Hidden | Self::Outside | Self::Nothing => None,
        }
    }
}

impl Outline {
    /// The outline where something hides the lower edge: it may be as low as it can be.
    pub(super) fn with_hidden_edge(self) -> Self {
        Self {
            sill_row: usize::MAX,
            ..self
        }
    }

    /// The height of its lower edge, at the most, metres.
    pub(super) fn clearance_m(&self) -> f64 {
        self.wheels.clearance_m(self.height_m)
    }

    /// The height at which its lower edge seems to be for a camera so high, from a depth; metres. From
    /// afar the floor behind the edge shows below it.
    pub(super) fn edge_height_m(&self, camera_m: f64, depth_m: f64) -> f64 {
        let edge_m = self.clearance_m();
        let behind_m = FLOOR_BEHIND_M * self.height_m / LEAST_HEIGHT_M;
        let below_camera_m = camera_m - (edge_m - FLOOR_BELOW_M);
        let floor_m = camera_m - below_camera_m * depth_m / (depth_m + behind_m);
        edge_m.min(floor_m)
    }
}

impl<'a> Outlines<'a> {
    /// Finds the bodies that reach below `first_row`.
    pub(super) fn new(scene: &'a Scene<'a>, feet: &'a Feet, first_row: usize) -> Self {
        let mut outlines = Self {
            scene,
            feet,
            up: scene.view.optical_up(),
            runs: Vec::new(),
            first_runs: Vec::new(),
            outlines: Vec::new(),
        };
        outlines.find_runs(first_row);
        let found = outlines.runs.iter().map(|run| outlines.outline(run));
        outlines.outlines = found.collect();
        outlines
    }

    /// Returns every outline with its column.
    pub(super) fn all(&self) -> impl Iterator<Item = (usize, &Outline)> {
        let columns = self.runs.iter().map(|run| run.column);
        columns.zip(&self.outlines)
    }

    /// The body whose lower edge shows in a column below the row `from` and above `to`.
    pub(super) fn above(&self, from: usize, to: usize, column: usize) -> Option<Outline> {
        let first = *self.first_runs.get(column / COLUMN_STRIDE)?;
        let runs = self.runs_at(column).iter().enumerate();
        let (index, _) = (runs.filter(|(_, run)| (from..to).contains(&run.bottom)))
            .max_by_key(|(_, run)| run.bottom)?;
        self.outlines.get(first + index).copied()
    }

    /// The body that a pixel shows, of which nothing shows in the row `above` or below.
    #[inline]
    pub(super) fn at(&self, row: usize, column: usize, above: usize) -> Option<Outline> {
        match self.scene.surface(row, column) {
            Surface::Standing(standing) if standing.wheels.is_some() => {}
            _ => return None,
        }
        let apart = |run: &Run| run.top.saturating_sub(row) + row.saturating_sub(run.bottom);
        let sampled = column / COLUMN_STRIDE;
        let first = *self.first_runs.get(sampled.saturating_sub(1))?;
        let last = self.first_runs.len().saturating_sub(1).min(sampled + 2);
        let runs = self.runs.get(first..*self.first_runs.get(last)?)?;
        // Beyond the last column looked at, its run may end higher.
        let is_last = column + COLUMN_STRIDE >= self.scene.mask.width
            && !column.is_multiple_of(COLUMN_STRIDE);
        let (index, _) = (runs.iter().enumerate())
            .filter(|(_, run)| apart(run) <= NEAR_ROWS && (run.bottom < above || is_last))
            .min_by_key(|(_, run)| apart(run))?;
        self.outlines.get(first + index).copied()
    }

    /// Finds the runs that reach below `first_row`.
    fn find_runs(&mut self, first_row: usize) {
        let mask = self.scene.mask;
        let standing: [Option<Standing>; 256] =
            std::array::from_fn(|id| match self.scene.surfaces.surface(id as u8) {
                Surface::Standing(standing) => Some(*standing),
                _ => None,
            });
        let wheels = standing.map(|standing| standing?.wheels);
        let columns = mask.width.div_ceil(COLUMN_STRIDE);
        let mut open: Vec<Option<Run>> = vec![None; columns];
        // For each part of a row, whether runs are open in it.
        let mut has_open = vec![false; mask.width.div_ceil(PART)];
        let mut labels_above: &[u8] = &[];
        let rows = mask.ids.chunks_exact(mask.width.max(1)).take(mask.height);
        for (row, labels) in rows.enumerate().step_by(ROW_STRIDE) {
            let parts = (labels.chunks(PART)).zip(open.chunks_mut(PART / COLUMN_STRIDE));
            for (part, ((labels, open), has_open)) in parts.zip(&mut has_open).enumerate() {
                let start = part * PART;
                // The same as above, and no body there.
                let above = labels_above.get(start..start + labels.len());
                if !*has_open && are_equal(above, labels) {
                    continue;
                }
                let ids = labels.iter().step_by(COLUMN_STRIDE);
                for (column, (id, open)) in ids.zip(&mut *open).enumerate() {
                    match (wheels[usize::from(*id)], &mut *open) {
                        (None, None) => {}
                        (Some(_), Some(run)) => run.bottom = row,
                        (Some(wheels), None) => {
                            *open = Some(Run {
                                column: start + column * COLUMN_STRIDE,
                                top: row,
                                bottom: row,
                                wheels,
                            });
                        }
                        (None, Some(run)) if row <= run.bottom + CRACK_ROWS => {}
                        // What stands before a body does not part it.
                        (None, Some(_)) if standing[usize::from(*id)].is_some() => {}
                        (None, Some(run)) => {
                            self.runs.extend((run.bottom >= first_row).then_some(*run));
                            *open = None;
                        }
                    }
                }
                *has_open = open.iter().any(Option::is_some);
            }
            labels_above = labels;
        }
        self.runs.extend(open.into_iter().flatten());
        for run in &mut self.runs {
            // Between the rows looked at.
            let below = (run.bottom + 1) * mask.width + run.column;
            let id = mask.ids.get(below);
            run.bottom += usize::from(id.is_some_and(|id| wheels[usize::from(*id)].is_some()));
        }
        self.runs.sort_by_key(|run| (run.column, run.top));
        self.first_runs = (0..=columns)
            .map(|column| {
                self.runs
                    .partition_point(|run| run.column < column * COLUMN_STRIDE)
            })
            .collect();
    }

    /// What the columns within reach of a run tell of its body.
    fn outline(&self, run: &Run) -> Outline {
        let range_m = self.scene.range_m(run.bottom, run.column);
        let focal_px = self.scene.view.camera().focal_px()[0];
        let reach = range_m.map_or(0.0, |range_m| REACH_M * focal_px / range_m);
        let reach = reach.min(self.scene.mask.width as f64);
        let step = (reach as usize / STEPS).next_multiple_of(COLUMN_STRIDE);
        let step = step.max(COLUMN_STRIDE);
        let left = self.linked(run, step, |away| run.column.checked_sub(away));
        let right = self.linked(run, step, |away| Some(run.column + away));
        // Over the road, its lower edge seems to be farther away than it is.
        let near_m = range_m.map(|range_m| range_m * EDGE_SHARE);
        let height_m = near_m.map_or(LEAST_HEIGHT_M, |near_m| {
            self.wide_height_m(run, [&left, &right], near_m)
        });
        // More of what the image's edge cuts is outside, and may be higher.
        let height_m = if is_cut(&left, &right) || is_cut(&right, &left) {
            height_m.max(CUT_HEIGHT_M)
        } else {
            height_m
        };
        // What hangs down reaches the ground at the lowest.
        let hanging = self.scene.point(run.bottom, run.column).and_then(|point| {
            let optical = self.scene.view.optical_from_ground(point);
            self.scene
                .place_over(optical, run.wheels.clearance_m(height_m))
        });
        let sill_row = self.sill_row(run, [&left, &right]);
        Outline {
            sill_row: hanging.map_or(sill_row, |[row, _]| sill_row.max(row)),
            wheels: run.wheels,

            height_m,
        }
    }

    /// The height of the body of a run as far as it is as wide as bodies are: what shows over a part
    /// of it alone is a higher one farther away. At least `LEAST_HEIGHT_M`.
    fn wide_height_m(&self, run: &Run, [left, right]: [&[Beside]; 2], near_m: f64) -> f64 {
        let own = [Beside::Run(*run)];
        let around = left.iter().rev().chain(&own).chain(right);
        let mut heights_m = [f64::NEG_INFINITY; 2 * REACH_STEPS + 1];
        let mut highest_m = LEAST_HEIGHT_M;
        for (height_m, beside) in heights_m.iter_mut().zip(around) {
            *height_m = match beside {
                Beside::Run(run) => self
                    .height_m(run.top, run.column, near_m)
                    .unwrap_or(LEAST_HEIGHT_M),
                Beside::Hidden | Beside::Outside => f64::INFINITY,
                Beside::Nothing => f64::NEG_INFINITY,
            };
            if height_m.is_finite() {
                highest_m = highest_m.max(*height_m);
            }
        }
        if highest_m == LEAST_HEIGHT_M {
            return LEAST_HEIGHT_M;
        }
        let within_reach = heights_m.get(1..2 * REACH_STEPS).unwrap_or_default();
        let lowest = |window: &[f64]| window.iter().copied().fold(f64::INFINITY, f64::min);
        (within_reach.windows(NARROWEST_STEPS).map(lowest))
            .filter(|height_m| height_m.is_finite())
            .fold(LEAST_HEIGHT_M, f64::max)
    }

    /// What is on one side of a run, nearest first.
    fn linked(
        &self,
        run: &Run,
        step: usize,
        at: impl Fn(usize) -> Option<usize>,
    ) -> [Beside; REACH_STEPS] {
        let mut found = [Beside::Nothing; REACH_STEPS];
        let mut last = *run;
        let mut missed = 0;
        let mut is_hidden = false;
        for (index, linked) in found.iter_mut().enumerate() {
            let column = at((index + 1) * step).filter(|column| *column < self.scene.mask.width);
            let Some(column) = column else {
                *linked = Beside::Outside;
                continue;
            };
            let overlap = |other: &&Run| {
                last.bottom.min(other.bottom) as i64 - last.top.max(other.top) as i64
            };
            let next = self.runs_at(column).iter().max_by_key(overlap);
            if let Some(next) = next.filter(|next| overlap(next) > 0) {
                (*linked, last, missed, is_hidden) = (Beside::Run(*next), *next, 0, false);
                continue;
            }
            missed += 1;
            let before = self.feet.foot_row((last.top + last.bottom) / 2, column);
            is_hidden |= before.is_some_and(|foot| foot > last.bottom);
            if missed > if is_hidden { WIDEST_BEFORE } else { 1 } {
                break;
            }
            *linked = Beside::Hidden;
        }
        found
    }

    /// The lower edge less what hangs down from it over less than a tyre's width: of the edge's
    /// highest rows within windows of that width around a run, the lowest.
    fn sill_row(&self, run: &Run, [left, right]: [&[Beside]; 2]) -> usize {
        let edge = |beside: &Beside| {
            let run = beside.run()?;
            let foot = self.feet.foot_row(run.bottom, run.column);
            // Where something nearer hides the edge, the columns beside it tell.
            foot.is_none_or(|foot| foot <= run.bottom + ROW_STRIDE)
                .then_some(run.bottom)
        };
        let mut edges = [None; 2 * TYRE_STEPS + 1];
        let own = [Beside::Run(*run)];
        let around = (left.iter().take(TYRE_STEPS).rev())
            .chain(&own)
            .chain(right);
        for (row, beside) in edges.iter_mut().zip(around) {
            *row = edge(beside);
        }
        let highest = |window: &[Option<usize>]| window.iter().flatten().min().copied();
        edges
            .windows(TYRE_STEPS + 1)
            .filter_map(highest)
            .max()
            .unwrap_or(usize::MAX)
    }

    #[inline]
    fn runs_at(&self, column: usize) -> &[Run] {
        let column = column / COLUMN_STRIDE;
        match (self.first_runs.get(column), self.first_runs.get(column + 1)) {
            (Some(first), Some(next)) => self.runs.get(*first..*next).unwrap_or(&[]),
            _ => &[],
        }
    }

    /// Height over the ground of what a pixel shows at a range, metres.
    fn height_m(&self, row: usize, column: usize, range_m: f64) -> Option<f64> {
        let ray = self.scene.rays.ray(row, column)?;
        let upward = (0..3).map(|i| ray[i] * self.up[i]).sum::<f64>();
        let along = (1.0 - upward * upward).max(1e-9).sqrt();
        Some(self.scene.view.height_m() + range_m * upward / along)
    }
}

/// Whether the image's edge is near on one side of a run, and not far behind it on the other the body
/// ends.
fn is_cut(side: &[Beside; REACH_STEPS], other: &[Beside; REACH_STEPS]) -> bool {
    let shown = |side: &[Beside]| {
        let ends = |beside: &Beside| matches!(beside, Beside::Outside | Beside::Nothing);
        side.iter().position(ends).unwrap_or(REACH_STEPS)
    };
    let to_edge = shown(side);
    let is_outside = matches!(side.get(to_edge), Some(Beside::Outside));
    is_outside && to_edge <= STEPS && to_edge + shown(other) < BONNET_STEPS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivable::surface::Standing;
    use anyhow::{Context, Result, ensure};

    #[test]
    fn a_lower_edge_seems_lower_from_afar_and_never_lower_than_the_floor() -> Result<()> {
        let wheels = Standing::VEHICLE.wheels.context("vehicles have wheels")?;
        for height_m in [1.5, 1.7, 2.1, 3.4] {
            let outline = Outline {
                wheels,
                height_m,
                sill_row: 0,
            };
            let edge_m = outline.clearance_m();
            let seen_m = [1.0, 5.0, 10.0, 15.0, 20.0, 1000.0]
                .map(|depth_m| outline.edge_height_m(1.5, depth_m));
            ensure!(seen_m[..2] == [edge_m; 2], "near, the edge itself shows");
            ensure!(seen_m.windows(2).all(|pair| pair[1] <= pair[0]));
            ensure!(seen_m[5] < edge_m && seen_m[5] > edge_m - FLOOR_BELOW_M);
        }
        // The ray that grazes the floor 0.9 m behind the edge is at this height where the edge is.
        let car = Outline {
            wheels,
            height_m: 1.5,
            sill_row: 0,
        };
        let grazing_m = 0.205 + 0.9 * (1.5 - 0.205) / 15.9;
        ensure!((car.edge_height_m(1.5, 15.0) - grazing_m).abs() < 1e-9);
        Ok(())
    }
}
