//! Points as bytes, to be kept.
//!
//! A version, then the point's numbers in a fixed order, each in the variable length of LEB128; lists have their length
//! first. Zeros are most of a point, and take a byte each. Reading merges into a point that is there, since that is what
//! readers of many points do.

use crate::names::DeviceId;

use super::histogram::BUCKETS;
use super::{DeviceUse, Gauge, Point, Times};

/// The first byte.
const VERSION: u8 = 1;

/// Why bytes are no point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// They were written by another version of homerun.
    #[error("metrics of version {0} cannot be read; this homerun reads version {VERSION}")]
    Version(u8),
    /// They end too soon or say what cannot be.
    #[error("the record is damaged")]
    Damaged,
}

impl Point {
    /// The point as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        let mut put = |number: u64| put(&mut bytes, number);
        self.requests.into_iter().for_each(&mut put);
        for times in std::iter::once(&self.starts.whole).chain(&self.starts.steps) {
            [times.count, times.total, times.most].into_iter().for_each(&mut put);
        }
        for gauge in self.instances.iter().chain([&self.all_instances]) {
            [gauge.sum, gauge.most].into_iter().for_each(&mut put);
        }
        put(self.latency.buckets().count() as u64);
        let mut last = 0;
        for (bucket, count) in self.latency.buckets() {
            put((bucket - last) as u64);
            put(count);
            last = bucket;
        }
        put(self.devices.len() as u64);
        for (device, DeviceUse { held, busy, memory }) in &self.devices {
            put(device.as_str().len() as u64);
            device.as_str().bytes().for_each(|byte| put(u64::from(byte)));
            [*held, busy.sum, busy.most, memory.sum, memory.most].into_iter().for_each(&mut put);
        }
        bytes
    }

    /// Merges in a point that was written as bytes.
    ///
    /// # Errors
    /// When the bytes are none; this point is spoilt then.
    pub fn merge_bytes(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        let mut reader = Reader(bytes);
        match reader.byte()? {
            VERSION => {}
            other => return Err(DecodeError::Version(other)),
        }
        for count in &mut self.requests {
            *count = count.saturating_add(reader.number()?);
        }
        for times in std::iter::once(&mut self.starts.whole).chain(&mut self.starts.steps) {
            let (count, total, most) = (reader.number()?, reader.number()?, reader.number()?);
            times.merge(&Times { count, total, most });
        }
        for gauge in self.instances.iter_mut().chain([&mut self.all_instances]) {
            gauge.merge(&reader.gauge()?);
        }
        let mut bucket = 0;
        for _ in 0..reader.number()? {
            bucket += reader.length(BUCKETS)?;
            let count = reader.number()?;
            if bucket >= BUCKETS {
                return Err(DecodeError::Damaged);
            }
            self.latency.add(bucket, count);
        }
        for _ in 0..reader.number()? {
            let length = reader.length(reader.0.len())?;
            let name = (0..length).map(|_| Ok(u8::try_from(reader.number()?).unwrap_or(b'?')));
            let name = name.collect::<Result<Vec<u8>, DecodeError>>()?;
            let device = DeviceId::new(String::from_utf8(name).map_err(|_| DecodeError::Damaged)?);
            let use_ = DeviceUse { held: reader.number()?, busy: reader.gauge()?, memory: reader.gauge()? };
            self.devices.entry(device).or_default().merge(&use_);
        }
        if reader.0.is_empty() { Ok(()) } else { Err(DecodeError::Damaged) }
    }
}

fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn byte(&mut self) -> Result<u8, DecodeError> {
        let (first, rest) = self.0.split_first().ok_or(DecodeError::Damaged)?;
        self.0 = rest;
        Ok(*first)
    }

    fn number(&mut self) -> Result<u64, DecodeError> {
        let (mut number, mut shift) = (0, 0);
        loop {
            let byte = self.byte()?;
            if shift > 63 {
                return Err(DecodeError::Damaged);
            }
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
            shift += 7;
        }
    }

    /// A number that is not above `most`.
    fn length(&mut self, most: usize) -> Result<usize, DecodeError> {
        let number = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        if number <= most { Ok(number) } else { Err(DecodeError::Damaged) }
    }

    fn gauge(&mut self) -> Result<Gauge, DecodeError> {
        Ok(Gauge { sum: self.number()?, most: self.number()? })
    }
}
