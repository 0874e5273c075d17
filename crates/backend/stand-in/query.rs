//! nvidia-smi's `--query-gpu=FIELDS --format=csv`: what scripts read.

use crate::devices::{self, Device};
use crate::version::DRIVER_VERSION;
use crate::{Exit, SIMULATED, stderr, stdout};
use core::fmt::{self, Write};

#[derive(Clone, Copy)]
enum Field {
    Count,
    DriverVersion,
    Index,
    MemoryFree,
    MemoryTotal,
    MemoryUsed,
    Name,
    UtilizationGpu,
    Uuid,
}

impl Field {
    fn parse(text: &str) -> Option<Field> {
        Some(match text.trim() {
            "count" => Field::Count,
            "driver_version" => Field::DriverVersion,
            "index" => Field::Index,
            "memory.free" => Field::MemoryFree,
            "memory.total" => Field::MemoryTotal,
            "memory.used" => Field::MemoryUsed,
            "name" | "gpu_name" => Field::Name,
            "utilization.gpu" => Field::UtilizationGpu,
            "uuid" | "gpu_uuid" => Field::Uuid,
            _ => return None,
        })
    }

    fn unit(self) -> Option<&'static str> {
        match self {
            Field::MemoryFree | Field::MemoryTotal | Field::MemoryUsed => Some("MiB"),
            Field::UtilizationGpu => Some("%"),
            _ => None,
        }
    }

    fn write(self, index: usize, device: &Device) -> fmt::Result {
        let mut out = stdout();
        match self {
            Field::Count => write!(out, "{}", devices::all().count()),
            Field::DriverVersion => out.write_str(DRIVER_VERSION),
            Field::Index => write!(out, "{index}"),
            Field::MemoryFree | Field::MemoryTotal => write!(out, "{}", device.memory_bytes >> 20),
            Field::MemoryUsed | Field::UtilizationGpu => out.write_str("0"),
            Field::Name => write!(out, "{}", device.name),
            Field::Uuid => write!(out, "{}", device.uuid),
        }
    }
}

/// Prints one line per device with the fields asked for.
pub fn csv(fields: &str, format: &str) -> Result<Exit, fmt::Error> {
    for field in fields.split(',') {
        if Field::parse(field).is_none() {
            writeln!(stdout(), "Field \"{field}\" is not a valid field to query.")?;
            return Ok(Exit::InvalidArgument);
        }
    }
    let option = |wanted: &str| format.split(',').any(|given| given.trim() == wanted);
    if !option("csv") {
        writeln!(
            stderr(),
            "\"{format}\" is not a supported format: use csv[,noheader][,nounits]."
        )?;
        return Ok(Exit::InvalidArgument);
    }
    writeln!(stderr(), "{SIMULATED}")?;
    if !option("noheader") {
        header(fields)?;
    }
    for (index, device) in devices::all().enumerate() {
        for (place, field) in fields.split(',').filter_map(Field::parse).enumerate() {
            stdout().write_str(if place == 0 { "" } else { ", " })?;
            field.write(index, &device)?;
            if let Some(unit) = field.unit().filter(|_| !option("nounits")) {
                write!(stdout(), " {unit}")?;
            }
        }
        stdout().write_str("\n")?;
    }
    Ok(Exit::Success)
}

fn header(fields: &str) -> fmt::Result {
    for (place, text) in fields.split(',').enumerate() {
        stdout().write_str(if place == 0 { "" } else { ", " })?;
        stdout().write_str(text.trim())?;
        if let Some(unit) = Field::parse(text).and_then(Field::unit) {
            write!(stdout(), " [{unit}]")?;
        }
    }
    stdout().write_str("\n")
}
