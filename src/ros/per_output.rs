//! One value for each output that is made of an image.

/// A value for each output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerOutput<T> {
    /// `~/label_mask`
    pub label_mask: T,
    /// `~/confidence`
    pub confidence: T,
    /// `~/drivable_mask`
    pub drivable_mask: T,
    /// `~/overlay`
    pub overlay: T,
}

impl<T> PerOutput<T> {
    /// Returns references to the values, the mask's first.
    pub fn each(&self) -> [&T; 4] {
        let Self {
            label_mask,
            confidence,
            drivable_mask,
            overlay,
        } = self;
        [label_mask, confidence, drivable_mask, overlay]
    }

    /// Returns mutable references to the values, in the same order.
    pub fn each_mut(&mut self) -> [&mut T; 4] {
        let Self {
            label_mask,
            confidence,
            drivable_mask,
            overlay,
        } = self;
        [label_mask, confidence, drivable_mask, overlay]
    }

    /// Returns what `of` makes of each value.
    pub fn map<U>(&self, of: impl Fn(&T) -> U) -> PerOutput<U> {
        PerOutput {
            label_mask: of(&self.label_mask),
            confidence: of(&self.confidence),
            drivable_mask: of(&self.drivable_mask),
            overlay: of(&self.overlay),
        }
    }
}
