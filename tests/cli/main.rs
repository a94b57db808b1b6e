//! The command line as a user has it: options, reports, files, exit statuses.

mod support;

mod fares;
mod formats;
mod merge;
mod metrics;
mod output;
mod periods;
mod piped;
mod recipes;
mod rows;
mod usage;
