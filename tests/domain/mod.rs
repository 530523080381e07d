//! A ROS domain that no other test on this machine uses at the time.

use std::fs::File;

use anyhow::{Result, bail};

/// A domain, held as long as this lives.
pub(crate) struct Domain {
    /// What `ROS_DOMAIN_ID` is to be.
    pub(crate) id: u32,
    _held: File,
}

impl Domain {
    /// Returns a free one; errs where all are held.
    pub(crate) fn hold() -> Result<Self> {
        // DDS ports allow domains 1 to 100 on every system.
        for id in (1..=100).map(|n| 1 + (n * 7 + std::process::id()) % 100) {
            let held = File::create(std::env::temp_dir().join(format!("ecmnet_test_domain_{id}")))?;
            if held.try_lock().is_ok() {
                return Ok(Self { id, _held: held });
            }
        }
        bail!("every ROS domain from 1 to 100 is in use by a test")
    }
}
