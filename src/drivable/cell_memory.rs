//! What many frames say about one cell, as log-odds.

use super::grid::{FREE, LETHAL, UNKNOWN};
use super::observe::Evidence;

/// Log-odds from which on a cell is decided.
const DECIDED: f32 = 0.3;
/// A cell is never surer to be free, nor to be blocked, than this; so two frames turn it.
const FREE_LIMIT: f32 = -2.0;
const BLOCKED_LIMIT: f32 = 1.0;
/// What one look at the ground adds where a pixel is no longer than a cell, and at the least.
const GROUND_STEP: f32 = 1.0;
const LEAST_WEIGHT: f32 = 0.7;
/// What one look at something that stands adds: more, for a missed obstacle costs more.
const TAKEN_STEP: f32 = 2.2;

/// One cell's memory.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cell {
    /// Log-odds of being blocked; 0 is unknown.
    pub(super) odds: f32,
    /// Cost of what was last seen to block it.
    cost: i8,
}

impl Cell {
    /// What is published of it.
    #[inline]
    pub(super) fn value(&self) -> i8 {
        match self.odds {
            odds if odds <= -DECIDED => FREE,
            odds if odds >= DECIDED => self.cost,
            _ => UNKNOWN,
        }
    }

    /// Whether it is published as free.
    #[inline]
    pub(super) fn is_free(&self) -> bool {
        self.odds <= -DECIDED
    }

    /// Takes in what a frame says about it.
    #[inline]
    pub(super) fn take(&mut self, evidence: Evidence) {
        match evidence {
            Evidence::Unseen => {}
            // Something may have moved in where the shadow is.
            Evidence::Hidden => self.odds = self.odds.max(0.0),
            Evidence::Ground { cost: FREE, weight } => {
                let step = GROUND_STEP * weight.max(LEAST_WEIGHT);
                self.odds = (self.odds - step).max(FREE_LIMIT);
            }
            Evidence::Ground { cost, weight } => {
                let step = GROUND_STEP * weight.max(LEAST_WEIGHT);
                self.odds = (self.odds + step).min(BLOCKED_LIMIT);
                self.cost = cost;
            }
            // One look is enough to say so, two to unsay it.
            Evidence::Taken { weight } => {
                let step = TAKEN_STEP * weight.max(LEAST_WEIGHT);
                self.odds = (self.odds + step).clamp(DECIDED, BLOCKED_LIMIT);
                self.cost = LETHAL;
            }
            // Inferred, not seen: one look at the ground unsays it.
            Evidence::Overhung => {
                self.odds = DECIDED;
                self.cost = LETHAL;
            }
        }
    }
}
