//! A made road world: a drive through a town, rendered on the CPU from a seed alone, with true
//! labels, poses and drivable area. Everything is computed from the seed and the frame's index, so
//! any frame can be made alone, on any number of threads, with the same bytes.

mod bare_tree;
mod barrier;
mod bicycle;
mod bonnet;
mod building;
mod camera;
mod church;
mod clutter;
mod coachwork;
mod config;
mod contact;
mod course;
mod crowd;
mod dressing;
mod facade;
mod facet;
mod fence;
mod furniture;
mod geometry;
mod glare;
mod glazing;
mod grime;
mod ground;
mod junction;
mod layout;
mod light;
mod mast;
mod motion;
mod noise;
mod order;
mod paint;
mod person;
mod random;
mod raster;
mod record;
mod relief;
mod scene;
mod scenery;
mod sections;
mod sensor;
mod shade;
mod shadow;
mod shot;
mod signboard;
mod stance;
mod still;
mod surface;
mod thicket;
mod traffic;
mod tree;
mod truth;
mod variety;
mod vehicle;
mod vehicle_body;
mod walker;

pub use crate::pose::Pose;
pub use camera::{Intrinsics, optical_in_link};
pub use config::{WorldConfig, WorldError};
pub use light::Weather;
pub use motion::Twist;
pub use record::{
    CAMERA_INFO_TOPIC, GRID_TOPIC, IMAGE_TOPIC, LABELS_TOPIC, ODOMETRY_TOPIC, record_drive,
};
pub use scene::{Class, Footprint};
pub use truth::{
    CELL_FREE, CELL_OBSTACLE, CELL_OTHER_GROUND, CELL_UNSEEN, GridExtent, Obstacle, TruthGrid,
};

use camera::RayTable;
use config::{check, pixel_aspect};
use contact::ContactMap;
use course::Course;
use facet::{Facet, Viewer};
use geometry::{Vec3, vec3};
use layout::Layout;
use light::Light;
use motion::Motion;
use noise::NoiseTiles;
use random::{Draws, hash};
use raster::{Eye, Screen, triangles_from_facets};
use rayon::prelude::*;
use scene::{Shape, Thing};
use scenery::{Scenery, scenery};
use sensor::Sensor;
use shade::Shader;
use shadow::ShadowMap;
use shot::Shot;
use stance::Stance;
use still::Lens;
use traffic::Traffic;
use truth::{View, obstacles, truth_grid};

/// One camera frame with its truth.
#[derive(Clone, Debug, PartialEq)]
pub struct WorldFrame {
    /// Position in the drive.
    pub index: u64,
    /// Time of exposure, nanoseconds since the epoch.
    pub stamp_ns: i64,
    /// Rows of RGB bytes, `height * width * 3`.
    pub rgb: Vec<u8>,
    /// Class ids (`Class`), `height * width`.
    pub labels: Vec<u8>,
    /// The camera's intrinsics.
    pub camera: Intrinsics,
    /// base_link (on the ground under the vehicle) in odom; odom is level and starts at frame 0.
    pub base_in_odom: Pose,
    /// The camera's link (x forward) in base_link; constant, without the nod.
    pub camera_in_base: Pose,
    /// How far the camera looks down beyond `camera_in_base`, radians.
    pub nod_rad: f64,
    /// Velocity in base_link.
    pub twist: Twist,
    /// The drivable area in base_link.
    pub truth_grid: TruthGrid,
    /// Everything around that stands in the way, in base_link.
    pub obstacles: Vec<Obstacle>,
}

/// A made world, ready to render any frame of its drive.
pub struct World {
    config: WorldConfig,
    camera: Intrinsics,
    camera_in_base: Pose,
    rays: RayTable,
    course: Course,
    layout: Layout,
    scenery: Scenery,
    light: Light,
    motion: Motion,
    tiles: NoiseTiles,
    sensor: Sensor,
    odom_in_world: Pose,
}

impl World {
    /// Builds the world of `config`; errs on a setting that cannot be rendered.
    pub fn new(config: &WorldConfig) -> Result<Self, WorldError> {
        check(config)?;
        let seed = config.seed;
        let fx = config.width as f64 * 0.5 / (config.hfov_deg.to_radians() * 0.5).tan();
        let camera = Intrinsics {
            width: config.width,
            height: config.height,
            fx,
            fy: fx / pixel_aspect(config),
            cx: (config.width as f64 - 1.0) * 0.5,
            cy: (config.height as f64 - 1.0) * 0.5,
            distortion: config.distortion,
        };
        let pitch = config.pitch_deg.to_radians();
        let yaw = config.yaw_deg.to_radians();
        let camera_in_base = Pose::from_euler([1.3, 0.0, config.camera_height_m], 0.0, pitch, yaw);
        let course = Course::new(seed);
        let layout = Layout::new(&course, seed, config.varied);
        let mut light = Light::new(seed, config.weather);
        let mut sensor = Sensor::new(&mut Draws::new(seed, 6));
        if config.varied {
            light = light.varied(seed, config.weather);
            sensor = sensor.varied(&mut Draws::new(seed, 1681));
        }
        let scenery = scenery(&course, &layout, seed, light.lamps, config.varied);
        let motion = Motion::new(&course, seed);
        let start = motion.pose(&course, 0.0);
        let heading = start.rotation[1][0].atan2(start.rotation[0][0]);
        Ok(Self {
            config: *config,
            camera,
            camera_in_base,
            rays: RayTable::new(&camera),
            course,
            layout,
            scenery,
            light,
            motion,
            tiles: NoiseTiles::new(seed),
            sensor,
            odom_in_world: Pose::from_euler(start.translation, 0.0, 0.0, heading),
        })
    }

    /// The settings of this world.
    pub fn config(&self) -> &WorldConfig {
        &self.config
    }

    /// The weather of this world.
    pub fn weather(&self) -> Weather {
        self.light.weather
    }

    /// Frame `index` of the drive.
    pub fn frame(&self, index: u64) -> WorldFrame {
        self.exposed(index, &self.driving(index), None)
    }

    fn driving(&self, index: u64) -> Stance {
        let since_start_ns = self.since_start_ns(index);
        let seconds = since_start_ns as f64 * 1e-9;
        Stance {
            base: self.motion.pose(&self.course, seconds),
            twist: self.motion.twist(&self.course, seconds),
            seconds,
            ego_m: self
                .motion
                .distance_m(seconds)
                .rem_euclid(self.course.length()),
            nod_rad: self.config.nod_deg.to_radians()
                * (std::f64::consts::TAU * self.config.nod_hz * seconds).sin(),
        }
    }

    fn since_start_ns(&self, index: u64) -> i64 {
        (index as f64 * 1e9 / self.config.rate_hz).round() as i64
    }

    /// What the camera sees at a stance; `lens` is for stills.
    fn exposed(&self, index: u64, stance: &Stance, lens: Option<&Lens>) -> WorldFrame {
        let Stance {
            base,
            seconds,
            nod_rad,
            ..
        } = *stance;
        let nod = Pose::from_euler([0.0; 3], 0.0, nod_rad, 0.0);
        let optical = base
            .then(&self.camera_in_base)
            .then(&nod)
            .then(&optical_in_link());
        let eye = eye_from_pose(&optical);
        let traffic = Traffic {
            course: &self.course,
            layout: &self.layout,
            seed: self.config.seed,
            lit: self.light.lamps,
            varied: self.config.varied,
        };
        let mut moving = traffic.at(seconds, stance.ego_m);
        if lens.is_some() {
            moving.retain(|thing| !stance.is_blocked_by(thing));
        }
        let things = self.near_things(&eye, &moving);
        let facets = self.visible_facets(&eye, &things);
        let triangles = triangles_from_facets(&facets, &eye, &self.camera, self.rays.reach);
        let shadow = self.shadow_map(&eye, &things);
        let dark = things.iter().filter_map(|thing| thing.contact);
        let contacts = ContactMap::new(eye.position, eye.forward, dark);
        let shader = Shader {
            course: &self.course,
            layout: &self.layout,
            light: &self.light,
            tiles: &self.tiles,
            styles: &self.scenery.styles,
            shadow: shadow.as_ref(),
            contacts: &contacts,
            seed: self.config.seed as u32,
            pixel_angle: (1.0 / (self.camera.fx * self.camera.fy).sqrt()) as f32,
        };
        let screen = Screen {
            rays: &self.rays,
            width: self.config.width as usize,
            facets: &facets,
            triangles: &triangles,
            tiles: &self.tiles,
            pixel_angle: shader.pixel_angle,
        };
        let mut shot = Shot::new(&eye, &screen, &shader, self.config.height as usize);
        if let Some(lens) = lens {
            lens.apply(&mut shot, self.config.width as usize, &self.light);
        }
        let view = View {
            camera: &self.camera,
            optical_in_world: optical,
            depth: &shot.depth,
            thing: &shot.thing,
        };
        let truth_grid = truth_grid(&self.config.grid, &base, &view, &things, &shader);
        let gain = self.light.exposure * sensor::drift(self.config.seed, seconds);
        WorldFrame {
            index,
            stamp_ns: self.config.start_ns + self.since_start_ns(index),
            rgb: self.developed(&shot.radiance, gain, hash(self.config.seed, index)),
            labels: shot.labels,
            camera: self.camera,
            base_in_odom: self.odom_in_world.inverse().then(&base),
            camera_in_base: self.camera_in_base,
            nod_rad,
            twist: stance.twist,
            truth_grid,
            obstacles: obstacles(&self.config.grid, &base, &things),
        }
    }

    fn near_things<'a>(&'a self, eye: &Eye, moving: &'a [Thing]) -> Vec<&'a Thing> {
        self.scenery
            .things
            .iter()
            .chain(moving)
            .filter(|thing| (thing.centre - eye.position).length() - thing.radius_m < thing.reach_m)
            .collect()
    }

    fn visible_facets(&self, eye: &Eye, things: &[&Thing]) -> Vec<Facet> {
        let viewer = Viewer::Eye(eye.position);
        let pixel_angle = 1.0 / self.camera.fx as f32;
        let mut facets = Vec::with_capacity(16_384);
        for (index, thing) in things.iter().enumerate() {
            let [x, y, z] = eye.local(thing.centre);
            let r = thing.radius_m * 1.6;
            let [reach_x, reach_y] = self.rays.reach;
            if z < -r || x.abs() > z.max(0.0) * reach_x + r || y.abs() > z.max(0.0) * reach_y + r {
                continue;
            }
            // Twigs thinner than half a pixel would only flicker.
            let thinnest = 0.25 * pixel_angle * (z - thing.radius_m).max(0.0);
            for part in &thing.parts {
                if let Shape::Limb(_, _, ra, rb) = part.shape
                    && ra.max(rb) < thinnest
                    && part.class == Class::Tree
                {
                    continue;
                }
                facets.push(Facet::from_part(part, index as u32, &viewer));
            }
        }
        facets
    }

    fn shadow_map(&self, eye: &Eye, things: &[&Thing]) -> Option<ShadowMap> {
        if self.light.sun_radiance.x <= 0.0 {
            return None;
        }
        let flat = vec3(eye.forward.x, eye.forward.y, 0.0).unit();
        let centre = eye.position + flat * 38.0 - vec3(0.0, 0.0, eye.position.z);
        let viewer = ShadowMap::viewer(self.light.sun);
        let mut facets = Vec::with_capacity(16_384);
        for thing in things {
            let apart = thing.centre - centre;
            // Shadows of tall things reach in from outside.
            if apart.dot(apart).sqrt() > 85.0 + thing.radius_m {
                continue;
            }
            for part in &thing.parts {
                let thin = matches!(part.shape, Shape::Limb(_, _, ra, _) if ra < 0.02);
                if !thin {
                    facets.push(Facet::from_part(part, 0, &viewer));
                }
            }
        }
        Some(ShadowMap::new(self.light.sun, centre, &facets, &self.tiles))
    }

    fn developed(&self, radiance: &[Vec3], gain: f32, seed: u64) -> Vec<u8> {
        let width = self.config.width as usize;
        let mut rgb = vec![0u8; radiance.len() * 3];
        rgb.par_chunks_mut(width * 3)
            .enumerate()
            .for_each(|(row, out)| {
                self.sensor
                    .develop_row(out, row, width, radiance, gain, seed);
            });
        rgb
    }
}

fn eye_from_pose(optical: &Pose) -> Eye {
    let axis = |k: usize| {
        let r = &optical.rotation;
        vec3(r[0][k] as f32, r[1][k] as f32, r[2][k] as f32)
    };
    let [x, y, z] = optical.translation.map(|v| v as f32);
    Eye {
        position: vec3(x, y, z),
        right: axis(0),
        down: axis(1),
        forward: axis(2),
    }
}
