//! Functions of the C library and of libgcc that the static program does not need, so that what they call is left out of
//! it. They are written in Rust so that link-time optimisation sees what they return.
#![allow(unsafe_code)]

/// Takes the place of pthread_getattr_np(3) in the static program, which is 92 KB smaller without the sscanf(3) that the
/// GNU C library reads `/proc/self/maps` with. The standard library calls it to tell a stack overflow from another
/// SIGSEGV; after an error, both end the program by SIGSEGV alike, without the line that names the thread.
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

/// Takes the place of libgcc's unwinder in the static program, in which nothing unwinds: a panic ends it
/// (src/cli/panics.rs), and the package for x86-64 has no tables to unwind with. Every backtrace is empty there, so
/// that what the standard library has to read debugging information and to name functions is left out: 0.19 MB.
#[cfg(panic = "abort")]
#[allow(non_snake_case)]
mod unwinder {
    use std::ffi::{c_int, c_void};

    /// `_URC_END_OF_STACK`
    const END_OF_STACK: c_int = 5;

    // SAFETY: the signature is that of libgcc, and nothing is called.
    #[unsafe(no_mangle)]
    extern "C" fn _Unwind_Backtrace(_trace: *const c_void, _argument: *mut c_void) -> c_int {
        END_OF_STACK
    }

    /// What the standard library and the C library call while they unwind. The linker would take them from libgcc, with
    /// its `_Unwind_Backtrace`.
    macro_rules! never_called {
        ($($function:ident)*) => {
            $(
                // SAFETY: it returns nothing to any caller.
                #[unsafe(no_mangle)]
                extern "C" fn $function() -> ! {
                    std::process::abort()
                }
            )*
        };
    }

    never_called! {
        __gcc_personality_v0
        _Unwind_FindEnclosingFunction
        _Unwind_ForcedUnwind
        _Unwind_GetCFA
        _Unwind_GetDataRelBase
        _Unwind_GetIP
        _Unwind_GetIPInfo
        _Unwind_GetLanguageSpecificData
        _Unwind_GetRegionStart
        _Unwind_GetTextRelBase
        _Unwind_Resume
        _Unwind_SetGR
        _Unwind_SetIP
    }
}
