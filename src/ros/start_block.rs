//! What the log says once the network is loaded: the node, its network, its topics.

use super::cameras::PerCamera;
use super::outputs::topics;
use super::params::Parameters;
use super::resolve::Resolver;
use crate::segmenter::Segmenter;

/// Version and commit.
pub(super) const BUILD: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("ECMNET_COMMIT"), ")");

/// Returns the block of lines.
pub(super) fn start_block(
    resolver: &Resolver,
    parameters: &Parameters,
    segmenter: &Segmenter,
) -> String {
    let settings = parameters.settings();
    let [height, width] = segmenter.metadata().train_size;
    let cameras = PerCamera::named(&settings.cameras);
    let images = cameras.map(|camera| resolver.topic(&camera.input("image")));
    let images: Vec<_> = images.each().map(String::as_str).collect();
    let mut outputs = Vec::new();
    for camera in cameras.each() {
        for topic in topics(camera).each() {
            let topic = resolver.topic(topic);
            if !outputs.contains(&topic) {
                outputs.push(topic);
            }
        }
    }
    outputs.push(resolver.topic("~/label_info"));
    let classes = segmenter.classes();
    let drivable: Vec<_> = parameters
        .drivable()
        .iter()
        .zip(&classes.names)
        .filter_map(|(drivable, name)| drivable.then_some(name.as_str()))
        .collect();
    format!(
        "ecmnet_node {BUILD}\n  \
         node: {}\n  \
         weights: {} (sha256 {})\n  \
         licence of the weights: {}\n  \
         classes: {}; drivable: {}\n  \
         device: {}, {}\n  \
         network size: {} (trained at {width}x{height})\n  \
         images: {} (transport {}, QoS {}, at most {} pixels)\n  \
         outputs: {} (reliable, keep last 1; label_info and drivable_area transient local)",
        resolver.node(),
        settings.weights,
        segmenter.weights_sha256(),
        segmenter.metadata().licence,
        classes.names.join(", "),
        drivable.join(", "),
        device(segmenter),
        segmenter.dtype(),
        settings.network_size,
        images.join(", "),
        settings.image_transport,
        settings.image_qos,
        settings.max_pixels,
        outputs.join(", "),
    )
}

/// Returns where the network runs, and why `auto` took no GPU.
pub(super) fn device(segmenter: &Segmenter) -> String {
    match segmenter.device_note() {
        Some(note) => format!("{} ({note})", segmenter.device_name()),
        None => segmenter.device_name(),
    }
}
