//! Large products of 16-bit numbers by NVIDIA's cuBLASLt, whose kernels use more of a large card than
//! those that CubeCL can write.
//!
//! CubeCL does not tell on which stream it works. So the product has a stream of its own, and events
//! of the whole context put it between what was submitted before it and what comes after. All of it
//! is done on the thread that submits CubeCL's work to the device, where its own calls are in order.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::{c_int, c_void};
use std::fmt::Display;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

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

/// After an error no device is asked again.
static IS_OUT: AtomicBool = AtomicBool::new(false);

/// How many products of this process were given to cuBLASLt: 0 where there is no such library, which
/// the log then says.
pub fn num_cublas_products() -> u64 {
    SUBMITTED.load(Ordering::Relaxed)
}

thread_local! {
    /// Of the device whose thread this is.
    static LIBRARY: RefCell<Option<Library>> = const { RefCell::new(None) };
}

/// Whether the product was submitted. If not, nothing writes to `out`.
pub(super) fn product(lhs: &CubeTensor, rhs: &CubeTensor, out: &CubeTensor) -> bool {
    if IS_OUT.load(Ordering::Relaxed) || out.client.name() != "cuda" || lhs.dtype != rhs.dtype {
        return false;
    }
    let input = data_type(lhs.dtype).filter(|_| lhs.dtype.size() == 2);
    let (Some(gemm), Some(input), Some(output)) = (gemm(lhs, rhs), input, data_type(out.dtype))
    else {
        return false;
    };
    let client = out.client.clone();
    let handles = [rhs, lhs, out].map(|tensor| tensor.handle.clone());
    let submitted = out.client.exclusive(move || {
        // Holds the memory until the product is submitted; what comes later waits for it.
        let buffers = handles.map(|handle| client.get_resource::<Server>(handle));
        let [Ok(a), Ok(b), Ok(d)] = buffers else {
            // They carry an error, which Burn's product hands on.
            return Ok(false);
        };
        let pointers = [&a, &b, &d].map(|buffer| buffer.resource().ptr);
        if pointers.iter().any(|ptr| ptr % ALIGNMENT as u64 != 0) {
            return Ok(false);
        }
        LIBRARY.with_borrow_mut(|library| {
            let library = match library {
                Some(library) => library,
                None => library.insert(Library::open()?),
            };
            library.submit(gemm, [input, output], pointers)
        })
    });
    match submitted.map_err(|e| e.to_string()).flatten() {
        Ok(submitted) => {
            SUBMITTED.fetch_add(u64::from(submitted), Ordering::Relaxed);
            submitted
        }
        Err(reason) => {
            tracing::warn!(reason, "products are no longer given to cuBLASLt");
            IS_OUT.store(true, Ordering::Relaxed);
            false
        }
    }
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

/// cuBLASLt on one device. It stays until the process ends: there is no moment at which a device's
/// thread could take it down before the driver does.
struct Library {
    handle: lt::cublasLtHandle_t,
    context: cuda::CUcontext,
    stream: cuda::CUstream,
    before: cuda::CUevent,
    after: cuda::CUevent,
    workspace: u64,
    /// `None` where the library has no way for a shape.
    plans: HashMap<(Gemm, [lt::cudaDataType; 2]), Option<Plan>>,
}

/// Plans that are kept: passes of packed sequences have ever new numbers of rows.
const MOST_PLANS: usize = 1024;

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

    /// After all that was submitted to the context before, and before all that comes later. False
    /// where there is no way for the shape.
    fn submit(
        &mut self,
        gemm: Gemm,
        types: [lt::cudaDataType; 2],
        [a, b, d]: [u64; 3],
    ) -> Result<bool, String> {
        let handle = self.handle;
        if self.plans.len() >= MOST_PLANS {
            self.plans.clear();
        }
        let plan = match self.plans.entry((gemm, types)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let plan = Plan::new(handle, &gemm, types);
                new.insert(plan.map_err(|e| format!("plan of {gemm:?}: {e}"))?)
            }
        };
        let Some(plan) = plan else {
            return Ok(false);
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
            let product = blas::matmul(
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
            );
            let product = product.map_err(|e| format!("{gemm:?}: {e}"));
            let ordered = product.and_then(|()| {
                event::record(self.after, self.stream).map_err(failed)?;
                let waits = cuda::cuCtxWaitEvent(self.context, self.after).result();
                waits.map_err(failed)
            });
            if ordered.is_err() {
                // Another product is about to write to the same place.
                stream::synchronize(self.stream).map_err(failed)?;
            }
            ordered.map(|()| true)
        }
    }
}

impl Drop for Plan {
    fn drop(&mut self) {
        // SAFETY: made by `Plan::new`, and destroyed nowhere else. Products that were submitted do not
        // need them any more; there is nobody to tell of an error.
        unsafe {
            let _ = blas::destroy_matmul_desc(self.operation);
            for layout in [self.a, self.b, self.d] {
                let _ = blas::destroy_matrix_layout(layout);
            }
        }
    }
}

impl Plan {
    fn new(
        handle: lt::cublasLtHandle_t,
        gemm: &Gemm,
        [input, output]: [lt::cudaDataType; 2],
    ) -> Result<Option<Self>, blas::CublasError> {
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
        let mut plan = Self {
            operation,
            a,
            b,
            d,
            algorithm: lt::cublasLtMatmulAlgo_t { data: [0; 8] },
        };
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
            // Parts of a sum are added in f32 too.
            let scheme =
                lt::cublasLtReductionScheme_t::CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE as u32;
            let mask = Preference::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK;
            blas::set_matmul_pref_attribute(preference, mask, (&raw const scheme).cast(), 4)?;
            for alignment in alignments {
                let value = ALIGNMENT as u32;
                let value = &raw const value;
                blas::set_matmul_pref_attribute(preference, alignment, value.cast(), 4)?;
            }
            let found = blas::get_matmul_algo_heuristic(handle, operation, a, b, d, d, preference);
            blas::destroy_matmul_pref(preference)?;
            match found {
                Ok(found) => {
                    plan.algorithm = found.algo;
                    Ok(Some(plan))
                }
                Err(blas::CublasError(lt::cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED)) => Ok(None),
                Err(error) => Err(error),
            }
        }
    }
}
