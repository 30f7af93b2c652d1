/* The benchmark guest's main program, which is also its /init.
 *
 * As process 1 it mounts /proc, takes `bench=NAME,NAME` and `scale=PERCENT` from the kernel's command line, runs,
 * and powers the machine off. As an ordinary program (`bench scale=5 bench=sieve`) it only runs: so the host
 * gives the checksums that are right.
 *
 * A name with the suffix 32 runs in /bench32, the same program built for i386.
 *
 * Output: `BEGIN name`, `END name checksum` around each benchmark, `SKIP name` for one that cannot run here,
 * `DONE` at the end. */
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static const struct benchmark *const groups[] = {processor_benchmarks, memory_benchmarks, system_benchmarks};
static const char *const in_32_bits[] = {"sieve", "bytecode", "recursion", "sse2", "x87", "syscall"};
static const char other_build[] = "/bench32";

static int is_init;

static void stop_machine(void)
{
    sync();
    reboot(RB_POWER_OFF);
}

void fail(const char *what)
{
    printf("FAIL %s: %s\n", what, strerror(errno));
    fflush(stdout);
    if (is_init)
        stop_machine();
    exit(1);
}

static void run_one(const struct benchmark *benchmark, const char *suffix, unsigned scale)
{
    uint64_t work = (uint64_t)benchmark->work * scale / 100;
    printf("BEGIN %s%s\n", benchmark->name, suffix);
    fflush(stdout);
    /* Whoever measures sees the line when the UART has sent it: do not start before that. */
    tcdrain(STDOUT_FILENO);
    uint64_t checksum = benchmark->run(work ? (uint32_t)work : 1);
    printf("END %s%s %016llx\n", benchmark->name, suffix, (unsigned long long)checksum);
    fflush(stdout);
    tcdrain(STDOUT_FILENO);
}

static const struct benchmark *find(const char *name)
{
    for (size_t group = 0; group < sizeof groups / sizeof *groups; group++)
        for (const struct benchmark *b = groups[group]; b->name; b++)
            if (!strcmp(b->name, name))
                return b;
    return NULL;
}

/* Runs `name` in the i386 build, which prints the suffix itself. */
static void run_other(const char *name, unsigned scale)
{
    char bench[80], percent[40];
    if (access(other_build, X_OK)) {
        printf("SKIP %s32\n", name);
        return;
    }
    snprintf(bench, sizeof bench, "bench=%s", name);
    snprintf(percent, sizeof percent, "scale=%u", scale);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        execl(other_build, other_build, bench, percent, "suffix=32", (char *)NULL);
        _exit(127);
    }
    int status;
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
        fail(name);
}

static void run_named(char *names, const char *suffix, unsigned scale)
{
    for (char *name = strtok(names, ","); name; name = strtok(NULL, ",")) {
        size_t length = strlen(name);
        const struct benchmark *benchmark = find(name);
        if (benchmark) {
            run_one(benchmark, suffix, scale);
        } else if (length > 2 && !strcmp(name + length - 2, "32")) {
            name[length - 2] = 0;
            run_other(name, scale);
        } else {
            printf("SKIP %s\n", name);
        }
    }
}

static void run_all(const char *suffix, unsigned scale)
{
    for (size_t group = 0; group < sizeof groups / sizeof *groups; group++)
        for (const struct benchmark *b = groups[group]; b->name; b++)
            run_one(b, suffix, scale);
    for (size_t i = 0; is_init && i < sizeof in_32_bits / sizeof *in_32_bits; i++)
        run_other(in_32_bits[i], scale);
}

static void start_as_init(void)
{
    mkdir("/proc", 0755);
    mkdir("/dev", 0755);
    if (mount("proc", "/proc", "proc", 0, NULL))
        fail("mount /proc");
    /* Kernel messages in the middle of a line would hide it. */
    int level = open("/proc/sys/kernel/printk", O_WRONLY);
    if (level < 0 || write(level, "1\n", 2) != 2)
        fail("quieten the kernel");
    close(level);
}

static void read_command_line(char *text, size_t size)
{
    int file = open("/proc/cmdline", O_RDONLY);
    ssize_t length = file < 0 ? -1 : read(file, text, size - 1);
    if (length < 0)
        fail("read /proc/cmdline");
    text[length] = 0;
    close(file);
}

int main(int count, char **arguments)
{
    static char command_line[4096];
    static char none[] = "";
    char *names = none;
    const char *suffix = "";
    unsigned scale = 100;

    is_init = getpid() == 1;
    if (is_init) {
        start_as_init();
        read_command_line(command_line, sizeof command_line);
    } else {
        for (int i = 1; i < count; i++) {
            strncat(command_line, arguments[i], sizeof command_line - strlen(command_line) - 2);
            strcat(command_line, " ");
        }
    }
    for (char *rest = command_line, *word; (word = strsep(&rest, " \n"));) {
        if (!strncmp(word, "bench=", 6))
            names = word + 6;
        else if (!strncmp(word, "scale=", 6))
            scale = (unsigned)strtoul(word + 6, NULL, 10);
        else if (!strncmp(word, "suffix=", 7))
            suffix = word + 7;
    }
    if (*names)
        run_named(names, suffix, scale);
    else
        run_all(suffix, scale);
    if (is_init) {
        puts("DONE");
        fflush(stdout);
        tcdrain(STDOUT_FILENO);
        stop_machine();
    }
    return 0;
}
