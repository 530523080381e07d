//! Bodies on wheels over ground that shows below them. A camera sees the road under a bumper, and a
//! cell there is not free; only the body's build tells, and what of it is in the image.
use super::feet::{Feet, PART, are_equal};
use super::scene::Scene;
use super::surface::{Standing, Surface, Wheels};

/// Columns and rows of the mask of which one is looked at for bodies: a tyre at 20 m is wider.
const COLUMN_STRIDE: usize = 4;
const ROW_STRIDE: usize = 2;
/// Heights above the ground, metres: one of these is within every body on wheels, of cars with a low
/// bonnet as of lorries whose lower edge is high; the others are within some.
const WITHIN_LEVELS_M: [f64; 2] = [0.8, 0.45];
const OTHER_LEVELS_M: [f64; 2] = [1.2, 0.25];
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
/// Ground that shows over less than this is not told from what hides it, metres.
const CRACK_M: f64 = 0.15;
/// What a body's corners are rounded off by, metres.
const CORNER_M: f64 = 0.05;
/// So far beside a pixel a body is looked for that something hides there, metres.
const BEFORE_BODY_M: [f64; 4] = [0.2, 0.4, 0.7, 1.0];
/// Steps that a tyre and its arch are wide.
const TYRE_STEPS: usize = 9;
/// The least share of its apparent range at which a body's lower edge is, a little more: for heights.
const EDGE_SHARE: f64 = 0.85;
/// So much lower than its edge the floor of a body 1.5 m high is, so far behind it; metres.
const FLOOR_BELOW_M: f64 = 0.1;
const FLOOR_BEHIND_M: f64 = 0.9;
/// So far beside a point the foot of what hides a body over it is looked for, metres.
const BEFORE_REACH_M: f64 = 1.4;
/// Columns that are told together to show a body or none.
const BLOCK_COLUMNS: usize = 16;
/// Blocks beside one within which a lifted point's pixel stays: lenses bend, cameras lean a little.
const NEAR_BLOCKS: usize = 2;
/// Rows that a lifted point may be off for a lens that bends and a camera that leans a little.
const SPARE_ROWS: usize = 8;
/// Rows within which a pixel of a body belongs to a run in one of the columns looked at.
const NEAR_ROWS: usize = 12;

/// The bodies on wheels of one frame.
pub(super) struct Bodies<'a> {
    scene: &'a Scene<'a>,
    feet: &'a Feet,
    /// Optical coordinates of one metre upward.
    up: [f64; 3],
    /// For each block of columns, the lowest row of ground that a body which shows in it or near it
    /// may be over; None where none shows.
    blocks: Vec<Option<usize>>,
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

/// What the columns around a run tell of its body.
#[derive(Clone, Copy, Debug)]
struct Outline {
    wheels: Wheels,
    /// Its height, metres.
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
        bodies.outlines = bodies.runs.iter().map(|run| bodies.outline(run)).collect();
        bodies.find_blocks();
        bodies
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

    fn find_blocks(&mut self) {
        let count = self.scene.mask.width.div_ceil(BLOCK_COLUMNS);
        let mut shows = vec![false; count];
        for run in &self.runs {
            if let Some(shows) = shows.get_mut(run.column / BLOCK_COLUMNS) {
                *shows = true;
            }
        }
        let mut lowest = vec![None; count];
        for foot in self.feet.all() {
            if let Some(lowest) = lowest.get_mut(foot.column / BLOCK_COLUMNS) {
                *lowest = (*lowest).max(Some(foot.row));
            }
        }
        let highest_edge_m = (self.outlines.iter())
            .map(|outline| outline.wheels.clearance_m(outline.height_m))
            .fold(0.0, f64::max);
        // A camera that leans has no upright columns.
        let is_upright = self.up[0].abs() < 0.08 * self.up[1].abs();
        self.blocks = (0..count)
            .map(|block| {
                if !is_upright {
                    return Some(usize::MAX);
                }
                let near = block.saturating_sub(NEAR_BLOCKS)..(block + NEAR_BLOCKS + 1).min(count);
                if !shows.get(near.clone())?.contains(&true) {
                    return None;
                }
                let foot = lowest.get(near)?.iter().flatten().max()?;
                Some(self.last_row_below(*foot, block * BLOCK_COLUMNS, highest_edge_m))
            })
            .collect();
    }

    /// The lowest row of ground that, lifted by `edge_m`, is as high in the image as `row`, and some.
    fn last_row_below(&self, row: usize, column: usize, edge_m: f64) -> usize {
        let view = self.scene.view;
        let share = 1.0 - edge_m / view.height_m();
        let Some(point) = self.scene.point(row, column).filter(|_| share > 0.0) else {
            return usize::MAX;
        };
        let foot = view.foot_m();
        let nearer = [0, 1].map(|i| foot[i] + (point[i] - foot[i]) * share);
        let pixel = view.pixel_from_ground(nearer);
        pixel.map_or(usize::MAX, |pixel| {
            view.camera().nearest_place(pixel)[0] + SPARE_ROWS
        })
    }

    /// What the columns within reach of a run tell of its body.
    fn outline(&self, run: &Run) -> Outline {
        let range_m = self.scene.range_m(run.bottom, run.column);
        let focal_px = self.scene.view.camera().focal_px()[0];
        let reach = range_m.map_or(0.0, |range_m| REACH_M * focal_px / range_m);
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
            self.place_over(optical, run.wheels.clearance_m(height_m))
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

    /// Whether a body stands over a ground point that shows below it: it does not if the point,
    /// lifted to the body's lower edge, is not on the body's image. The place is the point's own.
    #[inline]
    pub(super) fn overhang(&self, optical: [f64; 3], [row, column]: [usize; 2]) -> bool {
        let block = self.blocks.get(column / BLOCK_COLUMNS).copied().flatten();
        if block.is_none_or(|last| row > last) {
            return false;
        }
        let within = WITHIN_LEVELS_M.map(|height_m| self.place_over(optical, height_m));
        let corner_px = CORNER_M * self.metre_px(optical);
        let mut near = within.iter().flatten().flat_map(|[row, column]| {
            let columns = self.columns_near(*column, corner_px);
            columns.map(move |column| [*row, column])
        });
        // Over most ground nothing stands.
        if !near.any(|[row, column]| self.stands_at(row, column)) {
            return false;
        }
        let Some(body) = self.body_over(optical, within, [row, column]) else {
            return self.is_crack(optical, within[0], [row, column]);
        };
        let lifted = self.place_over(optical, self.edge_height_m(&body, optical[2]));
        let is_over = lifted.is_some_and(|[row, column]| {
            let mut near = self.columns_near(column, corner_px);
            row <= body.sill_row && near.any(|column| self.stands_at(row, column))
        });
        is_over || self.is_crack(optical, within[0], [row, column])
    }

    /// The height at which the lower edge of a body seems to be, metres: from afar the floor behind it
    /// shows below it.
    fn edge_height_m(&self, body: &Outline, depth_m: f64) -> f64 {
        let edge_m = body.wheels.clearance_m(body.height_m);
        let behind_m = FLOOR_BEHIND_M * body.height_m / LEAST_HEIGHT_M;
        let below_camera_m = self.scene.view.height_m() - (edge_m - FLOOR_BELOW_M);
        let floor_m = self.scene.view.height_m() - below_camera_m * depth_m / (depth_m + behind_m);
        edge_m.min(floor_m)
    }

    /// Whether ground shows between two things closer to each other than `CRACK_M`, with something
    /// over it, at the place `above`: a body may reach there behind what hides it.
    fn is_crack(
        &self,
        optical: [f64; 3],
        above: Option<[usize; 2]>,
        [row, column]: [usize; 2],
    ) -> bool {
        // A row up, where both of what it lies between still show.
        let row = row.saturating_sub(2);
        if !above.is_some_and(|[row, column]| self.stands_at(row, column)) {
            return false;
        }
        let reach = (CRACK_M * self.metre_px(optical)) as usize;
        let step = (reach / 4).max(1);
        let near = || (step..=reach.max(step)).step_by(step);
        near().any(|aside| self.stands_at(row, column.saturating_sub(aside)))
            && near().any(|aside| self.stands_at(row, column + aside))
    }

    /// The body that may be over a ground point: on its image over the point, or just beside whatever
    /// nearer hides it there. `within` are the places over the point at the levels within every body;
    /// `shown` and `column` are the point's own place: what reaches lower is nearer.
    #[inline]
    fn body_over(
        &self,
        optical: [f64; 3],
        within: [Option<[usize; 2]>; 2],
        [shown, column]: [usize; 2],
    ) -> Option<Outline> {
        let metre_px = self.metre_px(optical);
        let near = |[row, column]: [usize; 2], aside_m: f64| {
            let columns = self.columns_near(column, aside_m * metre_px);
            columns.map(move |column| [row, column])
        };
        let within = || within.into_iter().flatten();
        let farther = |[row, column]: [usize; 2]| self.body_at(row, column, shown);
        let others = OTHER_LEVELS_M.into_iter();
        let others = others.filter_map(|height_m| self.place_over(optical, height_m));
        let over = within().chain(others);
        let over = over.flat_map(|place| near(place, CORNER_M));
        if let Some(body) = over.filter_map(farther).next() {
            return Some(body);
        }
        let hidden = within().find_map(|[row, column]| {
            let reach = (BEFORE_REACH_M * metre_px) as usize;
            let lowest = self.feet.lowest_row(row, column, reach);
            let range_m = self
                .scene
                .range_m(lowest.filter(|foot| *foot > shown)?, column)?;
            Some(self.scene.view.camera().focal_px()[0] / range_m)
        });
        // Wide in the image as things are there that hide it.
        let before_px = hidden?;
        // What shows of it may be its lower edge alone, between legs or under a frame.
        let above = near([shown, column], CORNER_M)
            .filter_map(|[_, column]| self.body_above(within().last()?[0], shown, column));
        let beside = BEFORE_BODY_M.into_iter().flat_map(|aside_m| {
            within().flat_map(move |[row, column]| {
                let columns = self.columns_near(column, aside_m * before_px);
                columns.map(move |column| [row, column])
            })
        });
        // The lower edge over the point itself is hidden.
        let body = above.chain(beside.filter_map(farther)).next()?;
        Some(Outline {
            sill_row: usize::MAX,
            ..body
        })
    }

    /// Columns that a metre across is wide at a point.
    fn metre_px(&self, optical: [f64; 3]) -> f64 {
        self.scene.view.camera().focal_px()[0] / optical[2]
    }

    /// A column, and those so far to either side of it, within the image.
    fn columns_near(&self, column: usize, aside_px: f64) -> impl Iterator<Item = usize> + use<> {
        let last = self.scene.mask.width.saturating_sub(1);
        let aside = aside_px as usize;
        [
            column,
            column.saturating_sub(aside),
            (column + aside).min(last),
        ]
        .into_iter()
    }

    /// The body whose lower edge shows in a column below the row `from` and above `to`.
    fn body_above(&self, from: usize, to: usize, column: usize) -> Option<Outline> {
        let first = *self.first_runs.get(column / COLUMN_STRIDE)?;
        let runs = self.runs_at(column).iter().enumerate();
        let (index, _) = (runs.filter(|(_, run)| (from..to).contains(&run.bottom)))
            .max_by_key(|(_, run)| run.bottom)?;
        self.outlines.get(first + index).copied()
    }

    /// The body that a pixel shows, of which nothing shows in the row `above` or below.
    #[inline]
    fn body_at(&self, row: usize, column: usize, above: usize) -> Option<Outline> {
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
        let is_last = column + COLUMN_STRIDE >= self.scene.mask.width && column % COLUMN_STRIDE > 0;
        let (index, _) = (runs.iter().enumerate())
            .filter(|(_, run)| apart(run) <= NEAR_ROWS && (run.bottom < above || is_last))
            .min_by_key(|(_, run)| apart(run))?;
        self.outlines.get(first + index).copied()
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
