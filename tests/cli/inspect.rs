//! `ecmnet info`, `doctor`, `bench` and `--version`.

use std::fs;

use anyhow::{Context, Result};

use crate::program::{Bench, CLASSES};
use crate::seeded::seeded_weights_with;

#[test]
fn info_says_what_the_file_holds() -> Result<()> {
    let bench = Bench::new()?;
    let said = bench.ecmnet(&["info", "weights.safetensors"])?;
    assert_eq!(said.status, Some(0), "{}", said.err);
    for part in [
        "plan A",
        "360x480",
        "Apache-2.0",
        "class 10",
        "ignore id   255",
        "rgb",
        "offsets     none",
    ] {
        assert!(said.out.contains(part), "{part} in\n{}", said.out);
    }
    let more = [("logit_offsets", r#"{"class 10": -0.75, "class 1": 0.5}"#)];
    let weights = seeded_weights_with("A", CLASSES.into(), &more)?;
    fs::write(bench.path("weights.safetensors"), weights)?;
    let said = bench.ecmnet(&["info", "weights.safetensors"])?;
    let line = "offsets     class 1 +0.5, class 10 -0.75\n";
    assert!(said.out.contains(line), "{}", said.out);
    Ok(())
}

#[test]
fn bench_measures_every_stage_and_they_add_up() -> Result<()> {
    let bench = Bench::new()?;
    let words =
        "bench --weights weights.safetensors --device cpu --size 64x96 --frames 5 --json b.json";
    let said = bench.ecmnet(&words.split(' ').collect::<Vec<_>>())?;
    assert_eq!(said.status, Some(0), "{}", said.err);
    let json = bench.json("b.json")?;
    let number = |pointer: &str| {
        json.pointer(pointer)
            .and_then(serde_json::Value::as_f64)
            .with_context(|| format!("{pointer} in {json}"))
    };
    assert_eq!(json["network_size"], serde_json::json!([64, 96]));
    assert_eq!(
        (&json["frames"], &json["dtype"]),
        (&5.into(), &"f32".into())
    );
    let total = number("/latency_ms/p99")?;
    assert!(number("/latency_ms/p50")? <= number("/latency_ms/p95")?);
    for stage in ["preprocess", "network", "labels"] {
        let p50 = number(&format!("/stages_ms/{stage}/p50"))?;
        assert!(p50 > 0.0 && p50 <= total, "{stage}: {p50} of {total}");
    }
    assert!(number("/startup_ms")? > number("/latency_ms/p50")? / 2.0);
    Ok(())
}

#[test]
fn bench_in_f16_on_the_cpu_is_an_error_with_the_remedy() -> Result<()> {
    let bench = Bench::new()?;
    let words = "bench --weights weights.safetensors --device cpu --dtype f16";
    let said = bench.ecmnet(&words.split(' ').collect::<Vec<_>>())?;
    assert_eq!(said.status, Some(1));
    assert!(said.err.contains("--dtype f32"), "{}", said.err);
    Ok(())
}

#[test]
fn doctor_has_a_line_for_everything_that_matters() -> Result<()> {
    let bench = Bench::new()?;
    let said = bench.ecmnet(&["doctor", "--weights", "weights.safetensors"])?;
    assert_eq!(said.status, Some(0), "{}{}", said.out, said.err);
    for part in [
        "program",
        "weights",
        "gpu",
        "ros",
        "domain",
        "buffers",
        "11 classes",
    ] {
        assert!(said.out.contains(part), "{part} in\n{}", said.out);
    }
    Ok(())
}

#[test]
fn the_weights_that_come_with_the_package_are_found_and_their_terms_are_said() -> Result<()> {
    let said = Bench::new()?.ecmnet(&["doctor"])?;
    assert_eq!(said.status, Some(0), "{}{}", said.out, said.err);
    assert!(
        said.out
            .contains("models/ecmnet_camvid.safetensors: 11 classes"),
        "{}",
        said.out
    );
    assert!(said.err.contains("research-only (CamVid)"), "{}", said.err);
    Ok(())
}

#[test]
fn the_version_names_the_commit() -> Result<()> {
    let said = Bench::new()?.ecmnet(&["--version"])?;
    let version = format!(
        "ecmnet {} ({})\n",
        env!("CARGO_PKG_VERSION"),
        env!("ECMNET_COMMIT")
    );
    assert_eq!(said.out, version);
    Ok(())
}
