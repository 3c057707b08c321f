//! Picture ids of VP8 and VP9.

/// A picture id as a payload descriptor has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PictureId {
    /// Its value.
    pub value: u16,
    /// 15 bits when true, 7 bits otherwise.
    pub wide: bool,
}
