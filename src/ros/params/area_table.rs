//! The parameters of the drivable area.

use super::{Change, Parameter, Range, Value};

/// A parameter that stands in a field of the drivable area's settings.
macro_rules! area {
    ($name:literal, $kind:ident, $store:ident, $field:ident, $range:expr, $what:literal) => {
        Parameter {
            name: $name,
            range: $range,
            change: Change::Live,
            description: $what,
            get: |settings| Value::$kind(ToOwned::to_owned(&settings.area.$field)),
            set: |settings, value| value.$store(&mut settings.area.$field),
        }
    };
}

/// A number.
macro_rules! real {
    ($name:literal, $field:ident, $from:literal..$to:literal, $what:literal) => {
        area!(
            $name,
            Real,
            store_real,
            $field,
            Range::Real {
                from: $from,
                to: $to
            },
            $what
        )
    };
}

/// A whole number.
macro_rules! integer {
    ($name:literal, $field:ident, $from:literal..$to:literal, $what:literal) => {
        area!(
            $name,
            Integer,
            store_integer,
            $field,
            Range::Integer {
                from: $from,
                to: $to
            },
            $what
        )
    };
}

/// The rate limit of one or more outputs.
macro_rules! rate {
    ($name:literal, $first:ident $(, $other:ident)*; $what:literal) => {
        Parameter {
            name: $name,
            range: Range::Real { from: 0.0, to: 1000.0 },
            change: Change::Live,
            description: $what,
            get: |settings| Value::Real(settings.max_rate_hz.$first),
            set: |settings, value| {
                value.store_real(&mut settings.max_rate_hz.$first)?;
                $(settings.max_rate_hz.$other = settings.max_rate_hz.$first;)*
                Ok(())
            },
        }
    };
}

/// How many there are.
pub(super) const COUNT: usize = 40;

/// The parameters, in the order in which people read them.
pub(super) const AREA_PARAMETERS: [Parameter; COUNT] = [
    area!(
        "drivable.enable",
        Truth,
        store_truth,
        enable,
        Range::Any,
        "Whether the grid is kept, and latched, while nobody reads it"
    ),
    area!(
        "base_frame",
        Text,
        store_text,
        base_frame,
        Range::Any,
        "The vehicle's frame, on the ground under it"
    ),
    area!(
        "grid.frame",
        Text,
        store_text,
        grid_frame,
        Range::Any,
        "Frame of grid, points and outline: a fixed one, or base_frame, where frames are not fused"
    ),
    real!(
        "grid.size_x_m",
        size_x_m,
        1.0..2000.0,
        "Extent of the grid along x, metres; at most 4 million cells in all"
    ),
    real!(
        "grid.size_y_m",
        size_y_m,
        1.0..2000.0,
        "Extent of the grid along y, metres"
    ),
    real!(
        "grid.resolution_m",
        resolution_m,
        0.02..2.0,
        "Side of a cell, metres; the grid's origin is a whole number of cells"
    ),
    real!(
        "grid.ahead_m",
        ahead_m,
        -1000.0..1000.0,
        "How far ahead of base_frame the grid's middle lies, metres"
    ),
    real!(
        "grid.horizon_m",
        horizon_m,
        1.0..200.0,
        "Ground farther from the camera is not looked at, metres"
    ),
    real!(
        "grid.decay_s",
        decay_s,
        0.05..3600.0,
        "Time after which what is not seen again counts for 1/e, seconds"
    ),
    real!(
        "grid.entry_mps",
        entry_mps,
        0.0..100.0,
        "How fast something may come into free cells that are out of view, metres a second"
    ),
    real!(
        "region.touching_m",
        touching_m,
        -1.0..200.0,
        "Free regions farther from base_frame become unknown, metres; negative keeps all"
    ),
    real!(
        "region.fill_holes_m2",
        fill_holes_m2,
        0.0..1000.0,
        "Unknown holes in free regions become free up to this area, square metres"
    ),
    real!(
        "region.smallest_m2",
        smallest_m2,
        0.0..1000.0,
        "Smaller free regions become unknown, square metres"
    ),
    area!(
        "class_costs",
        Texts,
        store_texts,
        class_costs,
        Range::Form("NAME=COST, 0 to 100"),
        "Costs of classes in the grid; the others are as drivable as the weights and their names say"
    ),
    real!(
        "min_confidence",
        min_confidence,
        0.0..1.0,
        "Pixels that the network is less sure of say nothing of the ground"
    ),
    area!(
        "ego_mask",
        Text,
        store_text,
        ego_mask,
        Range::Any,
        "Picture of the image's size, not black where the vehicle itself shows; {camera} in it is the camera's name; empty for none"
    ),
    area!(
        "rectified",
        Text,
        store_text,
        rectified,
        Range::OneOf(&["auto", "yes", "no"]),
        "Whether images are rectified; auto where their topic's last name holds rect"
    ),
    real!(
        "camera.height_m",
        camera_height_m,
        0.0..100.0,
        "Height of the camera over base_frame, which then looks along its x axis, metres; 0.0 where TF tells the camera's place"
    ),
    real!(
        "camera.x_m",
        camera_x_m,
        -100.0..100.0,
        "How far the camera is before base_frame, metres, where its height is given"
    ),
    real!(
        "camera.y_m",
        camera_y_m,
        -100.0..100.0,
        "How far the camera is to the left of base_frame, metres, where its height is given"
    ),
    real!(
        "camera.pitch_deg",
        camera_pitch_deg,
        -89.0..89.0,
        "How far the camera looks down, degrees, where its height is given"
    ),
    real!(
        "camera.roll_deg",
        camera_roll_deg,
        -180.0..180.0,
        "How far the camera leans to the right, degrees, where its height is given"
    ),
    area!(
        "ground_attitude",
        Text,
        store_text,
        attitude,
        Range::OneOf(&["level", "base"]),
        "What the ground is parallel to: grid.frame's xy plane, or base_frame's"
    ),
    area!(
        "pitch_correction",
        Text,
        store_text,
        pitch_correction,
        Range::OneOf(&["off", "image", "vanishing_point"]),
        "Whether pitch of the camera that TF does not tell is corrected: nods alone from the image, or a steady error of the mounting as well, from where the lines along the road meet"
    ),
    integer!(
        "transform_max_age_ms",
        transform_max_age_ms,
        1..10_000,
        "How long the last pose of /tf holds, and how far apart two may be to be interpolated"
    ),
    integer!(
        "transform_wait_ms",
        transform_wait_ms,
        0..1000,
        "How long a frame whose mask is published waits for the pose of its stamp"
    ),
    integer!(
        "points.mark_cost",
        mark_cost,
        1..100,
        "Cost from which on a cell is in obstacle_points; below 100 kerbs are, too"
    ),
    integer!(
        "points.drivable_every",
        drivable_every,
        1..100,
        "One of so many cells along x and y is in drivable_points"
    ),
    real!(
        "points.z_m",
        points_z_m,
        -10.0..10.0,
        "Height of obstacle_points and drivable_points in grid.frame, metres: over the least that costmaps take"
    ),
    integer!(
        "costmap.width",
        costmap_width,
        16..4096,
        "Pixels a row of costmap/label_mask, costmap/confidence and costmap/points"
    ),
    real!(
        "boundary.reach_m",
        boundary_reach_m,
        0.0..200.0,
        "How near to base_frame the free region begins whose outline is published, metres"
    ),
    real!(
        "boundary.tolerance_m",
        boundary_tolerance_m,
        0.0..5.0,
        "How far the outline may be from the cells' sides, metres"
    ),
    real!(
        "scan.half_angle_deg",
        scan_half_angle_deg,
        1.0..180.0,
        "Angle of free_space_scan to either side of base_frame's x axis, degrees"
    ),
    real!(
        "scan.step_deg",
        scan_step_deg,
        0.05..10.0,
        "From one beam of free_space_scan to the next, degrees"
    ),
    rate!("drivable_area.max_rate_hz", drivable_area; "Most messages a second on ~/drivable_area; 0.0 for one of every image"),
    rate!("obstacle_points.max_rate_hz", obstacle_points; "Most messages a second on ~/obstacle_points; 0.0 for one of every image"),
    rate!("drivable_points.max_rate_hz", drivable_points; "Most messages a second on ~/drivable_points; 0.0 for one of every image"),
    rate!("costmap.max_rate_hz", costmap_label_mask, costmap_confidence, costmap_points; "Most messages a second on each of ~/costmap; 0.0 for one of every image"),
    rate!("drivable_boundary.max_rate_hz", drivable_boundary; "Most messages a second on ~/drivable_boundary; 0.0 for one of every image"),
    rate!("free_space_scan.max_rate_hz", free_space_scan; "Most messages a second on ~/free_space_scan; 0.0 for one of every image"),
];
