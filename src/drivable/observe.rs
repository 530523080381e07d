//! What one frame says about each cell of a grid: cells are looked up in the mask, not pixels thrown
//! at cells, so that far away a pixel fills every cell that it covers.

use super::body::Bodies;
use super::cell_row::{CellRow, SeenCell};
use super::feet::Feet;
use super::lattice::CellLattice;
use super::margin::{Margin, close_gaps};
use super::scene::FootRanges;
pub use super::scene::Scene;
use super::surface::Surface;

/// What a frame says about a cell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Evidence {
    /// Not seen: outside the view, too far, or behind the vehicle's own bonnet.
    #[default]
    Unseen,
    /// Behind something that stands.
    Hidden,
    /// Seen as ground.
    Ground {
        /// 0 free, to 99.
        cost: i8,
        /// How much of a pixel's length on the ground the cell is, at most 1.
        weight: f32,
    },
    /// Taken by something that stands.
    Taken {
        /// As of `Ground`.
        weight: f32,
    },
    /// Ground that shows, but so near below a body that the body may be over it.
    Overhung,
}

/// Lays masks on the ground; keeps its buffers from frame to frame.
#[derive(Clone, Debug, Default)]
pub struct Observer {
    feet: Feet,
    cells: CellRow,
    evidence: Vec<Evidence>,
    blocked: Vec<bool>,
}

impl Observer {
    /// Returns what `scene` says about each cell of `lattice`, row by row.
    pub fn observe(&mut self, scene: &Scene<'_>, lattice: &CellLattice) -> &[Evidence] {
        let first_row = scene.first_ground_row();
        self.feet.find(scene.mask, scene.surfaces, first_row);
        let mut look = Look {
            scene,
            feet: &self.feet,
            bodies: Bodies::new(scene, &self.feet, first_row),
            foot_ranges: FootRanges::new(scene),
            weight_m2: lattice.cell_m * scene.view.height_m() * scene.view.camera().focal_px()[1],
        };
        self.evidence.clear();
        self.cells.fit(lattice);
        for row in 0..lattice.rows {
            let [_, y_m] = lattice.centre_m(row, 0);
            self.cells.look(scene, y_m);
            let cells = self.cells.cells(scene);
            (self.evidence).extend(cells.map(|cell| match cell {
                Some(cell) => look.evidence(&cell),
                None => Evidence::Unseen,
            }));
        }
        close_gaps(&mut self.evidence, &mut self.blocked, lattice.columns);
        let margin = Margin {
            scene,
            feet: &self.feet,
            foot_m: scene.view.foot_m(),
            weight_m2: look.weight_m2,
        };
        for foot in self.feet.all() {
            margin.take(foot, lattice, &mut self.evidence);
        }
        &self.evidence
    }

    /// Returns what the last frame said about each cell.
    pub fn evidence(&self) -> &[Evidence] {
        &self.evidence
    }

    /// Returns where things meet the ground in the mask last observed.
    pub fn feet(&self) -> &Feet {
        &self.feet
    }
}

struct Look<'a> {
    scene: &'a Scene<'a>,
    feet: &'a Feet,
    bodies: Bodies<'a>,
    foot_ranges: FootRanges<'a>,
    /// Over the squared range, a cell's share of a pixel's length on the ground.
    weight_m2: f64,
}

impl Look<'_> {
    #[inline]
    fn evidence(&mut self, cell: &SeenCell) -> Evidence {
        let [row, column] = cell.place;
        let weight = (self.weight_m2 / cell.squared_m2).min(1.0) as f32;
        match *self.scene.surface(row, column) {
            Surface::Void => Evidence::Unseen,
            Surface::Standing(standing) => {
                let foot_row = self.feet.foot_row(row, column);
                let foot_m = foot_row.and_then(|row| self.foot_ranges.range_m(row, column));
                if foot_m.is_none_or(|foot_m| cell.squared_m2.sqrt() <= foot_m + standing.depth_m) {
                    Evidence::Taken { weight }
                } else {
                    Evidence::Hidden
                }
            }
            Surface::Flat(_) if self.bodies.overhang(cell.optical, cell.place) => {
                Evidence::Overhung
            }
            Surface::Flat(cost) => Evidence::Ground { cost, weight },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivable::street::{Block, CAR, PERSON, ROAD, Street, WALL};
    use anyhow::{Result, ensure};

    /// What the frame says about the cells at points.
    fn at<const N: usize>(
        street: &Street,
        ego: &[u8],
        points: [[f64; 2]; N],
    ) -> Result<[Evidence; N]> {
        let lattice = CellLattice {
            origin_m: [0.0, -6.0],
            cell_m: 0.1,
            columns: 300,
            rows: 120,
        };
        street.with_scene(ego, |scene| {
            let mut observer = Observer::default();
            let evidence = observer.observe(scene, &lattice);
            points.map(|p| {
                lattice
                    .cell_at(p)
                    .map_or(Evidence::Unseen, |at| evidence[at])
            })
        })
    }

    fn is_ground(evidence: Evidence, expected: i8) -> bool {
        matches!(evidence, Evidence::Ground { cost, .. } if cost == expected)
    }

    fn is_taken(evidence: Evidence) -> bool {
        matches!(evidence, Evidence::Taken { .. })
    }

    #[test]
    fn road_and_pavement_are_seen_as_far_as_the_horizon_and_within_the_view() -> Result<()> {
        let street = Street::new(&[])?;
        let [near, side, far, beyond, behind, aside] = at(
            &street,
            &[],
            [
                [6.0, 0.0],
                [9.0, 4.5],
                [19.5, 0.0],
                [20.5, 0.0],
                [0.0, 0.0],
                [2.0, 5.0],
            ],
        )?;
        ensure!(
            near == Evidence::Ground {
                cost: 0,
                weight: 1.0
            }
        );
        ensure!(is_ground(side, 80));
        // At 19.55 m a pixel is 19.55^2 / (1.5 * 457) = 0.56 m long.
        let share =
            matches!(far, Evidence::Ground { cost: 0, weight } if (weight - 0.179).abs() < 0.002);
        ensure!(share, "{far:?}");
        ensure!([beyond, behind, aside] == [Evidence::Unseen; 3]);
        Ok(())
    }

    #[test]
    fn a_wall_takes_its_depth_and_what_is_behind_stays_hidden() -> Result<()> {
        let wall = Block {
            x: [8.0, 8.2],
            y: [-1.0, 1.0],
            z: [0.0, 1.8],
            id: WALL,
        };
        let street = Street::new(&[wall])?;
        let [before, on, hidden, beside] = at(
            &street,
            &[],
            [[7.7, 0.0], [8.15, 0.0], [19.0, 0.0], [10.0, 2.0]],
        )?;
        ensure!(is_ground(before, 0) && is_taken(on), "{before:?} {on:?}");
        ensure!(
            hidden == Evidence::Hidden && is_ground(beside, 0),
            "{hidden:?} {beside:?}"
        );
        Ok(())
    }

    #[test]
    fn ground_seen_below_a_car_is_not_free_and_ground_beside_and_before_it_is() -> Result<()> {
        let blocks = on_wheels([8.0, 12.0], 0.9, [0.3, 1.45]);
        let street = Street::new(&blocks)?;
        let under: Vec<[f64; 2]> = (0..15)
            .flat_map(|i| [-0.75, -0.3, 0.0, 0.45, 0.75].map(|y| [8.15 + 0.1 * f64::from(i), y]))
            .collect();
        let seen_road = under.iter().filter(|p| {
            let at = |pixel: [f64; 2]| street.camera.place(pixel);
            let place = street.with_scene(&[], |scene| scene.view.pixel_from_ground(**p));
            let place = place.ok().flatten().and_then(at);
            place.is_some_and(|[row, column]| street.mask.ids[row * 640 + column] == ROAD)
        });
        ensure!(seen_road.count() > 30, "the road shows below the body");
        for point in under {
            let [evidence] = at(&street, &[], [point])?;
            ensure!(
                is_taken(evidence) || evidence == Evidence::Overhung,
                "{point:?} under the body: {evidence:?}"
            );
        }
        let [before, left, right] = at(&street, &[], [[6.0, 0.0], [9.0, 1.6], [9.0, -1.6]])?;
        ensure!([before, left, right].into_iter().all(|e| is_ground(e, 0)));
        Ok(())
    }

    /// A body from its lower edge to its roof, on four wheels 0.8 m from its ends.
    fn on_wheels(x: [f64; 2], half_width: f64, z: [f64; 2]) -> Vec<Block> {
        let body = Block {
            x,
            y: [-half_width, half_width],
            z,
            id: CAR,
        };
        let axles = [x[0] + 0.8, x[1] - 1.3];
        let wheels = axles.into_iter().flat_map(|from| {
            [-half_width, half_width - 0.2].map(|side| Block {
                x: [from, from + 0.5],
                y: [side, side + 0.2],
                z: [0.0, 0.6],
                id: CAR,
            })
        });
        std::iter::once(body).chain(wheels).collect()
    }

    #[test]
    fn a_bus_far_behind_a_car_takes_no_road_before_the_car_and_a_van_takes_its_own() -> Result<()> {
        let car = || on_wheels([12.0, 16.0], 0.9, [0.3, 1.45]);
        let bus = on_wheels([30.0, 40.0], 1.25, [0.35, 3.1]);
        let before: Vec<[f64; 2]> = (0..25)
            .flat_map(|i| [-0.75, -0.3, 0.05, 0.45, 0.75].map(|y| [9.45 + 0.1 * f64::from(i), y]))
            .collect();
        let alone = Street::new(&car())?;
        let followed = Street::new(&car().into_iter().chain(bus).collect::<Vec<_>>())?;
        let mut free = 0;
        for point in before {
            let ([one], [other]) = (at(&alone, &[], [point])?, at(&followed, &[], [point])?);
            ensure!(
                one == other,
                "{point:?}: {one:?} alone, {other:?} before a bus"
            );
            free += i32::from(is_ground(one, 0));
        }
        ensure!(free > 100, "{free} of 125 cells before the car are free");
        // Its lower edge is higher than any car's.
        let van = Street::new(&on_wheels([12.0, 17.0], 0.97, [0.39, 2.1]))?;
        for i in 0..20 {
            for y in [-0.75, 0.0, 0.75] {
                let [evidence] = at(&van, &[], [[12.15 + 0.1 * f64::from(i), y]])?;
                let is_blocked = is_taken(evidence) || evidence == Evidence::Overhung;
                ensure!(is_blocked, "{i} {y}: {evidence:?} below the van");
            }
        }
        Ok(())
    }

    #[test]
    fn a_person_takes_more_ground_than_their_outline() -> Result<()> {
        let leg = Block {
            x: [6.0, 6.1],
            y: [-0.05, 0.05],
            z: [0.0, 1.7],
            id: PERSON,
        };
        let street = Street::new(&[leg])?;
        let [before, left, right, behind, clear] = at(
            &street,
            &[],
            [
                [5.9, 0.0],
                [6.05, 0.15],
                [6.05, -0.15],
                [6.35, 0.0],
                [6.0, 0.8],
            ],
        )?;
        let taken = [before, left, right, behind];
        ensure!(taken.into_iter().all(is_taken), "{taken:?}");
        ensure!(is_ground(clear, 0));
        Ok(())
    }

    #[test]
    fn the_vehicles_own_pixels_say_nothing() -> Result<()> {
        let street = Street::new(&[])?;
        let ego: Vec<u8> = (0..640 * 360).map(|at| u8::from(at / 640 >= 300)).collect();
        // Row 300 shows the ground at 1.5 * 457 / 120.5 = 5.7 m.
        let [masked, clear] = at(&street, &ego, [[5.0, 0.0], [6.5, 0.0]])?;
        ensure!(masked == Evidence::Unseen && is_ground(clear, 0));
        Ok(())
    }
}
