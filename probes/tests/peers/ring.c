/*
 * Makes requests whose bytes the kernel moves by io_uring, then one by ordinary calls, and prints what it
 * did, a line of JSON each: ["ring", "unread" (where nobody can say whose bytes they are) or "plain", local port, bytes
 * sent, bytes received, record], the record as web_client.py has it.
 *
 *   ring PORT          the server's port
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* A ring of one entry at a time. */
struct ring {
	int fd;
	struct io_uring_params params;
	char *rings;
	struct io_uring_sqe *entries;
};

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static unsigned *at(struct ring *ring, unsigned offset) { return (unsigned *)(ring->rings + offset); }

static struct ring make(unsigned flags)
{
	struct ring ring = { .params = { .flags = flags, .sq_thread_idle = 200 } };
	ring.fd = syscall(SYS_io_uring_setup, 4, &ring.params);
	if (ring.fd < 0)
		fail("no io_uring here");
	if (!(ring.params.features & IORING_FEAT_SINGLE_MMAP))
		fail("too old an io_uring");
	size_t bytes = 1 << 16;
	ring.rings = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd, IORING_OFF_SQ_RING);
	ring.entries = mmap(NULL, 4 * sizeof *ring.entries, PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd, IORING_OFF_SQES);
	if (ring.rings == MAP_FAILED || ring.entries == MAP_FAILED)
		fail("mmap");
	return ring;
}

static struct io_uring_sqe *queue(struct ring *ring, int opcode, int fd, void *data, size_t len, unsigned flags)
{
	unsigned tail = *at(ring, ring->params.sq_off.tail), index = tail & *at(ring, ring->params.sq_off.ring_mask);
	ring->entries[index] = (struct io_uring_sqe){ .opcode = opcode, .flags = flags, .fd = fd, .addr = (unsigned long)data, .len = len };
	at(ring, ring->params.sq_off.array)[index] = index;
	__atomic_store_n(at(ring, ring->params.sq_off.tail), tail + 1, __ATOMIC_SEQ_CST);
	return &ring->entries[index];
}

static void submit_all(struct ring *ring, int count)
{
	unsigned how = ring->params.flags & IORING_SETUP_SQPOLL ? IORING_ENTER_SQ_WAKEUP : 0;
	if (syscall(SYS_io_uring_enter, ring->fd, count, 0, how, NULL, 0) < 0)
		fail("io_uring_enter");
}

static void submit(struct ring *ring, int opcode, int fd, void *data, size_t len, unsigned flags)
{
	queue(ring, opcode, fd, data, len, flags);
	submit_all(ring, 1);
}

static long outcome(struct ring *ring)
{
	unsigned head = *at(ring, ring->params.cq_off.head);
	while (__atomic_load_n(at(ring, ring->params.cq_off.tail), __ATOMIC_ACQUIRE) == head)
		if (syscall(SYS_io_uring_enter, ring->fd, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0 && errno != EINTR)
			fail("io_uring_enter");
	struct io_uring_cqe *cqes = (struct io_uring_cqe *)(ring->rings + ring->params.cq_off.cqes);
	long result = cqes[head & *at(ring, ring->params.cq_off.ring_mask)].res;
	__atomic_store_n(at(ring, ring->params.cq_off.head), head + 1, __ATOMIC_RELEASE);
	return result;
}

static long result(struct ring *ring)
{
	long result = outcome(ring);
	if (result <= 0) {
		errno = -result;
		fail("an operation");
	}
	return result;
}

/* While this thread waits for a pipe, what was asked of the ring is done by it, in between. What would be
 * read from the pipe has its place here, and looks like a request. */
static char decoy[1 << 16] = "GET /decoy?number=1 HTTP/1.1\r\nHost: decoy\r\n\r\n";
static int ends[2];

static void *write_late(void *unused)
{
	usleep(300000);
	return write(ends[1], "x", 1) == 1 ? NULL : unused;
}

static void wait_elsewhere(void)
{
	pthread_t writer;
	pthread_create(&writer, NULL, write_late, NULL);
	if (read(ends[0], decoy, sizeof decoy) != 1)
		fail("pipe");
	pthread_join(writer, NULL);
	decoy[0] = 'G';
}

/* A request waits behind one for more than a pipe will hold, so that it is given up in the end. What it would send looks like
 * a question; meanwhile a call that is none of the ring's sends the real one. */
static void send_beside(struct ring *ring, int fd, void *data, size_t len)
{
	static char spare[2];
	aio_context_t context = 0;
	struct iocb block = { .aio_lio_opcode = IOCB_CMD_PWRITE, .aio_fildes = fd, .aio_buf = (unsigned long)data, .aio_nbytes = len }, *blocks = &block;
	struct io_event event;
	queue(ring, IORING_OP_READ, ends[0], spare, sizeof spare, IOSQE_IO_LINK);
	queue(ring, IORING_OP_SEND, fd, decoy, sizeof decoy, 0);
	submit_all(ring, 2);
	if (syscall(SYS_io_setup, 1, &context) != 0 || syscall(SYS_io_submit, context, 1, &blocks) != 1 ||
	    syscall(SYS_io_getevents, context, 1, 1, &event, NULL) != 1 || event.res != (long)len)
		fail("io_submit");
	syscall(SYS_io_destroy, context);
	if (write(ends[1], "x", 1) != 1 || result(ring) != 1 || outcome(ring) != -ECANCELED)
		fail("what waited");
}

/* From Linux 6.17 on, `SEND` takes a list of pieces as well. It has room for more bytes than are sent. */
static void send_listed(struct ring *ring, int fd, char *data, size_t len)
{
	enum { IN_A_LIST = 1 << 5, PIECES = 256 };
	static struct iovec pieces[PIECES];
	for (size_t i = 0; i < PIECES; i++)
		pieces[i] = (struct iovec){ data + i, i < len ? 1 : 0 };
	queue(ring, IORING_OP_SEND, fd, pieces, PIECES, 0)->ioprio = IN_A_LIST;
	submit_all(ring, 1);
	long sent = outcome(ring);
	if (sent == -EINVAL) {
		submit(ring, IORING_OP_WRITEV, fd, pieces, PIECES, 0);
		sent = result(ring);
	}
	if (sent != (long)len)
		fail("sent too little");
}

/* Another process's request waits at the same socket, of memory that stands here at the same address. This one sends by a
 * registered descriptor. */
static void send_beside_another(struct ring *ring, int fd, void *data, size_t len)
{
	int waits[2];
	if (pipe(waits) != 0)
		fail("pipe");
	pid_t other = fork();
	if (other == 0) {
		static char spare[2];
		struct ring own = make(0);
		queue(&own, IORING_OP_READ, ends[0], spare, sizeof spare, IOSQE_IO_LINK);
		queue(&own, IORING_OP_SEND, fd, decoy, sizeof decoy, 0);
		submit_all(&own, 2);
		if (write(waits[1], "x", 1) != 1)
			fail("pipe");
		_exit(outcome(&own) != 1 || outcome(&own) != -ECANCELED);
	}
	char ready;
	int status;
	if (other < 0 || read(waits[0], &ready, 1) != 1)
		fail("another process");
	if (syscall(SYS_io_uring_register, ring->fd, IORING_REGISTER_FILES, &fd, 1) != 0)
		fail("io_uring_register");
	submit(ring, IORING_OP_SEND, 0, data, len, IOSQE_FIXED_FILE);
	if (result(ring) != (long)len)
		fail("sent too little");
	if (syscall(SYS_io_uring_register, ring->fd, IORING_UNREGISTER_FILES, NULL, 0) != 0)
		fail("io_uring_register");
	if (write(ends[1], "x", 1) != 1 || waitpid(other, &status, 0) != other || status != 0)
		fail("another process");
	close(waits[0]), close(waits[1]);
}

static unsigned long long now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_REALTIME, &time);
	return time.tv_sec * 1000000000ULL + time.tv_nsec;
}

enum way { BY_RING, BY_WORKER, IN_BETWEEN, IN_PARTS, LINKED, SKIPPED, BESIDE, ANOTHER, LISTED, PLAIN };
static char answer[1 << 18], question[256];
static int port, number = 1;

static int reach(unsigned *local)
{
	struct sockaddr_in server = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&server, sizeof server) != 0)
		fail("connect");
	socklen_t len = sizeof server;
	getsockname(fd, (struct sockaddr *)&server, &len);
	*local = ntohs(server.sin_port);
	return fd;
}

static void ask(struct ring *ring, enum way way)
{
	unsigned local, size = 5000;
	int fd = reach(&local);
	unsigned long long start = now();
	long sent = snprintf(question, sizeof question, "GET /bytes/%u?number=%d HTTP/1.1\r\nHost: ring\r\n\r\n", size, number);
	unsigned flags = way == BY_WORKER ? IOSQE_ASYNC : 0;
	if (way == PLAIN && send(fd, question, sent, 0) != sent)
		fail("send");
	if (way == IN_PARTS || way == LINKED) {
		/* Both parts are handed over at once, in one call. */
		queue(ring, IORING_OP_SEND, fd, question, 20, way == LINKED ? IOSQE_IO_LINK : 0);
		queue(ring, IORING_OP_SEND, fd, question + 20, sent - 20, 0);
		submit_all(ring, 2);
		if (result(ring) + result(ring) != sent)
			fail("sent too little");
	} else if (way == SKIPPED) {
		submit(ring, IORING_OP_SEND, fd, question, sent, IOSQE_CQE_SKIP_SUCCESS);
	} else if (way == BESIDE) {
		send_beside(ring, fd, question, sent);
	} else if (way == ANOTHER) {
		send_beside_another(ring, fd, question, sent);
	} else if (way == LISTED) {
		send_listed(ring, fd, question, sent);
	} else if (way != PLAIN) {
		submit(ring, IORING_OP_SEND, fd, question, sent, flags);
		if (result(ring) != sent)
			fail("sent too little");
	}
	long got = 0;
	while (!memmem(answer, got, "\r\n\r\n", 4) || answer + got < (char *)memmem(answer, got, "\r\n\r\n", 4) + 4 + size) {
		if (way == PLAIN) {
			long more = recv(fd, answer + got, sizeof answer - got, 0);
			got += more > 0 ? more : (fail("recv"), 0);
			continue;
		}
		submit(ring, IORING_OP_RECV, fd, answer + got, sizeof answer - got, flags);
		if (way == IN_BETWEEN && got == 0)
			wait_elsewhere();
		got += result(ring);
	}
	const char *how = way == PLAIN ? "plain" : way >= LINKED ? "unread" : "ring";
	printf("[\"%s\", %u, %ld, %ld, [%d, %d, \"GET\", \"/bytes/%u\", 200, 0, %u, %llu, %llu]]\n", how,
	       local, sent, got, number++, port, size, size, start, now());
	close(fd);
}

int main(int count, char **arguments)
{
	if (count != 2 || pipe(ends) != 0)
		return 2;
	port = atoi(arguments[1]);
	struct ring ring = make(0), polled = make(IORING_SETUP_SQPOLL);
	ask(&ring, BY_RING);
	ask(&ring, BY_WORKER);
	ask(&ring, IN_BETWEEN);
	ask(&polled, BY_RING);
	ask(&ring, IN_PARTS);
	ask(&ring, LINKED);
	ask(&ring, SKIPPED);
	ask(&ring, BY_RING);
	ask(&ring, BESIDE);
	ask(&ring, BY_RING);
	ask(&ring, ANOTHER);
	ask(&ring, LISTED);
	ask(&ring, BY_RING);
	ask(&ring, PLAIN);
	return 0;
}
