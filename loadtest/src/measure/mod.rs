//! What is measured: the line of sequence numbers of one stream, its decodable
//! frames, and the sums that threads hand in.

pub mod frames;
pub mod line;
pub mod loss;
pub mod window;
