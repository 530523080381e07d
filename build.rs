//! Tells the build which commit it is of, for the node's first log line and the reports; compiles
//! `kernels/*.cu` for the feature `cuda`: one fatbin a file, for every architecture that nvcc knows of
//! those the engine supports, and PTX for the others.
//!
//! `CUDA_HOME` names the toolkit, else `.cuda/` (scripts/setup_cuda), else nvcc on PATH.
//! `ECMNET_CUDA_ARCHS` cuts the architectures, such as `90` or `80,90`.

use std::env;
use std::error::Error;
use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{fs, thread};

/// Architectures that the engine supports, oldest first.
const ARCHITECTURES: [&str; 7] = ["80", "86", "87", "89", "90", "110", "120"];

/// The architecture whose PTX is kept: drivers compile it for every later one without code of its own
/// here, the data centre's 100 and 103 among them, which code for 110 or 120 does not serve.
const PTX_ARCHITECTURE: &str = "90";

/// Files of kernels that the library's own tests launch and no program does.
const TESTED_ONLY: [&str; 1] = ["ss2d"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    name_commit();
    match env::var_os("CARGO_FEATURE_CUDA") {
        Some(_) => compile_kernels(),
        None => Ok(()),
    }
}

fn name_commit() {
    let commit = git(&["rev-parse", "--short=12", "HEAD"]);
    let commit = commit.unwrap_or_else(|| "no commit known".into());
    println!("cargo::rustc-env=ECMNET_COMMIT={commit}");
    // The log of HEAD grows with every commit and checkout; a package without it has no commit.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}

fn compile_kernels() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=kernels");
    for variable in ["CUDA_HOME", "ECMNET_CUDA_ARCHS"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let nvcc = Nvcc::find()?;
    let architectures = nvcc.architectures()?;
    let mut kernels = sources("cu")?;
    // A kernel that fails on purpose.
    if env::var_os("CARGO_FEATURE_INJECT_FAULTS").is_none() {
        kernels.retain(|path| path.file_stem().is_some_and(|stem| stem != "fault"));
    }
    let mut headers = Vec::new();
    for header in sources("cuh")? {
        headers.extend(fs::read(header)?);
    }
    let fatbin = |kernel: &Path| {
        let name = kernel.file_stem().unwrap_or_default();
        out.join(name).with_extension("fatbin")
    };
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(kernel) = kernels.get(next.fetch_add(1, Ordering::Relaxed)) {
            nvcc.compile(kernel, &fatbin(kernel), &architectures, &headers)?;
        }
        Ok(())
    };
    let at_once = thread::available_parallelism()?.get();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..at_once).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| {
            worker
                .join()
                .unwrap_or_else(|_| Err("a compiling thread panicked".to_owned()))
        })
    })?;
    let mut table = "static FATBINS: &[(&str, &[u8])] = &[\n".to_owned();
    for kernel in &kernels {
        let name = kernel.file_stem().unwrap_or_default();
        if TESTED_ONLY.iter().any(|tested| name == *tested) {
            table.push_str("    #[cfg(test)]\n");
        }
        writeln!(
            table,
            "    ({name:?}, include_bytes!({:?})),",
            fatbin(kernel)
        )?;
    }
    table.push_str("];\n");
    fs::write(out.join("fatbins.rs"), table)?;
    Ok(())
}

/// Returns the files of `kernels/` with this ending, in order of their names.
fn sources(ending: &str) -> Result<Vec<PathBuf>, std::io::Error> {
    let mut files = Vec::new();
    for entry in fs::read_dir("kernels")? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == ending)
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

struct Nvcc(PathBuf);

impl Nvcc {
    fn find() -> Result<Self, String> {
        let below = |home: PathBuf| home.join("bin/nvcc");
        let candidates = env::var_os("CUDA_HOME")
            .map(|home| below(home.into()))
            .into_iter()
            .chain([below(".cuda/toolkit".into()), "nvcc".into()]);
        for nvcc in candidates {
            if Command::new(&nvcc).arg("--version").output().is_ok() {
                return Ok(Self(nvcc));
            }
        }
        Err("the feature cuda needs nvcc: run `make setup-cuda`, or set CUDA_HOME".to_owned())
    }

    /// Returns those of [`ARCHITECTURES`] that this nvcc knows and `ECMNET_CUDA_ARCHS` leaves.
    fn architectures(&self) -> Result<Vec<&'static str>, String> {
        let listed = Command::new(&self.0)
            .arg("--list-gpu-code")
            .output()
            .map_err(|error| format!("{}: {error}", self.0.display()))?;
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let known = |arch: &&str| {
            listed
                .lines()
                .any(|line| line.trim() == format!("sm_{arch}"))
        };
        let mut architectures: Vec<&str> = ARCHITECTURES.into_iter().filter(known).collect();
        if let Ok(wanted) = env::var("ECMNET_CUDA_ARCHS") {
            architectures.retain(|arch| wanted.split(',').any(|one| one == *arch));
        }
        match architectures.is_empty() {
            true => Err(format!(
                "nvcc knows none of sm_{}",
                ARCHITECTURES.join(", sm_")
            )),
            false => Ok(architectures),
        }
    }

    /// Compiles one kernel, unless that was done with the same sources, compiler and options.
    fn compile(
        &self,
        kernel: &Path,
        to: &Path,
        architectures: &[&str],
        headers: &[u8],
    ) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("{}: {error}", kernel.display());
        let mut command = Command::new(&self.0);
        command.args(["-fatbin", "-O3", "-std=c++17", "--Werror", "all-warnings"]);
        command.arg("-Xfatbin=-compress-all");
        if env::var_os("CARGO_FEATURE_INJECT_FAULTS").is_some() {
            command.arg("-DECMNET_INJECT_FAULTS");
        }
        for arch in architectures {
            command.arg(format!("-gencode=arch=compute_{arch},code=sm_{arch}"));
        }
        let kept = architectures.contains(&PTX_ARCHITECTURE);
        let kept = kept.then_some(&PTX_ARCHITECTURE).or(architectures.last());
        if let Some(ptx) = kept {
            command.arg(format!("-gencode=arch=compute_{ptx},code=compute_{ptx}"));
        }
        command.arg("-o").arg(to).arg(kernel);

        let mut sources = DefaultHasher::new();
        (fs::read(kernel).map_err(failed)?, headers).hash(&mut sources);
        let compiler = fs::canonicalize(&self.0).unwrap_or_else(|_| self.0.clone());
        let inputs = format!("{compiler:?} {command:?} {:x}", sources.finish());
        let stamp = to.with_extension("inputs");
        if to.exists() && fs::read_to_string(&stamp).is_ok_and(|done| done == inputs) {
            return Ok(());
        }
        let done = command.output().map_err(failed)?;
        if !done.status.success() {
            let said = String::from_utf8_lossy(&done.stderr);
            return Err(format!("{}:\n{said}", kernel.display()));
        }
        fs::write(stamp, inputs).map_err(failed)
    }
}
