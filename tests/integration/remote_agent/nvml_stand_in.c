/* A stand-in for libnvidia-ml.so.1: what NVML would say, read from files at each call, so that tests change it live.
 *
 * NVML_STAND_IN names a file with one line per device:  uuid|name|memory MiB|status|utilisation|pid,pid|flags
 *   status  the nvmlReturn_t that every question about the device gets (0 is well, 15 is "GPU is lost")
 *   flags   words: "mig" (MIG mode is on), "deaf" (it cannot report Xids), "old" (no nvmlDeviceGetMemoryInfo_v2),
 *           "reset" (the driver asks for a reset)
 * A line whose uuid begins with MIG- is an instance of the last GPU above it, with the GPU instance id 1 and up.
 * Without the file there is no driver: every question is answered 9, and 1 (uninitialised) after it came back, until
 * nvmlInit is called again, as of a driver that was loaded anew.
 *
 * NVML_FIGURES names a file with figures of all GPUs:  milliwatts limit millijoules celsius MHz reasons ecc used-MiB
 * An energy of 1 stands for memory without spare rows. Without that file a device cannot say any of them (3, not
 * supported). Each process holds 512 MiB; 600 MiB are the driver's own.
 *
 * NVML_EVENTS names a file with one line per Xid:  uuid xid [GPU instance]. Each is told once; unlike the real library, what
 * was written while no thread waited is told to the next one that does.
 * Freeing an event set, or shutting down, while a thread waits for events is a crash waiting to happen: it aborts here.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST = 32, SUPPORTED_XID = 8, NO_INSTANCE = -1 };
enum { OK = 0, UNINITIALIZED = 1, NOT_SUPPORTED = 3, NO_PERMISSION = 4, NOT_FOUND = 6, TOO_SMALL = 7, NO_DRIVER = 9, TIMED_OUT = 10, LOST = 15 };

typedef struct { char uuid[96], name[96], pids[256], flags[64]; unsigned long long mib; int status, parent, part; unsigned util; } device_t;
typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory_v2_t;
typedef struct { unsigned gpu, memory; } utilization_t;
typedef struct { unsigned pid; unsigned long long used; unsigned gi, ci; } process_t;
typedef struct { void *device; unsigned long long type, data; unsigned gi, ci; } event_t;
typedef struct { unsigned field, scope; long long timestamp, latency; int type, status; union { double d; unsigned u; unsigned long long l; } value; } field_t;
typedef struct { unsigned multiprocessors, copy, decoders, encoders, jpeg, ofa, slices, compute_slices; unsigned long long mib; } attributes_t;
typedef struct { int registered[MOST], waiting; } set_t;

static __thread device_t devices[MOST]; /* of each thread, as each looks at the files when it asks */
static __thread struct { unsigned power, limit, celsius, mhz; unsigned long long energy, reasons, ecc, used; } figures;
static volatile int ready, waiting;
static long told; /* how much of the events' file */

static FILE *open_named(const char *variable) {
    const char *path = getenv(variable);
    return path ? fopen(path, "r") : NULL;
}

/* How many devices there are, instances included; -1 without a driver. */
static int look(void) {
    int n = 0, gpu = -1, part = 0;
    char line[1024];
    FILE *file = open_named("NVML_STAND_IN");
    if (!file) { ready = 0; return -1; }
    while (n < MOST && fgets(line, sizeof line, file)) {
        char *rest = line, *fields[7];
        int count = 0;
        line[strcspn(line, "\n")] = 0;
        for (; count < 7 && rest; count++) fields[count] = strsep(&rest, "|");
        if (count < 6) continue;
        device_t *d = &devices[n];
        memset(d, 0, sizeof *d);
        snprintf(d->uuid, sizeof d->uuid, "%s", fields[0]);
        snprintf(d->name, sizeof d->name, "%s", fields[1]);
        d->mib = strtoull(fields[2], NULL, 10);
        d->status = atoi(fields[3]);
        d->util = (unsigned)atoi(fields[4]);
        snprintf(d->pids, sizeof d->pids, "%s", fields[5]);
        if (count > 6) snprintf(d->flags, sizeof d->flags, "%s", fields[6]);
        if (!strncmp(d->uuid, "MIG-", 4)) { d->parent = gpu; d->part = part++; }
        else { d->parent = NO_INSTANCE; gpu = n; part = 0; }
        n++;
    }
    fclose(file);
    return n;
}

static int ask(void *handle, device_t **found) {
    int n = look();
    long index = (long)handle - 1;
    if (n < 0) return NO_DRIVER;
    if (!ready) return UNINITIALIZED;
    if (index < 0 || index >= n) return LOST;
    *found = &devices[index];
    return devices[index].status;
}

/* As ask, for what NVML says of whole GPUs only. */
static int ask_whole(void *handle, device_t **found) {
    int s = ask(handle, found);
    return s ? s : (*found)->parent == NO_INSTANCE ? OK : NOT_SUPPORTED;
}

/* OK when the GPU answers and the figures are known. */
static int figure(void *handle) {
    device_t *d;
    int s = ask_whole(handle, &d);
    if (s) return s;
    FILE *file = open_named("NVML_FIGURES");
    if (!file) return NOT_SUPPORTED;
    s = fscanf(file, "%u %u %llu %u %u %llu %llu %llu", &figures.power, &figures.limit, &figures.energy, &figures.celsius,
               &figures.mhz, &figures.reasons, &figures.ecc, &figures.used) == 8 ? OK : NOT_SUPPORTED;
    fclose(file);
    return s;
}

int nvmlInitWithFlags(unsigned flags) { (void)flags; ready = look() >= 0; return ready ? OK : NO_DRIVER; }
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) { if (waiting) abort(); ready = 0; return OK; }
const char *nvmlErrorString(int status) {
    return status == LOST ? "GPU is lost" : status == NO_DRIVER ? "Driver Not Loaded" : status == UNINITIALIZED ? "Uninitialized" : "Error";
}

/* devices ---------------------------------------------------------------------------------------------------------- */

static int whole_at(unsigned index) {
    int n = look();
    for (int i = 0; i < n; i++)
        if (devices[i].parent == NO_INSTANCE && !index--) return i;
    return -1;
}
int nvmlDeviceGetCount_v2(unsigned *count) {
    int n = look();
    if (n < 0) return NO_DRIVER;
    if (!ready) return UNINITIALIZED;
    *count = 0;
    for (int i = 0; i < n; i++) *count += devices[i].parent == NO_INSTANCE;
    return OK;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
    device_t *d; *handle = (void *)(long)(whole_at(index) + 1); return ask(*handle, &d);
}
int nvmlDeviceGetHandleByUUID(const char *uuid, void **handle) {
    int n = look();
    if (n < 0) return NO_DRIVER;
    if (!ready) return UNINITIALIZED;
    for (long i = 0; i < n; i++)
        if (!strcmp(devices[i].uuid, uuid)) { *handle = (void *)(i + 1); return devices[i].status; }
    return NOT_FOUND;
}
int nvmlDeviceGetName(void *handle, char *out, unsigned size) {
    device_t *d; int s = ask(handle, &d); if (!s) snprintf(out, size, "%s", d->name); return s;
}
int nvmlDeviceGetUUID(void *handle, char *out, unsigned size) {
    device_t *d; int s = ask(handle, &d); if (!s) snprintf(out, size, "%s", d->uuid); return s;
}
static unsigned long long used_mib(void *handle, device_t *d) {
    unsigned long long used = 0;
    if (d->parent == NO_INSTANCE) return figure(handle) ? 0 : figures.used;
    for (char *pid = d->pids; *pid; pid++) used += pid == d->pids || *pid == ',' ? 512 : 0;
    return used;
}
/* Of a GPU in MIG mode it is told to privileged processes only, and nobody is one here. */
static int ask_memory(void *handle, device_t **found) {
    int s = ask(handle, found);
    return s ? s : strstr((*found)->flags, "mig") ? NO_PERMISSION : OK;
}
int nvmlDeviceGetMemoryInfo(void *handle, memory_t *memory) {
    device_t *d; int s = ask_memory(handle, &d);
    if (!s) { memory->total = d->mib << 20; memory->used = (used_mib(handle, d) + 600) << 20; memory->free = memory->total - memory->used; }
    return s;
}
int nvmlDeviceGetMemoryInfo_v2(void *handle, memory_v2_t *memory) {
    device_t *d; int s = ask_memory(handle, &d);
    if (!s && strstr(d->flags, "old")) return NOT_SUPPORTED;
    if (!s) { memory->total = d->mib << 20; memory->used = used_mib(handle, d) << 20; memory->reserved = 600ull << 20; memory->free = memory->total - memory->used - memory->reserved; }
    return s;
}

/* MIG -------------------------------------------------------------------------------------------------------------- */

int nvmlDeviceGetMigMode(void *handle, unsigned *current, unsigned *pending) {
    device_t *d; int s = ask_whole(handle, &d); if (!s) *current = *pending = strstr(d->flags, "mig") != NULL; return s;
}
int nvmlDeviceGetMaxMigDeviceCount(void *handle, unsigned *count) { device_t *d; *count = 7; return ask_whole(handle, &d); }
int nvmlDeviceGetMigDeviceHandleByIndex(void *handle, unsigned index, void **found) {
    device_t *d; int s = ask_whole(handle, &d);
    if (s) return s;
    int n = look();
    for (long i = 0; i < n; i++)
        if (devices[i].parent == (long)handle - 1 && devices[i].part == (int)index) { *found = (void *)(i + 1); return OK; }
    return NOT_FOUND;
}
int nvmlDeviceGetGpuInstanceId(void *handle, unsigned *id) {
    device_t *d; int s = ask(handle, &d); if (s) return s;
    if (d->parent == NO_INSTANCE) return NOT_SUPPORTED;
    *id = (unsigned)d->part + 1; return OK;
}
int nvmlDeviceGetAttributes_v2(void *handle, attributes_t *out) {
    device_t *d; int s = ask(handle, &d); if (s) return s;
    if (d->parent == NO_INSTANCE) return NOT_SUPPORTED;
    memset(out, 0, sizeof *out); out->slices = out->compute_slices = 3; out->mib = d->mib; return OK;
}

/* figures ---------------------------------------------------------------------------------------------------------- */

int nvmlDeviceGetUtilizationRates(void *handle, utilization_t *rates) {
    device_t *d; int s = ask_whole(handle, &d); if (!s) { rates->gpu = d->util; rates->memory = 0; } return s;
}
int nvmlDeviceGetPowerUsage(void *handle, unsigned *out) { int s = figure(handle); if (!s) *out = figures.power; return s; }
int nvmlDeviceGetEnforcedPowerLimit(void *handle, unsigned *out) { int s = figure(handle); if (!s) *out = figures.limit; return s; }
int nvmlDeviceGetTotalEnergyConsumption(void *handle, unsigned long long *out) { int s = figure(handle); if (!s) *out = figures.energy; return s; }
int nvmlDeviceGetTemperature(void *handle, int sensor, unsigned *out) { (void)sensor; int s = figure(handle); if (!s) *out = figures.celsius; return s; }
int nvmlDeviceGetClockInfo(void *handle, int clock, unsigned *out) { int s = figure(handle); if (!s) *out = figures.mhz + (unsigned)clock; return s; }
int nvmlDeviceGetCurrentClocksThrottleReasons(void *handle, unsigned long long *out) { int s = figure(handle); if (!s) *out = figures.reasons; return s; }
int nvmlDeviceGetTotalEccErrors(void *handle, int type, int counter, unsigned long long *out) {
    int s = figure(handle); if (!s) *out = counter ? 0 : type == 1 ? figures.ecc : 10 * figures.ecc; return s;
}
int nvmlDeviceGetRemappedRows(void *handle, unsigned *corrected, unsigned *uncorrected, unsigned *pending, unsigned *failed) {
    int s = figure(handle); if (!s) { *corrected = *uncorrected = *pending = 0; *failed = figures.energy == 1; } return s;
}
int nvmlDeviceGetFieldValues(void *handle, int count, field_t *values) {
    device_t *d; int s = ask_whole(handle, &d);
    for (int i = 0; !s && i < count; i++) {
        values[i].status = values[i].field == 230 ? OK : NOT_SUPPORTED; /* 230: the recovery action, of which 1 is a reset */
        values[i].value.u = strstr(d->flags, "reset") != NULL;
    }
    return s;
}
int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned *count, process_t *processes) {
    device_t *d;
    unsigned n = 0;
    int s = ask(handle, &d);
    if (s) return s;
    char pids[256];
    strcpy(pids, d->pids);
    for (char *pid = strtok(pids, ","); pid; pid = strtok(NULL, ","), n++)
        if (n < *count && processes) { memset(&processes[n], 0, sizeof *processes); processes[n].pid = (unsigned)atoi(pid); processes[n].used = 512ull << 20; }
    s = n > *count ? TOO_SMALL : OK;
    *count = n;
    return s;
}

/* events ----------------------------------------------------------------------------------------------------------- */

int nvmlEventSetCreate(set_t **set) {
    if (look() < 0) return NO_DRIVER;
    if (!ready) return UNINITIALIZED;
    *set = calloc(1, sizeof **set);
    return OK;
}
int nvmlEventSetFree(set_t *set) { if (set->waiting) abort(); free(set); return OK; }
int nvmlDeviceGetSupportedEventTypes(void *handle, unsigned long long *types) {
    device_t *d; int s = ask_whole(handle, &d); if (!s) *types = strstr(d->flags, "deaf") ? 0 : SUPPORTED_XID; return s;
}
int nvmlDeviceRegisterEvents(void *handle, unsigned long long types, set_t *set) {
    device_t *d; int s = ask_whole(handle, &d);
    if (!s && (types != SUPPORTED_XID || strstr(d->flags, "deaf"))) return NOT_SUPPORTED;
    if (!s) set->registered[(long)handle - 1] = 1;
    return s;
}

static int next_event(set_t *set, event_t *event) {
    FILE *file = open_named("NVML_EVENTS");
    char line[256], uuid[96];
    int n = look();
    if (!file) return 0;
    fseek(file, told, SEEK_SET);
    while (fgets(line, sizeof line, file) && strchr(line, '\n')) {
        unsigned long long xid;
        unsigned instance = 0xFFFFFFFF;
        told = ftell(file);
        if (sscanf(line, "%95s %llu %u", uuid, &xid, &instance) < 2) continue;
        for (long i = 0; i < n; i++)
            if (set->registered[i] && !strcmp(devices[i].uuid, uuid)) {
                *event = (event_t){(void *)(i + 1), SUPPORTED_XID, xid, instance, 0xFFFFFFFF};
                fclose(file);
                return 1;
            }
    }
    fclose(file);
    return 0;
}
int nvmlEventSetWait_v2(set_t *set, event_t *event, unsigned timeout_ms) {
    int s = TIMED_OUT;
    waiting++, set->waiting++;
    for (unsigned waited = 0; s == TIMED_OUT && waited < timeout_ms; waited += 5) {
        if (look() < 0 || !ready) s = UNINITIALIZED;
        else if (next_event(set, event)) s = OK;
        else usleep(5000);
    }
    waiting--, set->waiting--;
    return s;
}
