//! The radiance of what a pixel sees: facets, ground or sky.

use super::contact::ContactMap;
use super::course::Course;
use super::facade::{FacadePoint, FacadeStyle, facade_radiance};
use super::facet::Facet;
use super::fence::fence_albedo;
use super::geometry::{UP, Vec3, vec3};
use super::grime::{grime, street};
use super::ground::{GroundSample, ground_albedo};
use super::layout::{Ground, GroundPoint, KERB_HEIGHT_M, Layout, Place};
use super::light::Light;
use super::noise::NoiseTiles;
use super::random::{floor, unit_at};
use super::scene::Class;
use super::shadow::ShadowMap;
use super::signboard::panel_albedo;
use super::surface::{SIGN_BACK, SignFace, Surface};

/// Everything that colours depend on.
pub(crate) struct Shader<'a> {
    pub(crate) course: &'a Course,
    pub(crate) layout: &'a Layout,
    pub(crate) light: &'a Light,
    pub(crate) tiles: &'a NoiseTiles,
    pub(crate) styles: &'a [FacadeStyle],
    pub(crate) shadow: Option<&'a ShadowMap>,
    pub(crate) contacts: &'a ContactMap,
    pub(crate) seed: u32,
    /// Angle of a pixel, radians.
    pub(crate) pixel_angle: f32,
}

/// A view ray's meeting with the ground.
pub(crate) struct GroundHit {
    /// Distance along the ray in units of its direction: the camera's z.
    pub(crate) z: f32,
    pub(crate) p: Vec3,
    pub(crate) s: f32,
    pub(crate) d: f32,
    pub(crate) point: GroundPoint,
    pub(crate) kerb_face: bool,
}

impl GroundHit {
    pub(crate) fn class(&self) -> Class {
        match self.point.ground {
            Ground::Road if !self.kerb_face => Class::Road,
            Ground::Grass if !self.kerb_face => Class::Tree,
            _ => Class::Pavement,
        }
    }
}

const FIELD: GroundPoint = GroundPoint {
    ground: Ground::Grass,
    beyond_kerb_m: 50.0,
    place: Place::Street,
    paving: 0,
};

impl Shader<'_> {
    /// Where a ray meets road, kerb or pavement; None when it points to the sky or ends in the
    /// distance.
    #[inline]
    pub(crate) fn ground_hit(&self, eye: Vec3, direction: Vec3) -> Option<GroundHit> {
        if direction.z > -1e-3 {
            return None;
        }
        let upper = (KERB_HEIGHT_M - eye.z) / direction.z;
        let at = |z: f32| eye + direction * z;
        let p = at(upper);
        let field = |z: f32, p: Vec3| GroundHit {
            z,
            p,
            s: 0.0,
            d: 60.0,
            point: FIELD,
            kerb_face: false,
        };
        if upper > 400.0 {
            return Some(field(upper, p));
        }
        let Some(road) = self.course.locate(p.x, p.y) else {
            return Some(field(upper, p));
        };
        let point = self.layout.ground_at(road.s, road.d);
        if point.ground != Ground::Road {
            return Some(GroundHit {
                z: upper,
                p,
                s: road.s,
                d: road.d,
                point,
                kerb_face: false,
            });
        }
        let z = -eye.z / direction.z;
        let p = at(z);
        let road = self.course.locate_near(road.s, p.x, p.y);
        let point = self.layout.ground_at(road.s, road.d);
        // Between the two heights the ray went through the face of the kerb.
        let kerb_face = point.ground != Ground::Road;
        Some(GroundHit {
            z,
            p,
            s: road.s,
            d: road.d,
            point,
            kerb_face,
        })
    }

    /// Radiance of a ground point seen along `direction`.
    #[inline]
    pub(crate) fn ground_radiance(&self, hit: &GroundHit, direction: Vec3) -> Vec3 {
        let pixel_m = hit.z * self.pixel_angle;
        let steep = (-direction.z).max(0.01);
        let sample = GroundSample {
            point: hit.point,
            s: hit.s,
            d: hit.d,
            x: hit.p.x,
            y: hit.p.y,
            pixel_m,
            stretch_m: pixel_m / steep,
            kerb_face: hit.kerb_face,
        };
        let (albedo, mirror) =
            ground_albedo(self.layout, &sample, self.tiles, self.seed, self.light.wet);
        let normal = if hit.kerb_face {
            vec3(0.0, 0.0, 0.3)
        } else {
            UP
        };
        let mut open = 0.86 * self.contacts.open_at(hit.p);
        // Houses and hedges take part of the sky from the pavement at their foot.
        let nearness = (hit.d.abs() - 4.0) / 14.0;
        open *= 1.0 - 0.28 * nearness.clamp(0.0, 1.0);
        let sunlit = self.sun_on(hit.p, 0.05);
        let lit = self.light.ambient_on(normal) * open
            + self.light.sun_radiance * (self.light.sun.z.max(0.0) * sunlit);
        let mut colour = albedo.times(lit);
        // Tarmac at a grazing angle shines a little, wet tarmac a lot.
        let view = direction.unit();
        let grazing = (1.0 + view.z).max(0.0);
        let grazing = grazing * grazing;
        let grazing = grazing * grazing * grazing;
        let amount = if hit.kerb_face {
            0.0
        } else {
            grazing * (0.035 + 0.5 * mirror)
        };
        if amount > 0.002 {
            let up = vec3(view.x, view.y, -view.z);
            colour = colour.mix(self.light.mirrored(vec3(up.x, up.y, up.z + 0.25)), amount);
        }
        self.light.through_haze(colour, hit.z)
    }

    /// Radiance of a point of a facet.
    #[inline]
    pub(crate) fn facet_radiance(
        &self,
        facet: &Facet,
        uv: [f32; 2],
        p: Vec3,
        z: f32,
        direction: Vec3,
    ) -> Vec3 {
        let [u, v] = uv;
        let pixel_m = z * self.pixel_angle;
        let normal = facet.normal_at(u, v);
        let view = direction.unit();
        let facing_sun = normal.dot(self.light.sun);
        let sunlit = if facing_sun > 0.0 {
            self.sun_on(p + normal * 0.06, 0.08)
        } else {
            0.0
        };
        // Low parts see less sky.
        let open = 0.55 + 0.45 * (p.z / 7.0).clamp(0.0, 1.0);
        let light = self.light.ambient_on(normal) * open
            + self.light.sun_radiance * (facing_sun.max(0.0) * sunlit);
        let mirrored = || view - normal * (2.0 * view.dot(normal));
        let clear_coat = |strength: f32| {
            let cos = (-view.dot(normal)).clamp(0.0, 1.0);
            let k = (1.0 - cos) * (1.0 - cos);
            let fresnel = strength * (0.05 + 0.65 * k * k * (1.0 - cos));
            let direction = mirrored();
            let glint = direction.dot(self.light.sun).max(0.0);
            let glint = glint.powi(24) * sunlit * 0.8;
            (
                self.light.mirrored(direction) + self.light.sun_radiance * glint,
                fresnel,
            )
        };
        let tile = self.tiles;
        // A varied world's coats mirror a street of bright and dark, and more of it.
        let polished = |(mirror, fresnel): (Vec3, f32), more: f32| {
            if !self.layout.varied {
                return (mirror, fresnel);
            }
            let direction = mirrored();
            (mirror * street(direction, tile), fresnel + more)
        };
        let colour = match facet.surface {
            Surface::Facade(style, seed) => {
                let height_m = facet.uv[2][1];
                let point = FacadePoint {
                    u,
                    v,
                    height_m,
                    pixel_m,
                    seed,
                    light,
                    mirrored: mirrored(),
                };
                match self.styles.get(style as usize) {
                    Some(style) => facade_radiance(style, &point, self.light, tile),
                    None => light * 0.2,
                }
            }
            Surface::Roof(albedo, seed) => {
                let row = floor(v / 0.28) as f32;
                let tone = 0.8 + 0.4 * unit_at(seed, (u / 0.3 + 0.5 * row) as i32, row as i32);
                let edge = if v / 0.28 - row < 0.18 && pixel_m < 0.1 {
                    0.7
                } else {
                    1.0
                };
                let moss = tile.broad.at(u * 12.0, v * 12.0, pixel_m * 12.0);
                (albedo * (tone * edge * (0.75 + 0.5 * moss))).times(light)
            }
            Surface::Brick(albedo) => {
                let row = floor(v / 0.075) as f32;
                let shifted = u / 0.225 + 0.5 * (row as i32 & 1) as f32;
                let column = floor(shifted) as f32;
                let fade = (1.0 - pixel_m / 0.06).clamp(0.0, 1.0);
                let joint = v - row * 0.075 < 0.012 || (shifted - column) * 0.225 < 0.012;
                let tone = 0.75 + 0.5 * unit_at(3, column as i32, row as i32);
                let mottle = tile.broad.at(u * 10.0, v * 10.0, pixel_m * 10.0);
                let k = 1.0 + (if joint { 1.35 } else { tone } - 1.0) * fade;
                let foot = 1.0 - 0.3 * (1.0 - v / 0.4).clamp(0.0, 1.0);
                (albedo * (k * foot * (0.75 + 0.5 * mottle))).times(light)
            }
            Surface::Matte(albedo) => {
                let mottle = tile
                    .fine
                    .at(p.x * 20.0 + p.y * 20.0, p.z * 20.0, pixel_m * 20.0);
                (albedo * (0.88 + 0.24 * mottle)).times(light)
            }
            Surface::Metal(albedo) => {
                let stain = tile.fine.at((p.x + p.y) * 9.0, p.z * 5.0, pixel_m * 9.0);
                let (mirror, fresnel) = clear_coat(0.35);
                (albedo * (0.75 + 0.5 * stain))
                    .times(light)
                    .mix(mirror, fresnel)
            }
            Surface::Bark(albedo, seed) => {
                let offset = (seed & 0xFF) as f32;
                let rough = tile.fine.at(u * 12.0 + offset, p.z * 9.0, pixel_m * 24.0);
                (albedo * (0.55 + 0.9 * rough)).times(light)
            }
            Surface::Leaves(albedo, seed, _) => {
                let offset = (seed & 0xFF) as f32;
                let k = facet.scale_m / 0.05;
                let clump = tile.fine.at(u * k + offset, v * k, pixel_m / 0.05);
                let grain = tile
                    .grain
                    .at(u * k * 1.7, v * k * 1.7 + offset, pixel_m / 0.03);
                let deep = 0.62 + 0.38 * normal.z.max(-0.6);
                let through = self.light.sun_radiance * (0.12 * sunlit.max(0.3));
                let tone = if self.layout.varied {
                    deep * (0.08 + 1.5 * clump * clump + 0.9 * grain)
                } else {
                    deep * (0.30 + 1.1 * clump * clump + 0.7 * grain)
                };
                // Leaves let light through, so the underside of a crown is not black.
                let soft = light + self.light.ambient * 0.35 + through;
                (albedo * tone).times(soft)
            }
            Surface::Twigs(albedo, ..) | Surface::Spray(albedo, ..) => {
                let tone = tile.grain.at(u * 90.0, v * 90.0, 1.0);
                (albedo * (0.6 + 0.8 * tone)).times(light)
            }
            Surface::Hedge(albedo, seed) => {
                let offset = (seed & 0xFF) as f32;
                let clump = tile.fine.at(u * 17.0 + offset, v * 17.0, pixel_m * 17.0);
                let grain = tile.grain.at(u * 42.0, v * 42.0 + offset, pixel_m * 42.0);
                let foot = 0.45 + 0.55 * (v / 0.6).clamp(0.0, 1.0);
                (albedo * (foot * (0.2 + 1.1 * clump * clump + 0.5 * grain))).times(light)
            }
            Surface::Paint(albedo) => {
                let dust = tile.fine.at((p.x + p.y) * 15.0, p.z * 15.0, pixel_m * 15.0);
                let (mirror, fresnel) = polished(clear_coat(1.0), 0.07);
                let low = 0.7 + 0.3 * ((p.z - 0.25) / 0.5).clamp(0.0, 1.0);
                (albedo * (low * (0.9 + 0.2 * dust)))
                    .times(light)
                    .mix(mirror, fresnel)
            }
            Surface::Glass => {
                let (mirror, fresnel) = polished(clear_coat(1.0), 0.12);
                let inside = vec3(0.012, 0.013, 0.015).times(self.light.ambient);
                inside.mix(mirror, (fresnel + 0.14).min(0.9))
            }
            Surface::Wheel => {
                let radius = (u * u + v * v).sqrt();
                let spoke = ((v.atan2(u) * 2.5).sin() > 0.1) || radius < 0.18;
                let albedo = if radius > 0.66 {
                    vec3(0.018, 0.018, 0.019)
                } else if spoke {
                    vec3(0.26, 0.26, 0.27)
                } else {
                    vec3(0.05, 0.05, 0.052)
                };
                albedo.times(light)
            }
            Surface::Disc(albedo) => albedo.times(light),
            Surface::Lamp(radiance) => radiance + vec3(0.06, 0.06, 0.06).times(light),
            Surface::Cloth(albedo, seed) => {
                let offset = (seed & 0xFF) as f32;
                let fold = tile
                    .fine
                    .at(u * 6.0 + offset, p.z * 11.0 + offset, pixel_m * 24.0);
                (albedo * (0.6 + 0.75 * fold)).times(light)
            }
            Surface::Sign(face, seed) => {
                let (mirror, fresnel) = clear_coat(0.3);
                sign_albedo(face, seed, u, v)
                    .times(light)
                    .mix(mirror, fresnel)
            }
            Surface::Railing(albedo, _) => albedo.times(light),
            Surface::Panels(albedo, seed) => {
                let board = floor(u / 0.15) as f32;
                let gap = u / 0.15 - board < 0.09 && pixel_m < 0.05;
                let post = (u / 1.83).fract() < 0.055;
                let tone = 0.78 + 0.44 * unit_at(seed, board as i32, 0);
                let grain = tile.fine.at(u * 60.0, v * 4.0, pixel_m * 60.0);
                let k = if gap { 0.4 } else { tone } * if post { 1.3 } else { 1.0 };
                (albedo * (k * (0.75 + 0.5 * grain))).times(light)
            }
            Surface::Fence(build, albedo, seed) => {
                fence_albedo((build, albedo, seed), uv, pixel_m, tile).times(light)
            }
            Surface::Spokes => vec3(0.03, 0.03, 0.032).times(light),
            Surface::Plate(albedo) => {
                let letter = unit_at(17, (u / 0.065) as i32, (v / 0.03) as i32) > 0.5;
                let row = v > 0.02 && v < 0.09;
                (if letter && row { albedo * 0.15 } else { albedo }).times(light)
            }
        };
        let colour = if self.layout.varied {
            colour * grime(facet, uv, p, pixel_m, self.light.grime, tile)
        } else {
            colour
        };
        self.light.through_haze(colour, z)
    }

    /// Radiance and class of what lies behind everything: sky, or trees on the horizon.
    #[inline]
    pub(crate) fn backdrop(&self, direction: Vec3) -> (Vec3, Class) {
        let view = direction.unit();
        if view.z < 0.11 {
            let azimuth = view.y.atan2(view.x) * 163.0;
            let outline = self.tiles.broad.at(azimuth * 0.8, 7.0, 1.0) * 0.055
                + self.tiles.fine.at(azimuth * 5.0, 3.0, 1.0) * 0.012
                + 0.012;
            if view.z < outline {
                let clump = self.tiles.fine.at(azimuth * 9.0, view.z * 1500.0, 1.0);
                let colour = vec3(0.055, 0.062, 0.045) * (0.5 + clump);
                let colour = colour.times(self.light.ambient);
                return (self.light.through_haze(colour, 220.0), Class::Tree);
            }
        }
        (self.light.sky(view, self.tiles), Class::Sky)
    }

    #[inline]
    fn sun_on(&self, p: Vec3, bias_m: f32) -> f32 {
        self.shadow.map_or(1.0, |map| map.sunlit(p, bias_m))
    }
}

fn sign_albedo(face: SignFace, seed: u32, u: f32, v: f32) -> Vec3 {
    const WHITE: Vec3 = vec3(0.62, 0.62, 0.60);
    const RED: Vec3 = vec3(0.42, 0.02, 0.025);
    const BLUE: Vec3 = vec3(0.015, 0.07, 0.33);
    const BLACK: Vec3 = vec3(0.02, 0.02, 0.02);
    if seed & SIGN_BACK != 0 {
        return vec3(0.17, 0.17, 0.175);
    }
    let radius = (u * u + v * v).sqrt();
    match face {
        SignFace::Limit => {
            if radius > 0.76 {
                RED
            } else if seed & 3 == 0 {
                // No entry.
                if v.abs() < 0.16 && u.abs() < 0.6 {
                    WHITE
                } else {
                    RED
                }
            } else {
                let digit = |x: f32| {
                    (x - 0.0).abs() < 0.2 && v.abs() < 0.38 && !(x.abs() < 0.08 && v.abs() < 0.24)
                };
                if digit(u - 0.28) || digit(u + 0.28) {
                    BLACK
                } else {
                    WHITE
                }
            }
        }
        SignFace::Warning | SignFace::GiveWay => {
            let tip = if face == SignFace::Warning { v } else { -v };
            let inner = tip > -0.62 && u.abs() < (0.62 - tip) * 0.56 - 0.06;
            let symbol = u.abs() < 0.1 && (-0.45..0.2).contains(&tip);
            if !inner {
                RED
            } else if symbol && face == SignFace::Warning {
                BLACK
            } else {
                WHITE
            }
        }
        SignFace::Mandatory => {
            let arrow = (u.abs() < 0.12 && v < 0.3 && v > -0.6)
                || (v > 0.1 && v < 0.6 && u.abs() < 0.6 - v);
            if arrow || radius > 0.93 { WHITE } else { BLUE }
        }
        SignFace::Panel => panel_albedo(seed, u, v),
        SignFace::Plate => {
            let ground = match seed % 6 {
                0 => BLUE,
                1 => vec3(0.01, 0.13, 0.06),
                2 => vec3(0.5, 0.36, 0.02),
                3 => vec3(0.08, 0.015, 0.015),
                4 => BLACK,
                _ => WHITE,
            };
            let ink = if matches!(seed % 6, 2 | 5) {
                BLACK
            } else {
                WHITE
            };
            if u.abs() > 0.93 || v.abs() > 0.93 {
                return ink;
            }
            let row = floor((v + 1.0) / 0.5) as f32;
            let within = (v + 1.0) / 0.5 - row;
            let letter = unit_at(seed, floor(u * 9.0), floor(v * 8.0)) > 0.4;
            if within > 0.3 && within < 0.75 && u.abs() < 0.78 && letter {
                ink
            } else {
                ground
            }
        }
    }
}
