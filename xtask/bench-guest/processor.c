/* What runs inside the processor: integer code, branches, calls, floating point, code that appears at run time. */
#include "guest.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Sieve of Eratosthenes over a fixed range, again and again: stores with a stride, tight loops. */
static uint64_t sieve(uint32_t work)
{
    enum { RANGE = 1 << 18 };
    static uint8_t composite[RANGE];
    uint64_t checksum = 0;
    while (work--) {
        uint32_t primes = 0;
        memset(composite, 0, RANGE);
        for (uint32_t n = 2; n < RANGE; n++) {
            if (composite[n])
                continue;
            primes++;
            for (uint32_t m = n + n; m < RANGE; m += n)
                composite[m] = 1;
        }
        checksum = fold(checksum, primes);
    }
    return checksum;
}

/* A byte-code machine: an indirect jump for each operation, as in a scripting language. One round of the program
 * takes the value on the stack and leaves one there. */
enum opcode { PUSH, ADD, MULTIPLY, EXCHANGE, DUPLICATE, DROP, DECREMENT, REPEAT };

static uint64_t bytecode(uint32_t work)
{
    static const uint8_t program[] = {PUSH, 7,   ADD, DUPLICATE, PUSH,     13,        MULTIPLY, EXCHANGE, DUPLICATE,
                                      ADD,  ADD, PUSH, 3,        EXCHANGE, DUPLICATE, DROP,     EXCHANGE, DROP,
                                      DECREMENT, REPEAT};
    static const void *const labels[] = {&&push, &&add, &&multiply, &&exchange, &&duplicate, &&drop, &&decrement, &&repeat};
    uint32_t stack[16] = {1}, counter = work, swap;
    uint32_t *top = stack;
    const uint8_t *next = program;
#define DISPATCH() goto *labels[*next++]
    DISPATCH();
push:
    *++top = *next++;
    DISPATCH();
add:
    top--;
    top[0] += top[1];
    DISPATCH();
multiply:
    top--;
    top[0] *= top[1];
    DISPATCH();
exchange:
    swap = top[0];
    top[0] = top[-1];
    top[-1] = swap;
    DISPATCH();
duplicate:
    top[1] = top[0];
    top++;
    DISPATCH();
drop:
    top--;
    DISPATCH();
decrement:
    counter--;
    DISPATCH();
repeat:
    if (counter) {
        next = program;
        DISPATCH();
    }
#undef DISPATCH
    return fold(work, top[0]);
}

/* Calls through pointers that change: what virtual functions do. */
static __attribute__((noinline)) uint32_t turn_left(uint32_t x) { return x << 7 | x >> 25; }
static __attribute__((noinline)) uint32_t turn_right(uint32_t x) { return x >> 3 | x << 29; }
static __attribute__((noinline)) uint32_t invert(uint32_t x) { return ~x + 5; }
static __attribute__((noinline)) uint32_t scramble(uint32_t x) { return x * 2654435761u; }

static uint64_t indirect(uint32_t work)
{
    uint32_t (*const volatile functions[])(uint32_t) = {turn_left, scramble, turn_right, invert};
    uint32_t x = 1;
    while (work--)
        x = functions[x >> 13 & 3](x + work);
    return fold(0, x);
}

/* Naive Fibonacci numbers: calls, returns, the stack. */
static __attribute__((noinline, optimize("no-optimize-sibling-calls"))) uint32_t fibonacci(uint32_t n)
{
    return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

static uint64_t recursion(uint32_t work)
{
    uint64_t checksum = 0;
    while (work--)
        checksum = fold(checksum, fibonacci(22 + (work & 1)));
    return checksum;
}

static uint64_t bits_of(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* Scalar double arithmetic in SSE registers: addition, multiplication, division, square root, conversion. */
static uint64_t sse2(uint32_t work)
{
    double x = 0.5, y = 1.25, sum = 0;
    for (uint32_t i = 0; i < work; i++) {
        x = x * y + 0.0625 * (double)(int32_t)(i & 255);
        y = 1.0 + __builtin_sqrt(x) / (x + 3.0);
        if (x > 100.0)
            x /= 16.0;
        sum += (double)(int32_t)(x * 8.0) - y;
    }
    return fold(bits_of(sum), bits_of(x));
}

/* The same kind of work in 80-bit x87 registers. */
static uint64_t x87(uint32_t work)
{
    volatile long double seed = 0.5L;
    long double x = seed, y = 1.25L, sum = 0;
    for (uint32_t i = 0; i < work; i++) {
        x = x * y + 0.0625L * (int32_t)(i & 255);
        y = 1.0L + __builtin_sqrtl(x) / (x + 3.0L);
        if (x > 100.0L)
            x /= 16.0L;
        sum += x - y;
    }
    uint8_t image[16] = {0};
    uint64_t mantissa;
    memcpy(image, &sum, 10);
    memcpy(&mantissa, image, 8);
    return fold(mantissa, (uint64_t)image[9] << 8 | image[8]);
}

/* Writes small functions and runs each a few times: what a just-in-time compiler in the guest does.
 * mov eax, imm32; add eax, imm32; ret — an encoding that 32- and 64-bit mode share. */
static uint64_t codegen(uint32_t work)
{
    enum { SLOT = 64, SLOTS = 64 };
    uint8_t *page = mmap(NULL, SLOT * SLOTS, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        fail("mmap for code");
    uint64_t checksum = 0, random = 88172645463325252u;
    for (uint32_t i = 0; i < work; i++) {
        uint8_t *code = page + i % SLOTS * SLOT;
        uint32_t first = (uint32_t)next_random(&random), second = i * 977;
        code[0] = 0xB8;
        memcpy(code + 1, &first, 4);
        code[5] = 0x05;
        memcpy(code + 6, &second, 4);
        code[10] = 0xC3;
        uint32_t (*function)(void);
        memcpy(&function, &code, sizeof function);
        for (int calls = 0; calls < 8; calls++)
            checksum = fold(checksum, function());
    }
    munmap(page, SLOT * SLOTS);
    return checksum;
}

const struct benchmark processor_benchmarks[] = {
    {"sieve", sieve, 400},
    {"bytecode", bytecode, 6000000},
    {"indirect", indirect, 40000000},
    {"recursion", recursion, 2000},
    {"sse2", sse2, 12000000},
    {"x87", x87, 5000000},
    {"codegen", codegen, 30000},
    {0},
};
