//! The drivable area from one camera or several: label masks laid on the ground.
//!
//! `CameraInfo -> Camera -> GroundView (with a pose and a ground plane) -> Observer (with a mask)
//! -> Evidence a cell -> RollingGrid -> DrivableGrid`; clouds, scan and boundary are made from the
//! evidence or the grid. [`surround::Surround`] puts the evidence of several cameras together.
//! Everything is in the frame of the grid, which is fixed (`odom`) or the vehicle's own
//! (`base_link`); metres, REP-103 axes.

mod body;
pub mod boundary;
pub mod camera;
mod cell_memory;
mod cell_row;
pub mod config;
#[cfg(test)]
mod drawn_road;
pub mod feet;
pub mod grid;
mod grid_config;
pub mod ground;
pub mod ground_mask;
mod horizon_strips;
pub mod lattice;
pub mod lens;
mod level_picture;
mod margin;
pub mod messages;
pub mod observe;
mod outline;
pub mod pitch;
pub mod points;
mod ray_table;
pub mod region;
mod road_lines;
pub mod scan;
mod scene;
#[cfg(test)]
mod street;
pub mod surface;
pub mod surround;
mod vanishing_point;
