//! Stills of a world: pictures to train on, from other places than the drive's and through other
//! lenses.

use super::bonnet::Bonnet;
use super::glare::Glare;
use super::light::Light;
use super::random::{Draws, hash};
use super::shot::Shot;
use super::stance::Stance;
use super::{World, WorldFrame};

/// Share of the stills that are not taken from the drive.
const STOPPED_SHARE: f32 = 0.3;

impl World {
    /// A picture to train on: near frame `index` of the drive, or at a stop anywhere in the world
    /// with the camera turned, some over the vehicle's bonnet (`Class::Unlabelled`), some with
    /// glare. Nothing that moves stands in the camera.
    pub fn still(&self, index: u64) -> WorldFrame {
        let mut draws = Draws::new(hash(self.config.seed, 1690), index);
        let drive = self.driving(index);
        let things = &self.scenery.things;
        let stop = if draws.chance(STOPPED_SHARE) {
            let (course, layout) = (&self.course, &self.layout);
            Stance::stopped(course, layout, things, drive.seconds, &mut draws)
        } else {
            None
        };
        let stance = stop.unwrap_or_else(|| drive.jolted(&mut draws));
        let bonnet = draws.chance(0.15).then(|| Bonnet::drawn(&mut draws));
        let glare = draws.chance(0.3).then(|| Glare::drawn(&mut draws));
        self.exposed(index, &stance, Some(&Lens { bonnet, glare }))
    }
}

/// What a still has before its lens.
pub(super) struct Lens {
    bonnet: Option<Bonnet>,
    glare: Option<Glare>,
}

impl Lens {
    /// Lets a shot of `width` columns through.
    pub(super) fn apply(&self, shot: &mut Shot, width: usize, light: &Light) {
        if let Some(bonnet) = &self.bonnet {
            bonnet.cover(shot, width, light);
        }
        if let Some(glare) = &self.glare {
            glare.spread(&mut shot.radiance, width);
        }
    }
}
