//! Light that bright skies and the sun scatter in a lens: a haze around them that washes dark
//! things out.

use super::geometry::{Vec3, vec3};

use super::random::Draws;

/// Pixels of a cell of the blurred picture.
const CELL: usize = 16;
/// Radiance beyond this counts no further: a sun in the picture must not drown it.
const BRIGHTEST: f32 = 3.0;

/// How much light goes astray.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Glare {
    /// Share that spreads over a neighbourhood of a fifth of the picture.
    near: f32,
    /// Share that spreads evenly.
    even: f32,
}

impl Glare {
    pub(crate) fn drawn(draws: &mut Draws) -> Self {
        let strength = draws.unit();
        Self {
            near: 0.13 * strength * strength,
            even: 0.05 * draws.unit() * strength,
        }
    }

    /// Adds the strayed light to the radiance of a picture of `width` columns.
    pub(crate) fn spread(&self, radiance: &mut [Vec3], width: usize) {
        let height = radiance.len() / width;
        let (columns, rows) = (width.div_ceil(CELL), height.div_ceil(CELL));
        let mut cells = vec![Vec3::default(); columns * rows];
        for (at, cell) in cells.iter_mut().enumerate() {
            // One pixel in sixteen is enough for so wide a blur.
            let (top, left) = ((at / columns) * CELL, (at % columns) * CELL);
            let mut count = 0.0;
            for row in (top..(top + CELL).min(height)).step_by(4) {
                for column in (left..(left + CELL).min(width)).step_by(4) {
                    let light = radiance[row * width + column];
                    *cell = *cell
                        + vec3(
                            light.x.min(BRIGHTEST),
                            light.y.min(BRIGHTEST),
                            light.z.min(BRIGHTEST),
                        );
                    count += 1.0;
                }
            }
            *cell = *cell * (1.0 / count);
        }
        let total = cells.iter().fold(Vec3::default(), |sum, &cell| sum + cell);
        let even = total * (self.even / cells.len() as f32);
        let reach = (columns / 10).max(1);
        for _ in 0..2 {
            cells = blurred(&cells, columns, reach);
            cells = blurred_down(&cells, columns, reach);
        }
        let at = |row: usize, column: usize| {
            cells[row.min(rows - 1) * columns + column.min(columns - 1)]
        };
        for (row, line) in radiance.chunks_exact_mut(width).enumerate() {
            let y = ((row as f32 + 0.5) / CELL as f32 - 0.5).max(0.0);
            let (i, fy) = (y as usize, y.fract());
            for (column, pixel) in line.iter_mut().enumerate() {
                let x = ((column as f32 + 0.5) / CELL as f32 - 0.5).max(0.0);
                let (j, fx) = (x as usize, x.fract());
                let top = at(i, j).mix(at(i, j + 1), fx);
                let low = at(i + 1, j).mix(at(i + 1, j + 1), fx);
                *pixel = *pixel * (1.0 - self.near) + top.mix(low, fy) * self.near + even;
            }
        }
    }
}

/// Means of 2 `reach` + 1 cells along rows.
fn blurred(cells: &[Vec3], columns: usize, reach: usize) -> Vec<Vec3> {
    let mean = |at: usize| {
        let (start, column) = (at - at % columns, at % columns);
        let (from, to) = (
            column.saturating_sub(reach),
            (column + reach).min(columns - 1),
        );
        let sum = (from..=to).fold(Vec3::default(), |sum, k| sum + cells[start + k]);
        sum * (1.0 / (to - from + 1) as f32)
    };
    (0..cells.len()).map(mean).collect()
}

/// The same along columns.
fn blurred_down(cells: &[Vec3], columns: usize, reach: usize) -> Vec<Vec3> {
    let rows = cells.len() / columns;
    let mean = |at: usize| {
        let (row, column) = (at / columns, at % columns);
        let (from, to) = (row.saturating_sub(reach), (row + reach).min(rows - 1));
        let sum = (from..=to).fold(Vec3::default(), |sum, k| sum + cells[k * columns + column]);
        sum * (1.0 / (to - from + 1) as f32)
    };
    (0..cells.len()).map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn glare_lights_the_dark_beside_a_bright_sky_and_adds_little_light_of_its_own() {
        let (width, height) = (160, 120);
        let bright = |row: usize| if row < 40 { 1.0 } else { 0.02 };
        let mut radiance: Vec<Vec3> = (0..width * height)
            .map(|at| vec3(1.0, 1.0, 1.0) * bright(at / width))
            .collect();
        let sum = |radiance: &[Vec3]| radiance.iter().map(|light| light.x).sum::<f32>();
        let before = sum(&radiance);
        let glare = Glare {
            near: 0.2,
            even: 0.0,
        };
        glare.spread(&mut radiance, width);
        let at = |row: usize| radiance[row * width + 80].x;
        assert!(at(44) > 2.0 * at(110), "{} {}", at(44), at(110));
        // Edges of the picture see fewer cells: a few per cent.
        assert!((sum(&radiance) / before - 1.0).abs() < 0.1);
    }
}
