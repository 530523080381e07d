//! The bodies of a varied world's vehicles: outlines with cut corners, rounded in plan and at the
//! sides, each stretched a little in its own way.

use super::geometry::Vec3;
use super::random::Draws;
use super::scene::{Part, Shape, Stand};
use super::vehicle_body::{Body, VehicleKind};

/// Half width of the flat part of nose and tail, metres.
const FLAT_M: f32 = 0.4;

/// How one vehicle differs from others of its kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figure {
    /// Along, across and upward.
    pub(crate) scale: [f32; 3],
    /// How far the corners of nose and tail lie behind their middle, metres.
    nose_m: f32,
    /// How far the sills and the shoulders lie inside the flanks' middle, metres.
    flank_m: f32,
    /// Share of each edge of the outline that is cut from its ends.
    cut: f32,
}

impl Figure {
    pub(crate) fn drawn(draws: &mut Draws) -> Self {
        Self {
            scale: [
                draws.between(0.93, 1.06),
                draws.between(0.95, 1.0),
                draws.between(0.94, 1.06),
            ],
            nose_m: draws.between(0.1, 0.32),
            flank_m: draws.between(0.02, 0.07),
            cut: draws.between(0.1, 0.2),
        }
    }

    /// The kind's body with its corners cut.
    pub(super) fn body(&self, kind: VehicleKind) -> Body {
        let plain = kind.body();
        let points = &plain.contour;
        let mut contour = Vec::with_capacity(points.len() * 2);
        contour.push(points[0]);
        for pair in points.windows(2) {
            let ([x0, z0], [x1, z1]) = (pair[0], pair[1]);
            for f in [self.cut, 1.0 - self.cut] {
                contour.push([x0 + (x1 - x0) * f, z0 + (z1 - z0) * f]);
            }
        }
        contour.extend(points.last());
        Body {
            contour: contour.into(),
            // Edge i of the plain outline lies between points 2i + 1 and 2i + 2.
            glass: plain.glass.iter().map(|i| 2 * i + 1).collect(),
            ..plain.clone()
        }
    }

    /// Rounds parts in the vehicle's own frame and moves them to their place; `half_length_m` is
    /// that of the plain body.
    pub(super) fn shape(&self, parts: &mut [Part], place: &Stand, half_length_m: f32) {
        let [kx, ky, kz] = self.scale;
        for part in parts {
            let points: &mut [Vec3] = match &mut part.shape {
                Shape::Quad(corners, _) => corners,
                Shape::Triangle(corners, _) => corners,
                Shape::Limb(a, b, ..) => {
                    for p in [a, b] {
                        *p = place.at(p.x * kx, p.y * ky, p.z * kz);
                    }
                    continue;
                }
                Shape::Ball(centre, ..) => std::slice::from_mut(centre),
            };
            for p in points {
                let end = (p.x / half_length_m).clamp(-1.1, 1.1);
                // The middle stays flat, where plates and grilles are.
                let edge = ((p.y.abs() - FLAT_M) / 0.45).clamp(0.0, 1.0);
                let behind = self.nose_m * end.powi(3).abs() * end.signum() * edge * edge;
                let height = (p.z - 0.62) / 0.4;
                let inward = self.flank_m * (height * height).min(1.0) * p.y.signum();
                let aside = if p.y.abs() > 0.5 { p.y - inward } else { p.y };
                *p = place.at((p.x - behind) * kx, aside * ky, p.z * kz);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::scene::Footprint;
    use super::super::vehicle::vehicle;
    use super::*;

    const KINDS: [VehicleKind; 9] = [
        VehicleKind::Hatchback,
        VehicleKind::Saloon,
        VehicleKind::Estate,
        VehicleKind::Van,
        VehicleKind::Lorry,
        VehicleKind::Bus,
        VehicleKind::City,
        VehicleKind::OffRoader,
        VehicleKind::Carrier,
    ];

    #[test]
    fn a_rounded_vehicle_stays_over_its_footprint_and_on_the_ground() {
        let on = Stand::new(40.0, -12.0, 0.0, 0.7);
        for (number, kind) in KINDS.into_iter().enumerate() {
            let mut draws = Draws::new(number as u64, 5);
            let figure = Figure::drawn(&mut draws);
            let thing = vehicle(&on, kind, true, true, Some(figure), &mut draws);
            assert!(thing.footprint != Footprint::Nothing);
            for part in &thing.parts {
                let points: Vec<_> = match part.shape {
                    Shape::Quad(corners, _) => corners.to_vec(),
                    Shape::Triangle(corners, _) => corners.to_vec(),
                    Shape::Limb(a, b, ..) => vec![a, b],
                    Shape::Ball(centre, ..) => vec![centre],
                };
                for p in points {
                    // Lamps and plates stand out by centimetres, mirrors by a hand.
                    let over = thing.footprint.covers([p.x, p.y], 0.16);
                    assert!(over, "{kind:?}: {p:?} of {:?}", part.surface);
                    // The corners of a wheel arch lie a tenth of a wheel under ground.
                    assert!(p.z > -0.06 && p.z < 3.8, "{kind:?}: {p:?}");
                }
            }
        }
    }

    #[test]
    fn a_cut_outline_keeps_its_ends_and_its_panes() {
        for kind in KINDS {
            let plain = kind.body();
            let figure = Figure::drawn(&mut Draws::new(9, 1));
            let cut = figure.body(kind);
            assert_eq!(cut.contour.first(), plain.contour.first());
            assert_eq!(cut.contour.last(), plain.contour.last());
            assert_eq!(cut.glass.len(), plain.glass.len());
            for (&new, &old) in cut.glass.iter().zip(plain.glass.iter()) {
                // The middle of a pane stays where it was.
                let middle = |body: &Body, i: usize| {
                    let (a, b) = (body.contour[i], body.contour[i + 1]);
                    [(a[0] + b[0]) * 0.5, (a[1] + b[1]) * 0.5]
                };
                let (a, b) = (middle(&cut, new), middle(plain, old));
                assert!((a[0] - b[0]).abs() < 1e-5 && (a[1] - b[1]).abs() < 1e-5);
            }
        }
    }
}
