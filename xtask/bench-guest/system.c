/* What needs the guest's kernel: system calls, processes, page faults, switching between processes. */
#include "guest.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* The cheapest system call there is. */
static uint64_t system_call(uint32_t work)
{
    uint32_t same = 0;
    long pid = syscall(SYS_getpid);
    for (uint32_t i = 0; i < work; i++)
        same += syscall(SYS_getpid) == pid;
    return fold(1, same);
}

/* Processes that end at once with a status of their own. */
static uint64_t process(uint32_t work)
{
    uint64_t checksum = 0;
    for (uint32_t i = 0; i < work; i++) {
        pid_t child = fork();
        if (child == 0)
            _exit((int)(i & 0x7F));
        int status;
        if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status))
            fail("fork");
        checksum = fold(checksum, (uint64_t)WEXITSTATUS(status));
    }
    return checksum;
}

/* First touches of fresh pages, given back each round. */
static uint64_t page_fault(uint32_t work)
{
    enum { PAGE = 4096, PAGES = 1024 };
    uint64_t checksum = 0;
    while (work--) {
        uint8_t *memory = mmap(NULL, PAGE * PAGES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED)
            fail("mmap");
        /* Huge pages would make one fault of 512. */
        madvise(memory, PAGE * PAGES, MADV_NOHUGEPAGE);
        uint32_t sum = 0;
        for (uint32_t i = 0; i < PAGES; i++) {
            sum += memory[i * PAGE];
            memory[i * PAGE + i] = (uint8_t)i;
            sum += memory[i * PAGE + i];
        }
        checksum = fold(checksum, sum);
        munmap(memory, PAGE * PAGES);
    }
    return checksum;
}

/* A byte to and fro between two processes: a context switch each way. */
static uint64_t ping_pong(uint32_t work)
{
    int there[2], back[2];
    uint8_t byte = 1;
    uint64_t checksum = 0;
    if (pipe(there) || pipe(back))
        fail("pipe");
    pid_t child = fork();
    if (child < 0)
        fail("fork");
    if (child == 0) {
        close(there[1]);
        while (read(there[0], &byte, 1) == 1) {
            byte = (uint8_t)(byte * 5 + 3);
            if (write(back[1], &byte, 1) != 1)
                _exit(1);
        }
        _exit(0);
    }
    for (uint32_t i = 0; i < work; i++) {
        if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
            fail("ping");
        checksum = fold(checksum, byte);
    }
    close(there[1]);
    int status;
    if (waitpid(child, &status, 0) != child || status != 0)
        fail("pong");
    close(there[0]);
    close(back[0]);
    close(back[1]);
    return checksum;
}

const struct benchmark system_benchmarks[] = {
    {"syscall", system_call, 1500000},
    {"process", process, 1500},
    {"pagefault", page_fault, 70},
    {"pingpong", ping_pong, 15000},
    {0},
};
