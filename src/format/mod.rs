//! Report formats, one file each. A new one is a file and a line in [`OutputFormat::format`].

mod clock;
mod csv;
mod event;
mod json;
mod jsonl;
mod openmetrics;
mod plain;
mod report;
mod table;
mod tcp_stats;
mod text;

pub use self::clock::Clock;
pub use self::openmetrics::CONTENT_TYPE;
pub use self::report::{Format, RenderOptions, Report, ReportSection, Row};
pub use self::text::plural;

/// How a report looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputFormat {
    /// For people
    Table,
    /// "IP: COUNT" a line
    Plain,
    /// Comma-separated values
    Csv,
    /// One JSON document
    Json,
    /// A JSON object a line
    Jsonl,
    /// For Prometheus
    Openmetrics,
}

impl OutputFormat {
    /// The format of this kind.
    pub fn format(self, options: RenderOptions) -> Box<dyn Format> {
        match self {
            OutputFormat::Table => Box::new(table::Format::new(options)),
            OutputFormat::Plain => Box::new(plain::Format::new(options)),
            OutputFormat::Csv => Box::new(csv::Format::new(options)),
            OutputFormat::Json => Box::new(json::Format),
            OutputFormat::Jsonl => Box::new(jsonl::Format::new(options)),
            OutputFormat::Openmetrics => Box::new(openmetrics::Format),
        }
    }
}
