//! Cars, vans, lorries and buses: a side profile drawn out to a body, glass, wheels and lamps.

use super::coachwork::Figure;
use super::geometry::{Vec3, vec3};
use super::random::Draws;
use super::scene::{Class, Contact, PartList, Stand, Thing};
use super::surface::Surface;
use super::vehicle_body::{Body, VehicleKind};

/// A vehicle whose middle is at the stand's origin, facing along its x axis. `lit` turns its
/// lamps on, `braking` its brake lamps; `figure` rounds and stretches a varied world's body.
pub(crate) fn vehicle(
    on: &Stand,
    kind: VehicleKind,
    lit: bool,
    braking: bool,
    figure: Option<Figure>,
    draws: &mut Draws,
) -> Thing {
    // A figure draws a body in its own frame and moves it to the stand at last.
    let place = *on;
    let on = &figure.map_or(place, |_| Stand::new(0.0, 0.0, 0.0, 0.0));
    let rounded = figure.map(|figure| figure.body(kind));
    let body = rounded.as_ref().unwrap_or_else(|| kind.body());
    let paint = Surface::Paint(paint_tone(kind, draws));
    let mut list = PartList::new(Class::Car);
    let n = body.contour.len();
    // Where a panel is cut across the body and, as shares of its height, along the flank.
    let (strips, levels): (&[f32], &[f32]) = match figure {
        Some(_) => (&[1.0, 0.75, 0.45, -0.45, -0.75, -1.0], &[0.0, 0.5, 1.0]),
        None => (&[1.0, -1.0], &[0.0, 1.0]),
    };
    // Half width at a height: straight to the window line, then tapering to the roof.
    let roof = body.contour.iter().fold(0.0f32, |m, p| m.max(p[1]));
    let half = |x: f32, z: f32| {
        let end = (x / kind.half_length_m()).powi(6);
        let up = ((z - body.belt) / (roof - body.belt)).clamp(0.0, 1.0);
        body.half_width * (1.0 - 0.07 * end) - body.taper * up
    };
    let p = |x: f32, y: f32, z: f32| on.at(x, y, z);
    for i in 0..n - 1 {
        let ([x0, z0], [x1, z1]) = (body.contour[i], body.contour[i + 1]);
        let (w0, w1) = (half(x0, z0), half(x1, z1));
        for pair in strips.windows(2) {
            let [a, b] = [pair[0], pair[1]];
            let corners = [
                p(x0, w0 * a, z0),
                p(x0, w0 * b, z0),
                p(x1, w1 * b, z1),
                p(x1, w1 * a, z1),
            ];
            list.quad(corners, paint);
        }
        let corners = [p(x0, w0, z0), p(x0, -w0, z0), p(x1, -w1, z1), p(x1, w1, z1)];
        if body.glass.contains(&i) {
            match figure {
                Some(_) => bent_pane(&mut list, corners, strips),
                None => pane(&mut list, corners, 0.07),
            }
        }
        for side in [-1.0, 1.0] {
            let (a, b) = ([x0, z0], [x1, z1]);
            flank(&mut list, on, body, a, b, side, &half, levels, paint);
        }
    }
    side_windows(&mut list, on, body, &half);
    if figure.is_some() {
        trim(&mut list, on, body, &half, draws);
    }
    wheels(&mut list, on, body);
    let tail_m = kind.half_length_m();
    // Plain vehicles carry their front lamps as far out as their rear ones.
    let nose_m = figure.map_or(tail_m, |_| body.ends_m()[1]);
    let shining = Shining { lit, braking };
    lamps(&mut list, on, kind, body, [tail_m, nose_m], shining, draws);
    let mut length = kind.half_length_m();
    let [rear, front] = body.ends_m();
    let footprint = if let Some(figure) = figure {
        figure.shape(&mut list.parts, &place, length);
        length *= figure.scale[0];
        let [rear, front] = [rear, front].map(|x| x * figure.scale[0]);
        place.rectangle(rear, front, -body.half_width, body.half_width)
    } else {
        place.rectangle(rear, front, -body.half_width, body.half_width)
    };
    let mut thing = Thing::new(list.parts, footprint, 130.0);
    thing.contact = Some(Contact {
        centre: place.origin,
        half_length_m: length - 0.1,
        half_width_m: body.half_width - 0.05,
        axis: [place.cos, place.sin],
        depth: 0.88,
    });
    thing
}

fn paint_tone(kind: VehicleKind, draws: &mut Draws) -> Vec3 {
    let tones = [
        vec3(0.30, 0.31, 0.32),
        vec3(0.36, 0.37, 0.38),
        vec3(0.02, 0.02, 0.022),
        vec3(0.03, 0.03, 0.035),
        vec3(0.55, 0.55, 0.54),
        vec3(0.02, 0.035, 0.12),
        vec3(0.015, 0.05, 0.20),
        vec3(0.26, 0.012, 0.015),
        vec3(0.13, 0.012, 0.014),
        vec3(0.085, 0.088, 0.09),
        vec3(0.02, 0.055, 0.04),
        vec3(0.22, 0.19, 0.12),
    ];
    let heavy = [
        vec3(0.55, 0.55, 0.54),
        vec3(0.5, 0.5, 0.5),
        vec3(0.30, 0.02, 0.02),
        vec3(0.02, 0.06, 0.22),
        vec3(0.03, 0.12, 0.06),
    ];
    match kind {
        VehicleKind::Van | VehicleKind::Lorry | VehicleKind::Bus => draws.pick(&heavy),
        _ => draws.pick(&tones),
    }
}

/// Glass a little inside a panel's edges and a centimetre in front of it.
fn pane(list: &mut PartList, corners: [Vec3; 4], inset: f32) {
    let middle = corners.iter().fold(Vec3::default(), |m, &c| m + c) * 0.25;
    let normal = (corners[1] - corners[0])
        .cross(corners[3] - corners[0])
        .unit();
    for sign in [-0.012, 0.012] {
        let shifted = corners.map(|c| c.mix(middle, inset) + normal * sign);
        list.quad(shifted, Surface::Glass);
    }
}

/// Glass in strips, to follow a panel that is bent across.
fn bent_pane(list: &mut PartList, [a, b, c, d]: [Vec3; 4], strips: &[f32]) {
    let normal = (b - a).cross(d - a).unit();
    // From the left edge to the right one at the foot and at the head.
    let at = |strip: f32, up: f32| {
        let f = 0.5 - 0.46 * strip;
        a.mix(b, f).mix(d.mix(c, f), 0.06 + 0.88 * up)
    };
    for pair in strips.windows(2) {
        for sign in [-0.015, 0.015] {
            let corners = [
                at(pair[0], 0.0),
                at(pair[1], 0.0),
                at(pair[1], 1.0),
                at(pair[0], 1.0),
            ];
            list.quad(corners.map(|corner| corner + normal * sign), Surface::Glass);
        }
    }
}

#[allow(
    clippy::too_many_arguments,
    reason = "a slice of the body's side needs its two ends"
)]
fn flank(
    list: &mut PartList,
    on: &Stand,
    body: &Body,
    a: [f32; 2],
    b: [f32; 2],
    side: f32,
    half: &impl Fn(f32, f32) -> f32,
    levels: &[f32],
    paint: Surface,
) {
    let sill = body.contour[0][1];
    let ([x0, z0], [x1, z1]) = (a, b);
    if (x1 - x0).abs() < 0.02 {
        return;
    }
    let p = |x: f32, z: f32| on.at(x, side * half(x, z), z);
    let (low0, low1) = (z0.min(body.belt), z1.min(body.belt));
    for pair in levels.windows(2) {
        let up = |low: f32, f: f32| sill * (1.0 - f) + low * f;
        let corners = [
            p(x0, up(low0, pair[0])),
            p(x1, up(low1, pair[0])),
            p(x1, up(low1, pair[1])),
            p(x0, up(low0, pair[1])),
        ];
        list.quad(corners, paint);
    }
    if z0 > body.belt || z1 > body.belt {
        list.quad([p(x0, low0), p(x1, low1), p(x1, z1), p(x0, z0)], paint);
    }
}

fn side_windows(list: &mut PartList, on: &Stand, body: &Body, half: &impl Fn(f32, f32) -> f32) {
    let height_at = |x: f32| {
        body.contour
            .windows(2)
            .filter(|pair| pair[0][0] <= x && x <= pair[1][0] && pair[1][0] > pair[0][0])
            .map(|pair| {
                let f = (x - pair[0][0]) / (pair[1][0] - pair[0][0]);
                pair[0][1] + (pair[1][1] - pair[0][1]) * f
            })
            .fold(body.belt, f32::max)
    };
    let mut edges = vec![body.windows[0]];
    edges.extend(body.pillars.iter().flat_map(|x| [x - 0.04, x + 0.04]));
    edges.push(body.windows[1]);
    for pair in edges.chunks_exact(2) {
        let steps = 4;
        for step in 0..steps {
            let at = |k: usize| pair[0] + (pair[1] - pair[0]) * k as f32 / steps as f32;
            let (x0, x1) = (at(step), at(step + 1));
            let top = |x: f32| (height_at(x) - 0.09).min(body.belt + 1.0);
            let low = body.belt + 0.03;
            if top(x0) <= low && top(x1) <= low {
                continue;
            }
            for side in [-1.0, 1.0] {
                let p = |x: f32, z: f32| on.at(x, side * (half(x, z) + 0.012), z);
                let (t0, t1) = (top(x0).max(low), top(x1).max(low));
                list.quad(
                    [p(x0, low), p(x1, low), p(x1, t1), p(x0, t0)],
                    Surface::Glass,
                );
            }
        }
    }
}

/// Gaps of doors, handles, a strip along the flank, mirrors, and dark bumpers on some.
fn trim(
    list: &mut PartList,
    on: &Stand,
    body: &Body,
    half: &impl Fn(f32, f32) -> f32,
    draws: &mut Draws,
) {
    let black = Surface::Matte(vec3(0.01, 0.01, 0.011));
    let sill = body.contour[0][1];
    let [rear, front] = body.windows;
    let strip = draws.chance(0.4);
    let bumper = draws.chance(0.35);
    for side in [-1.0f32, 1.0] {
        let p = |x: f32, z: f32| on.at(x, side * (half(x, z) + 0.01), z);
        let mut face = |[x0, x1]: [f32; 2], [z0, z1]: [f32; 2]| {
            list.quad([p(x0, z0), p(x1, z0), p(x1, z1), p(x0, z1)], black);
        };
        let doors = [rear + 0.25, front - 0.1];
        for &x in body.pillars.iter().chain(&doors) {
            face([x - 0.011, x + 0.011], [sill + 0.05, body.belt]);
            face([x + 0.06, x + 0.24], [body.belt - 0.14, body.belt - 0.1]);
        }
        face([body.axles[0], body.axles[1]], [sill - 0.02, sill + 0.06]);
        if strip {
            face(body.axles, [body.belt * 0.56, body.belt * 0.63]);
        }
        let mirror = on.at(
            front - 0.05,
            side * (body.half_width + 0.1),
            body.belt + 0.08,
        );
        list.ball(mirror, 0.1, 0.08, black);
    }
    if bumper {
        let [rear, front] = body.ends_m();
        for x in [rear - 0.012, front + 0.012] {
            let p = |y: f32, z: f32| on.at(x, y, z);
            let w = body.half_width * 0.95;
            for pair in [-w, -0.4, 0.4, w].windows(2) {
                let [a, b] = [pair[0], pair[1]];
                list.quad([p(a, 0.34), p(b, 0.34), p(b, 0.56), p(a, 0.56)], black);
            }
        }
    }
}

fn wheels(list: &mut PartList, on: &Stand, body: &Body) {
    let tyre = Surface::Matte(vec3(0.018, 0.018, 0.019));
    let r = body.wheel;
    for x in body.axles {
        for side in [-1.0f32, 1.0] {
            let y = side * (body.half_width + 0.014);
            let arch = r * 1.2;
            let disc = |y: f32, r: f32, z: f32| {
                [
                    on.at(x - r, y, z - r),
                    on.at(x + r, y, z - r),
                    on.at(x + r, y, z + r),
                    on.at(x - r, y, z + r),
                ]
            };
            list.face(disc(y, r, r), Surface::Wheel);
            // The arch: a black disc behind the wheel, cut by the ground.
            list.face(
                disc(y - side * 0.004, arch, r * 1.1),
                Surface::Disc(vec3(0.01, 0.01, 0.01)),
            );
            let inner = y - side * 0.22;
            for end in [-r * 0.8, r * 0.8] {
                let x = x + end;
                list.quad(
                    [
                        on.at(x, inner, 0.0),
                        on.at(x, y - side * 0.02, 0.0),
                        on.at(x, y - side * 0.02, r * 1.2),
                        on.at(x, inner, r * 1.2),
                    ],
                    tyre,
                );
            }
        }
    }
    let sill = body.contour[0][1];
    let dark = Surface::Matte(vec3(0.008, 0.008, 0.008));
    let (x0, x1) = (body.axles[0] - 0.3, body.axles[1] + 0.3);
    let w = body.half_width * 0.9;
    let p = |x: f32, y: f32, z: f32| on.at(x, y, z);
    list.quad(
        [
            p(x0, -w, sill - 0.1),
            p(x0, w, sill - 0.1),
            p(x0, w, sill + 0.1),
            p(x0, -w, sill + 0.1),
        ],
        dark,
    );
    list.quad(
        [
            p(x1, -w, sill - 0.1),
            p(x1, w, sill - 0.1),
            p(x1, w, sill + 0.1),
            p(x1, -w, sill + 0.1),
        ],
        dark,
    );
    for y in [-w, w] {
        list.quad(
            [
                p(x0, y, sill - 0.12),
                p(x1, y, sill - 0.12),
                p(x1, y, sill),
                p(x0, y, sill),
            ],
            dark,
        );
    }
}

/// Which lamps are on.
#[derive(Clone, Copy)]
struct Shining {
    lit: bool,
    braking: bool,
}

fn lamps(
    list: &mut PartList,
    on: &Stand,
    kind: VehicleKind,
    body: &Body,
    [tail_m, nose_m]: [f32; 2],
    Shining { lit, braking }: Shining,
    draws: &mut Draws,
) {
    let w = body.half_width * 0.93;
    let z = body.belt * 0.72;
    let red = if braking {
        vec3(1.1, 0.06, 0.04)
    } else if lit {
        vec3(0.6, 0.03, 0.02)
    } else {
        vec3(0.12, 0.008, 0.008)
    };
    let white = if lit {
        vec3(1.6, 1.5, 1.3)
    } else {
        vec3(0.3, 0.3, 0.31)
    };
    let tall = if kind == VehicleKind::Hatchback || kind == VehicleKind::Estate {
        0.30
    } else {
        0.16
    };
    for side in [-1.0f32, 1.0] {
        let (y0, y1) = (side * (w - 0.24), side * w);
        let back = -tail_m - 0.015;
        let p = |x: f32, y: f32, z: f32| on.at(x, y, z);
        list.quad(
            [
                p(back, y0, z),
                p(back, y1, z),
                p(back + 0.04, y1, z + tall),
                p(back + 0.04, y0, z + tall),
            ],
            Surface::Lamp(red),
        );
        let front = nose_m + 0.015;
        let (y0, y1) = (side * (w - 0.36), side * (w - 0.02));
        let low = body.belt * 0.66;
        list.quad(
            [
                p(front, y0, low),
                p(front - 0.06, y1, low),
                p(front - 0.12, y1, low + 0.16),
                p(front - 0.06, y0, low + 0.16),
            ],
            Surface::Lamp(white),
        );
    }
    let grille = Surface::Matte(vec3(0.012, 0.012, 0.013));
    let p = |x: f32, y: f32, z: f32| on.at(x, y, z);
    let (front, back) = (nose_m + 0.02, -(tail_m + 0.02));
    list.quad(
        [
            p(front, -0.4, 0.55),
            p(front, 0.4, 0.55),
            p(front - 0.03, 0.4, 0.68),
            p(front - 0.03, -0.4, 0.68),
        ],
        grille,
    );
    list.quad(
        [
            p(front, -0.5, 0.32),
            p(front, 0.5, 0.32),
            p(front, 0.5, 0.42),
            p(front, -0.5, 0.42),
        ],
        grille,
    );
    list.quad(
        [
            p(back, -body.half_width * 0.85, 0.36),
            p(back, body.half_width * 0.85, 0.36),
            p(back, body.half_width * 0.85, 0.46),
            p(back, -body.half_width * 0.85, 0.46),
        ],
        Surface::Matte(vec3(0.02, 0.02, 0.02)),
    );
    // British plates: yellow behind, white in front.
    let rear_plate_z = draws.between(0.5, 0.75);
    let plate = |list: &mut PartList, x: f32, z: f32, tone: Vec3| {
        list.quad(
            [
                p(x, -0.26, z),
                p(x, 0.26, z),
                p(x, 0.26, z + 0.11),
                p(x, -0.26, z + 0.11),
            ],
            Surface::Plate(tone),
        );
    };
    plate(list, back - 0.01, rear_plate_z, vec3(0.48, 0.35, 0.02));
    plate(list, front + 0.01, 0.43, vec3(0.55, 0.55, 0.53));
}
