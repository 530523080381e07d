//! One value for each output that is made of an image.

/// Writes the type, its list and the topics once for all.
macro_rules! outputs {
    ($($output:ident $topic:literal)*) => {
        /// A value for each output.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct PerOutput<T> {
            $(#[doc = concat!("`", $topic, "`")] pub $output: T,)*
        }

        impl PerOutput<&'static str> {
            /// Names of the topics, before they are resolved.
            pub const TOPICS: Self = Self { $($output: $topic,)* };
        }

        impl<T> PerOutput<T> {
            /// Returns references to the values, the mask's first.
            pub fn each(&self) -> [&T; OUTPUTS] {
                [$(&self.$output,)*]
            }

            /// Returns mutable references to the values, in the same order.
            pub fn each_mut(&mut self) -> [&mut T; OUTPUTS] {
                [$(&mut self.$output,)*]
            }

            /// Returns what `of` makes of each value.
            pub fn map<U>(&self, of: impl Fn(&T) -> U) -> PerOutput<U> {
                PerOutput { $($output: of(&self.$output),)* }
            }

            /// Returns the pairs of these values and others.
            pub fn zip<U>(self, other: PerOutput<U>) -> PerOutput<(T, U)> {
                PerOutput { $($output: (self.$output, other.$output),)* }
            }

            /// Returns what `of` makes of each value; errs at the first that it errs for.
            pub fn try_map<U, E>(
                &self,
                mut of: impl FnMut(&T) -> Result<U, E>,
            ) -> Result<PerOutput<U>, E> {
                Ok(PerOutput { $($output: of(&self.$output)?,)* })
            }
        }
    };
}

/// How many there are.
pub(super) const OUTPUTS: usize = 13;

outputs! {
    label_mask "~/label_mask"
    confidence "~/confidence"
    drivable_mask "~/drivable_mask"
    overlay "~/overlay"
    autoware_mask "~/autoware/mask"
    drivable_area "~/drivable_area"
    obstacle_points "~/obstacle_points"
    drivable_points "~/drivable_points"
    costmap_label_mask "~/costmap/label_mask"
    costmap_confidence "~/costmap/confidence"
    costmap_points "~/costmap/points"
    drivable_boundary "~/drivable_boundary"
    free_space_scan "~/free_space_scan"
}

impl PerOutput<bool> {
    /// Returns which outputs are of all cameras together: each has one topic however many there are.
    pub fn of_all_cameras() -> Self {
        Self {
            drivable_area: true,
            obstacle_points: true,
            drivable_points: true,
            drivable_boundary: true,
            free_space_scan: true,
            ..Self::default()
        }
    }
}

impl<T: Copy + Default> PerOutput<T> {
    /// Returns the values of the outputs that lie on the ground alone; the others' are the default.
    pub fn of_area(self) -> Self {
        let none = T::default();
        Self {
            label_mask: none,
            confidence: none,
            drivable_mask: none,
            overlay: none,
            autoware_mask: none,
            ..self
        }
    }
}
