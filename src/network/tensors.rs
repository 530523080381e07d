//! The widths of ECMNet's stages and the names of its tensors, as PyTorch's `state_dict` has them.

use std::collections::BTreeMap;

use crate::ops::{DIRECTIONS, STATES};

/// Channels of the stem.
pub(crate) const STEM_WIDTH: usize = 32;
/// Channels of the three encoder stages.
pub(crate) const WIDTHS: [usize; 3] = [64, 128, 16];
/// Channels of the skips and the decoder.
pub(crate) const SKIP_WIDTH: usize = 16;
/// Channels that FFM joins: the deepest stage and two pooled skips.
pub(crate) const FUSED_WIDTH: usize = 3 * SKIP_WIDTH;
/// Channels of SS2D's scan.
pub(crate) const SCAN_WIDTH: usize = 2 * FUSED_WIDTH;
/// Rank of SS2D's delta projection.
pub(crate) const DELTA_RANK: usize = 3;
/// Channels between FFM's two linear layers.
pub(crate) const MLP_WIDTH: usize = 4 * FUSED_WIDTH;
/// Dilations of the EDABs of the second and third encoder stage.
pub(crate) const DILATIONS: [usize; 12] = [1, 1, 2, 2, 4, 4, 8, 8, 16, 16, 32, 32];
/// Dilations of the EDABs of the first encoder stage and of each decoder stage.
pub(crate) const SHALLOW_DILATIONS: [usize; 3] = [2, 2, 2];

/// Returns the name and shape of every tensor of a network of so many classes.
pub(crate) fn tensor_shapes(classes: usize) -> BTreeMap<String, Vec<usize>> {
    let mut shapes = Shapes::default();
    let [w1, w2, w3] = WIDTHS;
    for (i, from) in [3, STEM_WIDTH, STEM_WIDTH].into_iter().enumerate() {
        shapes.conv_act(&format!("stem.{i}"), from, STEM_WIDTH, [3, 3]);
    }
    shapes.bn_prelu("stem_act", STEM_WIDTH);
    let stages = [
        (1, STEM_WIDTH, w1, SHALLOW_DILATIONS.len()),
        (2, w1, w2, DILATIONS.len()),
        (3, w2, w3, DILATIONS.len()),
    ];
    for (stage, from, channels, depth) in stages {
        let convolved = if from < channels {
            channels - from
        } else {
            channels
        };
        shapes.add(format!("down{stage}.conv.weight"), &[convolved, from, 3, 3]);
        shapes.bn_prelu(&format!("down{stage}.act"), channels);
        shapes.edabs(&format!("enc{stage}"), depth, channels);
        shapes.bn_prelu(&format!("act{stage}"), channels);
        shapes.conv_act(&format!("line{stage}"), channels, SKIP_WIDTH, [3, 3]);
        shapes.edabs(&format!("dec{stage}"), SHALLOW_DILATIONS.len(), SKIP_WIDTH);
        shapes.conv_act(&format!("up{stage}.conv"), SKIP_WIDTH, SKIP_WIDTH, [3, 3]);
    }
    shapes.msau();
    shapes.ffm();
    shapes.add("classifier.weight", &[classes, SKIP_WIDTH, 1, 1]);
    shapes.0
}

#[derive(Default)]
struct Shapes(BTreeMap<String, Vec<usize>>);

impl Shapes {
    fn add(&mut self, name: impl Into<String>, shape: &[usize]) {
        self.0.insert(name.into(), shape.to_vec());
    }

    /// A layer's weight, and its bias of one element a row.
    fn linear(&mut self, name: &str, shape: &[usize]) {
        self.add(format!("{name}.weight"), shape);
        self.add(format!("{name}.bias"), &shape[..1]);
    }

    fn norm(&mut self, name: &str, channels: usize) {
        for part in ["weight", "bias", "running_mean", "running_var"] {
            self.add(format!("{name}.{part}"), &[channels]);
        }
    }

    fn bn_prelu(&mut self, name: &str, channels: usize) {
        self.norm(&format!("{name}.bn"), channels);
        self.add(format!("{name}.act.weight"), &[channels]);
    }

    fn conv_act(&mut self, name: &str, from: usize, to: usize, kernel: [usize; 2]) {
        self.add(
            format!("{name}.0.weight"),
            &[to, from, kernel[0], kernel[1]],
        );
        self.bn_prelu(&format!("{name}.1"), to);
    }

    fn edabs(&mut self, stage: &str, depth: usize, channels: usize) {
        let h = channels / 2;
        for block in (0..depth).map(|i| format!("{stage}.{i}")) {
            self.bn_prelu(&format!("{block}.pre"), channels);
            self.add(format!("{block}.reduce.weight"), &[h, channels, 1, 1]);
            for (strip, from) in [("up", h), ("l", 1), ("g", 1)] {
                self.conv_act(&format!("{block}.{strip}1"), from, h, [3, 1]);
                self.conv_act(&format!("{block}.{strip}2"), from, h, [1, 3]);
            }
            self.add(format!("{block}.ca.conv.weight"), &[1, 1, 3]);
            self.add(format!("{block}.dda.conv.weight"), &[h, 2 * h, 1, 1]);
            self.bn_prelu(&format!("{block}.mid"), h);
            self.add(format!("{block}.expand.weight"), &[channels, h, 1, 1]);
        }
    }

    fn msau(&mut self) {
        let (c, h) = (SKIP_WIDTH, SKIP_WIDTH / 2);
        self.conv_act("msau.reduce", c, h, [1, 1]);
        for (i, side) in [3, 5, 7].into_iter().enumerate() {
            self.add(format!("msau.dw.{i}.weight"), &[h, 1, side, side]);
        }
        self.linear("msau.gate", &[h, h, 7, 7]);
        self.linear("msau.expand", &[c, h, 1, 1]);
        for branch in ["msau.ba", "msau.bm"] {
            self.add(format!("{branch}.0.0.weight"), &[c, c, 3, 3]);
            self.norm(&format!("{branch}.0.1"), c);
            self.linear(&format!("{branch}.1.0"), &[h, c, 1, 1]);
            self.linear(&format!("{branch}.1.2"), &[c, h, 1, 1]);
        }
    }

    fn ffm(&mut self) {
        let (d, k, n, r) = (SCAN_WIDTH, DIRECTIONS, STATES, DELTA_RANK);
        for (norm, channels) in [("ffm.norm", FUSED_WIDTH), ("ffm.ss2d.out_norm", d)] {
            self.linear(norm, &[channels]);
        }
        self.add("ffm.ss2d.in_proj.weight", &[2 * d, FUSED_WIDTH]);
        self.add("ffm.ss2d.out_proj.weight", &[FUSED_WIDTH, d]);
        self.linear("ffm.ss2d.conv2d", &[d, 1, 3, 3]);
        self.add("ffm.ss2d.x_proj_weight", &[k, r + 2 * n, d]);
        self.add("ffm.ss2d.dt_projs_weight", &[k, d, r]);
        self.add("ffm.ss2d.dt_projs_bias", &[k, d]);
        self.add("ffm.ss2d.A_logs", &[k * d, n]);
        self.add("ffm.ss2d.Ds", &[k * d]);
        self.linear("ffm.fc1", &[MLP_WIDTH, FUSED_WIDTH]);
        self.linear("ffm.fc2", &[FUSED_WIDTH, MLP_WIDTH]);
        self.linear("ffm.proj", &[SKIP_WIDTH, FUSED_WIDTH]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_has_as_many_parameters_as_its_specification() {
        let trained = |classes| -> usize {
            let shapes = tensor_shapes(classes);
            let trained = shapes.iter().filter(|(name, _)| !name.contains("running_"));
            trained
                .map(|(_, shape)| shape.iter().product::<usize>())
                .sum()
        };
        assert_eq!(trained(19), 871_436);
        assert_eq!(trained(11), 871_308);
    }
}
