//! Glass fronts: mullions, spandrels, a pale fascia with a name, and panes that mirror trees, houses
//! and sky.

use super::facade::{FacadePoint, FacadeStyle};
use super::geometry::{Vec3, vec3};
use super::light::Light;
use super::noise::NoiseTiles;
use super::random::{floor, unit_at};

/// Height of the fascia on top of the glass, metres.
const FASCIA_M: f32 = 1.3;

/// Radiance of a point of a glazed front.
pub(crate) fn glazing_radiance(
    style: &FacadeStyle,
    point: &FacadePoint,
    sky: &Light,
    tiles: &NoiseTiles,
) -> Vec3 {
    let FacadePoint { u, v, seed, .. } = *point;
    let from_top = point.height_m - v;
    let stain = tiles.broad.at(u * 5.0, v * 3.0, point.pixel_m * 5.0);
    if from_top < FASCIA_M {
        return fascia(style, point, from_top).times(point.light) * (0.8 + 0.4 * stain);
    }
    let storey = floor(v / style.storey_m) as f32;
    let rise = v - storey * style.storey_m;
    let pitch = 0.9 + 1.6 * unit_at(seed, 61, 0);
    let bay = floor(u / pitch) as f32;
    let across = u - bay * pitch;
    // Some bays are brick or panel from the ground up.
    if unit_at(seed ^ 62, (bay / 3.0) as i32, 0) < 0.25 {
        let row = floor(v / 0.15);
        let tone = 0.85 + 0.3 * unit_at(seed, bay as i32, row);
        return (style.wall * (tone * (0.75 + 0.5 * stain))).times(point.light);
    }
    let spandrel = rise < 0.25 && storey > 0.0;
    let thick = 0.05 + 0.07 * unit_at(seed, 63, 0);
    let transom = (rise - 2.2).abs() < 0.04;
    if spandrel || across < thick || transom {
        return style.frame.times(point.light) * (0.8 + 0.3 * stain);
    }
    let cell = unit_at(seed, bay as i32, storey as i32);
    let inside = interior(point, sky, cell, tiles);
    let reflect = 0.22 + 0.4 * unit_at(seed, 64, 0) + 0.12 * (cell - 0.5);
    inside * (1.0 - reflect) + surroundings(point.mirrored, sky, tiles) * reflect
}

fn fascia(style: &FacadeStyle, point: &FacadePoint, from_top: f32) -> Vec3 {
    let FacadePoint { u, seed, .. } = *point;
    let pale = unit_at(seed, 65, 0) < 0.7;
    let face = if pale {
        vec3(0.5, 0.5, 0.49) * (0.6 + 0.6 * unit_at(seed, 66, 0))
    } else {
        style.fascia
    };
    if !(0.08..=FASCIA_M - 0.08).contains(&from_top) {
        return face * 0.7;
    }
    // A name of big letters once in a while along the front.
    let length = 5.0 + 9.0 * unit_at(seed, 67, 0);
    let period = length * 2.5;
    let at = u - floor(u / period) as f32 * period;
    let stroke = at - floor(at / 0.55) as f32 * 0.55;
    let pen = unit_at(seed ^ 68, floor(at / 0.14), floor(from_top / 0.2)) > 0.35;
    if at < length && (0.25..1.05).contains(&from_top) && stroke < 0.42 && pen {
        if pale {
            vec3(0.4, 0.06, 0.02)
        } else {
            vec3(0.6, 0.6, 0.58)
        }
    } else {
        face
    }
}

fn interior(point: &FacadePoint, sky: &Light, cell: f32, tiles: &NoiseTiles) -> Vec3 {
    let FacadePoint { u, v, seed, .. } = *point;
    let lamp = (v - 2.75).abs() < 0.12 && unit_at(seed ^ 71, floor(u / 0.5), 0) < 0.3;
    if lamp {
        return vec3(0.5, 0.48, 0.4);
    }
    let goods = tiles.fine.at(u * 18.0, v * 18.0, point.pixel_m * 18.0);
    let hue = |k: u32| 0.7 + 0.6 * unit_at(seed ^ k, floor(u / 0.6), floor(v / 0.5));
    let lit = if sky.lamps { 0.35 } else { 0.07 } * (0.4 + cell);
    vec3(hue(72), hue(73), hue(74)) * (goods * lit) + vec3(0.02, 0.021, 0.023).times(point.light)
}

/// What stands across the road: a line of trees and roofs before the sky.
fn surroundings(mirrored: Vec3, sky: &Light, tiles: &NoiseTiles) -> Vec3 {
    let across = mirrored.y.atan2(mirrored.x) * 163.0;
    let outline = 0.06
        + 0.42 * tiles.broad.at(across * 0.5, 3.0, 1.0)
        + 0.14 * (tiles.fine.at(across * 3.0, mirrored.z * 200.0, 1.0) - 0.5);
    if mirrored.z > outline {
        return sky.mirrored(vec3(mirrored.x, mirrored.y, mirrored.z.max(0.5)));
    }
    let clump = tiles.fine.at(across * 6.0, mirrored.z * 400.0, 1.0);
    if mirrored.z < 0.0 {
        return sky.mirrored(mirrored);
    }
    vec3(0.10, 0.105, 0.075).times(sky.ambient) * (0.35 + 1.2 * clump)
}
