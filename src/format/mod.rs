//! Report formats, one file each. A new format is a file that implements [`Format`], and an arm in
//! [`OutputFormat::format`]; CONTRIBUTING.md has the other places.

mod chart;
mod clock;
mod csv;
mod event;
mod histograms;
mod html;
mod json;
mod jsonl;
mod markup;
mod openmetrics;
mod parquet;
mod plain;
mod report;
mod svg;
mod table;
mod tcp_stats;
mod text;

pub(crate) use self::clock::Clock;
pub(crate) use self::histograms::TcpHistograms;
pub(crate) use self::openmetrics::CONTENT_TYPE;
pub(crate) use self::report::MetricsSections;
use self::report::Row;
pub(crate) use self::report::WindowSize;
pub use self::report::{Format, RenderOptions, Report, ReportSection};
pub(crate) use self::text::wrap;

/// The format of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputFormat {
    /// A table for people
    Table,
    /// "IP: COUNT", one per line
    Plain,
    /// Comma-separated values
    Csv,
    /// One JSON document
    Json,
    /// JSON objects, one per line
    Jsonl,
    /// OpenMetrics text, for Prometheus
    Openmetrics,
    /// A page for a browser
    Html,
    /// A picture of connections over time
    Svg,
    /// Apache Parquet, for databases
    Parquet,
}

impl OutputFormat {
    /// Whether intervals are part of one document with the report.
    pub(crate) fn is_one_document(self) -> bool {
        matches!(
            self,
            OutputFormat::Json
                | OutputFormat::Openmetrics
                | OutputFormat::Html
                | OutputFormat::Svg
                | OutputFormat::Parquet
        )
    }

    /// Whether connections over time are shown even if no intervals were requested.
    pub(crate) fn has_timeline(self) -> bool {
        matches!(self, OutputFormat::Html | OutputFormat::Svg)
    }

    /// Creates the format for one output.
    pub fn format(self, options: RenderOptions) -> Box<dyn Format> {
        match self {
            OutputFormat::Table => Box::new(table::Format::new(options)),
            OutputFormat::Plain => Box::new(plain::Format::new(options)),
            OutputFormat::Csv => Box::new(csv::Format::new(options)),
            OutputFormat::Json => Box::new(json::Format),
            OutputFormat::Jsonl => Box::new(jsonl::Format::new(options)),
            OutputFormat::Openmetrics => Box::new(openmetrics::Format),
            OutputFormat::Html => Box::new(html::Format::new(options)),
            OutputFormat::Svg => Box::new(svg::Format::new(options)),
            OutputFormat::Parquet => Box::new(parquet::Format::default()),
        }
    }
}
