/* The guest's side of the network benchmarks: tcp HOST PORT in|out|turn SECONDS prints a line with a figure.
 *
 * in: receives as fast as it can; MB/s. out: sends; MB/s. turn: sends a byte and waits for it to come back; microseconds.
 * The first byte sent says which. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static char buffer[256 << 10];

int main(int argc, char **argv)
{
    if (argc != 5)
        return 2;
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(atoi(argv[2])) };
    inet_pton(AF_INET, argv[1], &to.sin_addr);
    int one = 1, s = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(s, (struct sockaddr *)&to, sizeof to)) {
        perror("connect");
        return 1;
    }
    char kind = argv[3][0];
    if (write(s, &kind, 1) != 1)
        return 1;
    double begin = now(), end = begin + atof(argv[4]), bytes = 0, turns = 0;
    while (now() < end) {
        ssize_t n;
        if (kind == 'i')
            n = read(s, buffer, sizeof buffer);
        else if (kind == 'o')
            n = write(s, buffer, sizeof buffer);
        else
            n = write(s, buffer, 1) == 1 ? read(s, buffer, 1) : -1;
        if (n <= 0) {
            perror(argv[3]);
            return 1;
        }
        bytes += n;
        turns++;
    }
    if (kind == 'o') {
        /* What is still on its way counts when the other end has it: it answers the end with a byte. */
        shutdown(s, SHUT_WR);
        if (read(s, buffer, 1) != 1) {
            perror("the end");
            return 1;
        }
    }
    double seconds = now() - begin;
    printf("%s=%.1f\n", argv[3], kind == 't' ? seconds / turns * 1e6 : bytes / seconds / 1e6);
    return 0;
}
