mod error;
mod manifest;
mod replay_buffer;
mod replay_example;
mod verify;

pub use error::BufferError;
pub use manifest::{BufferInfo, Manifest};
pub use replay_buffer::ReplayBuffer;
pub use replay_example::ReplayExample;
