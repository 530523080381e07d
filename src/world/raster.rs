//! Which facet each pixel sees. Triangles are tested against the pixel's own undistorted ray, so
//! lens distortion is exact and nothing has to be clipped: with M = [A B C] the camera-space
//! corners, the weights w = M^-1 r of a ray r are all >= 0 inside, and their sum is 1/z.

use super::camera::{Intrinsics, RayTable};
use super::facet::{Facet, Round};
use super::geometry::Vec3;
use super::noise::NoiseTiles;
use super::scene::Class;
use super::surface::{Coverage, coverage};

/// Camera position and axes in the world.
#[derive(Clone, Copy)]
pub(crate) struct Eye {
    pub(crate) position: Vec3,
    pub(crate) right: Vec3,
    pub(crate) down: Vec3,
    pub(crate) forward: Vec3,
}

impl Eye {
    /// A world point in the optical frame.
    #[inline]
    pub(crate) fn local(&self, p: Vec3) -> [f32; 3] {
        let q = p - self.position;
        [q.dot(self.right), q.dot(self.down), q.dot(self.forward)]
    }

    /// World direction of the ray (x, y, 1).
    #[inline]
    pub(crate) fn direction(&self, x: f32, y: f32) -> Vec3 {
        self.right * x + self.down * y + self.forward
    }
}

/// A triangle ready for scanning.
pub(crate) struct ScreenTriangle {
    weights: [[f32; 3]; 3],
    uv: [[f32; 2]; 3],
    pub(crate) facet: u32,
    rows: [u32; 2],
    columns: [u32; 2],
    nearest: f32,
}

impl ScreenTriangle {
    /// 1/z and the three weights for a ray.
    #[inline]
    fn weigh(&self, x: f32, y: f32) -> [f32; 3] {
        self.weights.map(|w| w[0] * x + w[1] * y + w[2])
    }

    /// Texture coordinates on a ray.
    #[inline]
    pub(crate) fn uv_at(&self, x: f32, y: f32) -> [f32; 2] {
        let w = self.weigh(x, y);
        self.uv_of(w, 1.0 / (w[0] + w[1] + w[2]))
    }

    #[inline]
    fn uv_of(&self, w: [f32; 3], z: f32) -> [f32; 2] {
        let mix =
            |k: usize| (w[0] * self.uv[0][k] + w[1] * self.uv[1][k] + w[2] * self.uv[2][k]) * z;
        [mix(0), mix(1)]
    }
}

/// What one pixel sees.
#[derive(Clone, Copy)]
pub(crate) struct Seen {
    /// 1/z of the facet, 0 for none.
    pub(crate) inverse_z: f32,
    /// Index of the triangle.
    pub(crate) triangle: u32,
    /// 1/z of the nearest see-through thing (railings, twigs), 0 for none.
    pub(crate) veil_inverse_z: f32,
    pub(crate) veil_facet: u32,
}

pub(crate) const NOTHING: Seen = Seen {
    inverse_z: 0.0,
    triangle: u32::MAX,
    veil_inverse_z: 0.0,
    veil_facet: u32::MAX,
};

/// The facets' triangles that fall into the image, nearest first.
pub(crate) fn triangles_from_facets(
    facets: &[Facet],
    eye: &Eye,
    camera: &Intrinsics,
    reach: [f32; 2],
) -> Vec<ScreenTriangle> {
    let mut triangles = Vec::with_capacity(facets.len() * 2);
    for (index, facet) in facets.iter().enumerate() {
        let local = facet.corners.map(|p| eye.local(p));
        let Some((rows, columns)) = bounds(&local[..facet.count], camera, reach) else {
            continue;
        };
        for corners in [[0, 1, 2], [0, 2, 3]].iter().take(facet.count - 2) {
            let points = corners.map(|k: usize| local[k]);
            let Some(weights) = inverse(points) else {
                continue;
            };
            let nearest = points.iter().map(|p| p[2]).fold(f32::MAX, f32::min);
            triangles.push(ScreenTriangle {
                weights,
                uv: corners.map(|k| facet.uv[k]),
                facet: index as u32,
                rows,
                columns,
                nearest,
            });
        }
    }
    triangles.sort_by(|a, b| a.nearest.total_cmp(&b.nearest));
    triangles
}

/// A frame's facets, ready to be scanned.
pub(crate) struct Screen<'a> {
    pub(crate) rays: &'a RayTable,
    pub(crate) width: usize,
    pub(crate) facets: &'a [Facet],
    /// Nearest first.
    pub(crate) triangles: &'a [ScreenTriangle],
    pub(crate) tiles: &'a NoiseTiles,
    /// Angle of a pixel, radians.
    pub(crate) pixel_angle: f32,
}

impl Screen<'_> {
    /// Fills `seen` (rows `first_row`.. of the image) with the nearest facets.
    pub(crate) fn scan_rows(&self, seen: &mut [Seen], first_row: usize) {
        let rows = seen.len() / self.width;
        for (index, triangle) in self.triangles.iter().enumerate() {
            let top = (triangle.rows[0] as usize).max(first_row);
            let bottom = (triangle.rows[1] as usize).min(first_row + rows - 1);
            for row in top..=bottom {
                let start = (row - first_row) * self.width;
                self.scan_row(
                    &mut seen[start..start + self.width],
                    row,
                    index as u32,
                    triangle,
                );
            }
        }
    }

    #[inline]
    fn scan_row(&self, seen: &mut [Seen], row: usize, index: u32, triangle: &ScreenTriangle) {
        let facet = &self.facets[triangle.facet as usize];
        let cut_out = facet.surface.is_cut_out() || facet.round != Round::Flat;
        let (left, right) = (triangle.columns[0] as usize, triangle.columns[1] as usize);
        let line = row * self.width;
        let xs = &self.rays.x[line + left..=line + right];
        let ys = &self.rays.y[line + left..=line + right];
        for ((&x, &y), cell) in xs.iter().zip(ys).zip(&mut seen[left..=right]) {
            let w = triangle.weigh(x, y);
            let inverse_z = w[0] + w[1] + w[2];
            // A hair of slack closes the seams between neighbours.
            let slack = -2e-4 * inverse_z;
            if !(inverse_z > cell.inverse_z && w[0] >= slack && w[1] >= slack && w[2] >= slack) {
                continue;
            }
            if cut_out {
                let z = 1.0 / inverse_z;
                let [u, v] = triangle.uv_of(w, z);
                match coverage(facet, u, v, z * self.pixel_angle, self.tiles) {
                    Coverage::Hole => continue,
                    Coverage::Veil => {
                        if inverse_z > cell.veil_inverse_z {
                            cell.veil_inverse_z = inverse_z;
                            cell.veil_facet = triangle.facet;
                        }
                        continue;
                    }
                    Coverage::Solid => {}
                }
            }
            cell.inverse_z = inverse_z;
            cell.triangle = index;
        }
    }
}

/// Class that a pixel's veil gives it, if the veil is in front.
#[inline]
pub(crate) fn veil_class(seen: &Seen, inverse_z: f32, facets: &[Facet]) -> Option<Class> {
    (seen.veil_inverse_z > inverse_z).then(|| facets[seen.veil_facet as usize].class)
}

fn inverse(points: [[f32; 3]; 3]) -> Option<[[f32; 3]; 3]> {
    let [a, b, c] = points.map(|p| p.map(|v| v as f64));
    let cross = |p: [f64; 3], q: [f64; 3]| {
        [
            p[1] * q[2] - p[2] * q[1],
            p[2] * q[0] - p[0] * q[2],
            p[0] * q[1] - p[1] * q[0],
        ]
    };
    let rows = [cross(b, c), cross(c, a), cross(a, b)];
    let det = a[0] * rows[0][0] + a[1] * rows[0][1] + a[2] * rows[0][2];
    // Edge-on to the camera: nothing to see.
    if det.abs() < 1e-7 {
        return None;
    }
    Some(rows.map(|row| row.map(|v| (v / det) as f32)))
}

/// Inclusive pixel rows and columns that a convex camera-space polygon can touch.
fn bounds(
    polygon: &[[f32; 3]],
    camera: &Intrinsics,
    reach: [f32; 2],
) -> Option<([u32; 2], [u32; 2])> {
    const NEAR_M: f32 = 0.05;
    let planes: [[f32; 4]; 5] = [
        [0.0, 0.0, 1.0, -NEAR_M],
        [1.0, 0.0, reach[0], 0.0],
        [-1.0, 0.0, reach[0], 0.0],
        [0.0, 1.0, reach[1], 0.0],
        [0.0, -1.0, reach[1], 0.0],
    ];
    let mut points = [[0.0f32; 3]; 12];
    let mut count = polygon.len();
    points[..count].copy_from_slice(polygon);
    for plane in planes {
        let side = |p: [f32; 3]| plane[0] * p[0] + plane[1] * p[1] + plane[2] * p[2] + plane[3];
        let old = points;
        let old_count = count;
        count = 0;
        for i in 0..old_count {
            let (a, b) = (old[i], old[(i + 1) % old_count]);
            let (da, db) = (side(a), side(b));
            if da >= 0.0 {
                points[count] = a;
                count += 1;
            }
            if (da >= 0.0) != (db >= 0.0) {
                let f = da / (da - db);
                points[count] = [0, 1, 2].map(|k| a[k] + (b[k] - a[k]) * f);
                count += 1;
            }
        }
        if count == 0 {
            return None;
        }
    }
    // Straight edges bow under distortion: long ones are followed in steps.
    let (mut low, mut high) = ([f64::MAX; 2], [f64::MIN; 2]);
    for i in 0..count {
        let (a, b) = (points[i], points[(i + 1) % count]);
        let plane = |p: [f32; 3]| [(p[0] / p[2]) as f64, (p[1] / p[2]) as f64];
        let (a, b) = (plane(a), plane(b));
        let long = (a[0] - b[0]).abs() + (a[1] - b[1]).abs() > 0.05;
        let steps = if long { 6 } else { 1 };
        for step in 0..steps {
            let f = step as f64 / steps as f64;
            let p = camera.pixel_from_plane(a[0] + (b[0] - a[0]) * f, a[1] + (b[1] - a[1]) * f);
            for k in 0..2 {
                low[k] = low[k].min(p[k]);
                high[k] = high[k].max(p[k]);
            }
        }
    }
    let limit = [camera.width as f64 - 1.0, camera.height as f64 - 1.0];
    let margin = 1.5;
    if high[0] < -margin
        || high[1] < -margin
        || low[0] > limit[0] + margin
        || low[1] > limit[1] + margin
    {
        return None;
    }
    let clamp = |v: f64, k: usize| v.clamp(0.0, limit[k]) as u32;
    Some((
        [
            clamp((low[1] - margin).floor(), 1),
            clamp((high[1] + margin).ceil(), 1),
        ],
        [
            clamp((low[0] - margin).floor(), 0),
            clamp((high[0] + margin).ceil(), 0),
        ],
    ))
}
