use cubecl::prelude::*;

/// The sum of what all units of a cube bring, in every unit. A tree over shared memory: its order
/// does not depend on the device. Every unit must call it, the same number of times.
#[cube]
pub(super) fn row_sum(value: f32, scratch: &mut [f32], #[comptime] units: usize) -> f32 {
    let unit = UNIT_POS as usize;
    sync_cube();
    scratch[unit] = value;
    sync_cube();
    let mut half = comptime!(units / 2).runtime();
    while half > 0 {
        if unit < half {
            let other = scratch[unit + half];
            scratch[unit] += other;
        }
        sync_cube();
        half /= 2;
    }
    scratch[0]
}

/// The largest, likewise.
#[cube]
pub(super) fn row_max(value: f32, scratch: &mut [f32], #[comptime] units: usize) -> f32 {
    let unit = UNIT_POS as usize;
    sync_cube();
    scratch[unit] = value;
    sync_cube();
    let mut half = comptime!(units / 2).runtime();
    while half > 0 {
        if unit < half {
            scratch[unit] = max(scratch[unit], scratch[unit + half]);
        }
        sync_cube();
        half /= 2;
    }
    scratch[0]
}

/// The sum of a vector's elements.
#[cube]
pub(super) fn lane_sum<N: Size>(vector: Vector<f32, N>) -> f32 {
    let mut sum = 0.0f32;
    #[unroll]
    for i in 0..vector.vector_size() {
        sum += vector.extract(i);
    }
    sum
}
