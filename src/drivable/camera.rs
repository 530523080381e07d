//! A calibrated camera: pixels to rays and back, from a `sensor_msgs/CameraInfo` that fits its image.

use super::lens::Lens;
pub use super::ray_table::RayTable;
use crate::msg::CameraInfo;
use crate::pose::Pose;

/// No focal length is longer, and no centre farther from its image; pixels.
const MOST_PX: f64 = 1e7;

/// Why a CameraInfo cannot be used with an image. Intrinsics are never guessed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CameraError {
    /// K is empty: the driver has no calibration.
    #[error("the camera_info holds no calibration (K is zero); calibrate the camera")]
    Uncalibrated,
    /// A number that is NaN, infinite or absurdly large, a focal length that is not positive, or an
    /// image without pixels.
    #[error("{what} of the camera_info is not usable; calibrate the camera again")]
    Unusable {
        /// The field.
        what: &'static str,
    },
    /// The calibration is for images of another size.
    #[error(
        "the camera_info is for images of {}x{} pixels, the image has {}x{}",
        info[0], info[1], image[0], image[1]
    )]
    Size {
        /// Width and height that the calibration, region and binning give.
        info: [u32; 2],
        /// Width and height of the image.
        image: [u32; 2],
    },
    /// The image and the calibration name different frames.
    #[error("the camera_info is for frame {info}, the image is from {image}")]
    Frame {
        /// frame_id of the camera_info.
        info: String,
        /// frame_id of the image.
        image: String,
    },
    /// A distortion model that is not known.
    #[error(
        "distortion model {name} is not known; plumb_bob, rational_polynomial, equidistant or none"
    )]
    Model {
        /// The model's name.
        name: String,
    },
    /// Another number of distortion parameters than the model has.
    #[error("distortion model {name} has {expected} parameters, the camera_info holds {got}")]
    Parameters {
        /// The model's name.
        name: String,
        /// How many there must be, in words.
        expected: &'static str,
        /// How many came.
        got: usize,
    },
}

impl CameraError {
    /// Returns a short name to count the error under.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Uncalibrated => "uncalibrated",
            Self::Unusable { .. } => "camera_info_unusable",
            Self::Size { .. } => "camera_info_size",
            Self::Frame { .. } => "camera_info_frame",
            Self::Model { .. } => "distortion_model",
            Self::Parameters { .. } => "distortion_parameters",
        }
    }
}

/// The image that a calibration is to be used with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CalibratedImage<'a> {
    /// Its frame_id.
    pub frame_id: &'a str,
    /// Pixels a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Whether it is an `image_rect`: P and R hold then, and there is no distortion.
    pub rectified: bool,
}

/// A camera's projection for images of one size; pixel centres are at whole numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Camera {
    width: u32,
    height: u32,
    focal: [f64; 2],
    centre: [f64; 2],
    skew: f64,
    lens: Lens,
    /// The rectified frame in the optical one; None where they are the same.
    rectification: Option<Pose>,
}

impl Camera {
    /// Returns the camera of `info` for `image`; binning and region of interest are applied as
    /// REP-104 says. Errs where the two disagree or the calibration is not usable.
    pub fn new(info: &CameraInfo, image: CalibratedImage<'_>) -> Result<Self, CameraError> {
        if info.header.frame_id != image.frame_id {
            return Err(CameraError::Frame {
                info: info.header.frame_id.clone(),
                image: image.frame_id.to_owned(),
            });
        }
        let size = image_size(info);
        if size != [image.width, image.height] {
            return Err(CameraError::Size {
                info: size,
                image: [image.width, image.height],
            });
        }
        if size.contains(&0) {
            return Err(CameraError::Unusable {
                what: "the image size",
            });
        }
        let [fx, skew, cx, fy, cy] = if image.rectified {
            [info.p[0], info.p[1], info.p[2], info.p[5], info.p[6]]
        } else {
            [info.k[0], info.k[1], info.k[2], info.k[4], info.k[5]]
        };
        if info.k[0] == 0.0 || fx == 0.0 {
            return Err(CameraError::Uncalibrated);
        }
        let matrix = if image.rectified { "P" } else { "K" };
        let numbers = [fx, skew, cx, fy, cy];
        let usable = numbers.iter().all(|v| v.abs() <= MOST_PX) && fx > 0.0 && fy > 0.0;
        if !usable {
            return Err(CameraError::Unusable { what: matrix });
        }
        let (lens, rectification) = if image.rectified {
            (Lens::pinhole(), rectification(&info.r)?)
        } else {
            (lens(info)?, None)
        };
        let [bx, by] = binning(info).map(f64::from);
        let [x_offset, y_offset] = [info.roi.x_offset, info.roi.y_offset].map(f64::from);
        Ok(Self {
            width: image.width,
            height: image.height,
            focal: [fx / bx, fy / by],
            centre: [(cx - x_offset) / bx, (cy - y_offset) / by],
            skew: skew / bx,
            lens,
            rectification,
        })
    }

    /// Returns the width and height of its images, pixels.
    pub fn size(&self) -> [u32; 2] {
        [self.width, self.height]
    }

    /// Returns the focal lengths along rows and columns, pixels.
    pub fn focal_px(&self) -> [f64; 2] {
        self.focal
    }

    /// Returns the pixel of a ray of the optical frame (z forward, any length), inside the image or
    /// not; None where the lens has no image of it.
    #[inline]
    pub fn pixel_from_ray(&self, ray: [f64; 3]) -> Option<[f64; 2]> {
        let ray = match &self.rectification {
            Some(rectified) => rectified.inverse().rotate(ray),
            None => ray,
        };
        let [x, y] = self.lens.plane_from_ray(ray)?;
        Some([
            self.focal[0] * x + self.skew * y + self.centre[0],
            self.focal[1] * y + self.centre[1],
        ])
    }

    /// As `pixel_from_ray` for many rays, coordinate by coordinate; NaN where there is no image.
    pub(super) fn pixels_from_rays(&self, rays: [&[f64]; 3], [u, v]: [&mut [f64]; 2]) {
        if self.rectification.is_some() {
            let [x, y, z] = rays;
            let rays = x.iter().zip(y).zip(z);
            for (((x, y), z), (u, v)) in rays.zip(u.iter_mut().zip(v)) {
                let pixel = self.pixel_from_ray([*x, *y, *z]);
                [*u, *v] = pixel.unwrap_or([f64::NAN; 2]);
            }
            return;
        }
        self.lens.plane_from_rays(rays, [&mut *u, &mut *v]);
        let (focal, skew, centre) = (self.focal, self.skew, self.centre);
        for (u, v) in u.iter_mut().zip(v) {
            let [x, y] = [*u, *v];
            *u = focal[0] * x + skew * y + centre[0];
            *v = focal[1] * y + centre[1];
        }
    }

    /// Returns the unit ray of the optical frame that a pixel shows, or None where no ray does.
    pub fn ray_from_pixel(&self, [u, v]: [f64; 2]) -> Option<[f64; 3]> {
        let y = (v - self.centre[1]) / self.focal[1];
        let x = (u - self.centre[0] - self.skew * y) / self.focal[0];
        let ray = self.lens.ray_from_plane([x, y])?;
        Some(match &self.rectification {
            Some(rectified) => rectified.rotate(ray),
            None => ray,
        })
    }

    /// Returns row and column of the pixel that holds an image point, or None outside the image.
    #[inline]
    pub fn place(&self, [u, v]: [f64; 2]) -> Option<[usize; 2]> {
        let (column, row) = (u + 0.5, v + 0.5);
        let inside = column >= 0.0
            && row >= 0.0
            && column < f64::from(self.width)
            && row < f64::from(self.height);
        // A cast to u32 is shorter than one to usize.
        inside.then_some([row as u32 as usize, column as u32 as usize])
    }
}

impl Camera {
    /// Returns row and column of the pixel of the image that is nearest to an image point.
    #[inline]
    pub fn nearest_place(&self, [u, v]: [f64; 2]) -> [usize; 2] {
        let within = |at: f64, count: u32| (at + 0.5).clamp(0.0, f64::from(count) - 1.0) as usize;
        [within(v, self.height), within(u, self.width)]
    }
}

fn binning(info: &CameraInfo) -> [u32; 2] {
    [info.binning_x.max(1), info.binning_y.max(1)]
}

/// Width and height of the images that `info` describes.
fn image_size(info: &CameraInfo) -> [u32; 2] {
    let roi = &info.roi;
    let whole = roi.width == 0 || roi.height == 0;
    let read = if whole {
        [info.width, info.height]
    } else {
        [roi.width, roi.height]
    };
    let [bx, by] = binning(info);
    [read[0] / bx, read[1] / by]
}

fn lens(info: &CameraInfo) -> Result<Lens, CameraError> {
    let d = info.d.as_slice();
    if !d.iter().all(|v| v.is_finite()) {
        return Err(CameraError::Unusable { what: "D" });
    }
    let wrong = |expected| CameraError::Parameters {
        name: info.distortion_model.clone(),
        expected,
        got: d.len(),
    };
    match (info.distortion_model.as_str(), d) {
        ("" | "none", d) if d.iter().all(|v| *v == 0.0) => Ok(Lens::pinhole()),
        ("" | "none", _) => Err(wrong("no")),
        // Drivers of rectified cameras leave D empty.
        ("plumb_bob" | "rational_polynomial" | "equidistant", []) => Ok(Lens::pinhole()),
        ("plumb_bob", &[k1, k2, p1, p2]) => Ok(Lens::plumb_bob([k1, k2, p1, p2, 0.0])),
        ("plumb_bob", &[k1, k2, p1, p2, k3]) => Ok(Lens::plumb_bob([k1, k2, p1, p2, k3])),
        ("plumb_bob", _) => Err(wrong("5")),
        // OpenCV's thin prism and tilt follow; where they are zero they change nothing.
        ("rational_polynomial", &[k1, k2, p1, p2, k3, k4, k5, k6, ref rest @ ..])
            if rest.iter().all(|v| *v == 0.0) =>
        {
            Ok(Lens::rational([k1, k2, p1, p2, k3, k4, k5, k6]))
        }
        ("rational_polynomial", _) => Err(wrong("8")),
        ("equidistant", &[k1, k2, k3, k4]) => Ok(Lens::equidistant([k1, k2, k3, k4])),
        ("equidistant", _) => Err(wrong("4")),
        (name, _) => Err(CameraError::Model {
            name: name.to_owned(),
        }),
    }
}

/// The rectified frame in the optical one: R takes optical rays to rectified ones.
fn rectification(r: &[f64; 9]) -> Result<Option<Pose>, CameraError> {
    let identity = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
    if *r == identity || *r == [0.0; 9] {
        return Ok(None);
    }
    let rotation = [[r[0], r[3], r[6]], [r[1], r[4], r[7]], [r[2], r[5], r[8]]];
    let pose = Pose {
        rotation,
        translation: [0.0; 3],
    };
    let square = pose.inverse().then(&pose).rotation;
    let is_rotation = square
        .iter()
        .zip(Pose::IDENTITY.rotation)
        .all(|(row, unit)| row.iter().zip(unit).all(|(a, b)| (a - b).abs() < 1e-3));
    if !is_rotation {
        return Err(CameraError::Unusable { what: "R" });
    }
    Ok(Some(pose))
}

#[cfg(test)]
impl Camera {
    /// Returns the camera of raw images that have the calibration's size and frame.
    pub(super) fn of_own_images(info: &CameraInfo) -> Result<Self, CameraError> {
        let image = CalibratedImage {
            frame_id: &info.header.frame_id,
            width: info.width,
            height: info.height,
            rectified: false,
        };
        Self::new(info, image)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::msg::camera_info::RegionOfInterest;
    use anyhow::{Context, Result, ensure};

    fn info() -> CameraInfo {
        let mut info = CameraInfo {
            width: 1280,
            height: 720,
            distortion_model: "plumb_bob".into(),
            d: vec![-0.1, 0.02, 0.001, -0.001, 0.0],
            k: [910.0, 0.0, 640.0, 0.0, 700.0, 350.0, 0.0, 0.0, 1.0],
            p: [
                900.0, 0.0, 630.0, 0.0, 0.0, 690.0, 355.0, 0.0, 0.0, 0.0, 1.0, 0.0,
            ],
            r: [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
            ..CameraInfo::default()
        };
        info.header.frame_id = "front_optical".into();
        info
    }

    fn image(width: u32, height: u32) -> CalibratedImage<'static> {
        CalibratedImage {
            frame_id: "front_optical",
            width,
            height,
            rectified: false,
        }
    }

    #[test]
    fn pixels_and_rays_go_back_and_forth_for_anamorphic_pixels() -> Result<()> {
        let camera = Camera::new(&info(), image(1280, 720))?;
        for v in (0..720).step_by(73) {
            for u in (0..1280).step_by(91) {
                let pixel = [f64::from(u), f64::from(v)];
                let ray = camera.ray_from_pixel(pixel).context("no ray")?;
                let back = camera
                    .pixel_from_ray(ray.map(|v| v * 7.0))
                    .context("no pixel")?;
                // Newton's tolerance times the focal length.
                ensure!(
                    (0..2).all(|i| (back[i] - pixel[i]).abs() < 1e-6),
                    "{pixel:?} {back:?}"
                );
            }
        }
        let centre = camera.ray_from_pixel([640.0, 350.0]).context("no ray")?;
        ensure!(centre == [0.0, 0.0, 1.0]);
        Ok(())
    }

    #[test]
    fn a_binned_region_shows_the_same_rays_as_the_whole_sensor() -> Result<()> {
        let whole = Camera::new(&info(), image(1280, 720))?;
        let mut part = info();
        part.binning_x = 2;
        part.binning_y = 4;
        part.roi = RegionOfInterest {
            x_offset: 200,
            y_offset: 100,
            width: 800,
            height: 400,
            do_rectify: false,
        };
        let part = Camera::new(&part, image(400, 100))?;
        for (u, v) in [(0.0, 0.0), (120.0, 60.0), (399.0, 99.0)] {
            let small = part.ray_from_pixel([u, v]).context("no ray")?;
            let large = whole
                .ray_from_pixel([u * 2.0 + 200.0, v * 4.0 + 100.0])
                .context("no ray")?;
            ensure!(
                (0..3).all(|i| (small[i] - large[i]).abs() < 1e-9),
                "{small:?} {large:?}"
            );
        }
        Ok(())
    }

    #[test]
    fn a_rectified_image_goes_by_p_and_r_without_distortion() -> Result<()> {
        let turn = Pose::from_euler([0.0; 3], 0.02, -0.03, 0.01);
        let mut info = info();
        for i in 0..3 {
            for j in 0..3 {
                info.r[3 * i + j] = turn.rotation[i][j];
            }
        }
        let rectified = CalibratedImage {
            rectified: true,
            ..image(1280, 720)
        };
        let camera = Camera::new(&info, rectified)?;
        let ray = [0.1, 0.2, 1.0];
        let [u, v] = camera.pixel_from_ray(ray).context("no pixel")?;
        let [x, y, z] = turn.rotate(ray);
        ensure!((u - (900.0 * x / z + 630.0)).abs() < 1e-9);
        ensure!((v - (690.0 * y / z + 355.0)).abs() < 1e-9);
        let back = camera.ray_from_pixel([u, v]).context("no ray")?;
        ensure!((back[0] / back[2] - 0.1).abs() < 1e-12 && (back[1] / back[2] - 0.2).abs() < 1e-12);
        Ok(())
    }

    #[test]
    fn what_does_not_fit_the_image_is_refused_with_its_reason() {
        let refused = |change: &dyn Fn(&mut CameraInfo)| {
            let mut info = info();
            change(&mut info);
            let error = Camera::new(&info, image(1280, 720)).err();
            error.map_or("accepted", |error| error.reason())
        };
        assert_eq!(refused(&|_| ()), "accepted");
        assert_eq!(refused(&|info| info.width = 640), "camera_info_size");
        assert_eq!(refused(&|info| info.binning_x = 2), "camera_info_size");
        assert_eq!(refused(&|info| info.k = [0.0; 9]), "uncalibrated");
        assert_eq!(
            refused(&|info| info.k[2] = f64::NAN),
            "camera_info_unusable"
        );
        assert_eq!(refused(&|info| info.k[4] = -700.0), "camera_info_unusable");
        assert_eq!(
            refused(&|info| info.d[1] = f64::INFINITY),
            "camera_info_unusable"
        );
        assert_eq!(refused(&|info| info.d.truncate(3)), "distortion_parameters");
        assert_eq!(
            refused(&|info| info.distortion_model = "fov".into()),
            "distortion_model"
        );
        assert_eq!(
            refused(&|info| info.distortion_model.clear()),
            "distortion_parameters"
        );
        assert_eq!(
            refused(&|info| info.header.frame_id = "rear".into()),
            "camera_info_frame"
        );
    }

    #[test]
    fn each_distortion_model_is_taken_with_its_own_number_of_parameters() -> Result<()> {
        for (name, d) in [
            ("", vec![]),
            ("none", vec![0.0; 5]),
            ("plumb_bob", vec![]),
            ("plumb_bob", vec![0.1; 4]),
            ("plumb_bob", vec![0.1; 5]),
            ("rational_polynomial", vec![0.01; 8]),
            (
                "rational_polynomial",
                [vec![0.01; 8], vec![0.0; 6]].concat(),
            ),
            ("equidistant", vec![0.01; 4]),
        ] {
            let info = CameraInfo {
                distortion_model: name.into(),
                d,
                ..info()
            };
            Camera::new(&info, image(1280, 720))?;
        }
        Ok(())
    }
}
