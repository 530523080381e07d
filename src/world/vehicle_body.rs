//! Kinds of vehicle and the outline of their bodies.

use std::borrow::Cow;

use super::random::Draws;

/// Kinds of vehicle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum VehicleKind {
    Hatchback,
    Saloon,
    Estate,
    Van,
    Lorry,
    Bus,
    /// Short, tall and round; in varied worlds alone.
    City,
    /// Upright, with a tall bonnet; in varied worlds alone.
    OffRoader,
    /// A box with a sloping nose; in varied worlds alone.
    Carrier,
}

/// A body: contour from rear bumper over the roof to front bumper, metres.
#[derive(Clone)]
pub(crate) struct Body {
    /// (x, z) points.
    pub(crate) contour: Cow<'static, [[f32; 2]]>,
    /// Indices of contour segments that are glass.
    pub(crate) glass: Cow<'static, [usize]>,
    pub(crate) half_width: f32,
    /// Height of the window line.
    pub(crate) belt: f32,
    /// Half width lost from the window line to the roof.
    pub(crate) taper: f32,
    /// Pillars between the side windows, x.
    pub(crate) pillars: &'static [f32],
    /// First and last x of the side windows.
    pub(crate) windows: [f32; 2],
    pub(crate) axles: [f32; 2],
    pub(crate) wheel: f32,
}

static HATCHBACK: Body = Body {
    contour: Cow::Borrowed(&[
        [-1.88, 0.28],
        [-1.95, 0.62],
        [-1.86, 0.92],
        [-1.55, 1.36],
        [-1.2, 1.44],
        [-0.3, 1.47],
        [0.35, 1.40],
        [1.12, 0.97],
        [1.75, 0.80],
        [1.93, 0.62],
        [1.95, 0.28],
    ]),
    glass: Cow::Borrowed(&[2, 6]),
    half_width: 0.84,
    belt: 0.92,
    taper: 0.20,
    pillars: &[-0.75, 0.05],
    windows: [-1.5, 0.85],
    axles: [-1.2, 1.25],
    wheel: 0.30,
};
static SALOON: Body = Body {
    contour: Cow::Borrowed(&[
        [-2.25, 0.30],
        [-2.32, 0.70],
        [-2.22, 0.95],
        [-1.65, 1.0],
        [-0.95, 1.38],
        [-0.1, 1.43],
        [0.45, 1.36],
        [1.2, 0.97],
        [2.0, 0.80],
        [2.22, 0.60],
        [2.24, 0.28],
    ]),
    glass: Cow::Borrowed(&[3, 6]),
    half_width: 0.88,
    belt: 0.95,
    taper: 0.22,
    pillars: &[-0.1],
    windows: [-1.35, 0.95],
    axles: [-1.4, 1.4],
    wheel: 0.315,
};
static ESTATE: Body = Body {
    contour: Cow::Borrowed(&[
        [-2.2, 0.32],
        [-2.28, 0.75],
        [-2.2, 1.05],
        [-1.9, 1.58],
        [-1.3, 1.68],
        [-0.1, 1.70],
        [0.45, 1.62],
        [1.15, 1.10],
        [1.95, 0.95],
        [2.18, 0.70],
        [2.2, 0.32],
    ]),
    glass: Cow::Borrowed(&[2, 6]),
    half_width: 0.90,
    belt: 1.06,
    taper: 0.18,
    pillars: &[-1.15, -0.1],
    windows: [-1.85, 0.95],
    axles: [-1.35, 1.4],
    wheel: 0.345,
};
static VAN: Body = Body {
    contour: Cow::Borrowed(&[
        [-2.6, 0.38],
        [-2.62, 1.0],
        [-2.58, 1.95],
        [-2.4, 2.1],
        [0.9, 2.1],
        [1.15, 2.05],
        [1.85, 1.2],
        [2.4, 1.02],
        [2.6, 0.75],
        [2.62, 0.35],
    ]),
    glass: Cow::Borrowed(&[5]),
    half_width: 0.97,
    belt: 1.2,
    taper: 0.12,
    pillars: &[],
    windows: [0.55, 1.45],
    axles: [-1.6, 1.75],
    wheel: 0.34,
};
static LORRY: Body = Body {
    contour: Cow::Borrowed(&[
        [-4.2, 0.6],
        [-4.22, 1.0],
        [-4.22, 3.4],
        [2.0, 3.4],
        [2.05, 2.75],
        [2.2, 2.75],
        [3.5, 2.7],
        [3.75, 1.75],
        [3.85, 1.0],
        [3.85, 0.4],
    ]),
    glass: Cow::Borrowed(&[6]),
    half_width: 1.2,
    belt: 1.6,
    taper: 0.0,
    pillars: &[],
    windows: [2.5, 3.4],
    axles: [-2.7, 2.7],
    wheel: 0.47,
};
static BUS: Body = Body {
    contour: Cow::Borrowed(&[
        [-5.2, 0.4],
        [-5.25, 1.3],
        [-5.2, 2.4],
        [-5.1, 3.0],
        [4.9, 3.05],
        [5.15, 2.85],
        [5.25, 1.15],
        [5.3, 0.9],
        [5.3, 0.35],
    ]),
    glass: Cow::Borrowed(&[1, 5]),
    half_width: 1.25,
    belt: 1.25,
    taper: 0.04,
    pillars: &[-3.8, -2.4, -1.0, 0.4, 1.8, 3.2],
    windows: [-5.0, 4.9],
    axles: [-3.1, 3.0],
    wheel: 0.48,
};

static CITY: Body = Body {
    contour: Cow::Borrowed(&[
        [-1.72, 0.28],
        [-1.80, 0.60],
        [-1.76, 0.95],
        [-1.55, 1.38],
        [-1.05, 1.53],
        [-0.2, 1.56],
        [0.42, 1.47],
        [1.15, 1.02],
        [1.55, 0.88],
        [1.80, 0.62],
        [1.80, 0.28],
    ]),
    glass: Cow::Borrowed(&[2, 6]),
    half_width: 0.80,
    belt: 0.95,
    taper: 0.17,
    pillars: &[-0.95, 0.0],
    windows: [-1.5, 0.95],
    axles: [-1.15, 1.2],
    wheel: 0.285,
};
static OFF_ROADER: Body = Body {
    contour: Cow::Borrowed(&[
        [-2.15, 0.42],
        [-2.22, 0.85],
        [-2.2, 1.2],
        [-2.05, 1.75],
        [-1.6, 1.84],
        [-0.1, 1.85],
        [0.4, 1.78],
        [0.95, 1.25],
        [1.95, 1.12],
        [2.15, 0.9],
        [2.15, 0.42],
    ]),
    glass: Cow::Borrowed(&[2, 6]),
    half_width: 0.93,
    belt: 1.2,
    taper: 0.13,
    pillars: &[-1.2, -0.15],
    windows: [-1.95, 0.75],
    axles: [-1.35, 1.4],
    wheel: 0.39,
};
static CARRIER: Body = Body {
    contour: Cow::Borrowed(&[
        [-2.15, 0.3],
        [-2.22, 0.7],
        [-2.18, 1.05],
        [-1.98, 1.62],
        [-1.5, 1.76],
        [0.0, 1.76],
        [0.7, 1.62],
        [1.55, 1.05],
        [2.05, 0.86],
        [2.2, 0.62],
        [2.2, 0.3],
    ]),
    glass: Cow::Borrowed(&[2, 6]),
    half_width: 0.91,
    belt: 1.06,
    taper: 0.2,
    pillars: &[-1.1, 0.0],
    windows: [-1.9, 1.35],
    axles: [-1.35, 1.45],
    wheel: 0.315,
};

impl Body {
    /// x of the rear and of the front bumper, metres.
    pub(crate) fn ends_m(&self) -> [f32; 2] {
        let x = || self.contour.iter().map(|p| p[0]);
        [x().fold(0.0, f32::min), x().fold(0.0, f32::max)]
    }
}

impl VehicleKind {
    /// A kind as common as on the road.
    pub(crate) fn drawn(draws: &mut Draws) -> Self {
        use VehicleKind::*;
        draws.pick(&[
            Hatchback, Hatchback, Hatchback, Hatchback, Hatchback, Saloon, Saloon, Saloon, Estate,
            Estate, Estate, Van, Van, Lorry, Bus,
        ])
    }

    /// The same kind, or for some cars one that only varied worlds have.
    pub(crate) fn varied(self, draws: &mut Draws) -> Self {
        use VehicleKind::*;
        match self {
            Hatchback | Saloon | Estate => {
                draws.pick(&[self, self, self, City, City, OffRoader, Carrier])
            }
            _ => self,
        }
    }

    /// Its outline.
    pub(crate) fn body(self) -> &'static Body {
        match self {
            VehicleKind::Hatchback => &HATCHBACK,
            VehicleKind::Saloon => &SALOON,
            VehicleKind::Estate => &ESTATE,
            VehicleKind::Van => &VAN,
            VehicleKind::Lorry => &LORRY,
            VehicleKind::Bus => &BUS,
            VehicleKind::City => &CITY,
            VehicleKind::OffRoader => &OFF_ROADER,
            VehicleKind::Carrier => &CARRIER,
        }
    }

    /// Half of the length over bumpers, metres.
    pub(crate) fn half_length_m(self) -> f32 {
        self.body()
            .contour
            .iter()
            .fold(0.0, |m, p| p[0].abs().max(m))
    }
}
