// A CUDA driver without a card, for `run.py`: device memory is the host's, kernels are counted and not run, and what is read back is zero.
// It says that it is an H200. Kernels reach it as PTX, compiled by the real NVRTC.
//
//   NVIDIA_MEMORY_MIB   what the card has; more is CUDA_ERROR_OUT_OF_MEMORY
//   NVIDIA_PTX          a directory for the PTX of every kernel
//   NVIDIA_LAUNCHES     if set, how often each kernel was launched is printed, the most frequent first

#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, OUT_OF_MEMORY = 2, INVALID_CONTEXT = 201, NOT_SUPPORTED = 801 };

typedef int Result;
typedef uint64_t Address;
typedef void *Handle;

static long launches, kernels, allocations, context_events;
static size_t allocated, most_allocated;
static char the_context;

struct Kernel {
    struct Kernel *next;
    long launches;
    char name[];
};
static struct Kernel *all_kernels;
static __thread Handle current;

static size_t memory(void) {
    const char *mib = getenv("NVIDIA_MEMORY_MIB");
    return (size_t)(mib ? strtoull(mib, NULL, 10) : 143000) << 20;
}

__attribute__((destructor)) static void report(void) {
    fprintf(stderr, "stand-in driver: %ld kernels, %ld launches, %ld allocations, at most %zu MiB at once, %ld events of the context\n", kernels, launches,
            allocations, most_allocated >> 20, context_events);
    while (getenv("NVIDIA_LAUNCHES")) {
        struct Kernel *most = NULL;
        for (struct Kernel *kernel = all_kernels; kernel; kernel = kernel->next)
            if (kernel->launches > (most ? most->launches : 0))
                most = kernel;
        if (!most)
            break;
        fprintf(stderr, "%9ld  %s\n", most->launches, most->name);
        most->launches = 0;
    }
}

Result cuInit(unsigned flags) { return SUCCESS; }
Result cuDriverGetVersion(int *version) { return *version = 13000, SUCCESS; }
Result cuDeviceGet(int *device, int index) { return *device = index, SUCCESS; }
Result cuDeviceGetCount(int *count) { return *count = 1, SUCCESS; }
Result cuDeviceGetName(char *name, int length, int device) { return strncpy(name, "NVIDIA H200", length), SUCCESS; }
Result cuDeviceGetPCIBusId(char *id, int length, int device) { return strncpy(id, "0000:01:00.0", length), SUCCESS; }
Result cuDeviceGetLuid(char *luid, unsigned *mask, int device) { return NOT_SUPPORTED; }
Result cuDeviceGetUuid(char *uuid, int device) { return memset(uuid, 1, 16), SUCCESS; }
Result cuDeviceGetUuid_v2(char *uuid, int device) { return memset(uuid, 1, 16), SUCCESS; }
Result cuDeviceTotalMem_v2(size_t *bytes, int device) { return *bytes = memory(), SUCCESS; }
Result cuDeviceCanAccessPeer(int *can, int device, int peer) { return *can = 0, SUCCESS; }
Result cuDeviceGetP2PAttribute(int *value, int attribute, int from, int to) { return *value = 0, SUCCESS; }

Result cuDeviceGetAttribute(int *value, int attribute, int device) {
    switch (attribute) {
    case 1: *value = 1024; break;         // threads of a block
    case 2: case 3: *value = 1024; break; // their x and y
    case 4: *value = 64; break;           // their z
    case 5: *value = 2147483647; break;   // blocks in x
    case 6: case 7: *value = 65535; break;
    case 8: *value = 49152; break;        // shared memory of a block
    case 10: *value = 32; break;          // threads of a warp
    case 16: *value = 132; break;         // multiprocessors
    case 75: *value = 9; break;           // compute capability
    case 76: *value = 0; break;
    case 97: *value = 232448; break;      // shared memory that a block can ask for
    case 115: *value = 1; break;          // memory pools
    default: *value = 0;
    }
    return SUCCESS;
}

Result cuDevicePrimaryCtxRetain(Handle *context, int device) { return *context = &the_context, SUCCESS; }
Result cuDevicePrimaryCtxRelease_v2(int device) { return SUCCESS; }
Result cuCtxSetCurrent(Handle context) { return current = context, SUCCESS; }
Result cuCtxGetCurrent(Handle *context) { return *context = current, SUCCESS; }
Result cuCtxSynchronize(void) { return SUCCESS; }
Result cuCtxGetStreamPriorityRange(int *least, int *greatest) { return *least = *greatest = 0, SUCCESS; }

static Result of_context(Handle context, Handle event) {
    context_events++;
    return context == &the_context && event ? SUCCESS : INVALID_CONTEXT;
}
Result cuCtxRecordEvent(Handle context, Handle event) { return of_context(context, event); }
Result cuCtxWaitEvent(Handle context, Handle event) { return of_context(context, event); }

static Handle fresh(void) { return malloc(1); }
Result cuStreamCreate(Handle *stream, unsigned flags) { return *stream = fresh(), SUCCESS; }
Result cuStreamCreateWithPriority(Handle *stream, unsigned flags, int priority) { return *stream = fresh(), SUCCESS; }
Result cuStreamDestroy_v2(Handle stream) { return SUCCESS; }
Result cuStreamSynchronize(Handle stream) { return SUCCESS; }
Result cuStreamQuery(Handle stream) { return SUCCESS; }
Result cuStreamWaitEvent(Handle stream, Handle event, unsigned flags) { return SUCCESS; }
Result cuEventCreate(Handle *event, unsigned flags) { return *event = fresh(), SUCCESS; }
Result cuEventRecord(Handle event, Handle stream) { return SUCCESS; }
Result cuEventQuery(Handle event) { return SUCCESS; }
Result cuEventSynchronize(Handle event) { return SUCCESS; }
Result cuEventDestroy_v2(Handle event) { return SUCCESS; }
Result cuEventElapsedTime(float *ms, Handle from, Handle to) { return *ms = 0.01f, SUCCESS; }
Result cuEventElapsedTime_v2(float *ms, Handle from, Handle to) { return *ms = 0.01f, SUCCESS; }

static Result allocate(Address *address, size_t bytes) {
    void *pointer;
    if (allocated + bytes > memory() || posix_memalign(&pointer, 512, bytes + 512))
        return OUT_OF_MEMORY;
    allocations++, allocated += malloc_usable_size(pointer);
    if (allocated > most_allocated)
        most_allocated = allocated;
    return *address = (Address)pointer, SUCCESS;
}
static Result give_back(Address address) {
    allocated -= malloc_usable_size((void *)address);
    return free((void *)address), SUCCESS;
}
Result cuMemAlloc_v2(Address *address, size_t bytes) { return allocate(address, bytes); }
Result cuMemAllocAsync(Address *address, size_t bytes, Handle stream) { return allocate(address, bytes); }
Result cuMemFree_v2(Address address) { return give_back(address); }
Result cuMemFreeAsync(Address address, Handle stream) { return give_back(address); }
Result cuMemAllocHost_v2(void **pointer, size_t bytes) { return posix_memalign(pointer, 512, bytes + 512) ? OUT_OF_MEMORY : SUCCESS; }
Result cuMemFreeHost(void *pointer) { return free(pointer), SUCCESS; }
Result cuMemcpyHtoDAsync_v2(Address to, const void *from, size_t bytes, Handle stream) { return memcpy((void *)to, from, bytes), SUCCESS; }
// No kernel has written what is read: zeros do no harm.
Result cuMemcpyDtoHAsync_v2(void *to, Address from, size_t bytes, Handle stream) { return memset(to, 0, bytes), SUCCESS; }
Result cuMemcpyDtoDAsync_v2(Address to, Address from, size_t bytes, Handle stream) { return memmove((void *)to, (void *)from, bytes), SUCCESS; }
Result cuMemcpy2DAsync_v2(Handle copy, Handle stream) { return SUCCESS; }

Result cuModuleLoadData(Handle *module, const void *image) {
    const char *directory = getenv("NVIDIA_PTX");
    if (directory) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%03ld.ptx", directory, kernels);
        FILE *file = fopen(path, "w");
        if (!file)
            return perror(path), INVALID_CONTEXT;
        fputs(image, file);
        fclose(file);
    }
    kernels++;
    return *module = fresh(), SUCCESS;
}
Result cuModuleUnload(Handle module) { return SUCCESS; }
Result cuModuleGetFunction(Handle *function, Handle module, const char *name) {
    struct Kernel *kernel = calloc(1, sizeof *kernel + strlen(name) + 1);
    strcpy(kernel->name, name);
    kernel->next = all_kernels;
    return all_kernels = *function = kernel, SUCCESS;
}
Result cuFuncSetAttribute(Handle function, int attribute, int value) { return SUCCESS; }
Result cuTensorMapEncodeTiled(void *map) { return SUCCESS; }
Result cuLaunchKernel(Handle function, unsigned x, unsigned y, unsigned z, unsigned dx, unsigned dy, unsigned dz, unsigned shared, Handle stream,
                      void **arguments, void **extra) {
    return ((struct Kernel *)function)->launches++, launches++, SUCCESS;
}
Result cuLaunchKernelEx(Handle config, Handle function, void **arguments, void **extra) {
    return ((struct Kernel *)function)->launches++, launches++, SUCCESS;
}

Result cuGetErrorName(Result error, const char **name) { return *name = error == OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : "an error", SUCCESS; }
Result cuGetErrorString(Result error, const char **text) { return *text = error == OUT_OF_MEMORY ? "out of memory" : "an error", SUCCESS; }
