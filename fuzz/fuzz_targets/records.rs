#![no_main]
#![allow(dead_code, reason = "the entries of the other targets")]

#[path = "../entries.rs"]
mod entries;

libfuzzer_sys::fuzz_target!(
    init: {
        // nfdump reads its binary files, and can be made to run forever. SAFETY: there is no other
        // thread yet.
        unsafe { std::env::set_var("PATH", "") };
    },
    |data: &[u8]| entries::records(data)
);
