//! Large products of 16-bit numbers by NVIDIA's cuBLASLt, whose kernels use more of a large card than
//! those that CubeCL can write.
//!
//! CubeCL does not tell on which stream it works. So the product has a stream of its own, and events
//! of the whole context put it between what was submitted before it and what comes after. All of it
//! is done on the thread that submits CubeCL's work to the device, where its own calls are in order.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering};

use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;
use cubecl::cuda::CudaRuntime;
use cubecl_runtime::runtime::Runtime;
use cudarc::cublaslt::{result as blas, sys as lt};
use cudarc::driver::result::{ctx, event, malloc_sync, stream};
use cudarc::driver::sys as cuda;

use crate::gemm::{Gemm, Layout, Operand};

type Server = <CudaRuntime as Runtime>::Server;

/// What NVIDIA recommends for Hopper.
const WORKSPACE: usize = 32 << 20;

/// Bytes that addresses and rows must be multiples of, for the kernels that are asked for.
const ALIGNMENT: usize = 16;

/// The first driver with events of whole contexts: 12.5.
const FIRST_DRIVER: c_int = 12_050;

static SUBMITTED: AtomicU64 = AtomicU64::new(0);

/// How many products of this process were cuBLASLt's. None where there is no such library; the log says
/// why.
pub fn num_cublas_products() -> u64 {
    SUBMITTED.load(Ordering::Relaxed)
}

thread_local! {
    /// Of the device whose thread this is. `None` before the first product, an error where there is no
    /// such library.
    static LIBRARY: RefCell<Option<Result<Library, ()>>> = const { RefCell::new(None) };
}

/// Whether the product was submitted. After an error, which is logged, no other is tried.
pub(super) fn product(lhs: &CubeTensor, rhs: &CubeTensor, out: &CubeTensor) -> bool {
    let is_on_cuda = out.client.name() == "cuda";
    let (Some(gemm), Some(input), Some(output)) = (
        gemm(lhs, rhs).filter(|_| is_on_cuda && lhs.dtype == rhs.dtype),
        data_type(lhs.dtype),
        data_type(out.dtype),
    ) else {
        return false;
    };
    let client = out.client.clone();
    let handles = [rhs, lhs, out].map(|tensor| tensor.handle.clone());
    let submitted = out.client.exclusive(move || {
        // Holds the memory until the product is submitted; what comes later waits for it.
        let buffers = handles.map(|handle| client.get_resource::<Server>(handle));
        let [Ok(a), Ok(b), Ok(d)] = buffers else {
            return false;
        };
        let pointers = [&a, &b, &d].map(|buffer| buffer.resource().ptr);
        if pointers.iter().any(|ptr| ptr % ALIGNMENT as u64 != 0) {
            return false;
        }
        LIBRARY.with_borrow_mut(|library| {
            let library = library.get_or_insert_with(|| Library::open().map_err(complain));
            let Ok(open) = library else {
                return false;
            };
            let result = open.submit(gemm, [input, output], pointers);
            match result {
                Ok(()) => {
                    SUBMITTED.fetch_add(1, Ordering::Relaxed);
                    true
                }
                Err(reason) => {
                    complain(reason);
                    *library = Err(());
                    false
                }
            }
        })
    });
    submitted.unwrap_or(false)
}

/// The product, if it is worth the call: it costs the host as much as some launches.
fn gemm(lhs: &CubeTensor, rhs: &CubeTensor) -> Option<Gemm> {
    let layout = |tensor: &CubeTensor| {
        let (shape, strides) = (tensor.meta.shape(), tensor.meta.strides());
        Layout {
            shape: [shape[0], shape[1]],
            strides: [strides[0], strides[1]],
        }
    };
    let gemm = Gemm::new(layout(lhs), layout(rhs))?;
    let size = lhs.dtype.size();
    let is_aligned = |side: &Operand| (side.leading as usize * size).is_multiple_of(ALIGNMENT);
    // Some 20 microseconds of a large card, by its arithmetic or by its memory.
    let is_large = gemm.num_products() >= 1 << 33 || gemm.num_elements() * size as u64 >= 1 << 26;
    let sides = [&gemm.a, &gemm.b, &gemm.d];
    (is_large && sides.into_iter().all(is_aligned)).then_some(gemm)
}

fn data_type(dtype: DType) -> Option<lt::cudaDataType> {
    match dtype {
        DType::BF16 => Some(lt::cudaDataType::CUDA_R_16BF),
        DType::F16 => Some(lt::cudaDataType::CUDA_R_16F),
        DType::F32 => Some(lt::cudaDataType::CUDA_R_32F),
        _ => None,
    }
}

fn complain(reason: impl Display) {
    tracing::warn!(%reason, "products are no longer cuBLASLt's");
}

/// cuBLASLt on one device. It stays until the process ends: there is no moment at which a device's
/// thread could take it down before the driver does.
struct Library {
    handle: lt::cublasLtHandle_t,
    context: cuda::CUcontext,
    stream: cuda::CUstream,
    before: cuda::CUevent,
    after: cuda::CUevent,
    workspace: u64,
    plans: HashMap<(Gemm, [lt::cudaDataType; 2]), Plan>,
}

/// How a product of some shape is computed.
struct Plan {
    operation: lt::cublasLtMatmulDesc_t,
    a: lt::cublasLtMatrixLayout_t,
    b: lt::cublasLtMatrixLayout_t,
    d: lt::cublasLtMatrixLayout_t,
    algorithm: lt::cublasLtMatmulAlgo_t,
}

impl Library {
    /// For the device whose context is current.
    fn open() -> Result<Self, String> {
        let failed = |what: &str, error: &dyn Display| format!("{what}: {error}");
        let mut driver = 0;
        // SAFETY: the driver writes a number; CubeCL has loaded it.
        unsafe { cuda::cuDriverGetVersion(&mut driver) }
            .result()
            .map_err(|e| failed("version of the driver", &e))?;
        if driver < FIRST_DRIVER {
            return Err(format!(
                "the driver is for CUDA {driver}, {FIRST_DRIVER} is the first"
            ));
        }
        // SAFETY: loading the library runs its initialisers, as everyone who links it does.
        if !unsafe { lt::is_culib_present() } {
            return Err("the library cublasLt was not found".into());
        }
        let context = ctx::get_current().map_err(|e| failed("context", &e))?;
        let context = context.ok_or("there is no context")?;
        let event = || {
            let flags = cuda::CUevent_flags::CU_EVENT_DISABLE_TIMING;
            event::create(flags).map_err(|e| failed("event", &e))
        };
        let stream = stream::create(stream::StreamKind::NonBlocking);
        Ok(Self {
            handle: blas::create_handle().map_err(|e| failed("handle", &e))?,
            context,
            stream: stream.map_err(|e| failed("stream", &e))?,
            before: event()?,
            after: event()?,
            // SAFETY: a fresh allocation in the current context, which is never freed.
            workspace: unsafe { malloc_sync(WORKSPACE) }.map_err(|e| failed("workspace", &e))?,
            plans: HashMap::new(),
        })
    }

    /// After all that was submitted to the context before, and before all that comes later.
    fn submit(
        &mut self,
        gemm: Gemm,
        types: [lt::cudaDataType; 2],
        [a, b, d]: [u64; 3],
    ) -> Result<(), String> {
        let handle = self.handle;
        let plan = match self.plans.entry((gemm, types)) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(new) => {
                let plan = Plan::new(handle, &gemm, types);
                new.insert(plan.map_err(|e| format!("plan of {gemm:?}: {e}"))?)
            }
        };
        let (one, zero) = (1.0f32, 0.0f32);
        let failed = |e: cudarc::driver::DriverError| format!("order of streams: {e}");
        // SAFETY: the context, stream and events are live as long as the process. The buffers are as
        // large as the layouts say, since those are the tensors', and stay so until the work that is
        // submitted later runs. The scalars are read before the call returns.
        unsafe {
            cuda::cuCtxRecordEvent(self.context, self.before)
                .result()
                .map_err(failed)?;
            let flags = cuda::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
            stream::wait_event(self.stream, self.before, flags).map_err(failed)?;
            blas::matmul(
                handle,
                plan.operation,
                (&raw const one).cast(),
                (&raw const zero).cast(),
                a as *const c_void,
                plan.a,
                b as *const c_void,
                plan.b,
                d as *const c_void,
                plan.d,
                d as *mut c_void,
                plan.d,
                &plan.algorithm,
                self.workspace as *mut c_void,
                WORKSPACE,
                self.stream.cast(),
            )
            .map_err(|e| format!("{gemm:?}: {e}"))?;
            event::record(self.after, self.stream).map_err(failed)?;
            cuda::cuCtxWaitEvent(self.context, self.after)
                .result()
                .map_err(failed)
        }
    }
}

impl Plan {
    fn new(
        handle: lt::cublasLtHandle_t,
        gemm: &Gemm,
        [input, output]: [lt::cudaDataType; 2],
    ) -> Result<Self, blas::CublasError> {
        use lt::cublasLtMatmulDescAttributes_t as Attribute;
        use lt::cublasLtMatmulPreferenceAttributes_t as Preference;

        let operation = blas::create_matmul_desc(
            lt::cublasComputeType_t::CUBLAS_COMPUTE_32F,
            lt::cudaDataType::CUDA_R_32F,
        )?;
        let layout =
            |side: &Operand, of| blas::create_matrix_layout(of, side.rows, side.cols, side.leading);
        let (a, b) = (layout(&gemm.a, input)?, layout(&gemm.b, input)?);
        let d = layout(&gemm.d, output)?;
        let (preference, workspace) = (blas::create_matmul_pref()?, WORKSPACE);
        let sides = [
            (Attribute::CUBLASLT_MATMUL_DESC_TRANSA, gemm.a),
            (Attribute::CUBLASLT_MATMUL_DESC_TRANSB, gemm.b),
        ];
        let alignments = [
            Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
            Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
            Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
            Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
        ];
        // SAFETY: all descriptors were just made, and every attribute has the type that the library's
        // documentation gives it: `cublasOperation_t` (an `int`, 0 or 1), `size_t`, `uint32_t`.
        unsafe {
            for (attribute, side) in sides {
                let value = c_int::from(side.is_transposed);
                let value = &raw const value;
                blas::set_matmul_desc_attribute(operation, attribute, value.cast(), 4)?;
            }
            blas::set_matmul_pref_attribute(
                preference,
                Preference::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                (&raw const workspace).cast(),
                size_of::<usize>(),
            )?;
            for alignment in alignments {
                let value = ALIGNMENT as u32;
                let value = &raw const value;
                blas::set_matmul_pref_attribute(preference, alignment, value.cast(), 4)?;
            }
            let found = blas::get_matmul_algo_heuristic(handle, operation, a, b, d, d, preference)?;
            blas::destroy_matmul_pref(preference)?;
            Ok(Self {
                operation,
                a,
                b,
                d,
                algorithm: found.algo,
            })
        }
    }
}
