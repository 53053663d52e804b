/* A driver that does nothing but answer, as libcuda.so.1, which the CUDA runtime inside CuPy loads.

   STUB_VERSION is the CUDA version that it knows (13020 is 13.2), STUB_INIT the status of cuInit. No status lets
   CUDA start: the runtime asks a driver for private tables then, which are not here.

   gcc -shared -fPIC -o libcuda.so.1 libcuda_stub.c */

#include <stdlib.h>
#include <string.h>

enum { NOT_SUPPORTED = 801 };

static int number(const char *name) { const char *value = getenv(name); return value ? atoi(value) : 0; }

int cuInit(unsigned flags) { return number("STUB_INIT"); }
int cuDriverGetVersion(int *version) { *version = number("STUB_VERSION"); return 0; }
int cuDeviceGetCount(int *count) { *count = 0; return 0; }
int cuGetExportTable(const void **table, const void *id) { return NOT_SUPPORTED; }
static int not_supported(void) { return NOT_SUPPORTED; }

int cuGetProcAddress_v2(const char *symbol, void **function, int version, unsigned long long flags, void *status) {
    *function = !strcmp(symbol, "cuGetProcAddress")     ? (void *)cuGetProcAddress_v2
                : !strcmp(symbol, "cuInit")             ? (void *)cuInit
                : !strcmp(symbol, "cuDriverGetVersion") ? (void *)cuDriverGetVersion
                : !strcmp(symbol, "cuDeviceGetCount")   ? (void *)cuDeviceGetCount
                : !strcmp(symbol, "cuGetExportTable")   ? (void *)cuGetExportTable
                                                        : (void *)not_supported;
    return 0;
}

int cuGetProcAddress(const char *symbol, void **function, int version, unsigned long long flags) {
    return cuGetProcAddress_v2(symbol, function, version, flags, 0);
}
