/* Streams of AF_VSOCK between a guest and the host: echoes what comes until its end.
 *
 * vsock connect PORT: on a connection to that port of the host's.
 * vsock listen PORT COUNT: on that many connections to that port. */
#include <linux/vm_sockets.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void failed(const char *what)
{
    perror(what);
    exit(1);
}

static void echo(int s)
{
    char buffer[65536];
    ssize_t n;
    while ((n = read(s, buffer, sizeof buffer)) > 0)
        for (ssize_t done = 0; done < n;) {
            ssize_t written = write(s, buffer + done, n - done);
            if (written <= 0)
                failed("write");
            done += written;
        }
    if (n < 0)
        failed("read");
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    struct sockaddr_vm address = { .svm_family = AF_VSOCK, .svm_port = atoi(argv[2]), .svm_cid = VMADDR_CID_HOST };
    int s = socket(AF_VSOCK, SOCK_STREAM, 0);
    if (s < 0)
        failed("socket");
    if (argc == 4 && !strcmp(argv[1], "listen")) {
        address.svm_cid = VMADDR_CID_ANY;
        if (bind(s, (void *)&address, sizeof address) || listen(s, 16))
            failed("listen");
        puts("vsock: listening");
        fflush(stdout);
        for (int i = 0; i < atoi(argv[3]); i++) {
            int call = accept(s, 0, 0);
            if (call < 0)
                failed("accept");
            echo(call);
            close(call);
        }
        puts("vsock: served");
        return 0;
    }
    if (connect(s, (void *)&address, sizeof address))
        failed("connect");
    echo(s);
    puts("vsock: echoed");
    return 0;
}
