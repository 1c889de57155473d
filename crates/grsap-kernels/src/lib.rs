//! Fused tensor operations on Burn: a reference, a CPU version and the seam for GPU versions.
