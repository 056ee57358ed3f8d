//! Content codings for vendors who ask for one, in a form that keeps the promise: no stream is complete before the release.
//!
//! Everything but the last frame is pushed and then flushed, so that only the last frame is still to go when the batch is
//! released; the stream's end (gzip's checksum, zstd's last block) is made with that frame and travels with it.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

/// A content coding (RFC 9110, section 8.4.1) that an answer may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    Identity,
    Gzip,
    Zstd,
}

/// Fast levels: the vendor waits, and most of what can be saved is saved by them.
const GZIP_LEVEL: u32 = 1;
const ZSTD_LEVEL: i32 = 1;

/// One answer's stream of bytes on its way out.
pub enum Compressor {
    Identity,
    Gzip(GzEncoder<Vec<u8>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Coding {
    /// As `Content-Encoding` has it; None where nothing is coded.
    pub fn token(self) -> Option<&'static str> {
        match self {
            Self::Identity => None,
            Self::Gzip => Some("gzip"),
            Self::Zstd => Some("zstd"),
        }
    }

    /// The best of what an `Accept-Encoding` allows (RFC 9110, section 12.5.3): the highest weight counts, zstd before gzip
    /// where they are equal; what isn't named isn't wanted.
    pub fn negotiate<'a>(accepted: impl Iterator<Item = &'a str>) -> Self {
        let mut best = (0.0, Self::Identity);
        for item in accepted.flat_map(|list| list.split(',')) {
            let (name, parameters) = item.split_once(';').unwrap_or((item, ""));
            let weight =
                parameters.trim().strip_prefix("q=").map_or(Some(1.0), |q| q.trim().parse::<f32>().ok());
            let coding = match name.trim().to_ascii_lowercase().as_str() {
                "zstd" => Self::Zstd,
                "gzip" | "x-gzip" => Self::Gzip,
                _ => continue,
            };
            let weight = weight.unwrap_or(0.0);
            if weight > best.0 || (weight == best.0 && weight > 0.0 && coding == Self::Zstd) {
                best = (weight, coding);
            }
        }
        best.1
    }
}

impl Compressor {
    pub fn new(coding: Coding) -> io::Result<Self> {
        Ok(match coding {
            Coding::Identity => Self::Identity,
            Coding::Gzip => Self::Gzip(GzEncoder::new(Vec::new(), Compression::new(GZIP_LEVEL))),
            Coding::Zstd => Self::Zstd(zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)?),
        })
    }

    /// Takes plain bytes in; gives those that are ready to go, perhaps none.
    pub fn push(&mut self, plain: Vec<u8>) -> io::Result<Bytes> {
        match self {
            Self::Identity => Ok(Bytes::from(plain)),
            Self::Gzip(encoder) => {
                encoder.write_all(&plain)?;
                Ok(Bytes::from(std::mem::take(encoder.get_mut())))
            }
            Self::Zstd(encoder) => {
                encoder.write_all(&plain)?;
                Ok(Bytes::from(std::mem::take(encoder.get_mut())))
            }
        }
    }

    /// Takes plain bytes in, and gives all that can be made of everything so far.
    pub fn flush(&mut self, plain: Vec<u8>) -> io::Result<Bytes> {
        let mut ready = Vec::from(self.push(plain)?);
        match self {
            Self::Identity => {}
            Self::Gzip(encoder) => {
                encoder.flush()?;
                ready.append(encoder.get_mut());
            }
            Self::Zstd(encoder) => {
                encoder.flush()?;
                ready.append(encoder.get_mut());
            }
        }
        Ok(Bytes::from(ready))
    }

    /// Takes the last plain bytes in, and gives the end of the stream.
    pub fn finish(mut self, plain: Vec<u8>) -> io::Result<Bytes> {
        let mut ready = Vec::from(self.push(plain)?);
        match self {
            Self::Identity => {}
            Self::Gzip(encoder) => ready.append(&mut encoder.finish()?),
            Self::Zstd(encoder) => ready.append(&mut encoder.finish()?),
        }
        Ok(Bytes::from(ready))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn negotiated(accepted: &str) -> Coding {
        Coding::negotiate([accepted].into_iter())
    }

    #[test]
    fn the_highest_weight_counts() {
        for (accepted, coding) in [
            ("gzip, deflate, br, zstd", Coding::Zstd),
            ("gzip, deflate", Coding::Gzip),
            ("zstd;q=0.5, gzip", Coding::Gzip),
            ("zstd;q=0.5, gzip;q=0.4", Coding::Zstd),
            ("GZIP;q=0.1", Coding::Gzip),
            ("gzip;q=0", Coding::Identity),
            ("gzip;q=x", Coding::Identity),
            ("identity", Coding::Identity),
            ("*", Coding::Identity),
            ("", Coding::Identity),
        ] {
            assert_eq!(negotiated(accepted), coding, "{accepted}");
        }
    }

    #[test]
    fn a_stream_is_whole_with_its_last_frame_and_not_before() {
        let read = |coding: Coding, bytes: &[u8]| {
            let mut plain = String::new();
            match coding {
                Coding::Identity => plain = String::from_utf8(bytes.to_vec()).unwrap(),
                Coding::Gzip => drop(flate2::read::GzDecoder::new(bytes).read_to_string(&mut plain)?),
                Coding::Zstd => drop(zstd::Decoder::new(bytes)?.read_to_string(&mut plain)?),
            }
            io::Result::Ok(plain)
        };
        for coding in [Coding::Identity, Coding::Gzip, Coding::Zstd] {
            let mut compressor = Compressor::new(coding).unwrap();
            let mut stream = Vec::from(compressor.push(b"{\"records\":[1,".to_vec()).unwrap());
            stream.extend(compressor.flush(b"2".to_vec()).unwrap());
            let before = read(coding, &stream);
            stream.extend(compressor.finish(b"]}".to_vec()).unwrap());

            assert_eq!(read(coding, &stream).unwrap(), "{\"records\":[1,2]}");
            assert!(
                coding == Coding::Identity || before.is_err(),
                "{coding:?} was whole before its last frame"
            );
        }
    }
}
