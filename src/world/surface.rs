//! What parts are made of, and where a cut-out surface has holes.

use super::facet::{Facet, Round};
use super::fence::{FenceBuild, fence_coverage};
use super::geometry::Vec3;
use super::noise::NoiseTiles;
use super::random::{floor, unit_at};

/// A material with its parameters; colours are linear albedos in 0..1.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Surface {
    /// A building's front or side: index into the world's facade styles, and the building's seed.
    Facade(u16, u32),
    /// Tiles or slates.
    Roof(Vec3, u32),
    /// Plain brickwork.
    Brick(Vec3),
    /// Anything dull and of one colour.
    Matte(Vec3),
    /// Painted or galvanised metal.
    Metal(Vec3),
    Bark(Vec3, u32),
    /// A clump of leaves: colour, seed, and how much of the clump is leaf (0..1).
    Leaves(Vec3, u32, f32),
    /// A haze of bare twigs, with holes that still count as the tree.
    Twigs(Vec3, u32, f32),
    /// Twigs of a varied world's trees, as open far away as near by: colour, seed, how many.
    Spray(Vec3, u32, f32),
    /// Clipped foliage or rough grass on a flat face.
    Hedge(Vec3, u32),
    /// Car body.
    Paint(Vec3),
    Glass,
    /// A wheel seen from its side.
    Wheel,
    /// A dull disc; u, v in -1..1.
    Disc(Vec3),
    /// Something that shines by itself: radiance.
    Lamp(Vec3),
    /// Clothes, with folds.
    Cloth(Vec3, u32),
    /// A road sign's face: design and seed; u, v in -1..1.
    Sign(SignFace, u32),
    /// Upright bars with rails; the number is the distance between bars, metres.
    Railing(Vec3, f32),
    /// A fence of a varied world: colour and seed.
    Fence(FenceBuild, Vec3, u32),
    /// Boards or panels.
    Panels(Vec3, u32),
    /// A bicycle wheel: a ring with spokes; u, v in -1..1.
    Spokes,
    /// Number plate, yellow or white.
    Plate(Vec3),
}

/// Bit of a sign's seed that shows its unpainted back.
pub(crate) const SIGN_BACK: u32 = 1 << 31;

/// Designs of road signs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum SignFace {
    /// Red ring, white middle with figures.
    Limit,
    /// Red triangle on its base.
    Warning,
    /// Blue disc.
    Mandatory,
    /// Red triangle on its tip.
    GiveWay,
    /// Rectangular panel of varied worlds: a field, a band, writing, by the seed.
    Panel,
    /// Rectangular plate with lines of writing, of a colour given by the seed.
    Plate,
}

/// What a cut-out surface does to a view ray.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Coverage {
    Solid,
    /// Nothing there.
    Hole,
    /// Something behind is seen, but the spot belongs to the surface's class.
    Veil,
}

impl Surface {
    /// Whether `coverage` must be asked for flat facets too.
    #[inline]
    pub(crate) fn is_cut_out(&self) -> bool {
        matches!(
            self,
            Surface::Leaves(..)
                | Surface::Twigs(..)
                | Surface::Spray(..)
                | Surface::Sign(..)
                | Surface::Railing(..)
                | Surface::Fence(..)
                | Surface::Spokes
                | Surface::Wheel
                | Surface::Disc(_)
                | Surface::Hedge(..)
        )
    }
}

/// Whether the facet is there at texture coordinates (u, v); `pixel_m` is the size of a pixel on
/// it, metres.
#[inline]
pub(crate) fn coverage(
    facet: &Facet,
    u: f32,
    v: f32,
    pixel_m: f32,
    tiles: &NoiseTiles,
) -> Coverage {
    if facet.round == Round::Rod {
        let past_end = (1.0 - v).max(v - facet.slenderness + 1.0).max(0.0);
        return if u * u + past_end * past_end <= 1.0 {
            Coverage::Solid
        } else {
            Coverage::Hole
        };
    }
    let square = u * u + v * v;
    match facet.surface {
        Surface::Leaves(_, seed, density) => {
            if square > 1.0 {
                return Coverage::Hole;
            }
            let texel = 0.035;
            let offset = (seed & 0xFF) as f32;
            let k = facet.scale_m / texel;
            let ragged = tiles
                .fine
                .at(u * k + offset, v * k + offset * 0.37, pixel_m / texel);
            let leaf = tiles
                .grain
                .at(u * k * 1.3, v * k * 1.3 + offset, pixel_m * 1.3 / texel);
            let edge = square + (ragged - 0.5) * 1.5 + (leaf - 0.5) * 0.5;
            if edge < 0.72 && ragged * 0.8 + leaf * 0.2 < density + 0.4 * (1.0 - square) {
                Coverage::Solid
            } else if square < 0.5 {
                Coverage::Veil
            } else {
                Coverage::Hole
            }
        }
        Surface::Twigs(_, seed, density) => {
            if square > 1.0 {
                return Coverage::Hole;
            }
            let texel = 0.03;
            let offset = (seed & 0xFF) as f32;
            let k = facet.scale_m / texel;
            let (fan, out) = twig_ray(u, v);
            let blur = pixel_m / texel;
            let a = tiles.fine.at(fan * k * 1.5 + offset, out * k * 0.22, blur);
            let b = tiles
                .fine
                .at((fan - out * 0.5) * k + offset, out * k * 0.35 + 90.0, blur);
            let c = tiles
                .fine
                .at((fan + out * 0.5) * k, out * k * 0.35 + offset, blur);
            let thin = (a - 0.5)
                .abs()
                .min((b - 0.5).abs() * 1.3)
                .min((c - 0.5).abs() * 1.3);
            if thin < 0.075 * density * (1.2 - square) {
                Coverage::Solid
            } else if square < 0.45 + 0.5 * (a - 0.5) {
                Coverage::Veil
            } else {
                Coverage::Hole
            }
        }
        Surface::Spray(_, seed, density) => {
            if square > 1.0 {
                return Coverage::Hole;
            }
            let texel = 0.02;
            let offset = (seed & 0xFF) as f32;
            let k = facet.scale_m / texel;
            let (fan, out) = twig_ray(u, v);
            // Coarser levels of the noise are all middle, which would close the crown.
            let blur = (pixel_m / texel).min(1.9);
            let a = tiles.fine.at(fan * k * 1.2 + offset, out * k * 0.25, blur);
            let b = tiles.fine.at(
                (fan - out * 0.6) * k * 0.8 + offset,
                out * k * 0.4 + 90.0,
                blur,
            );
            let thin = (a - 0.5).abs().min((b - 0.5).abs() * 1.2);
            if thin < 0.042 * density * (1.25 - square) {
                Coverage::Solid
            } else if square < 0.5 + 0.7 * (a - 0.5) {
                Coverage::Veil
            } else {
                Coverage::Hole
            }
        }
        Surface::Hedge(_, seed) => {
            // Only the outline is ragged: v runs from the foot (0) to the top.
            let top = facet.uv[2][1];
            let texel = 0.06;
            let rough = tiles
                .fine
                .at(u / texel + (seed & 0xFF) as f32, v / texel, pixel_m / texel);
            if v > top - 0.22 * rough {
                Coverage::Hole
            } else {
                Coverage::Solid
            }
        }
        Surface::Sign(face, _) => {
            let inside = match face {
                SignFace::Limit | SignFace::Mandatory => square <= 1.0,
                SignFace::Warning => v > -0.85 && u.abs() < (0.95 - v) * 0.56,
                SignFace::GiveWay => v < 0.85 && u.abs() < (0.95 + v) * 0.56,
                SignFace::Plate | SignFace::Panel => true,
            };
            if inside {
                Coverage::Solid
            } else {
                Coverage::Hole
            }
        }
        Surface::Railing(_, pitch) => {
            let top = facet.uv[2][1];
            let bar = (u / pitch - (floor(u / pitch) as f32) - 0.5).abs() * pitch;
            let post = (u / 2.0 - (floor(u / 2.0) as f32) - 0.5).abs() * 2.0;
            let half = 0.013f32.max(pixel_m * 0.4);
            let rail = (v - top + 0.04).abs() < 0.03 || (v - 0.14).abs() < 0.025;
            if rail || bar < half || post < 0.035 {
                Coverage::Solid
            } else {
                Coverage::Veil
            }
        }
        Surface::Fence(build, ..) => fence_coverage(build, [u, v], facet.uv[2][1], pixel_m),
        Surface::Spokes => {
            let radius = square.sqrt();
            if radius > 1.0 {
                Coverage::Hole
            } else if !(0.1..0.86).contains(&radius)
                || unit_at(9, (v.atan2(u) * 6.0) as i32, 0) < 0.06
            {
                Coverage::Solid
            } else {
                Coverage::Veil
            }
        }
        Surface::Wheel | Surface::Disc(_) => {
            if square <= 1.0 {
                Coverage::Solid
            } else {
                Coverage::Hole
            }
        }
        _ => {
            if facet.round == Round::Ball && square > 1.0 {
                Coverage::Hole
            } else {
                Coverage::Solid
            }
        }
    }
}

/// Twigs fan out from below a clump: which ray from there a point lies on, and how far along it.
#[inline]
fn twig_ray(u: f32, v: f32) -> (f32, f32) {
    (u / (v + 2.2) * 2.2, (u * u + (v + 2.2) * (v + 2.2)).sqrt())
}
