//! Rows as bytes, within one process and one query.

use datafusion::common::{Result, exec_datafusion_err};

/// Reads what [`Write`] wrote.
#[derive(Debug)]
pub(crate) struct Reader<'b> {
    rest: &'b [u8],
}

impl<'b> Reader<'b> {
    /// From the beginning.
    pub(crate) const fn new(bytes: &'b [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether nothing is left.
    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next bytes.
    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let taken = self.rest.split_first_chunk::<N>();
        let (taken, rest) = taken.ok_or_else(|| exec_datafusion_err!("rows broke off"))?;
        self.rest = rest;
        Ok(*taken)
    }

    /// A number.
    pub(crate) fn u64(&mut self) -> Result<u64> {
        self.take().map(u64::from_le_bytes)
    }

    /// A number.
    pub(crate) fn u128(&mut self) -> Result<u128> {
        self.take().map(u128::from_le_bytes)
    }

    /// A number.
    pub(crate) fn i64(&mut self) -> Result<i64> {
        self.take().map(i64::from_le_bytes)
    }

    /// A number.
    pub(crate) fn f64(&mut self) -> Result<f64> {
        self.take().map(f64::from_le_bytes)
    }

    /// A byte.
    pub(crate) fn byte(&mut self) -> Result<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    /// A flag.
    pub(crate) fn flag(&mut self) -> Result<bool> {
        self.byte().map(|byte| byte != 0)
    }

    /// A list.
    pub(crate) fn list<T>(&mut self, item: impl Fn(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let count = self.u64()?;
        (0..count).map(|_| item(self)).collect()
    }
}

/// Writes what [`Reader`] reads.
pub(crate) trait Write {
    /// Some bytes.
    fn bytes(&mut self, bytes: &[u8]);

    /// A number.
    fn u64(&mut self, value: u64) {
        self.bytes(&value.to_le_bytes());
    }

    /// A number.
    fn u128(&mut self, value: u128) {
        self.bytes(&value.to_le_bytes());
    }

    /// A number.
    fn i64(&mut self, value: i64) {
        self.bytes(&value.to_le_bytes());
    }

    /// A number.
    fn f64(&mut self, value: f64) {
        self.bytes(&value.to_le_bytes());
    }

    /// A flag.
    fn flag(&mut self, value: bool) {
        self.bytes(&[u8::from(value)]);
    }
}

impl Write for Vec<u8> {
    fn bytes(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}
