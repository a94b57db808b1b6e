//! What is installed and shipped, as far as it can be tested without a release build. `make test-dist` tests the
//! packages themselves.

mod commands;
mod crate_file;
mod install;
mod kubernetes;
mod scripts;
