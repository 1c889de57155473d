// A cuBLASLt without a card, for `run.py`: products are counted and not computed.

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, INVALID_VALUE = 7, SIZE_OF_HEURISTIC_RESULT = 96 };

typedef void *Handle;

static long plans, products;

__attribute__((destructor)) static void report(void) { fprintf(stderr, "stand-in cuBLASLt: %ld plans, %ld products\n", plans, products); }

static int fresh(Handle *handle) { return *handle = malloc(1), SUCCESS; }
int cublasLtCreate(Handle *handle) { return fresh(handle); }
int cublasLtMatmulDescCreate(Handle *handle, int compute, int scale) { return fresh(handle); }
int cublasLtMatmulDescSetAttribute(Handle handle, int attribute, const void *value, size_t size) { return SUCCESS; }
int cublasLtMatrixLayoutCreate(Handle *handle, int type, unsigned long rows, unsigned long columns, long leading) { return fresh(handle); }
int cublasLtMatmulPreferenceCreate(Handle *handle) { return fresh(handle); }
int cublasLtMatmulPreferenceSetAttribute(Handle handle, int attribute, const void *value, size_t size) { return SUCCESS; }
int cublasLtMatmulPreferenceDestroy(Handle handle) { return SUCCESS; }

int cublasLtMatmulAlgoGetHeuristic(Handle handle, Handle operation, Handle a, Handle b, Handle c, Handle d, Handle preference, int asked, void *results,
                                   int *found) {
    plans++;
    memset(results, 0, SIZE_OF_HEURISTIC_RESULT);
    return *found = 1, SUCCESS;
}

int cublasLtMatmul(Handle handle, Handle operation, const float *alpha, Handle a, Handle a_layout, Handle b, Handle b_layout, const float *beta, Handle c,
                   Handle c_layout, Handle d, Handle d_layout, Handle algorithm, Handle workspace, size_t size, Handle stream) {
    if (*alpha != 1.0f || *beta != 0.0f || !a || !b || c != d || !d || !workspace || !stream)
        return INVALID_VALUE;
    return products++, SUCCESS;
}
