//! Any bytes as a record of type netflow.
#![no_main]

mod record;

libfuzzer_sys::fuzz_target!(
    init: {
        // nfdump reads its binary files, and can be made to run forever. SAFETY: there is no other
        // thread yet.
        unsafe { std::env::set_var("PATH", "") };
    },
    |data: &[u8]| record::read("netflow", data)
);
