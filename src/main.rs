//! The command `tcptally`.

fn main() {
    std::process::exit(tcptally::run_program())
}

/// Takes the place of pthread_getattr_np(3) in the static program, which is 92 KB smaller without the sscanf(3) that the
/// GNU C library reads `/proc/self/maps` with. The standard library calls it to tell a stack overflow from another
/// SIGSEGV; after an error, both end the program by SIGSEGV alike, without the line that names the thread.
#[cfg(all(target_feature = "crt-static", target_env = "gnu"))]
#[allow(unsafe_code)]
mod stack_bounds {
    // SAFETY: the signature is that of the C library, and nothing is written.
    #[unsafe(no_mangle)]
    extern "C" fn pthread_getattr_np(
        _thread: libc::pthread_t,
        _attributes: *mut libc::pthread_attr_t,
    ) -> libc::c_int {
        libc::ENOSYS
    }
}
