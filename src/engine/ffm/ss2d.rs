//! SS2D by itself (`kernels/ss2d.cu`), to be compared with the CPU's and timed.

use super::tests::weights;
use super::*;
use crate::engine::against_cpu::{
    Closeness, SIZES, made_map, poisoned, print_times, tensor_from_map,
};
use crate::engine::driver::GpuLimits;
use crate::network::ss2d::Ss2d as Reference;
use crate::network::trace::Trace;
use crate::ops::CpuPath;

/// SS2D's weights on the device, and its kernels.
struct Ss2d {
    /// In which SS2D's own weights are, for channels in their own order.
    ffm: Ffm,
    out_proj: Buffer<f16>,
    input: IntoScan,
    out: Kernel,
}

impl Ss2d {
    fn new(layers: &Layers<'_>, gpu: &Gpu) -> Result<Self> {
        let shape = [FUSED_WIDTH, SCAN_WIDTH];
        let ss2d = layers.pp("ss2d");
        let out_proj = ss2d.values("out_proj.weight", &shape)?;
        let fragments =
            fragments_from_matrix(SCAN_WIDTH, FUSED_WIDTH, |k, n| out_proj[n * SCAN_WIDTH + k]);
        Ok(Self {
            ffm: Ffm::new(layers, &ChannelOrder::natural(SKIP_WIDTH), gpu)?,
            out_proj: Buffer::from_slice(gpu, &fragments)?,
            input: IntoScan::new(gpu, "ss2d", ["ss2d_in", "ss2d_in_spread"])?,
            out: gpu.kernel("ss2d", "ss2d_out")?,
        })
    }

    /// Puts SS2D on `stream`: from `map` to `out`, both `[6, h, w, 8]` of `size`.
    fn launch(
        &self,
        stream: &Stream,
        [map, out]: [&Buffer<f16>; 2],
        size: [usize; 2],
        scratch: &FfmScratch,
    ) -> Result<(), CudaError> {
        self.launch_in(stream, map, size, scratch)?;
        self.ffm.scan_in(stream, size, scratch)?;
        self.launch_out(stream, size, scratch, out)
    }

    fn launch_in(
        &self,
        stream: &Stream,
        map: &Buffer<f16>,
        size: [usize; 2],
        scratch: &FfmScratch,
    ) -> Result<(), CudaError> {
        let part = SKIP_WIDTH * size[0] * size[1];
        map.check_len("SS2D's map", 3 * part)?;
        let parts = [0, 1, 2].map(|i| map.address() + (i * part * size_of::<f16>()) as u64);
        // SAFETY: the map's length was checked, and its thirds have 16 channels each.
        unsafe { (self.ffm).launch_into_scan(&self.input, stream, parts, size, scratch) }
    }

    fn launch_out(
        &self,
        stream: &Stream,
        size: [usize; 2],
        scratch: &FfmScratch,
        out: &Buffer<f16>,
    ) -> Result<(), CudaError> {
        out.check_len("SS2D's result", FUSED_WIDTH * size[0] * size[1])?;
        let parameters = OutParams {
            weights1: self.out_proj.address(),
            ..self.ffm.merge(size, scratch, out)
        };
        let launch = self.out.spread(Launch::new(grid_of(size), THREADS, 0));
        // SAFETY: OutParams is the kernel's, which reads none of its other maps and weights; the result's length
        // was checked, the gate's by `launch_in`, and y's by the scan.
        unsafe { self.out.launch(stream, &launch, &parameters) }
    }
}

#[test]
fn ss2d_alone_equals_the_cpus_at_any_size() -> anyhow::Result<()> {
    let gpu = Gpu::open(0, GpuLimits::default())?;
    let weights = weights()?;
    let layers = Layers::new(&weights, CpuPath::best()).pp("ffm");
    let ss2d = Ss2d::new(&layers, &gpu)?;
    let reference = Reference::new(&layers.pp("ss2d"))?;
    for size in SIZES
        .into_iter()
        .chain([[1, 9], [9, 1], [32, 64], [64, 128]])
    {
        let (map, tensor) = made_map(&gpu, "ss2d", FUSED_WIDTH, size)?;
        let scratch = FfmScratch::new(&gpu, size)?;
        let mut runs = Vec::new();
        for _ in 0..2 {
            for buffer in [
                &scratch.gate,
                &scratch.u,
                &scratch.projected,
                &scratch.scanned,
            ] {
                buffer.fill_bytes(0xFF, &gpu.stream())?;
            }
            let out = poisoned(&gpu, FUSED_WIDTH * size[0] * size[1])?;
            ss2d.launch(&gpu.stream(), [&map, &out], size, &scratch)?;
            runs.push(out);
        }
        let bits = |run: &Buffer<f16>| -> anyhow::Result<Vec<u16>> {
            Ok(run.to_vec()?.into_iter().map(f16::to_bits).collect())
        };
        assert_eq!(bits(&runs[0])?, bits(&runs[1])?, "{size:?}");
        let want = reference.forward(&tensor, "ss2d", &mut Trace::off())?;
        // As FFM's: the layer norm before the gate makes small pixels large, and with them their rounding.
        let close = Closeness {
            norm: 3e-3,
            largest: 5e-3,
        };
        close.check(
            &format!("ss2d {size:?}"),
            &tensor_from_map(&runs[0], size)?,
            &want,
        )?;
    }
    Ok(())
}

#[test]
#[ignore = "prints times instead of testing"]
fn microseconds_of_ss2d() -> anyhow::Result<()> {
    let gpu = Gpu::open(0, GpuLimits::default())?;
    let weights = weights()?;
    let layers = Layers::new(&weights, CpuPath::best()).pp("ffm");
    let ss2d = Ss2d::new(&layers, &gpu)?;
    for size in [[23, 30], [32, 64], [64, 64], [64, 128]] {
        let (map, _) = made_map(&gpu, "ss2d", FUSED_WIDTH, size)?;
        let out = poisoned(&gpu, FUSED_WIDTH * size[0] * size[1])?;
        let scratch = FfmScratch::new(&gpu, size)?;
        let all = |s: &Stream| ss2d.launch(s, [&map, &out], size, &scratch);
        all(&gpu.stream())?;
        let name = |part: &str| format!("{part} of {size:?}");
        print_times(&gpu, &name("ss2d"), all)?;
        print_times(&gpu, &name("ss2d_in"), |s| {
            ss2d.launch_in(s, &map, size, &scratch)
        })?;
        print_times(&gpu, &name("scan"), |s| ss2d.ffm.scan_in(s, size, &scratch))?;
        print_times(&gpu, &name("ss2d_out"), |s| {
            ss2d.launch_out(s, size, &scratch, &out)
        })?;
    }
    Ok(())
}
