//! The weather: sun, sky, haze and exposure of a drive.

use super::geometry::{Vec3, vec3};
use super::noise::NoiseTiles;
use super::random::Draws;

/// Kinds of daylight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// White sky, no shadows.
    Overcast,
    /// Blue sky, hard shadows.
    Sunny,
    /// Sun through broken cloud.
    Fair,
    /// Dark clouds after sunset.
    Dusk,
}

/// Light of one drive; radiances are relative to a camera whose white is 1.
pub(crate) struct Light {
    pub(crate) weather: Weather,
    /// Unit vector towards the sun.
    pub(crate) sun: Vec3,
    /// Sun's irradiance over pi, zero when hidden.
    pub(crate) sun_radiance: Vec3,
    zenith: Vec3,
    horizon: Vec3,
    cloud: Vec3,
    cloud_shade: Vec3,
    cover: f32,
    cloud_offset: [f32; 2],
    /// Light that falls on a level face from the sky, over pi.
    pub(crate) ambient: Vec3,
    /// Light that a face turned down gets from the ground.
    pub(crate) bounce: Vec3,
    haze: Vec3,
    haze_m: f32,
    /// Puddles and damp, 0..1.
    pub(crate) wet: f32,
    /// How stained and mottled everything is, 0..1; in varied worlds alone.
    pub(crate) grime: f32,
    /// Share of house windows with a light on after sunset.
    pub(crate) lit_windows: f32,
    /// Lamps are lit.
    pub(crate) lamps: bool,
    /// Multiplies everything.
    pub(crate) exposure: f32,
}

impl Light {
    /// The light of `seed`, or of the given weather.
    pub(crate) fn new(seed: u64, weather: Option<Weather>) -> Self {
        let mut draws = Draws::new(seed, 4);
        let drawn = draws.pick(&[
            Weather::Overcast,
            Weather::Overcast,
            Weather::Overcast,
            Weather::Sunny,
            Weather::Sunny,
            Weather::Fair,
            Weather::Fair,
            Weather::Dusk,
        ]);
        let weather = weather.unwrap_or(drawn);
        let azimuth = draws.between(0.0, std::f32::consts::TAU);
        let elevation = draws.between(0.38, 0.95);
        let warm = draws.between(0.0, 1.0);
        let sun = vec3(
            elevation.cos() * azimuth.cos(),
            elevation.cos() * azimuth.sin(),
            elevation.sin(),
        );
        let sun_colour = vec3(1.0, 0.95 - 0.05 * warm, 0.86 - 0.16 * warm);
        let strength = draws.between(1.6, 2.8);
        let (zenith, horizon, cloud, cloud_shade, cover, sun_radiance, ambient) = match weather {
            Weather::Overcast => (
                vec3(0.80, 0.86, 0.92),
                vec3(0.98, 1.0, 1.02),
                vec3(1.05, 1.07, 1.09),
                vec3(0.72, 0.76, 0.80),
                draws.between(0.5, 0.9),
                Vec3::default(),
                vec3(0.90, 0.95, 1.0) * draws.between(0.6, 1.05),
            ),
            Weather::Sunny => (
                vec3(0.28, 0.46, 0.80),
                vec3(0.80, 0.92, 1.02),
                vec3(1.05, 1.05, 1.05),
                vec3(0.75, 0.80, 0.86),
                draws.between(0.0, 0.3),
                sun_colour * strength,
                vec3(0.34, 0.40, 0.50),
            ),
            Weather::Fair => (
                vec3(0.45, 0.62, 0.88),
                vec3(0.92, 0.98, 1.04),
                vec3(1.1, 1.1, 1.1),
                vec3(0.62, 0.66, 0.72),
                draws.between(0.35, 0.6),
                sun_colour * strength * 0.7,
                vec3(0.58, 0.63, 0.70),
            ),
            Weather::Dusk => (
                vec3(0.17, 0.21, 0.27),
                vec3(0.44, 0.46, 0.45),
                vec3(0.46, 0.48, 0.50),
                vec3(0.12, 0.14, 0.17),
                draws.between(0.55, 0.75),
                Vec3::default(),
                vec3(0.16, 0.18, 0.205) * draws.between(0.8, 1.6),
            ),
        };
        let haze = horizon * if weather == Weather::Dusk { 0.5 } else { 0.75 };
        Self {
            weather,
            sun,
            sun_radiance,
            zenith,
            horizon,
            cloud,
            cloud_shade,
            cover,
            cloud_offset: [draws.between(0.0, 256.0), draws.between(0.0, 256.0)],
            ambient,
            bounce: ambient * 0.16 + sun_radiance * 0.05,
            haze,
            haze_m: draws.between(350.0, 1400.0),
            wet: if weather == Weather::Sunny {
                0.0
            } else {
                (draws.unit() - 0.55).max(0.0) * 2.0
            },
            grime: 0.0,
            lit_windows: 0.3,
            lamps: weather == Weather::Dusk,
            exposure: draws.between(0.8, 1.35),
        }
    }

    /// This light as varied worlds have it: low suns, white skies over dark streets, deep dusk, wet
    /// roads. Unless `weather` is asked for, dusk and sun come more often.
    pub(crate) fn varied(self, seed: u64, weather: Option<Weather>) -> Self {
        let mut draws = Draws::new(seed, 1680);
        let other = match draws.index(8) {
            _ if weather.is_some() => None,
            0 => Some(Weather::Dusk),
            1 => Some(Weather::Sunny),
            2 => Some(Weather::Fair),
            _ => None,
        };
        let mut light = match other {
            Some(_) => Self::new(seed, other),
            None => self,
        };
        if light.weather == Weather::Dusk {
            // Bright clouds over fronts that are nearly black.
            let depth = draws.between(0.4, 1.1);
            let cold = vec3(0.85, 1.0, 1.0).mix(vec3(1.0, 1.0, 1.0), draws.unit());
            light.ambient = (light.ambient * depth).times(cold);
            let bright = draws.between(0.9, 1.5);
            light.cloud = light.cloud * bright;
            light.horizon = (light.horizon * bright).times(cold);
            light.zenith = light.zenith * draws.between(0.8, 1.4);
            light.lit_windows = 0.25 * draws.unit() * draws.unit();
            light.exposure *= draws.between(1.1, 1.6);
        } else {
            // A camera exposed for the street shows its sky white.
            light.exposure *= draws.between(1.0, 1.7);
            let white = draws.between(0.0, 0.9);
            light.zenith = light.zenith.mix(light.horizon, white);
            light.cloud_shade = light.cloud_shade.mix(light.cloud, white);
        }
        if light.sun_radiance.x > 0.0 && draws.chance(0.6) {
            let elevation = draws.between(0.1, 0.4);
            let flat = vec3(light.sun.x, light.sun.y, 0.0).unit();
            light.sun = flat * elevation.cos() + vec3(0.0, 0.0, elevation.sin());
            let gold = vec3(1.0, 0.93, 0.8).mix(vec3(1.0, 1.0, 1.0), draws.unit());
            light.sun_radiance = light.sun_radiance.times(gold) * draws.between(0.8, 1.2);
        }
        if draws.chance(0.25) {
            light.wet = light.wet.max(draws.between(0.3, 1.0));
        }
        light.haze_m *= if draws.chance(0.08) {
            draws.between(0.35, 0.8)
        } else {
            draws.between(1.2, 2.5)
        };
        light.grime = draws.between(0.15, 0.9);
        light.bounce = light.ambient * 0.16 + light.sun_radiance * 0.05;
        light
    }

    /// Light reaching a face from sky and ground, over pi.
    #[inline]
    pub(crate) fn ambient_on(&self, normal: Vec3) -> Vec3 {
        let up = 0.5 + 0.5 * normal.z;
        self.ambient * up + self.bounce * (1.0 - up)
    }

    /// Radiance of the sky in a unit direction.
    #[inline]
    pub(crate) fn sky(&self, direction: Vec3, tiles: &NoiseTiles) -> Vec3 {
        let height = direction.z.max(0.0);
        let clear = self.horizon.mix(self.zenith, height.sqrt());
        let k = 60.0 / (height + 0.10);
        let (x, y) = (
            direction.x * k + self.cloud_offset[0],
            direction.y * k + self.cloud_offset[1],
        );
        let body = tiles.broad.at(x, y, 0.5 / (height + 0.1));
        let detail = tiles.broad.at(x * 3.1, y * 3.1, 1.5 / (height + 0.1));
        let density = body * 0.75 + detail * 0.25;
        let opaque = ((density - (1.0 - self.cover)) * 3.5 + 0.5).clamp(0.0, 1.0);
        let shade = ((density - 0.35) * 1.7).clamp(0.0, 1.0);
        let clouded = clear.mix(self.cloud.mix(self.cloud_shade, shade), opaque);
        let glow = direction.dot(self.sun).max(0.0);
        let glow = glow * glow;
        let glow = glow * glow;
        clouded + self.sun_radiance * (0.12 * glow + 0.8 * glow * glow * glow * glow)
    }

    /// What a shiny face mirrors in a direction: sky above, houses and trees at the side, ground.
    #[inline]
    pub(crate) fn mirrored(&self, direction: Vec3) -> Vec3 {
        let z = direction.z;
        if z < 0.0 {
            return self.ambient * 0.09;
        }
        let sky = self.horizon.mix(self.zenith, z);
        let houses = self.ambient * 0.12;
        houses.mix(sky, ((z - 0.22) * 4.0).clamp(0.0, 1.0))
    }

    /// A colour seen through `distance_m` of air.
    #[inline]
    pub(crate) fn through_haze(&self, colour: Vec3, distance_m: f32) -> Vec3 {
        let t = distance_m / self.haze_m;
        // 1 - exp(-t), to within 1 % for the distances drawn.
        let w = 1.0 - 1.0 / (1.0 + t + 0.5 * t * t);
        colour.mix(self.haze, w)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_varied_light_keeps_the_weather_asked_for_and_else_has_more_of_dusk() {
        let mut dusks = [0; 2];
        for seed in 0..200 {
            let plain = Light::new(seed, None);
            dusks[0] += (plain.weather == Weather::Dusk) as usize;
            dusks[1] += (plain.varied(seed, None).weather == Weather::Dusk) as usize;
            for weather in [Weather::Overcast, Weather::Sunny, Weather::Dusk] {
                let light = Light::new(seed, Some(weather)).varied(seed, Some(weather));
                assert_eq!(light.weather, weather);
                assert_eq!(light.sun_radiance.x > 0.0, weather == Weather::Sunny);
                assert!((light.sun.length() - 1.0).abs() < 1e-4 && light.sun.z > 0.05);
            }
        }
        assert!(dusks[1] > dusks[0], "{dusks:?}");
    }
}
