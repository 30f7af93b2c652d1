/* What a memory system does: block copies, streams, and chains of dependent loads. */
#include "guest.h"

#include <stdlib.h>
#include <string.h>

enum { MIB = 1 << 20 };

static void *allocate(size_t size)
{
    void *memory = malloc(size);
    if (!memory)
        fail("malloc");
    return memory;
}

/* Copies of many sizes, aligned and not, within 4 MiB. */
static uint64_t copy(uint32_t work)
{
    enum { SIZE = 4 * MIB };
    uint8_t *from = allocate(SIZE), *to = allocate(SIZE);
    uint64_t random = 362436069, checksum = 0;
    for (uint32_t i = 0; i < SIZE; i++)
        from[i] = (uint8_t)(i * 31 >> 3);
    memset(to, 0, SIZE);
    for (uint32_t i = 0; i < work; i++) {
        uint32_t length = (uint32_t)(next_random(&random) & 0xFFFF);
        uint32_t source = (uint32_t)(next_random(&random) % (SIZE - length));
        uint32_t target = (uint32_t)(next_random(&random) % (SIZE - length));
        memcpy(to + target, from + source, length);
        checksum = fold(checksum, to[target + length / 2]);
    }
    for (uint32_t i = 0; i < SIZE; i += 4093)
        checksum = fold(checksum, to[i]);
    free(from);
    free(to);
    return checksum;
}

/* Sums of 8 MiB of 32-bit words, four streams at a time. */
static uint64_t stream(uint32_t work)
{
    enum { WORDS = 2 * MIB, QUARTER = WORDS / 4 };
    uint32_t *words = allocate(WORDS * sizeof *words);
    uint64_t checksum = 0;
    for (uint32_t i = 0; i < WORDS; i++)
        words[i] = i * 2654435761u;
    while (work--) {
        uint32_t a = 0, b = 0, c = 0, d = work;
        for (uint32_t i = 0; i < QUARTER; i++) {
            a += words[i];
            b ^= words[i + QUARTER];
            c += words[i + 2 * QUARTER];
            d ^= words[i + 3 * QUARTER];
        }
        checksum = fold(checksum, ((uint64_t)(a ^ b) << 32) | (c ^ d));
    }
    free(words);
    return checksum;
}

/* Follows one cycle through 16 MiB in random order: every load waits for the one before, most miss the TLB. */
static uint64_t chase(uint32_t work)
{
    enum { LINE = 16, LINES = 16 * MIB / 4 / LINE };
    uint32_t *next = allocate((size_t)LINES * LINE * sizeof *next);
    uint64_t random = 521288629;
    for (uint32_t i = 0; i < LINES; i++)
        next[i * LINE] = i;
    /* Sattolo's shuffle: one cycle through all. */
    for (uint32_t i = LINES - 1; i > 0; i--) {
        uint32_t j = (uint32_t)(next_random(&random) % i), swap = next[i * LINE];
        next[i * LINE] = next[j * LINE];
        next[j * LINE] = swap;
    }
    uint32_t at = 0;
    uint64_t checksum = 0;
    for (uint32_t i = 0; i < work; i++) {
        at = next[at * LINE];
        if ((i & 0xFFFF) == 0)
            checksum = fold(checksum, at);
    }
    free(next);
    return fold(checksum, at);
}

const struct benchmark memory_benchmarks[] = {
    {"copy", copy, 15000},
    {"stream", stream, 80},
    {"chase", chase, 6000000},
    {0},
};
