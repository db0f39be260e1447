/* Sockets that are memory, held against the kernel's. */
#include "fake_socket.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

enum { MOST = 40, PAIRS = 2000, STEPS = 60, ASKED = POLLIN | POLLOUT | POLLRDHUP };

static uint32_t state;

/* The same ends of both: the kernel's, and ours; -1: closed. */
static int kernel[2], ours[2];

static void expect_same(ssize_t theirs, int error, ssize_t mine)
{
    CHECK_EQUAL(mine, theirs);
    if (mine < 0)
        CHECK_EQUAL(errno, error);
}

static void send_some(int end)
{
    uint8_t bytes[MOST];
    size_t length = 1 + draw(&state, MOST);

    for (size_t i = 0; i < length; i++)
        bytes[i] = (uint8_t)draw(&state, 256);
    ssize_t n = send(kernel[end], bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL);
    int error = errno;
    expect_same(n, error, fake_send(ours[end], bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL));
}

static void receive_some(int end)
{
    uint8_t theirs[2 * MOST] = {0}, mine[2 * MOST] = {0};
    size_t first = 1 + draw(&state, MOST), second = draw(&state, MOST);
    struct iovec into[2] = {{mine, first}, {mine + first, second}};
    struct msghdr message = {.msg_iov = into, .msg_iovlen = 2};

    ssize_t n = recv(kernel[end], theirs, first + second, MSG_DONTWAIT);
    int error = errno;
    expect_same(n, error, fake_recvmsg(ours[end], &message, MSG_DONTWAIT));
    CHECK(!memcmp(theirs, mine, sizeof mine));
}

static void close_both(int end)
{
    close(kernel[end]);
    fake_close(ours[end]);
    kernel[end] = -1;
}

static void look(int end)
{
    struct pollfd theirs = {.fd = kernel[end], .events = ASKED};
    struct pollfd mine = {.fd = ours[end], .events = ASKED};

    CHECK_EQUAL(fake_poll(&mine, 1, 0), poll(&theirs, 1, 0));
    CHECK_EQUAL(mine.revents, theirs.revents);
}

static void step(int end)
{
    switch (draw(&state, 16)) {
    case 0:
        close_both(end);
        return;
    case 1:
        shutdown(kernel[end], SHUT_WR);
        fake_shutdown(ours[end], SHUT_WR);
        break;
    case 2:
    case 3:
    case 4:
    case 5:
        receive_some(end);
        break;
    default:
        send_some(end);
    }
    look(end);
}

static void test_as_the_kernel_s(void)
{
    state = (uint32_t)time(NULL) | 1;
    printf("seed %u\n", state);
    fake_sockets_hold(FAKE_SOCKET_BYTES);
    for (int pair = 0; pair < PAIRS; pair++) {
        CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, kernel));
        CHECK(!fake_socketpair(AF_UNIX, SOCK_STREAM, 0, ours));
        for (int n = 0; n < STEPS; n++) {
            int end = (int)draw(&state, 2);
            if (kernel[end] >= 0)
                step(end);
        }
        for (int end = 0; end < 2; end++)
            if (kernel[end] >= 0)
                close_both(end);
        CHECK(!fake_sockets_open());
    }
}

/* What TCP's may do: a part of the bytes is taken, anywhere in the ring. */
static void test_as_much_as_there_is_room_for(void)
{
    uint8_t bytes[100] = {1, 2, 3}, back[100];
    struct pollfd writable = {.events = POLLOUT};

    fake_sockets_hold(60);
    CHECK(!fake_socketpair(AF_UNIX, SOCK_STREAM, 0, ours));
    writable.fd = ours[0];
    for (int turn = 0; turn < 2 * FAKE_SOCKET_BYTES / 60; turn++) {
        CHECK_EQUAL(fake_send(ours[0], bytes, sizeof bytes, MSG_DONTWAIT | MSG_NOSIGNAL), 60);
        CHECK_EQUAL(fake_send(ours[0], bytes, 1, MSG_DONTWAIT | MSG_NOSIGNAL), -1);
        CHECK_EQUAL(errno, EAGAIN);
        CHECK_EQUAL(fake_poll(&writable, 1, 0), 0);
        CHECK_EQUAL(fake_recv(ours[1], back, 40, MSG_DONTWAIT), 40);
        CHECK_EQUAL(fake_poll(&writable, 1, 0), 0);
        CHECK_EQUAL(fake_recv(ours[1], back + 40, 60, MSG_DONTWAIT), 20);
        CHECK_EQUAL(fake_poll(&writable, 1, 0), 1);
        CHECK(!memcmp(bytes, back, 60));
    }
    fake_close(ours[0]);
    fake_close(ours[1]);
}

int main(void)
{
    RUN(test_as_the_kernel_s);
    RUN(test_as_much_as_there_is_room_for);
    return 0;
}
