/* A stand-in for libnvidia-ml.so.1: what NVML would say, read from a file at each call, so that tests change it live.
 *
 * One line per GPU in the file named by NVML_STAND_IN:  uuid|name|memory MiB|status|utilisation|pid,pid
 * where status is the nvmlReturn_t that every question about the GPU gets (0 is well, 15 is "GPU is lost"). The figures
 * in the file named by NVML_FIGURES hold for all GPUs:  milliwatts limit millijoules celsius MHz reasons ecc used-MiB
 * An energy of 1 stands for memory without spare rows. Without that file a device cannot say any of them (3, not supported). Each process holds 512 MiB.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct { char uuid[96], name[96], pids[256]; unsigned long long mib; int status; unsigned util; } gpu_t;
typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct { unsigned gpu, memory; } utilization_t;
typedef struct { unsigned pid; unsigned long long used; unsigned gi, ci; } process_t;

static gpu_t gpus[16];
static struct { unsigned power, limit, celsius, mhz; unsigned long long energy, reasons, ecc, used; } figures;

static int look(void) {
    int n = 0;
    char line[1024];
    const char *path = getenv("NVML_STAND_IN");
    FILE *file = path ? fopen(path, "r") : NULL;
    if (!file) return -1;
    while (n < 16 && fgets(line, sizeof line, file)) {
        gpu_t *g = &gpus[n];
        memset(g, 0, sizeof *g);
        if (sscanf(line, "%95[^|]|%95[^|]|%llu|%d|%u|%255[0-9,]", g->uuid, g->name, &g->mib, &g->status, &g->util, g->pids) >= 5) n++;
    }
    fclose(file);
    return n;
}

static int ask(void *handle, gpu_t **found) {
    int n = look();
    long index = (long)handle - 1;
    if (n < 0) return 9; /* driver not loaded */
    if (index < 0 || index >= n) return 15;
    *found = &gpus[index];
    return gpus[index].status;
}

/* 0 when the GPU answers and the figures are known. */
static int figure(void *handle) {
    gpu_t *g;
    int s = ask(handle, &g);
    if (s) return s;
    const char *path = getenv("NVML_FIGURES");
    FILE *file = path ? fopen(path, "r") : NULL;
    if (!file) return 3; /* not supported */
    s = fscanf(file, "%u %u %llu %u %u %llu %llu %llu", &figures.power, &figures.limit, &figures.energy, &figures.celsius,
               &figures.mhz, &figures.reasons, &figures.ecc, &figures.used) == 8 ? 0 : 3;
    fclose(file);
    return s;
}

int nvmlInitWithFlags(unsigned flags) { (void)flags; return look() < 0 ? 9 : 0; }
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int status) { return status == 15 ? "GPU is lost" : "Error"; }
int nvmlDeviceGetCount_v2(unsigned *count) { int n = look(); if (n < 0) return 9; *count = (unsigned)n; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
    gpu_t *g; *handle = (void *)(long)(index + 1); return ask(*handle, &g);
}
int nvmlDeviceGetHandleByUUID(const char *uuid, void **handle) {
    int n = look();
    for (long i = 0; i < n; i++)
        if (!strcmp(gpus[i].uuid, uuid)) { *handle = (void *)(i + 1); return gpus[i].status; }
    return 6; /* not found */
}
int nvmlDeviceGetName(void *handle, char *out, unsigned size) {
    gpu_t *g; int s = ask(handle, &g); if (!s) snprintf(out, size, "%s", g->name); return s;
}
int nvmlDeviceGetUUID(void *handle, char *out, unsigned size) {
    gpu_t *g; int s = ask(handle, &g); if (!s) snprintf(out, size, "%s", g->uuid); return s;
}
int nvmlDeviceGetMemoryInfo(void *handle, memory_t *memory) {
    gpu_t *g; int s = ask(handle, &g); if (!s) { memory->total = memory->free = g->mib << 20; memory->used = figure(handle) ? 0 : figures.used << 20; } return s;
}
int nvmlDeviceGetUtilizationRates(void *handle, utilization_t *rates) {
    gpu_t *g; int s = ask(handle, &g); if (!s) { rates->gpu = g->util; rates->memory = 0; } return s;
}
int nvmlDeviceGetPowerUsage(void *handle, unsigned *out) { int s = figure(handle); if (!s) *out = figures.power; return s; }
int nvmlDeviceGetEnforcedPowerLimit(void *handle, unsigned *out) { int s = figure(handle); if (!s) *out = figures.limit; return s; }
int nvmlDeviceGetTotalEnergyConsumption(void *handle, unsigned long long *out) { int s = figure(handle); if (!s) *out = figures.energy; return s; }
int nvmlDeviceGetTemperature(void *handle, int sensor, unsigned *out) { (void)sensor; int s = figure(handle); if (!s) *out = figures.celsius; return s; }
int nvmlDeviceGetClockInfo(void *handle, int clock, unsigned *out) { int s = figure(handle); if (!s) *out = figures.mhz + (unsigned)clock; return s; }
int nvmlDeviceGetCurrentClocksThrottleReasons(void *handle, unsigned long long *out) { int s = figure(handle); if (!s) *out = figures.reasons; return s; }
int nvmlDeviceGetTotalEccErrors(void *handle, int type, int counter, unsigned long long *out) {
    int s = figure(handle); if (!s) *out = type == 1 && counter == 0 ? figures.ecc : 0; return s;
}
int nvmlDeviceGetRemappedRows(void *handle, unsigned *corrected, unsigned *uncorrected, unsigned *pending, unsigned *failed) {
    int s = figure(handle); if (!s) { *corrected = *uncorrected = *pending = 0; *failed = figures.energy == 1; } return s;
}
int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned *count, process_t *processes) {
    gpu_t *g;
    unsigned n = 0;
    int s = ask(handle, &g);
    if (s) return s;
    char pids[256];
    strcpy(pids, g->pids);
    for (char *pid = strtok(pids, ","); pid; pid = strtok(NULL, ","), n++)
        if (n < *count && processes) { memset(&processes[n], 0, sizeof *processes); processes[n].pid = (unsigned)atoi(pid); processes[n].used = 512ull << 20; }
    s = n > *count ? 7 : 0; /* insufficient size */
    *count = n;
    return s;
}
