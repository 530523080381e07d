//! Bodies on wheels over ground that shows below them. A camera sees the road under a bumper, and a
//! cell there is not free; only the body's build tells, and what of it is in the image.

use super::feet::Feet;
use super::outline::{Outline, Outlines};
use super::scene::Scene;

/// Heights above the ground, metres: one of these is within every body on wheels, of cars with a low
/// bonnet as of lorries whose lower edge is high; the others are within some.
const WITHIN_LEVELS_M: [f64; 2] = [0.8, 0.45];
const OTHER_LEVELS_M: [f64; 2] = [1.2, 0.25];
/// Ground that shows over less than this is not told from what hides it, metres.
const CRACK_M: f64 = 0.15;
/// What a body's corners are rounded off by, metres.
const CORNER_M: f64 = 0.05;
/// So far beside a pixel a body is looked for that something hides there, metres.
const BEFORE_BODY_M: [f64; 4] = [0.2, 0.4, 0.7, 1.0];
/// So far beside a point the foot of what hides a body over it is looked for, metres.
const BEFORE_REACH_M: f64 = 1.4;
/// Columns that are told together to show a body or none.
const BLOCK_COLUMNS: usize = 16;
/// Blocks beside one within which a lifted point's pixel stays: lenses bend, cameras lean a little.
const NEAR_BLOCKS: usize = 2;
/// Rows that a lifted point may be off for a lens that bends and a camera that leans a little.
const SPARE_ROWS: usize = 8;

/// The bodies on wheels of one frame.
pub(super) struct Bodies<'a> {
    scene: &'a Scene<'a>,
    feet: &'a Feet,
    outlines: Outlines<'a>,
    /// For each block of columns, the lowest row of ground that a body which shows in it or near it
    /// may be over; None where none shows.
    blocks: Vec<Option<usize>>,
}

impl<'a> Bodies<'a> {
    pub(super) fn new(scene: &'a Scene<'a>, feet: &'a Feet, first_row: usize) -> Self {
        let mut bodies = Self {
            scene,
            feet,
            outlines: Outlines::new(scene, feet, first_row),
            blocks: Vec::new(),
        };
        bodies.find_blocks();
        bodies
    }

    /// Whether a body stands over a ground point that shows below it: it does not if the point,
    /// lifted to the body's lower edge, is not on the body's image. The place is the point's own.
    #[inline]
    pub(super) fn overhang(&self, optical: [f64; 3], [row, column]: [usize; 2]) -> bool {
        let block = self.blocks.get(column / BLOCK_COLUMNS).copied().flatten();
        if block.is_none_or(|last| row > last) {
            return false;
        }
        let within = WITHIN_LEVELS_M.map(|height_m| self.scene.place_over(optical, height_m));
        let corner_px = CORNER_M * self.metre_px(optical);
        let mut near = within.iter().flatten().flat_map(|[row, column]| {
            let columns = self.columns_near(*column, corner_px);
            columns.map(move |column| [*row, column])
        });
        // Over most ground nothing stands.
        if !near.any(|[row, column]| self.scene.stands_at(row, column)) {
            return false;
        }
        let Some(body) = self.body_over(optical, within, [row, column]) else {
            return self.is_crack(optical, within[0], [row, column]);
        };
        let camera_m = self.scene.view.height_m();
        let lifted = self
            .scene
            .place_over(optical, body.edge_height_m(camera_m, optical[2]));
        let is_over = lifted.is_some_and(|[row, column]| {
            let mut near = self.columns_near(column, corner_px);
            row <= body.sill_row && near.any(|column| self.scene.stands_at(row, column))
        });
        is_over || self.is_crack(optical, within[0], [row, column])
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
        if !above.is_some_and(|[row, column]| self.scene.stands_at(row, column)) {
            return false;
        }
        let reach = (CRACK_M * self.metre_px(optical)) as usize;
        let step = (reach / 4).max(1);
        let near = || (step..=reach.max(step)).step_by(step);
        near().any(|aside| self.scene.stands_at(row, column.saturating_sub(aside)))
            && near().any(|aside| self.scene.stands_at(row, column + aside))
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
        let farther = |[row, column]: [usize; 2]| self.outlines.at(row, column, shown);
        let others = OTHER_LEVELS_M.into_iter();
        let others = others.filter_map(|height_m| self.scene.place_over(optical, height_m));
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
            .filter_map(|[_, column]| self.outlines.above(within().last()?[0], shown, column));
        let beside = BEFORE_BODY_M.into_iter().flat_map(|aside_m| {
            within().flat_map(move |[row, column]| {
                let columns = self.columns_near(column, aside_m * before_px);
                columns.map(move |column| [row, column])
            })
        });
        let body = above.chain(beside.filter_map(farther)).next()?;
        Some(body.with_hidden_edge())
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
            column.saturating_add(aside).min(last),
        ]
        .into_iter()
    }

    fn find_blocks(&mut self) {
        let count = self.scene.mask.width.div_ceil(BLOCK_COLUMNS);
        let mut shows = vec![false; count];
        let mut highest_edge_m = 0.0f64;
        for (column, outline) in self.outlines.all() {
            highest_edge_m = highest_edge_m.max(outline.clearance_m());
            if let Some(shows) = shows.get_mut(column / BLOCK_COLUMNS) {
                *shows = true;
            }
        }
        let mut lowest = vec![None; count];
        for foot in self.feet.all() {
            if let Some(lowest) = lowest.get_mut(foot.column / BLOCK_COLUMNS) {
                *lowest = (*lowest).max(Some(foot.row));
            }
        }
        // A camera that leans has no upright columns.
        let [right, down, _] = self.scene.view.optical_up();
        let is_upright = right.abs() < 0.08 * down.abs();
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
}
