//! Fronts of varied worlds beside plain ones: stone with arched windows, white render between black
//! timber, and concrete with ribbons of glass.

use super::facade::{FacadePoint, FacadeStyle, pane, wall_albedo};
use super::geometry::{Vec3, vec3};
use super::light::Light;
use super::noise::NoiseTiles;
use super::random::{Draws, floor, unit_at};

/// How a front is built.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Order {
    /// As in every world.
    Plain,
    /// Ashlar with arched windows and string courses.
    Stone,
    /// Render between timbers.
    Timber,
    /// Bands of concrete and glass.
    Ribbon,
}

impl Order {
    pub(super) fn drawn(draws: &mut Draws) -> Self {
        draws.pick(&[
            Order::Plain,
            Order::Plain,
            Order::Plain,
            Order::Plain,
            Order::Stone,
            Order::Stone,
            Order::Timber,
            Order::Ribbon,
        ])
    }

    /// Albedo of its wall; `plain` is what a plain front has.
    pub(super) fn wall(self, plain: Vec3, draws: &mut Draws) -> Vec3 {
        let tone = match self {
            Order::Plain => return plain,
            Order::Stone => draws.pick(&[
                vec3(0.34, 0.30, 0.22),
                vec3(0.22, 0.19, 0.14),
                vec3(0.09, 0.08, 0.065),
                vec3(0.40, 0.38, 0.33),
            ]),
            Order::Timber => vec3(0.66, 0.65, 0.60),
            Order::Ribbon => draws.pick(&[
                vec3(0.36, 0.36, 0.34),
                vec3(0.22, 0.215, 0.20),
                vec3(0.55, 0.55, 0.54),
                vec3(0.20, 0.12, 0.08),
            ]),
        };
        tone * draws.between(0.75, 1.2)
    }
}

/// Radiance of a point of a front that is not plain.
pub(super) fn order_radiance(
    style: &FacadeStyle,
    point: &FacadePoint,
    sky: &Light,
    tiles: &NoiseTiles,
) -> Vec3 {
    match style.order {
        Order::Ribbon => ribbon(style, point, sky, tiles),
        Order::Timber => timber(style, point, sky, tiles),
        Order::Stone | Order::Plain => stone(style, point, sky, tiles),
    }
}

/// Tone of a block of ashlar, 1 in the mean.
pub(super) fn stone_albedo(u: f32, v: f32, pixel_m: f32, seed: u32) -> f32 {
    let row = floor(v / 0.32) as f32;
    let shifted = u / 0.75 + 0.5 * (row as i32 & 1) as f32;
    let column = floor(shifted) as f32;
    let joint = v - row * 0.32 < 0.015 || (shifted - column) * 0.75 < 0.015;
    let fade = (1.0 - pixel_m / 0.08).clamp(0.0, 1.0);
    let tone = 0.8 + 0.4 * unit_at(seed ^ 79, column as i32, row as i32);
    1.0 + (if joint { 0.6 } else { tone } - 1.0) * fade
}

fn stone(style: &FacadeStyle, point: &FacadePoint, sky: &Light, tiles: &NoiseTiles) -> Vec3 {
    let FacadePoint { u, v, seed, .. } = *point;
    let wall = || wall_albedo(style, point, tiles).times(point.light);
    let trim = (style.wall * 1.25).times(point.light);
    // Some fronts have windows through two storeys, as halls and churches.
    let tall = unit_at(seed, 81, 0) < 0.35;
    let storey_m = style.storey_m * if tall { 2.0 } else { 1.0 };
    let storey = floor(v / storey_m) as f32;
    let rise = v - storey * storey_m;
    let from_top = point.height_m - v;
    if from_top < 0.45 || rise < 0.22 && storey > 0.0 {
        return trim;
    }
    let bay_m = style.bay_m * (1.0 + 0.4 * unit_at(seed, 82, 0));
    let bay = floor(u / bay_m) as f32;
    let across = (u - (bay + 0.5) * bay_m).abs();
    let half = 0.42 + 0.3 * unit_at(seed, 83, 0);
    let (low, spring) = (0.9, storey_m - 0.75 - half);
    if (storey + 1.0) * storey_m > point.height_m + 0.3 {
        return wall();
    }
    // Distance outside the opening: straight sides under a round or pointed head.
    let pointed = if unit_at(seed, 84, 0) < 0.5 { 1.6 } else { 1.0 };
    let over = (rise - spring).max(0.0) / pointed;
    let edge = (across * across + over * over).sqrt() - half;
    if edge < 0.0 && rise > low {
        let bar = across < 0.04 || (rise / 0.7).fract() < 0.07;
        if bar || edge > -0.07 {
            return (style.trim * 0.5).times(point.light);
        }
        let cell = unit_at(seed, bay as i32, storey as i32);
        return pane(point, sky, cell * 0.5, 0.4);
    }
    if edge < 0.2 && rise > low - 0.2 {
        return trim;
    }
    wall()
}

fn timber(style: &FacadeStyle, point: &FacadePoint, sky: &Light, tiles: &NoiseTiles) -> Vec3 {
    let FacadePoint { u, v, seed, .. } = *point;
    let storey = floor(v / style.storey_m) as f32;
    let rise = v - storey * style.storey_m;
    let bay = floor(u / style.bay_m) as f32;
    let across = u - (bay + 0.5) * style.bay_m;
    let black = vec3(0.02, 0.018, 0.016).times(point.light);
    // Some are plain white with dark windows and no timber.
    let framed = unit_at(seed, 85, 0) < 0.6;
    let half = 0.62;
    if across.abs() < half && (0.9..2.15).contains(&rise) {
        let lattice = (across / 0.31).fract().abs() < 0.12 || (rise / 0.4).fract() < 0.1;
        let rim = across.abs() > half - 0.06;
        if lattice || rim {
            return if framed {
                black
            } else {
                style.frame.times(point.light)
            };
        }
        return pane(point, sky, unit_at(seed, bay as i32, storey as i32), 0.5);
    }
    let post = (u / 0.85 - floor(u / 0.85) as f32) * 0.85 < 0.14;
    let rail = rise < 0.2 || (rise - 0.8).abs() < 0.07;
    let brace = ((across.abs() - half) * 1.6 - (rise - 0.9).abs()).abs() < 0.12 && rise < 2.2;
    if framed && (post || rail || brace && bay as i32 & 1 == 0) {
        return black;
    }
    wall_albedo(style, point, tiles).times(point.light)
}

fn ribbon(style: &FacadeStyle, point: &FacadePoint, sky: &Light, tiles: &NoiseTiles) -> Vec3 {
    let FacadePoint { u, v, seed, .. } = *point;
    let storey = floor(v / style.storey_m) as f32;
    let rise = v - storey * style.storey_m;
    let sill = 0.9 + 0.4 * unit_at(seed, 86, 0);
    let head = style.storey_m - 0.25;
    let pier_m = 3.0 + 5.0 * unit_at(seed, 87, 0);
    let pier = (u / pier_m - floor(u / pier_m) as f32) * pier_m < 0.35;
    let glass = rise > sill && rise < head && v < point.height_m - 0.4;
    if !glass || pier {
        let panel = (u / 1.5).fract() < 0.015;
        let wall = wall_albedo(style, point, tiles).times(point.light);
        return if panel { wall * 0.6 } else { wall };
    }
    let pitch = 1.1 + 0.6 * unit_at(seed, 88, 0);
    let bay = floor(u / pitch) as f32;
    let across = u - bay * pitch;
    if across < 0.07 || rise - sill < 0.06 || head - rise < 0.06 {
        return style.frame.times(point.light);
    }
    let cell = unit_at(seed, bay as i32, storey as i32);
    pane(point, sky, cell, (rise - sill) / (head - sill))
}

#[cfg(test)]
mod tests {
    use super::super::facade::FacadeKind;
    use super::*;

    #[test]
    fn every_order_has_walls_and_darker_openings() {
        let (sky, tiles) = (Light::new(2, None), NoiseTiles::new(2));
        for order in [Order::Stone, Order::Timber, Order::Ribbon] {
            let mut style = FacadeStyle::new(FacadeKind::House, &mut Draws::new(1, 1));
            style.order = order;
            style.wall = vec3(0.5, 0.5, 0.5);
            let (mut light, mut dark) = (0, 0);
            for i in 0..300 {
                for j in 0..90 {
                    let point = FacadePoint {
                        u: i as f32 * 0.1,
                        v: j as f32 * 0.1,
                        height_m: 9.4,
                        pixel_m: 0.02,
                        seed: 7,
                        light: vec3(1.0, 1.0, 1.0),
                        // Mirrors the dark ground.
                        mirrored: vec3(0.9, 0.0, -0.4),
                    };
                    let radiance = order_radiance(&style, &point, &sky, &tiles).y;
                    assert!(radiance.is_finite() && radiance >= 0.0);
                    light += (radiance > 0.25) as usize;
                    dark += (radiance < 0.15) as usize;
                }
            }
            assert!(light > 5000 && dark > 1500, "{order:?}: {light} {dark}");
        }
    }
}
