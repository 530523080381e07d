//! Remap rules and namespaces, also where the node asks the graph by name.

use anyhow::Result;
use serde_json::json;

use super::graph::Graph;
use super::pictures::rgb_image;

#[test]
fn remaps_and_namespaces_work_alone_and_together() -> Result<()> {
    let both = [
        "-r",
        "__ns:=/car",
        "-r",
        "__node:=front",
        "-r",
        "image:=cameras/front",
        "-r",
        "~/label_mask:=road/mask",
    ];
    let cases: [(&[&str], &str, &str); 4] = [
        (
            &["-r", "__ns:=/car"],
            "/car/image",
            "/car/ecmnet/label_mask",
        ),
        (
            &["-r", "image:=/front/raw"],
            "/front/raw",
            "/ecmnet/label_mask",
        ),
        (
            &["-r", "ecmnet:image:=mine", "-r", "__ns:=/a/b"],
            "/a/b/mine",
            "/a/b/ecmnet/label_mask",
        ),
        (&both, "/car/cameras/front", "/car/road/mask"),
    ];
    for (arguments, image, mask) in cases {
        let graph = Graph::new()?;
        let node = graph.running_node(arguments)?;
        let mut camera = graph.peer("camera")?;
        camera.subscribe_images(mask)?;
        // A best-effort camera is followed only if the graph query knows the resolved name.
        camera.advertise_images(image, false)?;
        node.wait_for_line(&format!(
            "subscribed to {image} (sensor_msgs/msg/Image, best effort"
        ))?;
        camera.mask_of(image, &rgb_image(48, 32), mask)?;
    }
    Ok(())
}

#[test]
fn a_name_that_a_rule_made_is_not_remapped_again() -> Result<()> {
    let graph = Graph::new()?;
    let _node = graph.running_node(&["-r", "image:=/front", "-r", "/front:=/elsewhere"])?;
    let mut camera = graph.peer("camera")?;
    camera.subscribe_images("/ecmnet/label_mask")?;
    camera.advertise_images("/front", true)?;
    camera.mask_of("/front", &rgb_image(48, 32), "/ecmnet/label_mask")?;
    let elsewhere = camera.ask("endpoints", json!({"topic": "/elsewhere"}))?;
    assert_eq!(elsewhere["subscriptions"], json!([]));
    Ok(())
}
