//! [`Table`]: the rows of a parquet file, a batch of each column at a time.

use std::fs::File;
use std::sync::Arc;

use parquet::basic::{ConvertedType, LogicalType, TimeUnit};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader};
use parquet::data_type::{ByteArray, DataType};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData};
use parquet::file::serialized_reader::SerializedPageReader;
use parquet::schema::types::ColumnDescriptor;

/// Rows that are read at a time.
const BATCH_ROWS: usize = 4096;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    Null,
    Int(i64),
    Double(f64),
    Bytes(ByteArray),
    Bool(bool),
    /// Nanoseconds since 1970.
    Time(i64),
}

/// Rows: the values of the columns that are asked for.
pub(super) struct Batch {
    columns: Vec<Vec<Cell>>,
    rows: usize,
}

impl Batch {
    pub(super) fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        (0..self.rows).map(|at| Row { columns: &self.columns, at })
    }
}

/// An open file. The library's trait objects for files and row groups would link its reader of
/// nested rows, which nobody calls: 0.2 MB.
pub(super) struct Table {
    file: Arc<File>,
    metadata: ParquetMetaData,
}

/// One of them.
pub(super) struct Row<'a> {
    columns: &'a [Vec<Cell>],
    at: usize,
}

impl Row<'_> {
    /// The value of the column that was asked for as the `n`th.
    pub(super) fn cell(&self, n: usize) -> &Cell {
        self.columns.get(n).and_then(|column| column.get(self.at)).unwrap_or(&Cell::Null)
    }
}

impl Table {
    /// Reads the footer.
    pub(super) fn open(file: Arc<File>) -> Result<Table, ParquetError> {
        let metadata = ParquetMetaDataReader::new().parse_and_finish(&*file)?;
        Ok(Table { file, metadata })
    }

    /// Whether there is a column of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.place(name).is_some()
    }

    /// A text in the footer.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let pairs = self.metadata.file_metadata().key_value_metadata()?;
        pairs.iter().find(|pair| pair.key == name)?.value.as_deref()
    }

    /// The place of a column that is not nested.
    fn place(&self, name: &str) -> Option<usize> {
        let schema = self.metadata.file_metadata().schema_descr();
        let columns = schema.columns().iter();
        columns.into_iter().position(|column| {
            column.path().parts() == [name]
                && column.max_rep_level() == 0
                && column.max_def_level() < 2
        })
    }

    /// Gives all rows, with the columns of these names. Those that are missing are null.
    pub(super) fn read(
        &self,
        names: &[&str],
        give: &mut dyn FnMut(Batch),
    ) -> Result<(), ParquetError> {
        let places: Vec<Option<usize>> = names.iter().map(|name| self.place(name)).collect();
        for group in self.metadata.row_groups() {
            let mut left = usize::try_from(group.num_rows()).unwrap_or(0);
            let mut readers = Vec::new();
            for place in &places {
                readers.push(match place {
                    Some(place) => {
                        let descriptor = group.schema_descr().column(*place);
                        Some((self.column_reader(group, *place)?, descriptor))
                    }
                    None => None,
                });
            }
            while left > 0 {
                let rows = left.min(BATCH_ROWS);
                let mut columns = Vec::new();
                for reader in &mut readers {
                    columns.push(match reader {
                        Some((reader, descriptor)) => cells(reader, descriptor, rows)?,
                        None => Vec::new(),
                    });
                }
                give(Batch { columns, rows });
                left -= rows;
            }
        }
        Ok(())
    }

    fn column_reader(
        &self,
        group: &RowGroupMetaData,
        place: usize,
    ) -> Result<ColumnReader, ParquetError> {
        let rows = usize::try_from(group.num_rows()).unwrap_or(0);
        let pages = SerializedPageReader::new(self.file.clone(), group.column(place), rows, None)?;
        Ok(get_column_reader(group.schema_descr().column(place), Box::new(pages)))
    }
}

/// Reads the next `rows` values of a column.
fn cells(
    reader: &mut ColumnReader,
    descriptor: &ColumnDescriptor,
    rows: usize,
) -> Result<Vec<Cell>, ParquetError> {
    let scale = nanoseconds(descriptor);
    match reader {
        ColumnReader::BoolColumnReader(r) => read(r, descriptor, rows, |b| Cell::Bool(*b)),
        ColumnReader::Int32ColumnReader(r) => {
            read(r, descriptor, rows, |n| Cell::Int(i64::from(*n)))
        }
        ColumnReader::Int64ColumnReader(r) => read(r, descriptor, rows, |n| match scale {
            Some(scale) => Cell::Time(n.saturating_mul(scale)),
            None => Cell::Int(*n),
        }),
        ColumnReader::Int96ColumnReader(r) => {
            read(r, descriptor, rows, |time| Cell::Time(time.to_nanos()))
        }
        ColumnReader::FloatColumnReader(r) => {
            read(r, descriptor, rows, |n| Cell::Double(f64::from(*n)))
        }
        ColumnReader::DoubleColumnReader(r) => read(r, descriptor, rows, |n| Cell::Double(*n)),
        ColumnReader::ByteArrayColumnReader(r) => {
            read(r, descriptor, rows, |text| Cell::Bytes(text.clone()))
        }
        ColumnReader::FixedLenByteArrayColumnReader(r) => {
            read(r, descriptor, rows, |bytes| Cell::Bytes(ByteArray::from(bytes.data())))
        }
    }
}

/// How many nanoseconds a unit of this column is, if it has times.
fn nanoseconds(descriptor: &ColumnDescriptor) -> Option<i64> {
    match (descriptor.logical_type_ref(), descriptor.converted_type()) {
        (Some(LogicalType::Timestamp(time)), _) => Some(match time.unit {
            TimeUnit::MILLIS => 1_000_000,
            TimeUnit::MICROS => 1000,
            TimeUnit::NANOS => 1,
        }),
        (_, ConvertedType::TIMESTAMP_MILLIS) => Some(1_000_000),
        (_, ConvertedType::TIMESTAMP_MICROS) => Some(1000),
        _ => None,
    }
}

fn read<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    descriptor: &ColumnDescriptor,
    rows: usize,
    cell: impl Fn(&T::T) -> Cell,
) -> Result<Vec<Cell>, ParquetError> {
    let (mut levels, mut values) = (Vec::new(), Vec::new());
    while levels.len().max(values.len()) < rows {
        let before = levels.len().max(values.len());
        let (records, _, _) =
            reader.read_records(rows - before, Some(&mut levels), None, &mut values)?;
        if records == 0 {
            return Err(ParquetError::EOF("a column is shorter than its row group".into()));
        }
    }
    if descriptor.max_def_level() == 0 {
        return Ok(values.iter().map(cell).collect());
    }
    let mut values = values.iter();
    let one =
        |level: &i16| if *level > 0 { values.next().map_or(Cell::Null, &cell) } else { Cell::Null };
    Ok(levels.iter().map(one).collect())
}
