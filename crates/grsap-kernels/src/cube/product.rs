use burn::backend::cubecl::dtype_to_storage_type;
use burn::tensor::{DType, Shape};
use burn_cubecl::kernel::matmul::{MatmulStrategy, matmul};
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cubek::matmul::definition::{MatmulElems, MatmulGlobalElems};
use cubek::matmul::multi_level::Strategy;
use cubek::std::InputBinding;

pub(super) fn with(
    strategy: Strategy,
    lhs: &CubeTensor,
    rhs: &CubeTensor,
    dtype: DType,
) -> Result<CubeTensor, String> {
    let shape = Shape::new([lhs.meta.shape()[0], rhs.meta.shape()[1]]);
    let out = empty_device_contiguous_dtype(
        lhs.client.clone(),
        lhs.device.clone(),
        shape,
        dtype,
    );
    let mut elems = MatmulElems::from_globals(&MatmulGlobalElems {
        lhs: dtype_to_storage_type(lhs.dtype),
        rhs: dtype_to_storage_type(rhs.dtype),
        out: dtype_to_storage_type(dtype),
    });
    cubek::matmul::launch::launch_ref(
        &strategy.into(),
        &out.client,
        InputBinding::new(lhs.clone().binding(), dtype_to_storage_type(lhs.dtype)),
        InputBinding::new(rhs.clone().binding(), dtype_to_storage_type(rhs.dtype)),
        out.clone().binding(),
        &mut elems,
    )
    .map_err(|e| format!("{e:?}"))?;
    Ok(out)
}

#[cfg(all(test, feature = "cuda"))]
mod bench {
    use burn::backend::Cube;
    use burn::tensor::{DType, Device, Distribution, Tensor};
    use cubek::matmul::multi_level::Strategy;
    use cubek::matmul::multi_level::components::tile::TileMatmulKind;
    use cubek::matmul::multi_level::routines::batch::{
        double_buffering::DoubleBufferingArgs, simple::SimpleArgs,
    };
    use cubek::matmul::routine::BlueprintStrategy;
    use std::time::Instant;

    #[test]
    fn products() {
        let device = Device::cuda(0);
        let random = |shape: [usize; 2]| {
            Tensor::<2>::random(shape, Distribution::Uniform(-1.0, 1.0), (&device, DType::F32))
                .cast(DType::BF16)
        };
        let simple = |tile_matmul, multi_rows| SimpleArgs { multi_rows, tile_matmul };
        let double = |tile_matmul, specialized| DoubleBufferingArgs { specialized, tile_matmul };
        use TileMatmulKind::{Cmma, Mma};
        let ways: Vec<(&str, Strategy)> = vec![
            ("SpecializedTmaMma", Strategy::SpecializedTmaMma(BlueprintStrategy::Inferred(().into()))),
            ("SpecializedTmaCmma", Strategy::SpecializedTmaCmma(BlueprintStrategy::Inferred(().into()))),
            ("SimpleTmaMma multi", Strategy::SimpleTmaMma(BlueprintStrategy::Inferred(simple(Mma, true)))),
            ("SimpleTmaCmma multi", Strategy::SimpleTmaCmma(BlueprintStrategy::Inferred(simple(Cmma, true)))),
            ("SpecializedCyclicMma", Strategy::SpecializedCyclicMma(BlueprintStrategy::Inferred(().into()))),
            ("SpecializedCyclicCmma", Strategy::SpecializedCyclicCmma(BlueprintStrategy::Inferred(().into()))),
            ("DoubleCyclicMma", Strategy::DoubleCyclicMma(BlueprintStrategy::Inferred(double(Mma, false)))),
            ("DoubleCyclicCmma", Strategy::DoubleCyclicCmma(BlueprintStrategy::Inferred(double(Cmma, false)))),
            ("DoubleCyclicMma spec", Strategy::DoubleCyclicMma(BlueprintStrategy::Inferred(double(Mma, true)))),
            ("SimpleCyclicCmma multi", Strategy::SimpleCyclicCmma(BlueprintStrategy::Inferred(simple(Cmma, true)))),
            ("SimpleCyclicMma multi", Strategy::SimpleCyclicMma(BlueprintStrategy::Inferred(simple(Mma, true)))),
        ];
        for [m, k, n] in [[4096, 4096, 4096], [4096, 4096, 16]] {
            let x = random([m, k]).try_into_primitive::<Cube>().unwrap();
            let w = random([n, k]).transpose().try_into_primitive::<Cube>().unwrap();
            for (name, strategy) in &ways {
                let start = Instant::now();
                let y = match super::with(strategy.clone(), &x, &w, DType::BF16) {
                    Ok(y) => y,
                    Err(e) => {
                        println!("{m}x{k}x{n} {name}: {}", &e[..e.len().min(150)]);
                        continue;
                    }
                };
                let sum = Tensor::<2>::from_primitive::<Cube>(y).narrow(0, 0, 1).narrow(1, 0, 1);
                let sum = sum.try_into_data();
                let first = start.elapsed().as_secs_f64();
                let start = Instant::now();
                let rounds = 20;
                let mut last = None;
                for _ in 0..rounds {
                    last = super::with(strategy.clone(), &x, &w, DType::BF16).ok();
                }
                let _ = device.sync();
                drop(last);
                let each = start.elapsed().as_secs_f64() / rounds as f64;
                println!(
                    "{m}x{k}x{n} {name}: first {first:.2} s, then {:.3} ms, {:.0} TFLOP/s {}",
                    each * 1e3,
                    2.0 * (m * k * n) as f64 / each / 1e12,
                    if sum.is_ok() { "" } else { "FAILED" },
                );
            }
        }
    }
}
