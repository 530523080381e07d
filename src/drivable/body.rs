//! Bodies on wheels over ground that shows below them. A camera sees the road under a bumper, and a
//! cell there is not free; only the body's build tells, and what of it is in the image.
use super::feet::Feet;
use super::observe::Scene;
use super::surface::{Surface, Wheels};

/// Columns and rows of the mask of which one is looked at for bodies: a tyre at 20 m is wider.
const COLUMN_STRIDE: usize = 4;
const ROW_STRIDE: usize = 2;
/// Heights above the ground, metres: one of the first is within every body on wheels, of cars with a
/// low bonnet as of lorries whose lower edge is high; the others are within some.
const BODY_LEVELS_M: [f64; 4] = [0.8, 0.45, 1.2, 0.25];
const WITHIN: usize = 2;
/// Rows of something else that do not part a body's run: cracks, mirrors, a wrong pixel.
const CRACK_ROWS: usize = 8;
/// The least height of a body, metres.
const LEAST_HEIGHT_M: f64 = 1.5;
/// So far beside a pixel a body's wheels are looked for, and in so many steps; metres.
const HALF_BODY_M: f64 = 2.4;
const STEPS: usize = 24;
/// The widest thing that hides a part of a body, such as a person before a car, in those steps.
const WIDEST_BEFORE: usize = 10;
/// So far beside a pixel a body is looked for that something hides there, metres.
const BEFORE_BODY_M: [f64; 4] = [0.2, 0.4, 0.7, 1.0];
/// Steps from a body's corner to its wheel, and those that a tyre is wide.
const CORNER_STEPS: usize = 6;
const TYRE_STEPS: usize = 9;
/// Columns that are told together to show a body or none.
const BLOCK_COLUMNS: usize = 16;
/// Blocks beside one within which a lifted point's pixel stays: lenses bend, cameras lean a little.
const NEAR_BLOCKS: usize = 2;
/// Rows within which a pixel of a body belongs to a run in one of the columns looked at.
const NEAR_ROWS: usize = 12;

/// The bodies on wheels of one frame.
pub(super) struct Bodies<'a> {
    scene: &'a Scene<'a>,
    feet: &'a Feet,
    /// Optical coordinates of one metre upward.
    up: [f64; 3],
    /// For each block of columns, whether a body shows in it or near it.
    blocks: Vec<bool>,
    /// Runs of bodies, column by column of those looked at.
    runs: Vec<Run>,
    /// For each column looked at, its first run; and the number of runs.
    first_runs: Vec<usize>,
    /// What is found of each run.
    outlines: Vec<Outline>,
}

/// A column's unbroken run of a body's pixels.
#[derive(Clone, Copy, Debug)]
struct Run {
    column: usize,
    top: usize,
    bottom: usize,
    wheels: Wheels,
}

/// What the columns around a run tell of its body.
#[derive(Clone, Copy, Debug)]
struct Outline {
    wheels: Wheels,
    /// Range of the line on the ground that joins the wheels to either side; None where the image's
    /// edge or something nearer hides an end of the body, whose nearest wheel may be there.
    wheels_m: Option<f64>,
    height_m: f64,
    /// Row of the body's lower edge, less its tyres.
    sill_row: usize,
}

impl<'a> Bodies<'a> {
    pub(super) fn new(scene: &'a Scene<'a>, feet: &'a Feet, first_row: usize) -> Self {
        let mut bodies = Self {
            scene,
            feet,
            up: scene.view.optical_up(),
            blocks: Vec::new(),
            runs: Vec::new(),
            first_runs: Vec::new(),
            outlines: Vec::new(),
        };
        bodies.find_runs(first_row);
        bodies.find_blocks();
        bodies.outlines = bodies.runs.iter().map(|run| bodies.outline(run)).collect();
        bodies
    }

    /// Finds the runs that reach below `first_row`.
    fn find_runs(&mut self, first_row: usize) {
        let mask = self.scene.mask;
        let wheels: [Option<Wheels>; 256] =
            std::array::from_fn(|id| match self.scene.surfaces.surface(id as u8) {
                Surface::Standing(standing) => standing.wheels,
                _ => None,
            });
        let columns = mask.width.div_ceil(COLUMN_STRIDE);
        let mut open: Vec<Option<Run>> = vec![None; columns];
        let rows = mask.ids.chunks_exact(mask.width.max(1)).take(mask.height);
        for (row, ids) in rows.enumerate().step_by(ROW_STRIDE) {
            let ids = ids.iter().step_by(COLUMN_STRIDE);
            for (column, (id, open)) in ids.zip(&mut open).enumerate() {
                match (wheels[usize::from(*id)], &mut *open) {
                    (None, None) => {}
                    (Some(_), Some(run)) => run.bottom = row,
                    (Some(wheels), None) => {
                        *open = Some(Run {
                            column: column * COLUMN_STRIDE,
                            top: row,
                            bottom: row,
                            wheels,
                        });
                    }
                    (None, Some(run)) if row <= run.bottom + CRACK_ROWS => {}
                    (None, Some(run)) => {
                        self.runs.extend((run.bottom >= first_row).then_some(*run));
                        *open = None;
                    }
                }
            }
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

    fn find_blocks(&mut self) {
        let mut shows = vec![false; self.scene.mask.width.div_ceil(BLOCK_COLUMNS)];
        for run in &self.runs {
            if let Some(shows) = shows.get_mut(run.column / BLOCK_COLUMNS) {
                *shows = true;
            }
        }
        // A camera that leans has no upright columns.
        let is_upright = self.up[0].abs() < 0.08 * self.up[1].abs();
        self.blocks = (0..shows.len())
            .map(|block| {
                let end = (block + NEAR_BLOCKS + 1).min(shows.len());
                let near = shows.get(block.saturating_sub(NEAR_BLOCKS)..end);
                !is_upright || near.is_some_and(|near| near.contains(&true))
            })
            .collect();
    }

    /// What the columns within reach of a run tell of its body.
    fn outline(&self, run: &Run) -> Outline {
        let range_m = self.scene.range_m(run.bottom, run.column);
        let focal_px = self.scene.view.camera().focal_px()[0];
        let reach = range_m.map_or(0.0, |range_m| HALF_BODY_M * focal_px / range_m);
        let step = (reach as usize / STEPS).next_multiple_of(COLUMN_STRIDE);
        let step = step.max(COLUMN_STRIDE);
        let (left, left_cut) = self.linked(run, step, |away| run.column.checked_sub(away));
        let (right, right_cut) = self.linked(run, step, |away| Some(run.column + away));
        let last = self.scene.mask.height.saturating_sub(1);
        let own = [Some(Linked { away: 0.0, run: *run })];
        let all = || left.iter().chain(&own).chain(&right).flatten();
        let is_cut = left_cut || right_cut || all().any(|linked| linked.run.bottom >= last);
        let hull = hull_row(run.bottom, &left, &right);
        let wheels_m = self.scene.range_m(hull.ceil() as usize, run.column);
        let height_m = all()
            .filter_map(|linked| self.height_m(linked.run.top, linked.run.column, wheels_m?))
            .fold(LEAST_HEIGHT_M, f64::max);
        Outline {
            sill_row: self.sill_row(&own, &left, &right),
            wheels: run.wheels,
            wheels_m: wheels_m.filter(|_| !is_cut),
            height_m,
        }
    }

    /// The runs of the body on one side of a run, nearest first, and whether the image's edge, or
    /// something nearer, hides its end there.
    fn linked(
        &self,
        run: &Run,
        step: usize,
        at: impl Fn(usize) -> Option<usize>,
    ) -> ([Option<Linked>; STEPS], bool) {
        let mut found = [None; STEPS];
        let mut last = *run;
        let mut missed = 0;
        let mut is_hidden = false;
        for (index, linked) in found.iter_mut().enumerate() {
            let away = (index + 1) * step;
            let column = at(away).filter(|column| *column < self.scene.mask.width);
            let Some(column) = column else {
                return (found, true);
            };
            let overlap =
                |other: &&Run| last.bottom.min(other.bottom) as i64 - last.top.max(other.top) as i64;
            let next = self.runs_at(column).iter().max_by_key(overlap);
            match next.filter(|next| overlap(next) > 0) {
                Some(next) => {
                    (*linked, last, missed) = (
                        Some(Linked {
                            away: away as f64,
                            run: *next,
                        }),
                        *next,
                        0,
                    )
                }
                None => missed += 1,
            }
            let middle = (last.top + last.bottom) / 2;
            let before = self.feet.foot_row(middle, column);
            is_hidden = missed > 0 && (is_hidden || before.is_some_and(|foot| foot > last.bottom));
            if missed > if is_hidden { WIDEST_BEFORE } else { 1 } {
                break;
            }
        }
        (found, is_hidden)
    }

    /// The lower edge less what hangs down from it over less than a tyre's width: of the edge's
    /// highest rows within windows of that width around a run, the lowest.
    fn sill_row(
        &self,
        own: &[Option<Linked>; 1],
        left: &[Option<Linked>; STEPS],
        right: &[Option<Linked>; STEPS],
    ) -> usize {
        let edge = |linked: &Option<Linked>| {
            let run = linked.as_ref()?.run;
            let foot = self.feet.foot_row(run.bottom, run.column);
            Some(foot.unwrap_or(run.bottom).max(run.bottom))
        };
        let mut edges = [None; 2 * TYRE_STEPS + 1];
        let around = (left.iter().take(TYRE_STEPS).rev()).chain(own).chain(right);
        for (row, linked) in edges.iter_mut().zip(around) {
            *row = edge(linked);
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

    /// Whether a body stands over a ground point that shows below it: it does not if the point is
    /// nearer than the body's wheels by more than its overhang, nor if the point, lifted to the
    /// body's lower edge, is not on the body's image. `column` is that of the point's own pixel.
    #[inline]
    pub(super) fn overhang(&self, optical: [f64; 3], range_m: f64, column: usize) -> bool {
        if self.blocks.get(column / BLOCK_COLUMNS) != Some(&true) {
            return false;
        }
        let Some(body) = self.body_over(optical) else {
            return false;
        };
        let overhang_m = body.wheels.overhang * body.height_m;
        if body.wheels_m.is_some_and(|wheels_m| range_m < wheels_m - overhang_m) {
            return false;
        }
        let lifted = self.place_over(optical, body.wheels.clearance * body.height_m);
        lifted.is_some_and(|[row, column]| row <= body.sill_row && self.stands_at(row, column))
    }

    /// The body that may be over a ground point: on its image over the point, or just beside
    /// whatever hides it there.
    #[inline]
    fn body_over(&self, optical: [f64; 3]) -> Option<Outline> {
        let places = BODY_LEVELS_M.map(|height_m| self.place_over(optical, height_m));
        let mut within = places.iter().take(WITHIN).flatten();
        if !within.any(|[row, column]| self.stands_at(*row, *column)) {
            return None;
        }
        let over = places.iter().flatten();
        let over = over.filter_map(|[row, column]| self.body_at(*row, *column));
        let last = self.scene.mask.width.saturating_sub(1);
        let metre_px = self.scene.view.camera().focal_px()[0] / optical[2];
        let beside = BEFORE_BODY_M.into_iter().flat_map(|aside_m| {
            let aside = (aside_m * metre_px) as usize;
            let columns = move |column: usize| [column.saturating_sub(aside), (column + aside).min(last)];
            let within = places.iter().take(WITHIN).flatten();
            within.flat_map(move |[row, column]| columns(*column).map(|column| [*row, column]))
        });
        // The lower edge over the point itself is hidden.
        let beside = beside.filter_map(|[row, column]| {
            self.body_at(row, column).map(|body| Outline {
                sill_row: usize::MAX,
                ..body
            })
        });
        over.chain(beside).next()
    }

    /// The body that a pixel shows.
    #[inline]
    fn body_at(&self, row: usize, column: usize) -> Option<Outline> {
        match self.scene.surface(row, column) {
            Surface::Standing(standing) if standing.wheels.is_some() => {}
            _ => return None,
        }
        let apart = |run: &Run| run.top.saturating_sub(row) + row.saturating_sub(run.bottom);
        let sampled = column / COLUMN_STRIDE;
        let first = *self.first_runs.get(sampled.saturating_sub(1))?;
        let last = self.first_runs.len().saturating_sub(1).min(sampled + 2);
        let runs = self.runs.get(first..*self.first_runs.get(last)?)?;
        let (index, run) = (runs.iter().enumerate()).min_by_key(|(_, run)| apart(run))?;
        (apart(run) <= NEAR_ROWS)
            .then(|| self.outlines.get(first + index).copied())
            .flatten()
    }

    #[inline]
    fn stands_at(&self, row: usize, column: usize) -> bool {
        matches!(self.scene.surface(row, column), Surface::Standing(_))
    }

    /// The pixel of a point at a height over a ground point; beyond the image's edge, the one on it.
    #[inline]
    fn place_over(&self, optical: [f64; 3], height_m: f64) -> Option<[usize; 2]> {
        let lifted = [0, 1, 2].map(|i| optical[i] + height_m * self.up[i]);
        let camera = self.scene.view.camera();
        camera
            .pixel_from_ray(lifted)
            .map(|pixel| camera.nearest_place(pixel))
    }
}

/// A run of the same body, columns away.
#[derive(Clone, Copy, Debug)]
struct Linked {
    away: f64,
    run: Run,
}

/// The row, at a run's own column, of the lower hull of the runs' lowest pixels. A line on the ground
/// is a line in the image, so between two wheels it is where the body's side stands over the ground.
fn hull_row(own: usize, left: &[Option<Linked>; STEPS], right: &[Option<Linked>; STEPS]) -> f64 {
    let mut hull = own as f64;
    for left in left.iter().flatten() {
        let bottom = left.run.bottom as f64;
        for right in right.iter().flatten() {
            let share = left.away / (left.away + right.away);
            hull = hull.max(bottom + (right.run.bottom as f64 - bottom) * share);
        }
    }
    // At a body's corner the wheel beside stands for what the body hides.
    let close = (left.iter().take(CORNER_STEPS)).chain(right.iter().take(CORNER_STEPS));
    let close = close.flatten().map(|linked| linked.run.bottom as f64);
    close.fold(hull, f64::max)
}

