/// Lets the process keep the memory that it frees, for as long as it runs, and says whether the allocator
/// was told so.
///
/// A pass allocates and frees the same hundreds of buffers as the one before. glibc gives them back to the
/// system in between, which then clears every page anew: up to a quarter of the time of a pass. Call this
/// first in `main`. What the process took at most it then holds to its end, also while it does other
/// things; that is why it is not the library's to decide.
///
/// Elsewhere than on Linux with glibc, and in a program with an allocator of its own, it does nothing.
///
/// # Examples
///
/// ```
/// let is_kept = grsap_kernels::keep_memory();
/// assert_eq!(is_kept, cfg!(all(target_os = "linux", target_env = "gnu")));
/// ```
pub fn keep_memory() -> bool {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // Older versions take no larger one.
        const LARGEST: libc::c_int = 32 << 20;
        #[allow(unsafe_code)]
        // SAFETY: these settings of the allocator may be changed at any time.
        unsafe {
            let from_heap = libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 30) == 1
                || libc::mallopt(libc::M_MMAP_THRESHOLD, LARGEST) == 1;
            let kept = libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX) == 1;
            from_heap && kept
        }
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    {
        false
    }
}
