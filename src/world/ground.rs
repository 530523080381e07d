//! Tarmac, markings, kerbs, pavements and grass: the colour of a ground point.

use super::geometry::{Vec3, vec3};
use super::grime::stains;
use super::layout::{CROSSING_REACH_M, Ground, GroundPoint, LANE_WIDTH_M, Layout, Place, Side};
use super::noise::NoiseTiles;
use super::paint::{painted, surfacing};
use super::random::{floor, unit_at};
use super::variety::{BAY_WIDTH_M, CarPark};

/// A point on the ground and how coarsely it is seen.
pub(crate) struct GroundSample {
    pub(crate) point: GroundPoint,
    pub(crate) s: f32,
    pub(crate) d: f32,
    /// World coordinates, metres.
    pub(crate) x: f32,
    pub(crate) y: f32,
    /// Size of a pixel across the view, metres.
    pub(crate) pixel_m: f32,
    /// Size of a pixel along the view, metres.
    pub(crate) stretch_m: f32,
    /// On the upright face of the kerb.
    pub(crate) kerb_face: bool,
}

/// Albedo, and how much of the surface is a mirror of water (0..1).
pub(crate) fn ground_albedo(
    layout: &Layout,
    sample: &GroundSample,
    tiles: &NoiseTiles,
    seed: u32,
    wet: f32,
) -> (Vec3, f32) {
    if sample.kerb_face {
        return (kerb_stone(sample, seed) * 0.75, 0.0);
    }
    match sample.point.ground {
        Ground::Road => road(layout, sample, tiles, seed, wet),
        Ground::Pavement => (pavement(layout, sample, tiles, seed), 0.0),
        Ground::Grass => (grass(sample, tiles), 0.0),
    }
}

pub(super) fn mean_pixel(sample: &GroundSample) -> f32 {
    (sample.pixel_m * sample.stretch_m).sqrt()
}

fn road(
    layout: &Layout,
    sample: &GroundSample,
    tiles: &NoiseTiles,
    seed: u32,
    wet: f32,
) -> (Vec3, f32) {
    let GroundSample { s, d, x, y, .. } = *sample;
    let pixel = mean_pixel(sample);
    let section = layout.section_at(s);
    let broad = tiles.broad.at(x * 4.0, y * 4.0, pixel * 4.0);
    let mottle = tiles.fine.at(x * 23.0, y * 23.0, pixel * 23.0);
    let grain = tiles.grain.at(x * 90.0, y * 90.0, pixel * 90.0);
    let coarse = tiles.grain.at(x * 31.0, y * 31.0, pixel * 31.0);
    let mut k = 1.0 + 0.34 * (broad - 0.5) + 0.22 * (mottle - 0.5);
    k += 0.5 * (grain - 0.5) + 0.3 * (coarse - 0.5);
    if layout.varied {
        k += stains(sample, tiles, pixel);
    }
    let mut tone = section.tarmac;
    if sample.point.place == Place::Street {
        // Wheel tracks are polished; the strip between them catches oil.
        let lane = (d.abs() - LANE_WIDTH_M * 0.5).abs();
        let track = 1.0 - ((lane - 0.78).abs() / 0.45).min(1.0);
        let oil = 1.0 - (lane / 0.5).min(1.0);
        k *= 1.0 + 0.10 * track - 0.10 * oil;
        tone *= patch_tone(s, d, seed);
    }
    let gutter = (sample.point.beyond_kerb_m + 0.45).clamp(0.0, 0.45) / 0.45;
    k *= 1.0 - 0.25 * gutter * (0.5 + mottle);
    k *= crack(sample, tiles, pixel);
    let mut albedo = vec3(tone * 0.97, tone, tone * 1.05) * k.max(0.2);
    if layout.varied {
        albedo = albedo.times(surfacing(layout, sample, seed));
    }
    if let Some(lid) = manhole(s, d, seed) {
        albedo = albedo * lid;
    }
    let (amount, paint) = marking(layout, sample, seed);
    if amount > 0.0 {
        let worn = ((mottle * 0.6 + coarse * 0.25 + broad * 0.4) - 0.33) * 3.2;
        albedo = albedo.mix(
            paint * (0.85 + 0.25 * grain),
            amount * worn.clamp(0.12, 0.92),
        );
    }
    let pool = ((broad * 0.8 + mottle * 0.15 - 0.72 + wet * 0.30) * 6.0).clamp(0.0, 1.0);
    let damp = 1.0 - 0.35 * wet * pool.sqrt();
    (albedo * damp, (wet * pool).min(1.0))
}

/// Rectangles where the road was dug up and filled again.
fn patch_tone(s: f32, d: f32, seed: u32) -> f32 {
    let cell = floor(s / 9.0) as f32;
    let lane = floor(d / LANE_WIDTH_M) as f32;
    let roll = unit_at(seed ^ 101, cell as i32, lane as i32);
    if roll > 0.22 {
        return 1.0;
    }
    let (u, v) = (s - cell * 9.0, d - lane * LANE_WIDTH_M);
    let shape = |k: i32| unit_at(seed ^ 102, cell as i32 * 8 + k, lane as i32);
    let (u0, u1) = (shape(0) * 4.0, 4.5 + shape(1) * 4.5);
    let (v0, v1) = (shape(2) * 1.4, 1.8 + shape(3) * 1.4);
    let inside = (u - u0).min(u1 - u).min(v - v0).min(v1 - v);
    if inside < 0.0 {
        1.0
    } else if inside < 0.04 {
        0.5
    } else {
        0.68 + 0.55 * shape(4)
    }
}

fn crack(sample: &GroundSample, tiles: &NoiseTiles, pixel: f32) -> f32 {
    if pixel > 0.05 {
        return 1.0;
    }
    let ridge = (tiles
        .broad
        .at(sample.x * 9.0 + 31.0, sample.y * 9.0, pixel * 9.0)
        - 0.5)
        .abs();
    let where_cracked = tiles.broad.at(sample.x * 1.3, sample.y * 1.3, 1.0);
    if where_cracked > 0.56 && ridge < 0.006 {
        0.55
    } else {
        1.0
    }
}

fn manhole(s: f32, d: f32, seed: u32) -> Option<f32> {
    let cell = floor(s / 17.0) as f32;
    if unit_at(seed ^ 111, cell as i32, 0) > 0.5 {
        return None;
    }
    let along = s - (cell + 0.2 + 0.6 * unit_at(seed ^ 111, cell as i32, 1)) * 17.0;
    let across = d - (unit_at(seed ^ 111, cell as i32, 2) - 0.5) * 5.0;
    let radius = (along * along + across * across).sqrt();
    if radius < 0.33 {
        Some(if (0.26..0.29).contains(&radius) {
            0.45
        } else {
            0.72
        })
    } else {
        None
    }
}

/// How much of the point is paint, and the paint's albedo.
fn marking(layout: &Layout, sample: &GroundSample, seed: u32) -> (f32, Vec3) {
    const WHITE: Vec3 = vec3(0.46, 0.46, 0.44);
    const YELLOW: Vec3 = vec3(0.42, 0.29, 0.05);
    let GroundSample { s, d, .. } = *sample;
    let side = (d < 0.0) as usize;
    let section = layout.section_at(s);
    let profile = &section.sides[side];
    // Paint fades into the road within a pixel's width.
    let across = |offset: f32, half: f32| line((d - offset).abs(), half, sample.pixel_m);
    if layout.varied
        && let Some(paint) = painted(layout, sample, seed)
    {
        return paint;
    }
    if sample.point.place == Place::CarPark {
        return (bay_lines(profile, sample), WHITE);
    }
    if sample.point.place == Place::SideRoad {
        let edge = sample.point.beyond_kerb_m;
        return (give_way(layout, sample, edge), WHITE);
    }
    let kerb = layout.kerb_at(s, side);
    let from_kerb = kerb - d.abs();
    let crossing = layout.crossing_near(s).map(|crossing| s - crossing);
    if let Some(along) = crossing.filter(|along| along.abs() < CROSSING_REACH_M) {
        if along.abs() < 1.5 {
            let stripe = (floor(d / 1.1)) & 1 == 0;
            return (if stripe { 1.0 } else { 0.0 }, WHITE);
        }
        if (2.0..2.15).contains(&along.abs()) {
            return (
                if (d / 0.5).fract().abs() < 0.5 {
                    1.0
                } else {
                    0.0
                },
                WHITE,
            );
        }
        if along.abs() > 2.4 {
            let zig = ((s / 4.0).fract() * 2.0 - 1.0).abs() * 0.5;
            let edge = line((from_kerb - 0.35 - zig).abs(), 0.06, sample.pixel_m);
            let middle = across(zig - 0.25, 0.06);
            return (edge.max(middle), WHITE);
        }
        return (0.0, WHITE);
    }
    let choice = unit_at(seed ^ 121, section.start_m as i32, 0);
    let (period, painted, half) = match choice {
        c if c < 0.45 => (6.0, 2.0, 0.05),
        c if c < 0.85 => (6.0, 4.0, 0.06),
        _ => (1000.0, 1000.0, 0.06),
    };
    let on_dash = dash(s, period, painted, sample.stretch_m);
    let centre = across(0.0, half) * on_dash;
    if centre > 0.0 {
        return (centre, WHITE);
    }
    if profile.parking {
        let bay = across(
            if side == 0 {
                LANE_WIDTH_M
            } else {
                -LANE_WIDTH_M
            },
            0.05,
        );
        return (bay * dash(s, 1.2, 0.7, sample.stretch_m), WHITE);
    }
    if profile.shoulder_m > 2.3 {
        let lane = across(
            if side == 0 {
                LANE_WIDTH_M
            } else {
                -LANE_WIDTH_M
            },
            0.07,
        );
        if lane > 0.0 {
            return (lane, WHITE);
        }
    }
    if section.yellow_lines {
        let pair = line((from_kerb - 0.25).abs(), 0.045, sample.pixel_m).max(line(
            (from_kerb - 0.43).abs(),
            0.045,
            sample.pixel_m,
        ));
        return (pair, YELLOW);
    }
    if choice > 0.3 {
        let edge = line((from_kerb - 0.35).abs(), 0.06, sample.pixel_m);
        if edge > 0.0 {
            return (edge * 0.9, WHITE);
        }
    }
    (legend(s, d, seed), WHITE)
}

/// Arrows and words in the lanes.
fn legend(s: f32, d: f32, seed: u32) -> f32 {
    let cell = floor(s / 38.0) as f32;
    let roll = unit_at(seed ^ 131, cell as i32, (d < 0.0) as i32);
    if roll > 0.45 {
        return 0.0;
    }
    let heading = if d < 0.0 { -1.0 } else { 1.0 };
    let u = (s - (cell + 0.5) * 38.0) * heading;
    let v = d.abs() - LANE_WIDTH_M * 0.5;
    if u.abs() > 2.2 || v.abs() > 1.1 {
        return 0.0;
    }
    let inside = if roll < 0.25 {
        let head = u > 0.6 && u < 2.1 && v.abs() < (2.1 - u) * 0.3;
        head || (u <= 0.6 && u > -2.1 && v.abs() < 0.09)
    } else {
        // Letters 0.42 m wide and 2.4 m long.
        let letter = floor((v + 1.1) / 0.55) as f32;
        let (a, b) = ((v + 1.1) - letter * 0.55, u + 1.2);
        let stem = a < 0.11 || (a > 0.30 && a < 0.41 && (letter as i32) & 1 == 0);
        let bar = a < 0.41 && (!(0.3..2.1).contains(&b) || (b - 1.2).abs() < 0.15);
        (0.0..2.4).contains(&b) && (stem || bar)
    };
    if inside { 1.0 } else { 0.0 }
}

fn give_way(layout: &Layout, sample: &GroundSample, past: f32) -> f32 {
    let side = (sample.d < 0.0) as usize;
    let beyond = sample.d.abs() - layout.kerb_at(sample.s, side);
    if past > -0.2 || !(0.0..0.75).contains(&beyond) {
        return 0.0;
    }
    let row = (0.1..0.3).contains(&beyond) || (0.5..0.7).contains(&beyond);
    if row {
        dash(sample.s, 0.9, 0.6, sample.pixel_m)
    } else {
        0.0
    }
}

/// Lines between a car park's bays.
fn bay_lines(profile: &Side, sample: &GroundSample) -> f32 {
    let beyond = sample.d.abs() - profile.back_m();
    match CarPark::of(profile) {
        Some(park) if park.in_bays(beyond) => {
            let bay = sample.s / BAY_WIDTH_M;
            let off = (bay - floor(bay + 0.5) as f32).abs() * BAY_WIDTH_M;
            line(off, 0.05, mean_pixel(sample))
        }
        _ => 0.0,
    }
}

pub(super) fn line(offset: f32, half: f32, pixel: f32) -> f32 {
    ((half - offset) / pixel.max(0.01) + 0.5).clamp(0.0, 1.0) * (half * 2.0 / pixel).min(1.0)
}

pub(super) fn dash(s: f32, period: f32, painted: f32, pixel: f32) -> f32 {
    let at = s - (floor(s / period) as f32) * period;
    let sharp =
        ((painted * 0.5 - (at - painted * 0.5).abs()) / pixel.max(0.02) + 0.5).clamp(0.0, 1.0);
    let blend = (pixel / period).min(1.0);
    sharp * (1.0 - blend) + blend * painted / period
}

fn kerb_stone(sample: &GroundSample, seed: u32) -> Vec3 {
    let stone = floor(sample.s / 0.9) as f32;
    let tone = 0.85 + 0.3 * unit_at(seed ^ 141, stone as i32, (sample.d < 0.0) as i32);
    let joint = sample.s - stone * 0.9 < 0.025 && mean_pixel(sample) < 0.03;
    vec3(0.155, 0.15, 0.145) * if joint { 0.5 } else { tone }
}

fn pavement(layout: &Layout, sample: &GroundSample, tiles: &NoiseTiles, seed: u32) -> Vec3 {
    let GroundSample { s, d, x, y, .. } = *sample;
    if sample.point.beyond_kerb_m < 0.15 && sample.point.beyond_kerb_m >= 0.0 {
        return kerb_stone(sample, seed);
    }
    let pixel = mean_pixel(sample);
    let broad = tiles.broad.at(x * 6.0, y * 6.0, pixel * 6.0);
    let grain = tiles.grain.at(x * 60.0, y * 60.0, pixel * 60.0);
    let mut k = 1.0 + 0.4 * (broad - 0.5) + 0.35 * (grain - 0.5);
    let sharp = (1.0 - pixel / 0.12).clamp(0.0, 1.0);
    if layout.varied {
        k += stains(sample, tiles, pixel);
    }
    let base = match sample.point.paving {
        0 => {
            let row = floor(d / 0.6) as f32;
            let shifted = s / 0.75 + 0.5 * (row as i32 & 1) as f32;
            let slab = floor(shifted) as f32;
            let joint = d - row * 0.6 < 0.022 || (shifted - slab) * 0.75 < 0.022;
            let tone = 0.84 + 0.32 * unit_at(seed ^ 151, slab as i32, row as i32);
            k *= 1.0 + (if joint { 0.5 } else { tone } - 1.0) * sharp;
            vec3(0.118, 0.113, 0.103)
        }
        1 => vec3(0.078, 0.077, 0.077),
        3 => {
            // Only the kerb tells it from the road.
            let patch = unit_at(seed ^ 152, floor(s / 7.0), floor(d / 1.6));
            vec3(0.98, 1.0, 1.03) * (layout.section_at(s).tarmac * (0.85 + 0.3 * patch))
        }
        4 => {
            let joint = (s / 1.2).fract() < 0.02 || (d / 1.2).fract().abs() < 0.02;
            k *= 1.0 + (if joint { 0.6 } else { 1.0 } - 1.0) * sharp;
            vec3(0.22, 0.215, 0.20)
        }
        5 => {
            let row = floor(s / 0.16) as f32;
            let column = floor(d / 0.12 + 0.5 * (row as i32 & 1) as f32);
            let tone = 0.6 + 0.8 * unit_at(seed ^ 153, column, row as i32);
            k *= 1.0 + (tone - 1.0) * (1.0 - pixel / 0.08).clamp(0.0, 1.0);
            vec3(0.10, 0.098, 0.094)
        }
        _ => {
            let row = floor(s / 0.11) as f32;
            let shifted = d / 0.22 + 0.5 * (row as i32 & 1) as f32;
            let brick = floor(shifted) as f32;
            let joint = s - row * 0.11 < 0.012 || (shifted - brick) * 0.22 < 0.012;
            let tone = 0.75 + 0.5 * unit_at(seed ^ 161, brick as i32, row as i32);
            let fine = (1.0 - pixel / 0.05).clamp(0.0, 1.0);
            k *= 1.0 + (if joint { 0.6 } else { tone } - 1.0) * fine;
            vec3(0.125, 0.092, 0.075)
        }
    };
    base * k.max(0.2)
}

fn grass(sample: &GroundSample, tiles: &NoiseTiles) -> Vec3 {
    let GroundSample { x, y, .. } = *sample;
    let pixel = mean_pixel(sample);
    let broad = tiles.broad.at(x * 5.0, y * 5.0, pixel * 5.0);
    let blades = tiles.fine.at(x * 45.0, y * 45.0, pixel * 45.0);
    let grain = tiles.grain.at(x * 120.0, y * 120.0, pixel * 120.0);
    let green = vec3(0.060, 0.095, 0.026);
    let dry = vec3(0.125, 0.115, 0.055);
    let bare = vec3(0.085, 0.066, 0.047);
    let mut colour = green.mix(dry, (broad * 1.3 - 0.25).clamp(0.0, 1.0));
    if broad > 0.78 {
        colour = colour.mix(bare, ((broad - 0.78) * 6.0).min(1.0));
    }
    colour * (0.45 + 0.65 * blades + 0.5 * grain)
}
