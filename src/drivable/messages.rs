//! The drivable area as messages: grid, clouds, scan and outline.

use super::grid::DrivableGrid;
use super::ground_mask::GroundMask;
use super::scan::ScanFan;
use crate::msg::{
    Header, LaserScan, OccupancyGrid, PointCloud2, PolygonStamped, Pose, Quaternion, Vector3,
};

/// Returns the grid as a map at height `z_m` of its frame, its origin's orientation the identity, as
/// planners want it.
pub fn occupancy_grid(header: Header, grid: DrivableGrid, z_m: f64) -> OccupancyGrid {
    let [x, y] = grid.lattice.origin_m;
    OccupancyGrid {
        map_load_time: header.stamp,
        header,
        resolution: grid.lattice.cell_m as f32,
        width: grid.lattice.columns as u32,
        height: grid.lattice.rows as u32,
        origin: Pose {
            position: Vector3 { x, y, z: z_m },
            orientation: Quaternion::default(),
        },
        data: grid.cells,
    }
}

/// Returns ground points as one row at height `z_m` of their frame: 0.3 m over the ground passes the
/// height filters of costmaps.
pub fn point_cloud(header: Header, points: &[[f64; 2]], z_m: f64) -> PointCloud2 {
    let points: Vec<[f32; 3]> = (points.iter())
        .map(|[x, y]| [*x as f32, *y as f32, z_m as f32])
        .collect();
    PointCloud2::from_points(header, points.len(), &points)
}

/// Returns the organised cloud of a mask: one point a pixel, NaN off the ground, in the camera's
/// optical frame.
pub fn organised_cloud(header: Header, mask: &GroundMask) -> PointCloud2 {
    PointCloud2::from_points(header, mask.width, &mask.points)
}

/// Returns ranges of `fan` as a scan in a frame that stands at `fan.from_m` and is turned by
/// `frame_yaw_rad` from the grid's x axis.
pub fn laser_scan(
    header: Header,
    fan: &ScanFan,
    frame_yaw_rad: f64,
    ranges: Vec<f32>,
) -> LaserScan {
    let first_rad = fan.first_rad - frame_yaw_rad;
    let steps = fan.count.saturating_sub(1) as f64;
    LaserScan {
        header,
        angle_min: first_rad as f32,
        angle_max: (first_rad + steps * fan.step_rad) as f32,
        angle_increment: fan.step_rad as f32,
        range_min: 0.0,
        range_max: fan.reach_m as f32,
        ranges,
        ..LaserScan::default()
    }
}

/// Returns an outline at height `z_m` of its frame.
pub fn polygon(header: Header, outline: &[[f64; 2]], z_m: f64) -> PolygonStamped {
    let points = (outline.iter()).map(|[x, y]| [*x as f32, *y as f32, z_m as f32]);
    PolygonStamped {
        header,
        points: points.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivable::grid::{FREE, LETHAL, UNKNOWN};
    use crate::drivable::lattice::CellLattice;
    use crate::msg::{Message, Stamp};
    use anyhow::{Result, ensure};

    fn header() -> Header {
        Header {
            stamp: Stamp {
                sec: 12,
                nanosec: 345,
            },
            frame_id: "odom".into(),
        }
    }

    #[test]
    fn a_grid_is_what_a_static_layer_accepts() -> Result<()> {
        let grid = DrivableGrid {
            lattice: CellLattice {
                origin_m: [-3.0, 7.5],
                cell_m: 0.5,
                columns: 3,
                rows: 1,
            },
            cells: vec![UNKNOWN, FREE, LETHAL],
        };
        let map = occupancy_grid(header(), grid, 0.2);
        ensure!(map.header == header() && map.map_load_time == header().stamp);
        ensure!((map.width, map.height, map.resolution) == (3, 1, 0.5));
        ensure!(map.data == [-1, 0, 100]);
        let at = map.origin.position;
        ensure!((at.x, at.y, at.z) == (-3.0, 7.5, 0.2));
        ensure!(map.origin.orientation.w == 1.0, "planners reject all zeros");
        ensure!(OccupancyGrid::from_cdr(&map.to_cdr())? == map);
        Ok(())
    }

    #[test]
    fn marking_points_stand_at_their_height_in_one_row() {
        let cloud = point_cloud(header(), &[[1.0, 2.0], [3.0, 4.0]], 0.3);
        assert_eq!((cloud.width, cloud.height, cloud.is_dense), (2, 1, true));
        let z: Vec<_> = cloud.data.chunks(12).map(|point| &point[8..]).collect();
        assert_eq!(z, [0.3f32.to_le_bytes(); 2]);
        assert_eq!(point_cloud(header(), &[], 0.3).width, 0);
    }

    #[test]
    fn a_masks_cloud_has_a_point_for_each_of_its_pixels() {
        let mask = GroundMask {
            width: 2,
            height: 2,
            ids: vec![0; 4],
            confidence: Vec::new(),
            points: vec![
                [f32::NAN; 3],
                [f32::NAN; 3],
                [0.0, 1.5, 4.0],
                [1.0, 1.5, 4.0],
            ],
        };
        let cloud = organised_cloud(header(), &mask);
        assert_eq!((cloud.width, cloud.height, cloud.is_dense), (2, 2, false));
        assert_eq!(cloud.data.len(), 4 * 12);
    }

    #[test]
    fn a_scans_angles_are_those_of_its_own_frame() {
        let fan = ScanFan {
            from_m: [5.0, 5.0],
            first_rad: 0.5,
            step_rad: 0.25,
            count: 3,
            reach_m: 20.0,
        };
        let scan = laser_scan(header(), &fan, 0.75, vec![1.0, f32::INFINITY, 2.0]);
        assert_eq!((scan.angle_min, scan.angle_max), (-0.25, 0.25));
        assert_eq!((scan.angle_increment, scan.range_max), (0.25, 20.0));
        assert_eq!(scan.ranges.len(), 3);
    }

    #[test]
    fn an_outline_keeps_its_corners_in_order() {
        let outline = polygon(header(), &[[0.0, 0.0], [1.0, 0.0], [1.0, 2.0]], -0.1);
        assert_eq!(
            outline.points,
            [[0.0, 0.0, -0.1], [1.0, 0.0, -0.1], [1.0, 2.0, -0.1]]
        );
    }
}
