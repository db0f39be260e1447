/* Pairs of connected stream sockets that are memory: what the sockets' calls are in sources that
 * are built so (meson.build), for tests that make very many. They answer as AF_UNIX ones do that
 * never wait, but that a send takes any part of the bytes, as TCP's does. */
#ifndef S2N_FAKE_SOCKET_H
#define S2N_FAKE_SOCKET_H

#include <poll.h>
#include <stdint.h>
#include <sys/socket.h>

enum { FAKE_SOCKETS = 64, FAKE_SOCKET_BYTES = 1 << 16 };

/* How many bytes may be under way, at most FAKE_SOCKET_BYTES, from now on. */
void fake_sockets_hold(uint32_t bytes);
/* How many are open. */
uint32_t fake_sockets_open(void);

int fake_socketpair(int domain, int type, int protocol, int fds[2]);
ssize_t fake_send(int fd, const void *bytes, size_t length, int flags);
ssize_t fake_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t fake_recv(int fd, void *bytes, size_t length, int flags);
ssize_t fake_recvmsg(int fd, struct msghdr *message, int flags);
int fake_shutdown(int fd, int how);
int fake_close(int fd);
int fake_setsockopt(int fd, int level, int name, const void *value, socklen_t length);
int fake_poll(struct pollfd *fd, nfds_t count, int wait_ms);

#endif
