//! Rows as Parquet, by the column writers below Arrow.

use std::sync::Arc;

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use parquet::basic::{Compression, GzipLevel, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, FixedLenByteArray, FixedLenByteArrayType};
use parquet::data_type::{Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::Type;

use super::sheet::{Kind, Sheet};
use crate::decimal::{Decimal, PRECISION, SCALE};

/// Rows of a group: readers hold one column of a group in memory.
const GROUP_ROWS: usize = 1 << 17;

/// Why a file could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ParquetFileError {
    /// A value is not what its column is for.
    #[error("'{value}' in column {column} is not of the column's type")]
    Value {
        /// The column.
        column: String,
        /// The value.
        value: String,
    },
    /// The library refused.
    #[error("the file could not be made")]
    Write(#[from] ParquetError),
}

/// The sheet as a file.
pub(super) fn file(sheet: &Sheet) -> Result<Vec<u8>, ParquetFileError> {
    let columns = sheet.columns.iter().map(|(name, kind)| column(name, *kind)).collect::<Result<Vec<_>, _>>()?;
    let schema = Type::group_type_builder("usage").with_fields(columns).build()?;
    // Every reader knows gzip, and what makes it is in the program anyway for images.
    let properties = WriterProperties::builder().set_compression(Compression::GZIP(GzipLevel::default())).build();
    let mut writer = SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::new(properties))?;
    for rows in sheet.rows.chunks(GROUP_ROWS) {
        let mut group = writer.next_row_group()?;
        for (index, (name, kind)) in sheet.columns.iter().enumerate() {
            let texts: Vec<Option<&str>> = rows.iter().map(|row| row[index].as_deref()).collect();
            write(&mut group, name, *kind, &texts)?;
        }
        group.close()?;
    }
    Ok(writer.into_inner()?)
}

/// A column that may have no value.
fn column(name: &str, kind: Kind) -> Result<Arc<Type>, ParquetError> {
    let (precision, scale) = (PRECISION as i32, SCALE as i32);
    let (physical, logical, length) = match kind {
        Kind::Text => (Physical::BYTE_ARRAY, LogicalType::String, None),
        Kind::Json => (Physical::BYTE_ARRAY, LogicalType::Json, None),
        Kind::Decimal => (Physical::FIXED_LEN_BYTE_ARRAY, LogicalType::decimal(scale, precision), Some(16)),
        Kind::Day => (Physical::INT32, LogicalType::Date, None),
        Kind::Time => (Physical::INT64, LogicalType::timestamp(true, TimeUnit::MILLIS), None),
    };
    let mut builder = Type::primitive_type_builder(name, physical)
        .with_repetition(Repetition::OPTIONAL)
        .with_logical_type(Some(logical));
    if let Some(length) = length {
        builder = builder.with_length(length).with_precision(precision).with_scale(scale);
    }
    builder.build().map(Arc::new)
}

fn write(
    group: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
    name: &str,
    kind: Kind,
    texts: &[Option<&str>],
) -> Result<(), ParquetFileError> {
    match kind {
        Kind::Text | Kind::Json => values::<ByteArrayType>(group, name, texts, |text| Some(ByteArray::from(text))),
        Kind::Decimal => values::<FixedLenByteArrayType>(group, name, texts, |text| {
            let bytes = Decimal::parse(text)?.to_bytes();
            Some(FixedLenByteArray::from(bytes.to_vec()))
        }),
        Kind::Day => values::<Int32Type>(group, name, texts, |text| {
            let day: NaiveDate = text.parse().ok()?;
            i32::try_from((day - DateTime::UNIX_EPOCH.date_naive()).num_days()).ok()
        }),
        Kind::Time => values::<Int64Type>(group, name, texts, |text| Some(time(text)?.timestamp_millis())),
    }
}

fn values<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
    name: &str,
    texts: &[Option<&str>],
    read: impl Fn(&str) -> Option<T::T>,
) -> Result<(), ParquetFileError> {
    let wrong = |text: &str| ParquetFileError::Value { column: name.to_owned(), value: text.to_owned() };
    let read = |text: &&str| read(text).ok_or_else(|| wrong(text));
    let values = texts.iter().flatten().map(read).collect::<Result<Vec<_>, _>>()?;
    let levels: Vec<i16> = texts.iter().map(|text| i16::from(text.is_some())).collect();
    let Some(mut writer) = group.next_column()? else { return Ok(()) };
    writer.typed::<T>().write_batch(&values, Some(&levels), None)?;
    Ok(writer.close()?)
}

fn time(text: &str) -> Option<DateTime<Utc>> {
    let hour = || NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%MZ").ok();
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc()).or_else(|| hour().map(|time| time.and_utc()))
}

#[cfg(test)]
mod tests {
    use parquet::file::reader::{FileReader, SerializedFileReader};

    use super::*;
    use crate::usage::examples;

    /// The rows as a reader prints them.
    fn read(file: Vec<u8>) -> Vec<String> {
        let reader = SerializedFileReader::new(bytes(file)).expect("a Parquet file");
        reader.get_row_iter(None).expect("rows").map(|row| row.expect("a row").to_string()).collect()
    }

    fn bytes(file: Vec<u8>) -> std::fs::File {
        let mut on_disk = tempfile::tempfile().expect("a file");
        std::io::Write::write_all(&mut on_disk, &file).expect("written");
        on_disk
    }

    #[test]
    fn b05_parquet_has_the_rows_of_the_csv_in_typed_columns() {
        let rows = read(file(&Sheet::of_report(&examples::by(&["service", "label:team"]))).expect("a file"));
        assert_eq!(rows.len(), 4);
        assert_eq!(
            rows[2],
            "{service: \"hello\", label:team: null, sku: \"cpu-request\", quantity: 2.500000000000, \
             unit: \"vCPU-second\", price: 0.000024000000, cost: 0.000060000000, currency: \"USD\"}"
        );
    }

    #[test]
    fn b05_parquet_has_days_times_and_negative_amounts() {
        let columns = [("day", Kind::Day), ("hour", Kind::Time), ("start", Kind::Time), ("cost", Kind::Decimal)];
        let row = ["2026-11-26", "2026-11-26T10:00Z", "2026-11-26T10:00:00Z", "-0.5"];
        let sheet = Sheet {
            columns: columns.map(|(name, kind)| (name.to_owned(), kind)).to_vec(),
            rows: vec![row.map(|text| Some(text.to_owned())).to_vec(), vec![None; 4]],
        };
        assert_eq!(
            read(file(&sheet).expect("a file")),
            [
                "{day: 2026-11-26, hour: 2026-11-26 10:00:00.000 +00:00, start: 2026-11-26 10:00:00.000 +00:00, \
                 cost: -0.500000000000}",
                "{day: null, hour: null, start: null, cost: null}"
            ]
        );
    }

    #[test]
    fn b05_a_value_of_another_type_is_named() {
        let sheet =
            Sheet { columns: vec![("cost".to_owned(), Kind::Decimal)], rows: vec![vec![Some("a lot".to_owned())]] };
        let error = file(&sheet).expect_err("no number").to_string();
        assert_eq!(error, "'a lot' in column cost is not of the column's type");
    }
}
