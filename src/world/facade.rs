//! House fronts: bays, storeys, windows, doors, shop fronts, brick and render.

use super::geometry::{Vec3, vec3};
use super::glazing::glazing_radiance;
use super::light::Light;
use super::noise::NoiseTiles;
use super::order::{Order, order_radiance, stone_albedo};
use super::random::{Draws, floor, unit_at};

/// The look of a row of houses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FacadeStyle {
    pub(super) wall: Vec3,
    pub(super) trim: Vec3,
    pub(super) frame: Vec3,
    brick: bool,
    pub(super) bay_m: f32,
    pub(crate) storey_m: f32,
    window: [f32; 2],
    sill_m: f32,
    kind: FacadeKind,
    pub(super) fascia: Vec3,
    pub(crate) roof: Vec3,
    pub(super) dirt: f32,
    pub(super) order: Order,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum FacadeKind {
    House,
    Shop,
    Office,
    /// Glass from the ground to a fascia; in varied worlds alone.
    Glazed,
    /// No openings: gable ends, backs.
    Blank,
}

impl FacadeStyle {
    pub(crate) fn new(kind: FacadeKind, draws: &mut Draws) -> Self {
        let brick_tones = [
            vec3(0.30, 0.25, 0.17),
            vec3(0.34, 0.29, 0.20),
            vec3(0.22, 0.105, 0.07),
            vec3(0.17, 0.085, 0.06),
            vec3(0.26, 0.17, 0.11),
            vec3(0.14, 0.10, 0.08),
        ];
        let render_tones = [
            vec3(0.62, 0.59, 0.51),
            vec3(0.42, 0.41, 0.39),
            vec3(0.56, 0.50, 0.37),
            vec3(0.28, 0.28, 0.28),
            vec3(0.72, 0.71, 0.68),
        ];
        let brick = draws.chance(if kind == FacadeKind::Office {
            0.45
        } else {
            0.7
        });
        let wall = if brick {
            draws.pick(&brick_tones)
        } else {
            draws.pick(&render_tones)
        };
        let shop_tones = [
            vec3(0.03, 0.05, 0.10),
            vec3(0.09, 0.015, 0.015),
            vec3(0.02, 0.06, 0.03),
            vec3(0.02, 0.02, 0.02),
            vec3(0.30, 0.28, 0.24),
            vec3(0.25, 0.12, 0.02),
        ];
        let narrow = kind == FacadeKind::House || kind == FacadeKind::Shop;
        let bay_m = if narrow {
            draws.between(2.1, 3.0)
        } else {
            draws.between(2.4, 3.8)
        };
        let window_w = if narrow {
            draws.between(0.95, 1.35)
        } else {
            bay_m - draws.between(0.5, 1.0)
        };
        Self {
            wall: wall * draws.between(0.75, 1.15),
            trim: vec3(0.58, 0.56, 0.5) * draws.between(0.45, 1.15),
            frame: if draws.chance(0.75) {
                vec3(0.62, 0.62, 0.6)
            } else {
                vec3(0.06, 0.05, 0.05)
            },
            brick,
            bay_m,
            storey_m: draws.between(2.75, 3.3),
            window: [window_w, draws.between(1.35, 1.75)],
            sill_m: draws.between(0.75, 0.95),
            kind,
            fascia: draws.pick(&shop_tones),
            roof: draws.pick(&[
                vec3(0.075, 0.075, 0.085),
                vec3(0.055, 0.055, 0.06),
                vec3(0.16, 0.075, 0.05),
                vec3(0.11, 0.085, 0.07),
            ]),
            dirt: draws.between(0.15, 0.45),
            order: Order::Plain,
        }
    }

    /// This style with an order that only varied worlds have, more often than not.
    pub(crate) fn ordered(self, draws: &mut Draws) -> Self {
        let order = Order::drawn(draws);
        Self {
            order,
            wall: order.wall(self.wall, draws),
            brick: self.brick && order == Order::Plain,
            ..self
        }
    }

    /// This style in stone.
    pub(crate) fn in_stone(self, draws: &mut Draws) -> Self {
        Self {
            order: Order::Stone,
            wall: Order::Stone.wall(self.wall, draws),
            brick: false,
            ..self
        }
    }

    /// This style without openings.
    pub(crate) fn blank(&self) -> Self {
        Self {
            kind: FacadeKind::Blank,
            ..*self
        }
    }
}

/// What the shading of a facade point needs to know.
pub(crate) struct FacadePoint {
    /// Metres from the facade's corner.
    pub(crate) u: f32,
    /// Metres from its foot.
    pub(crate) v: f32,
    /// Its height, metres.
    pub(crate) height_m: f32,
    pub(crate) pixel_m: f32,
    pub(crate) seed: u32,
    /// Light falling on it, over pi.
    pub(crate) light: Vec3,
    /// View direction mirrored in it.
    pub(crate) mirrored: Vec3,
}

/// Radiance of a facade point.
pub(crate) fn facade_radiance(
    style: &FacadeStyle,
    point: &FacadePoint,
    sky: &Light,
    tiles: &NoiseTiles,
) -> Vec3 {
    let FacadePoint { u, v, seed, .. } = *point;
    let wall = || wall_albedo(style, point, tiles);
    if style.kind == FacadeKind::Glazed {
        return glazing_radiance(style, point, sky, tiles);
    }
    if style.kind == FacadeKind::Blank {
        return wall().times(point.light);
    }
    if style.kind == FacadeKind::Shop && v < style.storey_m {
        return shop_radiance(style, point, sky, tiles);
    }
    if style.order != Order::Plain {
        return order_radiance(style, point, sky, tiles);
    }
    let storey = floor(v / style.storey_m) as f32;
    let rise = v - storey * style.storey_m;
    let bay = floor(u / style.bay_m) as f32;
    let across = u - (bay + 0.5) * style.bay_m;
    let cell = unit_at(seed, bay as i32, storey as i32);
    let top_m = (storey + 1.0) * style.storey_m;
    if top_m > point.height_m + 0.05 {
        // Cornice under the roof.
        let band = point.height_m - v;
        return if band < 0.3 {
            (style.trim * 0.8).times(point.light)
        } else {
            wall().times(point.light)
        };
    }
    let door_bay =
        style.kind == FacadeKind::House && storey == 0.0 && (bay as i32).rem_euclid(2) == 1;
    let (half, low, high) = if door_bay {
        (0.48, 0.0, 2.15)
    } else {
        (
            style.window[0] * 0.5,
            style.sill_m,
            style.sill_m + style.window[1],
        )
    };
    let edge = across.abs() - half;
    if edge < 0.0 && rise > low && rise < high {
        if door_bay {
            return door(point, across, rise).times(point.light);
        }
        let frame = 0.06;
        let bar = across.abs() < 0.03 || (rise - (low + high) * 0.5).abs() < 0.035;
        if edge > -frame || rise < low + frame || rise > high - frame || bar {
            return style.frame.times(point.light);
        }
        return pane(point, sky, cell, (rise - low) / (high - low));
    }
    // Lintel, sill and the shadow below it.
    if edge < 0.12 && (rise - high).abs() < 0.16 && rise > high {
        return style.trim.times(point.light);
    }
    if edge < 0.1 && rise < low && !door_bay {
        if rise > low - 0.11 {
            return (style.trim * 1.05).times(point.light);
        }
        if rise > low - 0.2 {
            return (wall() * 0.6).times(point.light);
        }
    }
    let course_band = (rise < 0.18) && storey > 0.0 && style.kind == FacadeKind::Office;
    if course_band {
        return style.trim.times(point.light);
    }
    wall().times(point.light)
}

pub(super) fn wall_albedo(style: &FacadeStyle, point: &FacadePoint, tiles: &NoiseTiles) -> Vec3 {
    let FacadePoint {
        u,
        v,
        pixel_m,
        seed,
        ..
    } = *point;
    let shift = (seed & 0xFF) as f32;
    let mottle = tiles.broad.at(u * 9.0 + shift, v * 9.0, pixel_m * 9.0);
    let streak = tiles.fine.at(u * 14.0 + shift, v * 1.5, pixel_m * 14.0);
    let mut k = 1.0 + style.dirt * ((mottle - 0.5) * 0.9 + (streak - 0.5) * 0.5);
    // Splashes darken the foot of every wall.
    k *= 1.0 - 0.3 * (1.0 - v / 0.6).clamp(0.0, 1.0);
    if style.order == Order::Stone {
        k *= stone_albedo(u, v, pixel_m, seed);
    } else if style.brick {
        let row = floor(v / 0.075) as f32;
        let shifted = u / 0.225 + 0.5 * (row as i32 & 1) as f32;
        let column = floor(shifted) as f32;
        let fade = (1.0 - pixel_m / 0.06).clamp(0.0, 1.0);
        if fade > 0.0 {
            let joint = (v - row * 0.075 < 0.012) || ((shifted - column) * 0.225 < 0.012);
            let tone = 0.75 + 0.5 * unit_at(seed ^ 77, column as i32, row as i32);
            let detail = if joint { 1.35 } else { tone };
            k *= 1.0 + (detail - 1.0) * fade;
        }
        let patch = unit_at(seed ^ 78, (u * 1.5) as i32, (v * 3.0) as i32);
        k *= 0.92 + 0.16 * patch;
    } else {
        let grain = tiles.grain.at(u * 40.0, v * 40.0, pixel_m * 40.0);
        k *= 0.94 + 0.12 * grain;
    }
    style.wall * k.max(0.1)
}

pub(super) fn pane(point: &FacadePoint, sky: &Light, cell: f32, rise: f32) -> Vec3 {
    let curtain = cell > 0.55 && (rise > 0.55 + 0.3 * (cell - 0.55) || cell > 0.9);
    let inside = if sky.lamps && cell < sky.lit_windows {
        vec3(0.85, 0.62, 0.30) * (0.25 + cell)
    } else if curtain {
        vec3(0.4, 0.38, 0.34).times(point.light) * 0.45
    } else {
        vec3(0.02, 0.022, 0.025).times(point.light) * (0.7 + rise)
    };
    let reflect = 0.10 + 0.35 * (cell * 7.3).fract();
    inside * (1.0 - reflect) + sky.mirrored(point.mirrored) * reflect
}

fn door(point: &FacadePoint, across: f32, rise: f32) -> Vec3 {
    let tone = unit_at(point.seed ^ 5, (point.u / 5.0) as i32, 0);
    let colour = if tone < 0.3 {
        vec3(0.12, 0.015, 0.015)
    } else if tone < 0.55 {
        vec3(0.02, 0.04, 0.10)
    } else if tone < 0.8 {
        vec3(0.02, 0.06, 0.03)
    } else {
        vec3(0.45, 0.45, 0.43)
    };
    let panel = across.abs() > 0.1 && across.abs() < 0.34 && (rise % 0.95) > 0.2;
    if rise > 1.85 {
        vec3(0.05, 0.05, 0.055)
    } else {
        colour * if panel { 0.8 } else { 1.1 }
    }
}

fn shop_radiance(
    style: &FacadeStyle,
    point: &FacadePoint,
    sky: &Light,
    tiles: &NoiseTiles,
) -> Vec3 {
    let FacadePoint { u, v, seed, .. } = *point;
    let unit_m = style.bay_m * 2.0;
    let shop = floor(u / unit_m) as f32;
    let across = u - (shop + 0.5) * unit_m;
    let half = unit_m * 0.5;
    let tone = unit_at(seed ^ 21, shop as i32, 0);
    let fascia = style.fascia.mix(
        vec3(
            unit_at(seed, shop as i32, 1),
            unit_at(seed, shop as i32, 2),
            unit_at(seed, shop as i32, 3),
        )
        .mix(vec3(0.5, 0.5, 0.5), 0.55)
            * 0.3,
        if tone > 0.4 { 0.8 } else { 0.0 },
    );
    let top = style.storey_m;
    if half - across.abs() < 0.18 {
        return (style.trim * 0.7).times(point.light);
    }
    if v > top - 0.75 {
        let line = v > top - 0.6 && v < top - 0.2;
        let letters = line
            && across.abs() < half * 0.7
            && unit_at(seed ^ 31, (u / 0.13) as i32, ((v - top) / 0.14) as i32) > 0.45
            && (u / 0.42).fract() > 0.22;
        let pale = if fascia.y > 0.2 {
            vec3(0.03, 0.03, 0.04)
        } else {
            vec3(0.6, 0.58, 0.45)
        };
        let face = if letters { pale } else { fascia };
        let shine = if sky.lamps && tone > 0.5 {
            face * 0.35
        } else {
            Vec3::default()
        };
        return face.times(point.light) + shine;
    }
    if v < 0.45 {
        return (fascia * 0.8 + vec3(0.02, 0.02, 0.02)).times(point.light);
    }
    let door = across > half * 0.35 && across < half * 0.35 + 0.95;
    let mullion = (across / 1.15).fract().abs() < 0.05;
    if mullion && !door {
        return (fascia + vec3(0.04, 0.04, 0.04)).times(point.light);
    }
    // Goods and lights behind the glass.
    let goods = tiles.fine.at(
        u * 22.0 + seed as f32 % 97.0,
        v * 22.0,
        point.pixel_m * 22.0,
    );
    let bright = unit_at(seed ^ 41, (u / 0.5) as i32, (v / 0.5) as i32);
    let lit = if sky.lamps { 0.5 } else { 0.10 } * (0.2 + tone);
    let hue = |k: u32| 0.75 + 0.5 * unit_at(seed ^ k, floor(u / 0.5), floor(v / 0.5));
    let colour = vec3(hue(42), hue(43), hue(44));
    let inside = colour * (goods * bright * lit) + vec3(0.015, 0.015, 0.017).times(point.light);
    let reflect = if door { 0.12 } else { 0.22 };
    inside * (1.0 - reflect) + sky.mirrored(point.mirrored) * reflect
}
