use burn::backend::cubecl::dtype_to_storage_type;
use burn::tensor::{DType, Shape};
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cubek::matmul::definition::{MatmulElems, MatmulGlobalElems, MatmulSetupError};
use cubek::matmul::multi_level;
use cubek::matmul::multi_level::components::tile::TileMatmulKind;
use cubek::matmul::multi_level::routines::batch::simple::SimpleArgs;
use cubek::matmul::routine::BlueprintStrategy;
use cubek::matmul::strategy::Strategy;
use cubek::std::InputBinding;

/// A product with a smaller side than this is a narrow one: one of an adapter's.
const NARROW: usize = 128;

/// `lhs · rhs`, of matrices whose shapes fit. With the feature `cublas` large products of 16-bit
/// numbers are cuBLASLt's. Other products of 16-bit numbers go through the tensor memory
/// accelerator where there is one, in the ways that were fastest on an H200
/// (`benches/RESULTS.md`). Products of f32 are exact: tensor cores would round their factors to 11 bits.
pub(super) fn product(lhs: CubeTensor, rhs: CubeTensor, dtype: DType) -> CubeTensor {
    let shape = [lhs.meta.shape()[0], rhs.meta.shape()[1]];
    let (client, device) = (lhs.client.clone(), lhs.device.clone());
    let out = empty_device_contiguous_dtype(client, device, Shape::new(shape), dtype);
    #[cfg(feature = "cublas")]
    if super::cublas::product(&lhs, &rhs, &out) {
        return out;
    }
    let is_short = lhs.dtype.size() == 2;
    let through_accelerator = is_short
        && is_aligned(&lhs)
        && is_aligned(&rhs)
        && launch(&accelerated(&lhs, shape), &lhs, &rhs, &out).is_ok();
    if !through_accelerator {
        let strategy = if is_short {
            Strategy::Auto
        } else {
            multi_level::Strategy::SimpleUnit(BlueprintStrategy::default()).into()
        };
        // The shapes fit, so the set-up finds a kernel: the plain one takes every shape.
        #[allow(clippy::expect_used)]
        launch(&strategy, &lhs, &rhs, &out).expect("shapes were checked");
    }
    out
}

/// Rows of whole 16 bytes.
fn is_aligned(tensor: &CubeTensor) -> bool {
    let strides = tensor.meta.strides();
    let whole = 16 / tensor.dtype.size();
    strides.iter().all(|s| *s == 1 || s.is_multiple_of(whole)) && strides.contains(&1)
}

fn accelerated(lhs: &CubeTensor, [m, n]: [usize; 2]) -> Strategy {
    let k = lhs.meta.shape()[1];
    if [m, k, n].into_iter().any(|side| side < NARROW) {
        return multi_level::Strategy::SpecializedTmaMma(BlueprintStrategy::Inferred(().into()))
            .into();
    }
    multi_level::Strategy::SimpleTmaCmma(BlueprintStrategy::Inferred(SimpleArgs {
        multi_rows: true,
        tile_matmul: TileMatmulKind::Cmma,
    }))
    .into()
}

fn launch(
    strategy: &Strategy,
    lhs: &CubeTensor,
    rhs: &CubeTensor,
    out: &CubeTensor,
) -> Result<(), MatmulSetupError> {
    let elem = |tensor: &CubeTensor| dtype_to_storage_type(tensor.dtype);
    let mut elems = MatmulElems::from_globals(&MatmulGlobalElems {
        lhs: elem(lhs),
        rhs: elem(rhs),
        out: elem(out),
    });
    cubek::matmul::launch::launch_ref(
        strategy,
        &out.client,
        InputBinding::new(lhs.clone().binding(), elem(lhs)),
        InputBinding::new(rhs.clone().binding(), elem(rhs)),
        out.clone().binding(),
        &mut elems,
    )
}
