//! The cameras of a node: their names, what their topics are called, and one value for each of them.

use std::collections::BTreeSet;
use std::ops::{Index, IndexMut};

/// A camera's name; empty where the node has but one, whose topics go without.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct CameraName(String);

impl CameraName {
    /// Returns the name.
    pub(super) fn text(&self) -> &str {
        &self.0
    }

    /// Returns the name of a topic that comes from the camera: `image` is `front/image`.
    pub(super) fn input(&self, topic: &str) -> String {
        if self.0.is_empty() {
            return topic.to_owned();
        }
        format!("{}/{topic}", self.0)
    }

    /// Returns the name of a private topic of what is made of its images: `~/label_mask` is
    /// `~/front/label_mask`.
    pub(super) fn output(&self, topic: &str) -> String {
        match topic.strip_prefix("~/") {
            Some(private) => format!("~/{}", self.input(private)),
            None => self.input(topic),
        }
    }

    /// Returns a sentence that says which camera it is about.
    pub(super) fn said(&self, sentence: &str) -> String {
        if self.0.is_empty() {
            return sentence.to_owned();
        }
        format!("camera {}: {sentence}", self.0)
    }
}

/// Errs, with what is wrong, unless the names are different and each can be a part of a topic's name.
pub(super) fn check_names(names: &[String]) -> Result<(), String> {
    let may_be = |name: &str| {
        let is_of_names = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        !name.starts_with(|first: char| first.is_ascii_digit()) && name.chars().all(is_of_names)
    };
    let mut known = BTreeSet::new();
    for name in names {
        if name.is_empty() || !may_be(name) {
            return Err(format!(
                "'{name}' cannot be a part of a topic's name: letters, digits and underscores, \
                 no digit first"
            ));
        }
        if !known.insert(name) {
            return Err(format!("two cameras are named '{name}'"));
        }
    }
    Ok(())
}

/// One of a node's cameras: its place in every [`PerCamera`] of that node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CameraId(usize);

impl CameraId {
    /// Returns its place among the node's cameras.
    pub(super) fn place(self) -> usize {
        self.0
    }
}

/// A value for each camera of a node, in the order of the parameter `cameras`; at least one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PerCamera<T>(Vec<T>);

impl PerCamera<CameraName> {
    /// Returns the cameras of these names; one without a name where there is none.
    pub(super) fn named(names: &[String]) -> Self {
        if names.is_empty() {
            return Self(vec![CameraName::default()]);
        }
        Self(names.iter().cloned().map(CameraName).collect())
    }
}

impl<T> PerCamera<T> {
    /// Returns the cameras.
    pub(super) fn ids(&self) -> impl Iterator<Item = CameraId> + use<T> {
        (0..self.0.len()).map(CameraId)
    }

    /// Returns the number of cameras.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Returns the values.
    pub(super) fn each(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }

    /// Returns the values.
    pub(super) fn each_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut()
    }

    /// Returns what `of` makes of each value.
    pub(super) fn map<U>(&self, of: impl FnMut(&T) -> U) -> PerCamera<U> {
        PerCamera(self.0.iter().map(of).collect())
    }

    /// Returns what `of` makes of each value; errs at the first that it errs for.
    pub(super) fn try_map<U, E>(
        &self,
        of: impl FnMut(&T) -> Result<U, E>,
    ) -> Result<PerCamera<U>, E> {
        Ok(PerCamera(self.0.iter().map(of).collect::<Result<_, _>>()?))
    }
}

impl<T> Index<CameraId> for PerCamera<T> {
    type Output = T;

    /// No message makes an id: each is of the same node's list of cameras, which never changes.
    fn index(&self, camera: CameraId) -> &T {
        &self.0[camera.0]
    }
}

impl<T> IndexMut<CameraId> for PerCamera<T> {
    fn index_mut(&mut self, camera: CameraId) -> &mut T {
        &mut self.0[camera.0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn one_camera_without_a_name_has_the_topics_that_it_always_had() {
        let cameras = PerCamera::named(&[]);
        assert_eq!(cameras.count(), 1);
        for name in cameras.each() {
            assert_eq!(name.input("image"), "image");
            assert_eq!(name.output("~/label_mask"), "~/label_mask");
            assert_eq!(name.said("no image"), "no image");
        }
    }

    #[test]
    fn named_cameras_have_topics_below_their_names_in_the_order_given() {
        let cameras = PerCamera::named(&names(&["front", "left"]));
        let inputs = cameras.map(|name| name.input("camera_info"));
        assert!(
            inputs
                .each()
                .eq(["front/camera_info", "left/camera_info"].iter())
        );
        let outputs = cameras.map(|name| name.output("~/costmap/points"));
        let expected = ["~/front/costmap/points", "~/left/costmap/points"];
        assert!(outputs.each().eq(expected.iter()));
        for (id, place) in cameras.ids().zip(0..) {
            assert_eq!(
                (id.place(), cameras[id].text()),
                (place, ["front", "left"][place])
            );
        }
    }

    #[test]
    fn names_that_no_topic_can_have_and_names_twice_are_refused() {
        assert_eq!(check_names(&names(&["front", "rear_2", "_x"])), Ok(()));
        assert_eq!(check_names(&[]), Ok(()));
        for (given, said) in [
            (["front", "front"], "two cameras are named 'front'"),
            (["front", ""], "'' cannot be"),
            (["front", "2nd"], "'2nd' cannot be"),
            (["front", "a/b"], "'a/b' cannot be"),
            (["front", "l-r"], "'l-r' cannot be"),
            (["front", "vorn\u{fc}"], "cannot be"),
        ] {
            let refusal = check_names(&names(&given)).err().unwrap_or_default();
            assert!(refusal.contains(said), "{given:?}: {refusal}");
        }
    }
}
