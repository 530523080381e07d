//! Scores the geometry on made drives against their truth: the chain from CameraInfo, transforms and
//! masks to the grid, as the node runs it.

use anyhow::{Context, Result};
use ecmnet_ros::drivable::camera::{CalibratedImage, Camera, RayTable};
use ecmnet_ros::drivable::grid::{DrivableGrid, FREE, GridConfig, RollingGrid, UNKNOWN};
use ecmnet_ros::drivable::ground::{GroundAttitude, GroundPlane, GroundView};
use ecmnet_ros::drivable::observe::{Evidence, Observer, Scene};
use ecmnet_ros::drivable::pitch::{PitchFrame, PitchTracker, PitchZero, pitched_down};
use ecmnet_ros::drivable::surface::SurfaceTable;
use ecmnet_ros::labels::{ClassTable, LabelMask};
use ecmnet_ros::msg::CameraInfo;
use ecmnet_ros::transform::TransformBuffer;
use ecmnet_ros::world::{
    CELL_FREE, CELL_OBSTACLE, CELL_OTHER_GROUND, CELL_UNSEEN, Class, Footprint, GridExtent,
    Obstacle, Pose, World, WorldConfig, WorldFrame, optical_in_link,
};

/// Frames at the start of a drive, and after a nod sets in, that are not scored.
const FIRST_SCORED: u64 = 5;
/// Frames before a pitch that no transform tells is known: the tracker takes a few seconds.
pub(crate) const KNOWN_FROM: u64 = 30;
const CELL_M: f64 = 0.1;
/// "At 10 m" and "at 20 m": distances from base_link.
const BANDS_M: [[f64; 2]; 2] = [[9.5, 10.5], [19.0, 20.0]];

/// One drive to score.
#[derive(Clone, Copy)]
pub(crate) struct Drive {
    /// Seed of the made world.
    pub(crate) seed: u64,
    /// Frames at 15 Hz.
    pub(crate) frames: u64,
    /// Amplitude of a nod that no transform tells, degrees.
    pub(crate) nod_deg: f64,
    /// Its frequency, Hz.
    pub(crate) nod_hz: f64,
    /// How far the camera looks down beyond what the transforms tell, always, degrees.
    pub(crate) mount_error_deg: f64,
    /// What the tracker counts the pitch from; None where it is not corrected.
    pub(crate) correction: Option<PitchZero>,
}

/// What was counted over any number of drives.
#[derive(Clone, Debug, Default)]
pub(crate) struct Score {
    /// Scored frames.
    pub(crate) frames: u64,
    /// Cells that the truth marks visible within 20 m.
    pub(crate) visible: u64,
    /// Of those, the ones that are not unknown.
    pub(crate) decided: u64,
    /// Of those, the ones that are free where the truth is free road and blocked where it is not.
    pub(crate) right: u64,
    /// Free cells within 15 m, in view or not, that lie in an obstacle's footprint with all of their
    /// area more than a cell from its edge.
    pub(crate) wrong: Vec<WrongCell>,
    /// Frames with such a cell.
    pub(crate) wrongly_free_frames: u64,
    /// At 10 m and 20 m.
    pub(crate) boundary: [BoundaryErrors; 2],
    /// How far the pitch that was found is from the true one, degrees a frame.
    pub(crate) pitch_miss_deg: Vec<f64>,
    /// Time of observing and fusing, milliseconds a frame.
    pub(crate) update_ms: Vec<f64>,
}

/// A free cell in an obstacle's footprint.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "for reports")]
pub(crate) struct WrongCell {
    /// Its frame of the drive.
    pub(crate) frame: u64,
    /// Where it is in base_link, metres.
    pub(crate) at_m: [f64; 2],
    /// What stands there.
    pub(crate) class: Class,
    /// How far inside the footprint its middle lies, metres.
    pub(crate) depth_m: f64,
    /// Row and column of its pixel; None out of view.
    pub(crate) place: Option<[usize; 2]>,
    /// What the frame says about it.
    pub(crate) evidence: Evidence,
}

/// For each true boundary cell, the way to the nearest published one, metres.
#[derive(Clone, Debug, Default)]
pub(crate) struct BoundaryErrors {
    /// Across the road, all cells.
    pub(crate) lateral_m: Vec<f64>,
    /// Along the road, all cells.
    pub(crate) along_m: Vec<f64>,
    /// The distance, for cells whose neighbour across the road is blocked: kerbs, sides of cars.
    pub(crate) beside_m: Vec<f64>,
    /// The distance, for cells whose neighbour ahead is blocked: rears and fronts.
    pub(crate) ahead_m: Vec<f64>,
}

impl Score {
    /// Scores one drive into the sums. `mask_from_frame` gives the frame's mask.
    pub(crate) fn add(
        &mut self,
        drive: &Drive,
        mut mask_from_frame: impl FnMut(&WorldFrame) -> Result<LabelMask>,
    ) -> Result<()> {
        let world = made_world(drive)?;
        let mut chain = Chain::new(&world.frame(0), drive)?;
        let first = drive.correction.map_or(FIRST_SCORED, |_| KNOWN_FROM);
        for index in 0..drive.frames {
            let frame = world.frame(index);
            let mask = mask_from_frame(&frame)?;
            self.add_frame(&mut chain, &frame, &mask, index >= first)?;
        }
        Ok(())
    }

    /// Takes a frame into `chain` and, where `is_scored`, its score into the sums.
    pub(crate) fn add_frame(
        &mut self,
        chain: &mut Chain,
        frame: &WorldFrame,
        mask: &LabelMask,
        is_scored: bool,
    ) -> Result<()> {
        let (grid, update_ms) = chain.grid_from_frame(frame, mask)?;
        if is_scored {
            self.frames += 1;
            self.update_ms.push(update_ms);
            let untold_rad = frame.nod_rad + chain.mount_error_rad;
            let miss_rad = (chain.pitch_rad - untold_rad).abs();
            self.pitch_miss_deg.push(miss_rad.to_degrees());
            self.count(chain, frame, &grid);
        }
        Ok(())
    }

    fn count(&mut self, chain: &Chain, frame: &WorldFrame, grid: &DrivableGrid) {
        let truth = &frame.truth_grid;
        let boundary = published_boundary(frame, grid);
        for row in 0..truth.height {
            for column in 0..truth.width {
                let value = truth_at(frame, i64::from(column), i64::from(row));
                let [x, y] = truth.centre_m(column, row);
                let range_m = x.hypot(y);
                if value == CELL_UNSEEN || range_m > 20.0 {
                    continue;
                }
                let Some(cell) = cell_at(frame, grid, [x, y]) else {
                    continue;
                };
                self.visible += 1;
                self.decided += u64::from(cell != UNKNOWN);
                let is_right = cell != UNKNOWN && (cell == FREE) == (value == CELL_FREE);
                self.right += u64::from(is_right);
                let band = BANDS_M
                    .iter()
                    .position(|[a, b]| (*a..*b).contains(&range_m));
                if let (CELL_FREE, Some(band)) = (value, band) {
                    self.boundary[band].count(frame, [column, row], [x, y], &boundary);
                }
            }
        }
        let wrong = wrongly_free(chain, frame, grid);
        self.wrongly_free_frames += u64::from(!wrong.is_empty());
        self.wrong.extend(wrong);
    }
}

impl BoundaryErrors {
    fn count(
        &mut self,
        frame: &WorldFrame,
        [column, row]: [u32; 2],
        [x, y]: [f64; 2],
        boundary: &[[f64; 2]],
    ) {
        let is_blocked = |dx: i64, dy: i64| {
            let value = truth_at(frame, i64::from(column) + dx, i64::from(row) + dy);
            value == CELL_OTHER_GROUND || value == CELL_OBSTACLE
        };
        let beside = is_blocked(0, 1) || is_blocked(0, -1);
        let ahead = is_blocked(1, 0) || is_blocked(-1, 0);
        if !beside && !ahead {
            return;
        }
        let nearest = boundary
            .iter()
            .map(|p| [p[0] - x, p[1] - y])
            .min_by(|a, b| a[0].hypot(a[1]).total_cmp(&b[0].hypot(b[1])));
        // No boundary at all is an error as large as the view.
        let [along, lateral] = nearest.unwrap_or([20.0, 20.0]);
        self.lateral_m.push(lateral.abs());
        self.along_m.push(along.abs());
        if beside {
            self.beside_m.push(along.hypot(lateral));
        } else {
            self.ahead_m.push(along.hypot(lateral));
        }
    }
}

/// The world of a drive.
pub(crate) fn made_world(drive: &Drive) -> Result<World> {
    let world = World::new(&WorldConfig {
        seed: drive.seed,
        width: 1280,
        height: 720,
        hfov_deg: 70.0,
        pixel_aspect: Some(1.0),
        camera_height_m: 1.5,
        nod_deg: drive.nod_deg,
        nod_hz: drive.nod_hz,
        grid: GridExtent {
            resolution_m: CELL_M,
            ahead_m: 22.0,
            aside_m: 16.0,
        },
        ..WorldConfig::default()
    })?;
    Ok(world)
}

/// The value that half of `values` do not exceed; NaN for none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The classes of the made world, as its weights have them.
pub(crate) fn classes() -> ClassTable {
    let names = [
        "Sky",
        "Building",
        "Pole",
        "Road",
        "Pavement",
        "Tree",
        "SignSymbol",
        "Fence",
        "Car",
        "Pedestrian",
        "Bicyclist",
    ];
    ClassTable {
        names: names.map(str::to_owned).to_vec(),
        palette: vec![[0; 3]; names.len()],
        drivable: names.map(|name| name == "Road").to_vec(),
        ignore_id: 11,
    }
}

/// The frame's true labels.
pub(crate) fn true_mask(frame: &WorldFrame) -> Result<LabelMask> {
    Ok(LabelMask {
        width: frame.camera.width as usize,
        height: frame.camera.height as usize,
        ids: frame.labels.clone(),
    })
}

/// CameraInfo, transforms and masks to a grid.
pub(crate) struct Chain {
    camera: Camera,
    rays: RayTable,
    surfaces: SurfaceTable,
    transforms: TransformBuffer,
    tracker: PitchTracker,
    correction: Option<PitchZero>,
    mount_error_rad: f64,
    /// The pitch that was found in the last frame; 0 where it is not corrected.
    pitch_rad: f64,
    observer: Observer,
    grid: RollingGrid,
}

impl Chain {
    /// The chain for a drive, of which this is a frame.
    pub(crate) fn new(frame: &WorldFrame, drive: &Drive) -> Result<Self> {
        let info = CameraInfo {
            width: frame.camera.width,
            height: frame.camera.height,
            distortion_model: "plumb_bob".to_owned(),
            d: frame.camera.distortion.to_vec(),
            k: frame.camera.k(),
            ..CameraInfo::default()
        };
        let image = CalibratedImage {
            frame_id: "",
            width: frame.camera.width,
            height: frame.camera.height,
            rectified: false,
        };
        let camera = Camera::new(&info, image)?;
        let mut transforms = TransformBuffer::default();
        let mount_error_rad = drive.mount_error_deg.to_radians();
        let told_up = Pose::from_euler([0.0; 3], 0.0, -mount_error_rad, 0.0);
        let told = frame.camera_in_base.then(&told_up);
        transforms.insert_static("base_link", "camera_link", Some(told))?;
        transforms.insert_static("camera_link", "optical", Some(optical_in_link()))?;
        Ok(Self {
            rays: RayTable::new(&camera),
            camera,
            surfaces: SurfaceTable::new(&classes()),
            transforms,
            tracker: PitchTracker::default(),
            correction: drive.correction,
            mount_error_rad,
            pitch_rad: 0.0,
            observer: Observer::default(),
            grid: RollingGrid::new(GridConfig {
                size_m: [44.0, 44.0],
                resolution_m: CELL_M,
                ..GridConfig::default()
            })?,
        })
    }

    fn grid_from_frame(
        &mut self,
        frame: &WorldFrame,
        mask: &LabelMask,
    ) -> Result<(DrivableGrid, f64)> {
        let stamp_ns = frame.stamp_ns;
        self.transforms
            .insert("odom", "base_link", stamp_ns, Some(frame.base_in_odom))?;
        let base = self.transforms.lookup("odom", "base_link", stamp_ns)?;
        let told = self.transforms.lookup("odom", "optical", stamp_ns)?;
        let plane = GroundPlane::under(&base, GroundAttitude::Level);
        let luma_row = |row: usize, luma: &mut [u8]| {
            let pixels = frame.rgb.chunks_exact(3).skip(row * luma.len());
            for (luma, pixel) in luma.iter_mut().zip(pixels) {
                *luma = pixel[1];
            }
        };
        let pitch_frame = PitchFrame {
            stamp_ns,
            camera: &self.camera,
            optical_in_fixed: told,
            up: plane.normal,
            luma_row: &luma_row,
            mask,
            surfaces: &self.surfaces,
        };
        self.pitch_rad = self
            .correction
            .map_or(0.0, |zero| self.tracker.pitch_rad(&pitch_frame, zero));
        let optical = pitched_down(&told, self.pitch_rad);
        let view = GroundView::new(&self.camera, &optical, plane).context("no view")?;
        let scene = Scene {
            view: &view,
            rays: &self.rays,
            mask,
            surfaces: &self.surfaces,
            ego_mask: &[],
            horizon_m: 25.0,
        };
        let start = std::time::Instant::now();
        self.grid.follow(&base);
        let evidence = self.observer.observe(&scene, &self.grid.lattice());
        self.grid.fuse(stamp_ns, evidence)?;
        let update_ms = start.elapsed().as_secs_f64() * 1e3;
        Ok((self.grid.drivable(), update_ms))
    }
}

fn truth_at(frame: &WorldFrame, column: i64, row: i64) -> i8 {
    let truth = &frame.truth_grid;
    let inside = (0..i64::from(truth.width)).contains(&column)
        && (0..i64::from(truth.height)).contains(&row);
    if inside {
        truth.cells[(row * i64::from(truth.width) + column) as usize]
    } else {
        CELL_UNSEEN
    }
}

/// The grid's value at a point of base_link's xy plane, seen along its z axis as the truth is.
fn cell_at(frame: &WorldFrame, grid: &DrivableGrid, [x, y]: [f64; 2]) -> Option<i8> {
    let r = &frame.base_in_odom.rotation;
    let z = -(frame.base_in_odom.translation[2] + r[2][0] * x + r[2][1] * y) / r[2][2];
    let [x, y, _] = frame.base_in_odom.apply([x, y, z]);
    grid.cells.get(grid.lattice.cell_at([x, y])?).copied()
}

/// A ground point of odom in base_link.
fn in_base(frame: &WorldFrame, [x, y]: [f64; 2]) -> [f64; 2] {
    let [x, y, _] = frame.base_in_odom.inverse().apply([x, y, 0.0]);
    [x, y]
}

/// Middles of free cells beside blocked ones, in base_link.
fn published_boundary(frame: &WorldFrame, grid: &DrivableGrid) -> Vec<[f64; 2]> {
    let lattice = grid.lattice;
    let is_blocked = |at: Option<usize>| {
        let cell = at.and_then(|at| grid.cells.get(at));
        cell.is_some_and(|cell| *cell != FREE && *cell != UNKNOWN)
    };
    (0..grid.cells.len())
        .filter(|at| grid.cells[*at] == FREE)
        .filter(|&at| {
            is_blocked(at.checked_sub(1))
                || is_blocked(Some(at + 1))
                || is_blocked(at.checked_sub(lattice.columns))
                || is_blocked(Some(at + lattice.columns))
        })
        .map(|at| {
            in_base(
                frame,
                lattice.centre_m(at / lattice.columns, at % lattice.columns),
            )
        })
        .filter(|p| p[0].hypot(p[1]) < 22.0)
        .collect()
}

/// The free cells within 15 m of which all lies in an obstacle's footprint, more than a cell from its
/// edge.
fn wrongly_free(chain: &Chain, frame: &WorldFrame, grid: &DrivableGrid) -> Vec<WrongCell> {
    let lattice = grid.lattice;
    let optical = frame
        .base_in_odom
        .then(&frame.camera_in_base)
        .then(&optical_in_link());
    let odom_in_optical = pitched_down(&optical, frame.nod_rad).inverse();
    let mut wrong = Vec::new();
    for (at, cell) in grid.cells.iter().enumerate() {
        if *cell != FREE {
            continue;
        }
        let [x, y] = lattice.centre_m(at / lattice.columns, at % lattice.columns);
        let at_m = in_base(frame, [x, y]);
        if at_m[0].hypot(at_m[1]) > 15.0 {
            continue;
        }
        let depth_m = |obstacle: &Obstacle, [dx, dy]: [f64; 2]| {
            let point = in_base(frame, [x + dx * CELL_M, y + dy * CELL_M]);
            f64::from(depth_m(&obstacle.footprint, point.map(|v| v as f32)))
        };
        let obstacle = frame.obstacles.iter().find(|obstacle| {
            depth_m(obstacle, [0.0; 2]) > CELL_M
                && [[-0.5, -0.5], [-0.5, 0.5], [0.5, -0.5], [0.5, 0.5]]
                    .into_iter()
                    .all(|corner| depth_m(obstacle, corner) > CELL_M)
        });
        let Some(obstacle) = obstacle else {
            continue;
        };
        let pixel = (chain.camera).pixel_from_ray(odom_in_optical.apply([x, y, 0.0]));
        wrong.push(WrongCell {
            frame: frame.index,
            at_m,
            class: obstacle.class,
            depth_m: depth_m(obstacle, [0.0; 2]),
            place: pixel.and_then(|pixel| chain.camera.place(pixel)),
            evidence: chain.observer.evidence()[at],
        });
    }
    wrong
}

/// How far inside a footprint a point lies, metres; negative outside.
fn depth_m(footprint: &Footprint, [x, y]: [f32; 2]) -> f32 {
    match footprint {
        Footprint::Nothing => f32::NEG_INFINITY,
        Footprint::Disc(centre, radius) => radius - (x - centre[0]).hypot(y - centre[1]),
        Footprint::Quad(corners) => (0..4)
            .map(|i| {
                let (a, b) = (corners[i], corners[(i + 1) % 4]);
                let (ex, ey) = (b[0] - a[0], b[1] - a[1]);
                (ex * (y - a[1]) - ey * (x - a[0])) / ex.hypot(ey)
            })
            .fold(f32::INFINITY, f32::min),
    }
}
