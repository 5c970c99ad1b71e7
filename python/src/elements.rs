//! The elements of arrays, as one vector of their own type: what NumPy takes without a copy.

use lapwing_wire::dtype::Dtype;
use numpy::{IntoPyArray as _, PyArrayMethods as _};
use pyo3::prelude::*;

macro_rules! elements {
    ($($kind:ident $type:ty),* $(,)?) => {
        /// Elements of one type.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Elements {
            $(#[doc = concat!("Of type `", stringify!($type), "`.")] $kind(Vec<$type>)),*
        }

        impl Elements {
            /// Without elements, and with room for so many.
            pub fn new(dtype: Dtype, capacity: usize) -> Self {
                match dtype {
                    $(Dtype::$kind => Self::$kind(Vec::with_capacity(capacity))),*
                }
            }

            /// Appends elements as they lie on the wire: little-endian.
            pub fn extend(&mut self, bytes: &[u8]) {
                match self {
                    $(Self::$kind(elements) => {
                        let (whole, _) = bytes.as_chunks();
                        elements.extend(whole.iter().map(|bytes| <$type>::from_le_bytes(*bytes)));
                    }),*
                }
            }

            /// Moves them into an array of this shape, which has as many elements.
            pub fn into_array<'py>(self, py: Python<'py>, shape: Vec<usize>) -> PyResult<Bound<'py, PyAny>> {
                match self {
                    $(Self::$kind(elements) => Ok(elements.into_pyarray(py).reshape(shape)?.into_any())),*
                }
            }
        }
    };
}

elements! {
    Int8 i8, Int16 i16, Int32 i32, Int64 i64,
    Uint8 u8, Uint16 u16, Uint32 u32, Uint64 u64,
    Float32 f32, Float64 f64,
}
