//! The one module with `unsafe` code: system calls that no library wraps.
