//! The darkening of the ground under and beside things, as a small map before the camera.

use super::geometry::{Vec3, vec3};
use super::scene::Contact;

const CELL_M: f32 = 0.1;
const AHEAD_M: f32 = 60.0;
const ASIDE_M: f32 = 18.0;
const COLUMNS: usize = (2.0 * ASIDE_M / CELL_M) as usize;
const ROWS: usize = (AHEAD_M / CELL_M) as usize;

/// Share of the sky left on the ground by things that stand close, 0..1 a cell.
pub(crate) struct ContactMap {
    origin: Vec3,
    forward: Vec3,
    left: Vec3,
    open: Vec<f32>,
}

impl ContactMap {
    /// The map of `contacts` before a camera at `position` that looks along `forward`.
    pub(crate) fn new(
        position: Vec3,
        forward: Vec3,
        contacts: impl Iterator<Item = Contact>,
    ) -> Self {
        let forward = vec3(forward.x, forward.y, 0.0).unit();
        let left = vec3(-forward.y, forward.x, 0.0);
        let mut map = Self {
            origin: position,
            forward,
            left,
            open: vec![1.0; COLUMNS * ROWS],
        };
        for contact in contacts {
            map.darken(&contact);
        }
        map
    }

    /// Share of the sky at a ground point; 1 outside the map.
    #[inline]
    pub(crate) fn open_at(&self, p: Vec3) -> f32 {
        let [row, column] = self.cell(p);
        let (row, column) = (row - 0.5, column - 0.5);
        if !(row > 0.0 && column > 0.0 && row < (ROWS - 1) as f32 && column < (COLUMNS - 1) as f32)
        {
            return 1.0;
        }
        let (i, j) = (row as usize, column as usize);
        let (fi, fj) = (row - i as f32, column - j as f32);
        let at = i * COLUMNS + j;
        let near = self.open[at] * (1.0 - fj) + self.open[at + 1] * fj;
        let far = self.open[at + COLUMNS] * (1.0 - fj) + self.open[at + COLUMNS + 1] * fj;
        near * (1.0 - fi) + far * fi
    }

    fn cell(&self, p: Vec3) -> [f32; 2] {
        let q = p - self.origin;
        [
            q.dot(self.forward) / CELL_M,
            (q.dot(self.left) + ASIDE_M) / CELL_M,
        ]
    }

    fn darken(&mut self, contact: &Contact) {
        let soft = 0.28 + 0.35 * contact.half_width_m;
        let [row, column] = self.cell(contact.centre);
        let reach = (contact.half_length_m.hypot(contact.half_width_m) + 1.5 * soft) / CELL_M;
        let range = |middle: f32, end: usize| {
            let low = (middle - reach).max(0.0) as usize;
            low..((middle + reach).max(0.0) as usize).min(end)
        };
        let [cos, sin] = contact.axis;
        for i in range(row, ROWS) {
            for j in range(column, COLUMNS) {
                let ahead = (i as f32 + 0.5 - row) * CELL_M;
                let aside = (j as f32 + 0.5 - column) * CELL_M;
                let (dx, dy) = (
                    self.forward.x * ahead + self.left.x * aside,
                    self.forward.y * ahead + self.left.y * aside,
                );
                let fall = |along: f32, half: f32| {
                    (1.0 - (along.abs() - half + soft) / (2.0 * soft)).clamp(0.0, 1.0)
                };
                let a = fall(dx * cos + dy * sin, contact.half_length_m);
                let b = fall(dy * cos - dx * sin, contact.half_width_m);
                self.open[i * COLUMNS + j] *= 1.0 - contact.depth * a * b;
            }
        }
    }
}
