/* The benchmark guest: what main.c and the benchmarks share.
 *
 * A benchmark does `work` units of the same work and returns a checksum of what it computed. The checksum
 * depends on `work` alone: not on the word size, the time, or the machine, so that runs on different emulators,
 * in 64- and 32-bit builds and on the bare host can be compared. */
#ifndef GUEST_H
#define GUEST_H

#include <stdint.h>

typedef uint64_t (*benchmark_fn)(uint32_t work);

struct benchmark {
    const char *name;
    benchmark_fn run;
    /* Units of work at scale 100: about a second or less on QEMU's TCG. */
    uint32_t work;
};

/* Ends with a row whose name is null. */
extern const struct benchmark processor_benchmarks[];
extern const struct benchmark memory_benchmarks[];
extern const struct benchmark system_benchmarks[];

/* Says what failed and ends the guest: a benchmark that cannot run must not look like a fast one. */
void fail(const char *what) __attribute__((noreturn));

/* One step of a 64-bit xorshift generator. */
static inline uint64_t next_random(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return *state = x;
}

/* Folds one more value into a checksum. */
static inline uint64_t fold(uint64_t checksum, uint64_t value)
{
    return (checksum ^ value) * 0x9E3779B97F4A7C15u + (checksum >> 29);
}

#endif
