//! The parameter services, their events, and simulated time.

use std::fs;

use anyhow::{Result, ensure};
use ecmnet_ros::ros::params::{PARAMETERS, markdown_table};
use serde_json::{Value, json};

use super::graph::{Graph, Peer, repository, wait_for};
use super::pictures::{base64, rgb_image};

const MASK: &str = "/ecmnet/label_mask";

/// Numbers of `rcl_interfaces/msg/ParameterType`.
const NOT_SET: u8 = 0;
const BOOL: u8 = 1;
const INTEGER: u8 = 2;
const DOUBLE: u8 = 3;
const STRING: u8 = 4;

fn call(peer: &mut Peer, name: &str, type_name: &str, request: Value) -> Result<Value> {
    let arguments = json!({
        "service": format!("/ecmnet/{name}"),
        "type": format!("rcl_interfaces/srv/{type_name}"),
        "request": request,
    });
    peer.ask("call", arguments)
}

/// Sets parameters, each on its own, and returns the results.
pub(crate) fn set(peer: &mut Peer, parameters: Value) -> Result<Vec<Value>> {
    let request = json!({ "parameters": parameters });
    let mut response = call(peer, "set_parameters", "SetParameters", request)?;
    Ok(response["results"]
        .as_array_mut()
        .map(std::mem::take)
        .unwrap_or_default())
}

/// Sets one parameter; errs where the node refuses.
pub(crate) fn set_one(peer: &mut Peer, name: &str, value: Value) -> Result<()> {
    let results = set(peer, json!([{"name": name, "value": value}]))?;
    ensure!(results[0]["successful"] == true, "{name}: {results:?}");
    Ok(())
}

/// Returns the value of a parameter.
pub(crate) fn get(peer: &mut Peer, name: &str) -> Result<Value> {
    let request = json!({"names": [name]});
    let mut response = call(peer, "get_parameters", "GetParameters", request)?;
    Ok(response["values"][0].take())
}

fn alpha(value: f64) -> Value {
    double("overlay_alpha", value)
}

/// Returns a parameter that holds a number with a point.
pub(crate) fn double(name: &str, value: f64) -> Value {
    json!({"name": name, "value": {"type": DOUBLE, "double_value": value}})
}

/// Returns a parameter that holds text.
pub(crate) fn text(name: &str, value: &str) -> Value {
    json!({"name": name, "value": {"type": STRING, "string_value": value}})
}

fn autostart() -> Value {
    json!({"name": "autostart", "value": {"type": BOOL, "bool_value": false}})
}

#[test]
fn the_readme_has_the_table_of_parameters_as_the_node_has_it() -> Result<()> {
    let readme = fs::read_to_string(repository().join("README.md"))?;
    // `ecmnet_node --print-parameters` prints the table to put there.
    assert!(
        readme.contains(&markdown_table()),
        "the README's table is another:\n{}",
        markdown_table()
    );
    Ok(())
}

#[test]
fn parameters_are_listed_described_and_read() -> Result<()> {
    let graph = Graph::new()?;
    let _node = graph.running_node(&["-p", "max_age_ms:=700"])?;
    let mut peer = graph.peer("tool")?;
    let listed = call(&mut peer, "list_parameters", "ListParameters", json!({}))?;
    let names = listed["result"]["names"].as_array().map_or(0, Vec::len);
    assert_eq!(names, PARAMETERS.len(), "{listed}");
    assert_eq!(get(&mut peer, "max_age_ms")?["integer_value"], 700);
    assert_eq!(get(&mut peer, "nothing")?["type"], NOT_SET);
    let request = json!({"names": ["device", "use_sim_time", "nothing"]});
    let types = call(
        &mut peer,
        "get_parameter_types",
        "GetParameterTypes",
        request,
    )?;
    assert_eq!(types["types"], base64(&[STRING, BOOL, NOT_SET]));
    let request = json!({"names": ["max_age_ms", "autostart", "overlay_alpha", "image_qos"]});
    let described = call(
        &mut peer,
        "describe_parameters",
        "DescribeParameters",
        request,
    )?;
    let [age, autostart, alpha, qos] = [0, 1, 2, 3].map(|i| described["descriptors"][i].clone());
    assert_eq!(age["integer_range"][0]["to_value"], 60_000);
    assert_eq!(
        (&age["read_only"], &autostart["read_only"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(alpha["floating_point_range"][0]["to_value"], 1.0);
    assert_eq!(qos["additional_constraints"], "auto, reliable, best_effort");
    Ok(())
}

#[test]
fn live_changes_are_taken_refused_with_a_reason_and_announced() -> Result<()> {
    let graph = Graph::new()?;
    let _node = graph.running_node(&[])?;
    let mut peer = graph.peer("tool")?;
    peer.subscribe("/parameter_events", "rcl_interfaces/msg/ParameterEvent")?;
    let results = set(
        &mut peer,
        json!([
            alpha(0.25),
            alpha(2.0),
            autostart(),
            {"name": "max_pixels", "value": {"type": DOUBLE, "double_value": 5.0}},
            {"name": "speed", "value": {"type": DOUBLE, "double_value": 5.0}},
        ]),
    )?;
    let reasons: Vec<_> = results
        .iter()
        .map(|r| r["reason"].as_str().unwrap_or("?"))
        .collect();
    assert_eq!(results[0]["successful"], true);
    for (place, said) in [
        (1, "0.0 to 1.0"),
        (2, "read-only"),
        (3, "takes integer"),
        (4, "no parameter 'speed'"),
    ] {
        assert_eq!(results[place]["successful"], false);
        assert!(reasons[place].contains(said), "{reasons:?}");
    }
    assert_eq!(get(&mut peer, "overlay_alpha")?["double_value"], 0.25);
    let event = wait_for("the event of overlay_alpha", || {
        let event = peer.take("/parameter_events")?;
        Ok((event["changed_parameters"][0]["name"] == "overlay_alpha").then_some(event))
    })?;
    assert_eq!(event["node"], "/ecmnet");
    assert_eq!(
        event["changed_parameters"][0]["value"]["double_value"],
        0.25
    );
    Ok(())
}

#[test]
fn an_atomic_change_is_taken_whole_or_not_at_all() -> Result<()> {
    let graph = Graph::new()?;
    let _node = graph.running_node(&[])?;
    let mut peer = graph.peer("tool")?;
    let mut set_atomically = |parameters: Value| -> Result<(Value, Value)> {
        let request = json!({ "parameters": parameters });
        let name = "set_parameters_atomically";
        let response = call(&mut peer, name, "SetParametersAtomically", request)?;
        Ok((
            response["result"]["successful"].clone(),
            get(&mut peer, "overlay_alpha")?,
        ))
    };
    let (taken, now) = set_atomically(json!([alpha(0.75), autostart()]))?;
    assert_eq!((taken, &now["double_value"]), (json!(false), &json!(0.5)));
    let age = json!({"name": "max_age_ms", "value": {"type": INTEGER, "integer_value": 0}});
    let (taken, now) = set_atomically(json!([alpha(0.75), age]))?;
    assert_eq!((taken, &now["double_value"]), (json!(true), &json!(0.75)));
    Ok(())
}

#[test]
fn simulated_time_can_be_switched_on_and_off_while_running() -> Result<()> {
    let graph = Graph::new()?;
    let node = graph.running_node(&[])?;
    let mut peer = graph.peer("simulator")?;
    peer.subscribe_images(MASK)?;
    peer.ask(
        "advertise",
        json!({"topic": "/clock", "type": "rosgraph_msgs/msg/Clock"}),
    )?;
    peer.advertise_images("/image", true)?;
    let use_sim_time = |peer: &mut Peer, value: bool| -> Result<()> {
        let value = json!({"type": BOOL, "bool_value": value});
        let results = set(peer, json!([{"name": "use_sim_time", "value": value}]))?;
        assert_eq!(results[0]["successful"], true);
        Ok(())
    };
    let stamped = |sec: i32, width| {
        let mut frame = rgb_image(width, 32);
        frame["header"]["stamp"] = json!({"sec": sec, "nanosec": 0});
        frame
    };
    use_sim_time(&mut peer, true)?;
    peer.wait_until_read("/clock", false)?;
    // At simulated second 1000, a stamp of 995 is five seconds old and one of 1000 is not.
    let old = wait_for("a stamp that is too old by the simulated clock", || {
        peer.publish("/clock", &json!({"clock": {"sec": 1000, "nanosec": 0}}))?;
        peer.publish("/image", &stamped(995, 40))?;
        Ok(node.written().contains("it is 5000 ms old").then_some(()))
    });
    old?;
    peer.mask_of("/image", &stamped(1000, 41), MASK)?;
    use_sim_time(&mut peer, false)?;
    node.wait_for_line("subscribed to")?;
    peer.mask_of("/image", &stamped(995, 42), MASK)?;
    node.wait_for_line("another clock took them")
}

#[test]
fn every_parameter_is_live_with_its_range_checked_or_read_only_with_a_reason() -> Result<()> {
    let graph = Graph::new()?;
    let _node = graph.running_node(&[])?;
    let mut peer = graph.peer("tool")?;
    let listed = call(&mut peer, "list_parameters", "ListParameters", json!({}))?;
    let names = listed["result"]["names"].clone();
    let request = json!({ "names": names });
    let described = call(
        &mut peer,
        "describe_parameters",
        "DescribeParameters",
        request.clone(),
    )?;
    let values = call(&mut peer, "get_parameters", "GetParameters", request)?;
    let list = |answer: &Value, key: &str| answer[key].as_array().cloned().unwrap_or_default();
    let (descriptors, values) = (list(&described, "descriptors"), list(&values, "values"));
    assert_eq!(descriptors.len(), values.len());
    for (descriptor, value) in descriptors.iter().zip(&values) {
        let name = &descriptor["name"];
        let again = set(&mut peer, json!([{"name": name, "value": value}]))?;
        if descriptor["read_only"] == true {
            assert_eq!(again[0]["successful"], false, "{name}");
            let reason = again[0]["reason"].as_str().unwrap_or_default();
            assert!(reason.contains("is read-only, "), "{reason}");
            let constraint = descriptor["additional_constraints"].as_str();
            assert!(constraint.is_some_and(|text| text.starts_with("read-only: ")));
            continue;
        }
        assert_eq!(again[0]["successful"], true, "{name}: {again:?}");
        let mut beyond = value.clone();
        let integers = &descriptor["integer_range"][0]["to_value"];
        let reals = &descriptor["floating_point_range"][0]["to_value"];
        if let Some(to) = integers.as_i64() {
            beyond["integer_value"] = json!(to + 1);
        } else if let Some(to) = reals.as_f64() {
            beyond["double_value"] = json!(to + 1.0);
        } else if descriptor["additional_constraints"] != "" && value["type"] == STRING {
            beyond["string_value"] = json!("none of these");
        } else {
            continue;
        }
        let refused = set(&mut peer, json!([{"name": name, "value": beyond}]))?;
        assert_eq!(refused[0]["successful"], false, "{name}");
    }
    Ok(())
}
