//! The CPU's copy of an image into pinned memory, which only the device will read.

/// Copies `from` to `to`, of equal length, past the CPU's caches where it can: a line that is written whole
/// need not be read first, and the caches keep what the CPU itself will read.
///
/// Panics if the lengths differ.
pub(crate) fn copy_past_caches(to: &mut [u8], from: &[u8]) {
    assert_eq!(to.len(), from.len(), "a copy is as long as what is copied");
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the CPU has AVX2, and the lengths are equal.
        return unsafe { x86::copy_past_caches(to, from) };
    }
    to.copy_from_slice(from);
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m256i, _MM_HINT_T0, _mm_prefetch, _mm_sfence, _mm256_loadu_si256, _mm256_stream_si256,
    };

    /// What is loaded before any of it is stored: two lines.
    type Lines = [__m256i; 4];

    /// How far ahead lines are asked for.
    const AHEAD_BYTES: usize = 1024;

    /// # Safety
    ///
    /// The CPU has AVX2, and `from` is as long as `to`.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn copy_past_caches(to: &mut [u8], from: &[u8]) {
        // SAFETY: any bytes are vectors.
        let (head, lines, tail) = unsafe { to.align_to_mut::<Lines>() };
        let (from_head, rest) = from.split_at(head.len());
        let (from_lines, from_tail) = rest.split_at(size_of_val(lines));
        head.copy_from_slice(from_head);
        tail.copy_from_slice(from_tail);
        for (to, from) in lines
            .iter_mut()
            .zip(from_lines.chunks_exact(size_of::<Lines>()))
        {
            let at = from.as_ptr();
            // SAFETY: `from` holds as many bytes as `to`; a prefetch may ask for any address.
            unsafe {
                _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(AHEAD_BYTES).cast());
                _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(AHEAD_BYTES + 64).cast());
                let from = [0, 1, 2, 3].map(|i| _mm256_loadu_si256(at.cast::<__m256i>().add(i)));
                for (to, from) in to.iter_mut().zip(from) {
                    _mm256_stream_si256(to, from);
                }
            }
        }
        // Streamed stores are in no order with what follows, such as the start of the device's copy.
        _mm_sfence();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every length up to some groups of vectors, at every alignment of both sides.
    #[test]
    fn every_byte_is_copied_and_none_beside_them() {
        let bytes: Vec<u8> = (0..1000).map(|i| (i * 131 % 251) as u8).collect();
        for len in (0..300).chain([511, 700]) {
            for (to_at, from_at) in [(0, 0), (1, 0), (0, 3), (17, 30), (31, 1)] {
                let mut copy = vec![255; 1000];
                let from = &bytes[from_at..from_at + len];
                copy_past_caches(&mut copy[to_at..to_at + len], from);
                assert_eq!(&copy[to_at..to_at + len], from);
                let beside = copy[..to_at].iter().chain(&copy[to_at + len..]);
                assert!(beside.copied().all(|byte| byte == 255), "{len}");
            }
        }
    }
}
