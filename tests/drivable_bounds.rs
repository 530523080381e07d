//! Numbers that no camera, vehicle or mask should have: the geometry gives an error or a grid, and
//! never a panic.

use anyhow::{Context, Result, ensure};
use ecmnet_ros::drivable::camera::{CalibratedImage, Camera, CameraError, RayTable};
use ecmnet_ros::drivable::grid::{GridConfig, RollingGrid, UNKNOWN};
use ecmnet_ros::drivable::ground::{GroundAttitude, GroundPlane, GroundView, optical_in_base};
use ecmnet_ros::drivable::observe::{Evidence, Observer, Scene};
use ecmnet_ros::drivable::pitch::{PitchFrame, PitchTracker, PitchZero};
use ecmnet_ros::drivable::surface::SurfaceTable;
use ecmnet_ros::labels::{ClassTable, LabelMask};
use ecmnet_ros::msg::CameraInfo;
use ecmnet_ros::pose::Pose;

/// What a broken driver may write into a number.
const ABSURD: [f64; 14] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    1e-300,
    1e9,
    -1e9,
    1e300,
    -1e300,
    f64::MAX,
    f64::MIN_POSITIVE,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::NAN,
];
const LENSES: [(&str, usize); 4] = [
    ("none", 0),
    ("plumb_bob", 5),
    ("rational_polynomial", 8),
    ("equidistant", 4),
];

/// Draws that are the same in every run (xorshift).
struct Draws(u64);

impl Draws {
    fn below(&mut self, count: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % count as u64) as usize
    }

    /// The usual value, or one time in `odds` an absurd one.
    fn number(&mut self, usual: f64, odds: usize) -> f64 {
        if self.below(odds) > 0 {
            return usual;
        }
        ABSURD[self.below(ABSURD.len())]
    }
}

fn calibration(width: u32, height: u32) -> CameraInfo {
    let focal = f64::from(width.max(height)) * 0.7;
    let centre = [width, height].map(|side| (f64::from(side) - 1.0) * 0.5);
    CameraInfo {
        width,
        height,
        distortion_model: "plumb_bob".into(),
        d: vec![-0.08, 0.02, 0.0, 0.0, 0.0],
        k: [focal, 0.0, centre[0], 0.0, focal, centre[1], 0.0, 0.0, 1.0],
        ..CameraInfo::default()
    }
}

fn camera(info: &CameraInfo) -> Result<Camera, CameraError> {
    let image = CalibratedImage {
        frame_id: "",
        width: info.width,
        height: info.height,
        rectified: false,
    };
    Camera::new(info, image)
}

fn surfaces() -> SurfaceTable {
    let names = ["Road", "Pavement", "Wall", "Sky", "Car", "Pedestrian"];
    SurfaceTable::new(&ClassTable {
        names: names.map(str::to_owned).to_vec(),
        palette: vec![[0; 3]; names.len()],
        drivable: names.map(|name| name == "Road").to_vec(),
        ignore_id: 255,
    })
}

/// A frame of `camera`, 1.5 m over the ground and looking 0.1 rad down, taken into a new grid.
fn grid_of(camera: &Camera, mask: &LabelMask, base: &Pose, horizon_m: f64) -> Result<Vec<i8>> {
    let optical = base.then(&optical_in_base([1.0, 0.0], 1.5, 0.1, 0.0));
    let plane = GroundPlane::under(base, GroundAttitude::Base);
    let mut grid = RollingGrid::new(GridConfig {
        size_m: [6.0, 4.0],
        resolution_m: 0.2,
        ahead_m: 4.0,
        ..GridConfig::default()
    })?;
    let is_placed = grid.follow(base);
    let Some(view) = GroundView::new(camera, &optical, plane) else {
        return Ok(grid.drivable().cells);
    };
    ensure!(
        is_placed || base.translation.iter().any(|metres| metres.abs() > 1e8),
        "{base:?} is a place"
    );
    let scene = Scene {
        view: &view,
        rays: &RayTable::new(camera),
        mask,
        surfaces: &surfaces(),
        ego_mask: &[],
        horizon_m,
    };
    let mut observer = Observer::default();
    for stamp_ns in [0, 1, i64::MAX, i64::MIN] {
        let evidence = observer.observe(&scene, &grid.lattice());
        grid.fuse(stamp_ns, evidence)?;
    }
    Ok(grid.drivable().cells)
}

#[test]
fn numbers_of_any_kind_give_an_error_or_a_grid_and_never_a_panic() -> Result<()> {
    let mut draws = Draws(0x9e37_79b9_7f4a_7c15);
    let (mut refused, mut made) = (0, 0);
    for round in 0..400 {
        let [width, height] = [draws.below(40), draws.below(30)].map(|side| side as u32);
        let mut info = calibration(width, height);
        // Every second camera is whole, so that poses and masks are tried on one.
        if round % 2 == 0 {
            let (name, count) = LENSES[draws.below(LENSES.len())];
            info.distortion_model = name.to_owned();
            info.d = (0..count).map(|_| draws.number(0.01, 3)).collect();
            info.k = info.k.map(|value| draws.number(value, 6));
        }
        let Ok(camera) = camera(&info) else {
            refused += 1;
            continue;
        };
        made += 1;
        let mut base = Pose::from_euler([0.0; 3], 0.0, 0.0, 0.3);
        base.translation = base.translation.map(|metres| draws.number(metres, 8));
        base.rotation = (base.rotation).map(|row| row.map(|value| draws.number(value, 30)));
        let ids = (0..width * height).map(|_| draws.below(7) as u8).collect();
        let mask = LabelMask {
            width: width as usize,
            height: height as usize,
            ids,
        };
        let horizon_m = draws.number(10.0, 5);
        grid_of(&camera, &mask, &base, horizon_m).with_context(|| format!("round {round}"))?;
    }
    ensure!(refused > 50 && made > 150, "{refused} refused, {made} made");
    Ok(())
}

#[test]
fn the_pitch_of_any_numbers_is_a_number_within_reach_and_never_a_panic() -> Result<()> {
    let mut draws = Draws(0x1234_5678_9abc_def1);
    let mut trackers = [PitchTracker::default(), PitchTracker::default()];
    let zeros = [PitchZero::Mean, PitchZero::VanishingPoint];
    let mut made = 0;
    for round in 0..400 {
        let [width, height] = [draws.below(700), draws.below(300)].map(|side| side as u32);
        let mut info = calibration(width, height);
        info.k = info.k.map(|value| draws.number(value, 30));
        let Ok(camera) = camera(&info) else {
            continue;
        };
        made += 1;
        let pitch_rad = [0.0, 0.1, -0.4, 0.9, 1.6][draws.below(5)];
        let mut optical = optical_in_base([1.0, 0.0], 1.5, pitch_rad, 0.05);
        optical.rotation = (optical.rotation).map(|row| row.map(|value| draws.number(value, 60)));
        // Every third mask is not of the image's size.
        let lacking = (draws.below(3) == 0) as usize;
        let mask = LabelMask {
            width: width as usize,
            height: height as usize,
            ids: vec![0; (width as usize * height as usize).saturating_sub(lacking)],
        };
        let slant = draws.below(9) as f64 * 0.3;
        let luma_row = |row: usize, luma: &mut [u8]| {
            for (column, value) in luma.iter_mut().enumerate() {
                *value = ((column as f64 + slant * row as f64) * 20.0) as u8;
            }
        };
        let frame = PitchFrame {
            stamp_ns: match draws.below(40) {
                0 => i64::MAX,
                1 => i64::MIN,
                _ => round * 66_666_667,
            },
            camera: &camera,
            optical_in_fixed: optical,
            up: [0.0, 0.0, draws.number(1.0, 20)],
            luma_row: &luma_row,
            mask: &mask,
            surfaces: &surfaces(),
        };
        for (tracker, zero) in trackers.iter_mut().zip(zeros) {
            let pitch_rad = tracker.pitch_rad(&frame, zero);
            ensure!(
                pitch_rad.abs() < 0.1,
                "round {round}: {pitch_rad} by {zero:?}"
            );
        }
    }
    ensure!(made > 200, "{made} made");
    Ok(())
}

#[test]
fn focal_lengths_and_centres_that_are_no_numbers_or_not_positive_are_refused() {
    let reason = |at: usize, value: f64| {
        let mut info = calibration(64, 48);
        info.k[at] = value;
        camera(&info).err().map(|error| error.reason())
    };
    assert_eq!(reason(0, 0.0), Some("uncalibrated"));
    assert_eq!(reason(4, 0.0), Some("camera_info_unusable"));
    for at in [0, 2, 4, 5] {
        for value in [f64::NAN, f64::INFINITY] {
            assert_eq!(reason(at, value), Some("camera_info_unusable"), "K[{at}]");
        }
    }
    let empty = camera(&calibration(0, 48)).err();
    assert_eq!(
        empty.map(|error| error.reason()),
        Some("camera_info_unusable")
    );
}

#[test]
fn an_image_of_one_pixel_and_a_mask_of_none_give_a_grid() -> Result<()> {
    let base = Pose::IDENTITY;
    let one = camera(&calibration(1, 1))?;
    let road = LabelMask {
        width: 1,
        height: 1,
        ids: vec![0],
    };
    // Its one pixel is all that 71 degrees show.
    ensure!(grid_of(&one, &road, &base, 10.0)?.contains(&0));
    let none = LabelMask {
        width: 0,
        height: 0,
        ids: Vec::new(),
    };
    for camera in [one, camera(&calibration(64, 48))?] {
        let cells = grid_of(&camera, &none, &base, 10.0)?;
        ensure!(cells.iter().all(|cell| *cell == UNKNOWN), "nothing is seen");
    }
    Ok(())
}

#[test]
fn a_pose_that_is_no_number_has_no_view_of_the_ground() -> Result<()> {
    let camera = camera(&calibration(64, 48))?;
    let optical = optical_in_base([1.0, 0.0], 1.5, 0.1, 0.0);
    let plane = GroundPlane::under(&Pose::IDENTITY, GroundAttitude::Level);
    ensure!(GroundView::new(&camera, &optical, plane).is_some());
    for axis in 0..3 {
        let mut lost = optical;
        lost.translation[axis] = f64::NAN;
        ensure!(GroundView::new(&camera, &lost, plane).is_none(), "{axis}");
        let mut turned = optical;
        turned.rotation[axis] = [f64::NAN; 3];
        ensure!(GroundView::new(&camera, &turned, plane).is_none(), "{axis}");
        let mut sunk = plane;
        sunk.point[axis] = f64::NAN;
        ensure!(GroundView::new(&camera, &optical, sunk).is_none(), "{axis}");
    }
    Ok(())
}

#[test]
fn evidence_for_another_number_of_cells_is_refused() -> Result<()> {
    let mut grid = RollingGrid::new(GridConfig::default())?;
    for count in [0, 1, 39_999, 40_001] {
        ensure!(grid.fuse(0, &vec![Evidence::Unseen; count]).is_err());
    }
    Ok(())
}
