//! The command line as a user has it: options, reports, files, exit statuses.

mod support;

mod bad_input;
mod config;
mod formats;
mod hostile;
mod inputs;
mod merge;
mod metrics;
mod networks;
mod output;
mod parquet;
mod periods;
mod piped;
mod recipes;
mod resolve;
mod rows;
mod schema;
mod screen;
mod service;
mod tcp_stats;
mod usage;
