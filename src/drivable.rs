//! The drivable area from one camera: label masks laid on the ground.

pub mod camera;
pub mod lens;
