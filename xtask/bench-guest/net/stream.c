/* The guest's side of the soak's network load: bytes that both ends can make from a seed, so that each byte is checked.
 *
 * stream call HOST PORT SEED: one round of work with the host's server: streams in and out, many short connections,
 * datagrams. Prints "tcp=BYTES connections=N datagrams=N lost=N".
 * stream serve PORT: serves streams, as the host's server does, for ever.
 *
 * A connection begins with 17 bytes from the client: `d` for a stream to it, `u` for one from it, which is answered by `y`
 * if it was right; the seed and the length, little-endian. A datagram is a seed and its stream, and comes back. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define LONG_STREAM (12u << 20)
#define SHORT_CONNECTIONS 100
#define DATAGRAMS 100
#define CHUNK (64u << 10)

struct __attribute__((packed)) request {
    char kind;
    uint64_t seed, length;
};

static struct sockaddr_in address = { .sin_family = AF_INET };
static uint64_t words[CHUNK / 8], received[CHUNK / 8];

static void failed(const char *what)
{
    perror(what);
    exit(1);
}

/* The next bytes of a stream; the state is the seed in the beginning. */
static void fill(uint64_t *state, uint64_t *to, size_t bytes)
{
    for (size_t i = 0; i < (bytes + 7) / 8; i++) {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        to[i] = *state;
    }
}

static int write_all(int s, const void *from, size_t bytes)
{
    for (size_t done = 0; done < bytes;) {
        ssize_t n = write(s, (const char *)from + done, bytes - done);
        if (n <= 0)
            return 0;
        done += n;
    }
    return 1;
}

static int read_all(int s, void *to, size_t bytes)
{
    for (size_t done = 0; done < bytes;) {
        ssize_t n = read(s, (char *)to + done, bytes - done);
        if (n <= 0)
            return 0;
        done += n;
    }
    return 1;
}

static int send_stream(int s, uint64_t seed, uint64_t length)
{
    for (uint64_t left = length, n; left; left -= n) {
        n = left < CHUNK ? left : CHUNK;
        fill(&seed, words, n);
        if (!write_all(s, words, n))
            return 0;
    }
    return 1;
}

static int receive_stream(int s, uint64_t seed, uint64_t length)
{
    for (uint64_t left = length, n; left; left -= n) {
        n = left < CHUNK ? left : CHUNK;
        fill(&seed, words, n);
        if (!read_all(s, received, n) || memcmp(words, received, n))
            return 0;
    }
    return 1;
}

static void transfer(char kind, uint64_t seed, uint64_t length)
{
    struct request request = { kind, seed, length };
    int s = socket(AF_INET, SOCK_STREAM, 0);
    if (s < 0 || connect(s, (struct sockaddr *)&address, sizeof address))
        failed("connect");
    if (!write_all(s, &request, sizeof request))
        failed("request");
    if (kind == 'd') {
        char more;
        if (!receive_stream(s, seed, length))
            failed("a stream in is short or wrong");
        if (read(s, &more, 1) != 0)
            failed("a stream in does not end");
    } else {
        char answer = 'n';
        if (!send_stream(s, seed, length) || !read_all(s, &answer, 1) || answer != 'y')
            failed("a stream out is short or wrong");
    }
    close(s);
}

/* Returns how many did not come back. One that comes back must be as it was sent. */
static int datagrams(uint64_t seed)
{
    struct timeval patience = { .tv_sec = 2 };
    int lost = 0, s = socket(AF_INET, SOCK_DGRAM, 0);
    if (s < 0 || connect(s, (struct sockaddr *)&address, sizeof address))
        failed("datagram socket");
    setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    for (int i = 0; i < DATAGRAMS; i++) {
        size_t length = 8 + (seed + i * 37) % 1400;
        ssize_t n;
        uint64_t state = words[0] = seed + i + 1;
        fill(&state, words + 1, length - 8);
        if (send(s, words, length, 0) != (ssize_t)length)
            failed("send");
        do { /* one that came too late for its turn may be in front */
            n = recv(s, received, sizeof received, 0);
        } while (n >= 8 && received[0] != words[0]);
        if (n < 0)
            lost++;
        else if (n != (ssize_t)length || memcmp(words, received, length))
            failed("a datagram is wrong");
    }
    close(s);
    return lost;
}

static int call(uint64_t seed)
{
    uint64_t bytes = 2 * LONG_STREAM;
    transfer('d', seed, LONG_STREAM);
    transfer('u', seed + 1, LONG_STREAM);
    for (int i = 0; i < SHORT_CONNECTIONS; i++) {
        uint64_t length = (seed * 31 + i * 97) % 5000;
        transfer(i % 2 ? 'd' : 'u', seed + 2 + i, length);
        bytes += length;
    }
    int lost = datagrams(seed);
    printf("tcp=%llu connections=%d datagrams=%d lost=%d\n", (unsigned long long)bytes, SHORT_CONNECTIONS + 2, DATAGRAMS, lost);
    return 0;
}

static void serve(void)
{
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 64))
        failed("listen");
    for (;;) {
        struct request request;
        int s = accept(listener, 0, 0);
        if (s < 0)
            failed("accept");
        if (read_all(s, &request, sizeof request)) {
            if (request.kind == 'd')
                send_stream(s, request.seed, request.length);
            else
                write_all(s, receive_stream(s, request.seed, request.length) ? "y" : "n", 1);
        }
        close(s);
    }
}

int main(int argc, char **argv)
{
    if (argc == 5 && !strcmp(argv[1], "call")) {
        inet_pton(AF_INET, argv[2], &address.sin_addr);
        address.sin_port = htons(atoi(argv[3]));
        return call(strtoull(argv[4], 0, 10));
    }
    if (argc == 3 && !strcmp(argv[1], "serve")) {
        address.sin_port = htons(atoi(argv[2]));
        serve();
    }
    return 2;
}
